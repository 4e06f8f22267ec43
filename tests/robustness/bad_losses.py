"""Arrays of wrong shapes, dtypes and values for losses."""

import numpy as np
from bad_inputs import Bad

from noisyjax import losses
from noisyjax.losses import entropy, ssim, uncertainty

F = np.float32


def zeros(*shape, dtype=np.int32):
    return np.zeros(shape, dtype)


def _row(name, call, match):
    return Bad(f"loss: {name}", lambda folder: None, lambda _: call(), ValueError, match)


ROWS = [
    _row(
        "labels of another shape than the logits",
        lambda: entropy.cross_entropy(zeros(4, 4, 2, dtype=F), zeros(4, 5)),
        r"labels: expected shape \[4, 4\] like logits, got \[4, 5\]",
    ),
    _row(
        "float labels for the cross-entropy",
        lambda: entropy.cross_entropy(zeros(4, 2, dtype=F), zeros(4, dtype=F)),
        r"labels: expected integers \(class ids\), got float32",
    ),
    _row(
        "ids in place of one-hot targets",
        lambda: entropy.soft_cross_entropy(zeros(4, 2, dtype=F), zeros(4, dtype=F)),
        r"targets: expected shape \[4, 2\] like logits, got \[4\]",
    ),
    _row(
        "q of NaN",
        lambda: entropy.generalised_cross_entropy(*[zeros(4, 2, dtype=F)] * 2, q=float("nan")),
        r"q: expected a number in \(0, 1\], got nan",
    ),
    _row(
        "targets of other classes for Dice",
        lambda: losses.overlap.soft_dice(zeros(4, 2, dtype=F), zeros(4, 3, dtype=F)),
        r"targets: expected shape \[4, 2\] like probs, got \[4, 3\]",
    ),
    _row(
        "one class without background",
        lambda: losses.overlap.soft_dice(zeros(4, 1, dtype=F), zeros(4, 1, dtype=F)),
        "probs: expected at least two classes",
    ),
    _row(
        "gamma beyond 2",
        lambda: losses.overlap.noise_robust_dice(*[zeros(4, 2, dtype=F)] * 2, gamma=3),
        r"gamma: expected a number in \[1, 2\], got 3",
    ),
    _row(
        "targets of another size for SSIM",
        lambda: ssim.ssim_loss(zeros(8, 8, 2, dtype=F), zeros(8, 7, 2, dtype=F)),
        r"targets: expected shape \[8, 8, 2\] like probs",
    ),
    _row(
        "an even window",
        lambda: ssim.ssim(*[zeros(8, 8, dtype=F)] * 2, window=4),
        "window: expected an odd number > 0, got 4",
    ),
    _row(
        "matrices of other classes",
        lambda: losses.confusion.mix(zeros(4, 2, dtype=F), zeros(3, 4, 3, 3, dtype=F)),
        r"cms: expected shape \[\*, 4, 2, 2\] like probs, got \[3, 4, 3, 3\]",
    ),
    _row(
        "labels of another number of raters",
        lambda: losses.confusion.mixed_nll(
            zeros(4, 2, dtype=F), zeros(3, 1, 2, 2, dtype=F), zeros(2, 4)
        ),
        r"labels: expected shape \[3, 4\] like cms and logits, got \[2, 4\]",
    ),
    _row(
        "no foreground for one-hot matrices",
        lambda: losses.confusion.one_hot_cms(zeros(4), zeros(2, 4), 1),
        "num_classes: expected at least 2, got 1",
    ),
    _row(
        "a third form of the Jaccard metric loss",
        lambda: losses.overlap.jml(*[zeros(4, dtype=F)] * 2, form=3),
        "form: expected one of 1, 2, got 3",
    ),
    _row(
        "soft labels of another shape",
        lambda: losses.overlap.dml(zeros(4, dtype=F), zeros(5, dtype=F)),
        r"targets: expected shape \[4\] like probs, got \[5\]",
    ),
    _row(
        "labels of another shape for the T-Loss",
        lambda: losses.student_t.t_loss(zeros(4, dtype=F), zeros(5), 1.0),
        r"labels: expected shape \[4\] like probs, got \[5\]",
    ),
    _row(
        "labels of another shape than the draws",
        lambda: losses.latent.ssn_nll(zeros(3, 4, 2, dtype=F), zeros(3)),
        r"labels: expected shape \[4\] like logits, got \[3\]",
    ),
    _row(
        "no draws",
        lambda: losses.latent.ssn_nll(zeros(0, 4, 2, dtype=F), zeros(4)),
        "draws: expected at least 1, got 0",
    ),
    _row(
        "a covariance of another size",
        lambda: losses.latent.kl_gaussian(zeros(3, dtype=F), zeros(2, 2, dtype=F), prior_std=1.0),
        r"tril: expected shape \[3, 3\] like mean, got \[2, 2\]",
    ),
    _row(
        "a prior of no width",
        lambda: losses.latent.kl_gaussian(zeros(2, dtype=F), zeros(2, 2, dtype=F), prior_std=0.0),
        "prior_std: expected a number > 0, got 0.0",
    ),
    _row(
        "a table of concentrations",
        lambda: losses.latent.kl_dirichlet_flat(zeros(2, 3, dtype=F)),
        r"concentration: expected 1 axes, got shape \(2, 3\)",
    ),
    _row(
        "uncertainties of another shape",
        lambda: uncertainty.weighted_dice(
            zeros(4, dtype=F), zeros(2, 4, dtype=np.uint8), zeros(2, 3, dtype=F)
        ),
        r"sigma: expected shape \[2, 4\] like labels, got \[2, 3\]",
    ),
]
