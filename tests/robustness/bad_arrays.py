"""Arrays of wrong shapes, dtypes and values for metrics, decisions, fusion and noise."""

import jax
import jax.numpy as jnp
import numpy as np
from bad_inputs import Bad

from noisyjax import decisions, fusion, metrics
from noisyjax.core import blur, distance, morphology, warp
from noisyjax.data import patches, source, splits
from noisyjax.data.labels import assemble, fuse
from noisyjax.metrics import (
    agreement,
    boundary,
    calibration,
    curvas,
    detection,
    distribution,
    overlap,
    raters,
    risk,
    statistics,
    surface,
    tabulate,
)
from noisyjax.noise import annotators, gaussian_field, replacement, severity

NAN = float("nan")
F, I, B = np.float32, np.int32, bool


def zeros(*shape, dtype=I):
    return np.zeros(shape, dtype)


def key():
    return jax.random.key(0)


def _source(**changes):
    """Four images of two raters, with some arrays replaced."""
    arrays = {
        "images": zeros(4, 6, 6, 1, dtype=F),
        "truths": zeros(4, 6, 6, dtype=np.uint8),
        "labels": zeros(4, 2, 6, 6, dtype=np.uint8),
        **changes,
    }
    return source.Source(
        name="toy",
        examples=source.ArrayExamples(**arrays),
        num_classes=2,
        class_names=("background", "organ"),
        spacing=(1.0, 1.0),
        has_truth=arrays["truths"] is not None,
        rater_names=("anna", "bert"),
    )


def annotated(**changes):
    """The labelled examples of a toy source with some arrays replaced."""
    options = {"panel": None, "seed": 0, "include_truth": True}
    return assemble.label(_source(**changes), np.arange(4), **options)


def _row(name, call, match, error=ValueError):
    return Bad(f"array: {name}", lambda folder: None, lambda _: call(), error, match)


_FUSION = [
    _row(
        "float votes",
        lambda: fusion.majority(zeros(3, 4, dtype=F), 2),
        r"labels: expected integers \(class ids\), got float32",
    ),
    _row(
        "bool votes",
        lambda: fusion.mean(zeros(3, 4, dtype=B), 2),
        r"labels: expected integers \(class ids\), got bool",
    ),
    _row(
        "votes without the rater axis",
        lambda: fusion.staple(zeros(4), 2),
        r"labels: expected \[R, \*S\], none of it 0, got \[4\]",
    ),
    _row(
        "no raters",
        lambda: fusion.staple(zeros(0, 4), 2),
        r"labels: expected \[R, \*S\], none of it 0, got \[0, 4\]",
    ),
    _row(
        "an image of no voxels",
        lambda: fusion.spatial_staple(zeros(3, 0), 2),
        r"labels: expected \[R, \*S\], none of it 0, got \[3, 0\]",
    ),
    _row(
        "no classes",
        lambda: fusion.mean(zeros(3, 4), 0),
        "num_classes: expected at least 2, got 0",
    ),
    _row(
        "one class",
        lambda: fusion.spatial_staple(zeros(3, 4), 1),
        "num_classes: expected at least 2, got 1",
    ),
    _row(
        "a mask of other raters",
        lambda: fusion.majority(zeros(3, 4), 2, rater_mask=zeros(2, dtype=B)),
        r"rater_mask: expected shape \[3\] like labels, got \[2\]",
    ),
    _row(
        "a prior of other classes",
        lambda: fusion.pooled_staple(zeros(2, 3, 4), 2, prior=jnp.ones(3)),
        r"prior: expected shape \[2\] like labels, got \[3\]",
    ),
    _row(
        "a bias of NaN",
        lambda: fusion.spatial_staple(zeros(3, 4), bias=NAN),
        "bias: expected a number from 0 to 1, got nan",
    ),
    _row(
        "unknown fusion",
        lambda: fuse.targets("best", 2),
        "fusion: expected one of 'staple', 'spatial_staple', 'simple', 'jaccard_median', got",
    ),
    _row(
        "weights of other raters",
        lambda: fusion.staple(zeros(3, 4), 2, weights=jnp.ones(2)),
        r"weights: expected shape \[3\] like raters, got \[2\]",
    ),
    _row(
        "votes weighted by other raters",
        lambda: fusion.mean(zeros(3, 4), 2, weights=jnp.ones(2)),
        r"weights: expected shape \[3\] like labels, got \[2\]",
    ),
    _row(
        "a prior that is given and estimated",
        lambda: fusion.staple(zeros(3, 4), 2, prior=jnp.ones(2) / 2, prior_update="estimated"),
        'prior: expected None where prior_update is "estimated"',
    ),
    _row(
        "patterns as a map",
        lambda: fusion.staple_of_patterns(zeros(3, 4, 5), zeros(3, dtype=F), 2),
        r"votes: expected \[K, R\], none of it 0, got \[3, 4, 5\]",
    ),
    _row(
        "counts of other patterns",
        lambda: fusion.simple_of_patterns(zeros(3, 4), zeros(4, dtype=F), 2),
        r"counts: expected shape \[3\] like votes, got \[4\]",
    ),
    _row(
        "one class of a median",
        lambda: fusion.jaccard_median(zeros(3, 4), 1),
        "num_classes: expected at least 2, got 1",
    ),
    _row(
        "an unknown rule for ties",
        lambda: fusion.decide(zeros(3, 2, dtype=F), ties="first"),
        "ties: expected one of 'lowest', 'random', 'undecided', got 'first'",
    ),
]

_METRICS = [
    _row(
        "a float mask",
        lambda: metrics.overlap.counts(np.full(4, 0.5, F), zeros(4), 2),
        r"pred: expected integers \(class ids\) or bool \(a mask\), got float32",
    ),
    _row(
        "masks of two shapes",
        lambda: metrics.overlap.counts(zeros(4), zeros(5), 2),
        r"truth: expected shape \[4\] like pred, got \[5\]",
    ),
    _row(
        "one class to count",
        lambda: metrics.overlap.counts(zeros(4), zeros(4), 1),
        "num_classes: expected at least 2, got 1",
    ),
    _row(
        "raters of another image",
        lambda: raters.joint_counts(zeros(2, 4), zeros(5), 2),
        r"labels: expected shape \[\*, 5\] like truth, got \[2, 4\]",
    ),
    _row(
        "a radius of zero",
        lambda: boundary.boundary_overlap(zeros(4), zeros(4), radius=0),
        "radius: expected a number > 0, got 0",
    ),
    _row(
        "spacing of NaN",
        lambda: surface.surface_metrics(zeros(4, 4), zeros(4, 4), spacing=(NAN, 1.0)),
        "spacing: expected a number > 0, got nan",
    ),
    _row(
        "spacing of zero",
        lambda: surface.surface_metrics(zeros(4, 4), zeros(4, 4), spacing=(0.0, 1.0)),
        "spacing: expected a number > 0, got 0",
    ),
    _row(
        "spacing of other axes",
        lambda: surface.surface_metrics(zeros(4, 4), zeros(4, 4), spacing=(1.0,) * 3),
        r"spacing: expected shape \[2\] like the axes of the masks, got \[3\]",
    ),
    _row(
        "probabilities in place of a mask",
        lambda: surface.surface_metrics(np.full((4, 4), NAN), zeros(4, 4)),
        "pred: expected integers .* or bool .*, got float64",
    ),
    _row(
        "as many truths as predictions, less one",
        lambda: surface.surface_metrics_of_cases(zeros(2, 4, 4), zeros(1, 4, 4)),
        "truths: expected 2 cases like preds, got 1",
    ),
    _row(
        "no bins",
        lambda: calibration.bins(zeros(4, dtype=F), zeros(4), num_bins=0),
        "num_bins: expected a number > 0, got 0",
    ),
    _row(
        "no groups",
        lambda: calibration.adaptive_ece(zeros(4, dtype=F), zeros(4), num_groups=0),
        "num_groups: expected a number > 0, got 0",
    ),
    _row(
        "a truth of other pixels",
        lambda: calibration.top_label_ece(zeros(4, 4, 2, dtype=F), zeros(4)),
        r"probs: expected shape \[4, \*\] like truth and classes, got \[4, 4, 2\]",
    ),
    _row(
        "a score for masks of probabilities",
        lambda: calibration.brier(zeros(4, 2, dtype=F), zeros(4, dtype=F)),
        "truth: expected integers .* or bool .*, got float32",
    ),
    _row(
        "raters of other pixels",
        lambda: calibration.multirater_ece(zeros(4, 2, dtype=F), zeros(3, 5)),
        r"labels: expected shape \[\*, 4\] like probs, got \[3, 5\]",
    ),
    _row(
        "a risk of NaN",
        lambda: risk.aurc(np.array([0.1, NAN]), np.array([0.5, 0.6])),
        "risks: expected finite numbers, got nan at 1",
    ),
    _row(
        "a confidence of NaN",
        lambda: risk.augrc(np.array([0.1, 0.2]), np.array([NAN, 0.6])),
        "confidences: expected numbers, got nan at 0",
    ),
    _row(
        "no risk",
        lambda: risk.ause(zeros(0, dtype=F), zeros(0, dtype=F)),
        "risks: expected at least 1, got 0",
    ),
    _row(
        "a library that is not known",
        lambda: overlap.mean_dice(overlap.Counts(*zeros(4, 2, 2)), convention="sklearn"),
        "convention: expected one of 'monai', 'medpy', 'nnunet', 'torchmetrics', got 'sklearn'",
    ),
    _row(
        "counts of one case where a mean is wanted",
        lambda: overlap.mean_dice(overlap.Counts(*zeros(4, 2)), convention="monai"),
        r"counts: expected 2 axes, got shape \(2,\)",
    ),
    _row(
        "soft labels of other classes",
        lambda: overlap.soft_counts(zeros(4, 2, dtype=F), zeros(4, 3, dtype=F)),
        r"targets: expected shape \[4, 2\] like probs, got \[4, 3\]",
    ),
    _row(
        "a negative weight of false positives",
        lambda: overlap.tversky(overlap.Counts(*zeros(4, 2)), alpha=-1.0),
        "alpha: expected a number >= 0, got -1.0",
    ),
    _row(
        "weights that are not known",
        lambda: overlap.generalised_dice(overlap.Counts(*zeros(4, 2)), weights="cube"),
        "weights: expected one of 'square', 'simple', 'uniform', got 'cube'",
    ),
    _row(
        "a percentile above 100",
        lambda: surface.hausdorff(zeros(4, 4), zeros(4, 4), percentile=101),
        "percentile: expected a number up to 100, got 101",
    ),
    _row(
        "scores of other examples",
        lambda: detection.auc(zeros(4, dtype=F), zeros(3, dtype=B)),
        r"noisy: expected shape \[4\] like scores, got \[3\]",
    ),
    _row(
        "float samples",
        lambda: distribution.ged_squared(zeros(2, 4, dtype=F), zeros(3, 4)),
        r"samples: expected integers \(class ids\), got float32",
    ),
    _row(
        "samples of another image",
        lambda: distribution.hm_iou(zeros(2, 5), zeros(3, 4)),
        r"samples: expected shape \[\*, 4\] like labels, got \[2, 5\]",
    ),
    _row(
        "probabilities in place of samples",
        lambda: distribution.dice_family(zeros(2, 4, dtype=F), zeros(3, 4)),
        r"samples: expected integers \(class ids\) or bool \(a mask\), got float32",
    ),
    _row(
        "a mask of other samples",
        lambda: distribution.diversity(zeros(2, 4), mask=zeros(3, dtype=B)),
        r"mask: expected shape \[2\] like masks, got \[3\]",
    ),
    _row(
        "an estimator that is none",
        lambda: distribution.ged_squared(zeros(2, 4), zeros(3, 4), estimator="best"),
        "estimator: expected one of 'biased', 'unbiased', got 'best'",
    ),
    _row(
        "samples for a mean prediction",
        lambda: distribution.soft_threshold_dice(zeros(2, 4, dtype=F), zeros(3, 4)),
        r"probability: expected shape \[4\] like labels, got \[2, 4\]",
    ),
    _row(
        "a threshold of NaN",
        lambda: distribution.soft_threshold_dice(
            zeros(4, dtype=F), zeros(3, 4), thresholds=(0.5, NAN)
        ),
        r"thresholds: expected numbers in \[0, 1\), got nan",
    ),
    _row(
        "masks for probabilities of samples",
        lambda: distribution.ncc(zeros(2, 4, dtype=F), zeros(3, 4)),
        r"sample_probs: expected shape \[\*, 4, \*\] like labels, got \[2, 4\]",
    ),
    _row(
        "raters who name a class that is none",
        lambda: agreement.fleiss_kappa(zeros(2, 4) + 7, 3),
        r"labels: expected classes in 0\.\.2 or 255, got 7",
    ),
    _row(
        "a region of another image",
        lambda: agreement.krippendorff_alpha(zeros(2, 4), 2, where=zeros(5, dtype=B)),
        r"where: expected shape \[4\] like labels, got \[5\]",
    ),
    _row(
        "soft labels of raters",
        lambda: agreement.cohen_kappa(zeros(2, 4, dtype=F), 2),
        r"labels: expected integers \(class ids\), got float32",
    ),
    _row(
        "present raters of other labels",
        lambda: agreement.conformity_index(zeros(2, 4), rater_mask=zeros(3, dtype=B)),
        r"rater_mask: expected shape \[2\] like labels, got \[3\]",
    ),
    _row(
        "volumes of one image",
        lambda: agreement.icc(zeros(3, dtype=F)),
        r"volumes: expected 2 axes, got shape \(3,\)",
    ),
    _row(
        "raters of another volume",
        lambda: curvas.consensus_dice(zeros(4), zeros(3, 5), 2),
        r"labels: expected shape \[\*, 4\] like segmentation, got \[3, 5\]",
    ),
    _row(
        "raters of other probabilities",
        lambda: curvas.consensus_confidence(zeros(4, 2, dtype=F), zeros(3, 5)),
        r"labels: expected shape \[\*, 4\] like probs, got \[3, 5\]",
    ),
    _row(
        "a score that is none",
        lambda: curvas.volume_crps(1.0, zeros(3, dtype=F), form="best"),
        "form: expected one of 'curvas', 'gaussian', got 'best'",
    ),
    _row(
        "a matrix that is not square",
        lambda: metrics.confusion.class_exchange(zeros(2, 3, dtype=F)),
        r"mean_cm: expected shape \[\*, 2\] like a square matrix, got \[2, 3\]",
    ),
    _row(
        "names of other raters",
        lambda: metrics.confusion.orientation_warnings(zeros(3, 2, 2, dtype=F), ["anna"]),
        "rater_names: expected 3, got 1",
    ),
    _row(
        "pairs without a partner",
        lambda: statistics.paired([0.1, 0.2], [0.1]),
        r"second: expected \(2,\) values like first, got \(1,\)",
    ),
    _row(
        "values of other cases",
        lambda: tabulate.case_rows("dice", zeros(3, dtype=F), ["a"]),
        r"values: expected shape \(1,\) like cases and classes, got \(3,\)",
    ),
    _row(
        "probabilities above one",
        lambda: decisions.dice_optimal_threshold(jnp.array([0.5, 1.5])),
        "m: expected .*0.* to 1|m: expected .*0, 1",
    ),
    _row(
        "a temperature of zero",
        lambda: metrics.label_quality.softmin(zeros(4, dtype=F), temperature=0.0),
        "temperature: expected a number > 0, got 0.0",
    ),
    _row(
        "labels of other pixels",
        lambda: metrics.label_quality.confident_issues(zeros(4, 2, dtype=F), zeros(5)),
        r"labels: expected shape \[4\] like probs, got \[5\]",
    ),
    _row(
        "a quantile of NaN",
        lambda: decisions.conformal_quantile(jnp.ones(4), alpha=NAN),
        r"alpha: expected a number in \(0, 1\), got nan",
    ),
    _row(
        "a probability in place of a mask to dilate",
        lambda: decisions.dilations_to_cover(zeros(4, dtype=F), zeros(4, dtype=B), share=1),
        r"prediction: expected integers \(class ids\) or bool \(a mask\), got float32",
    ),
    _row(
        "lambdas of other losses",
        lambda: decisions.risk_control(zeros(4, 3, dtype=F), zeros(2, dtype=F), alpha=0.1),
        r"lambdas: expected shape \[3\] like losses, got \[2\]",
    ),
]

_CORE = [
    _row(
        "spacing of minus one",
        lambda: distance.distance_transform(zeros(4, 4, dtype=B), spacing=(1.0, -1.0)),
        r"spacing: expected a number > 0, got -1",
    ),
    _row(
        "a radius of inf",
        lambda: morphology.dilate(zeros(4, 4, dtype=B), radius=float("inf")),
        "radius: expected a number >= 0, got inf",
    ),
    _row(
        "a blur of other axes",
        lambda: blur.gaussian_blur(zeros(4, 4, dtype=F), (1.0, 1.0, 1.0)),
        "sigma: expected 1 or 2 numbers, got 3",
    ),
    _row(
        "a displacement of other axes",
        lambda: warp.warp(zeros(4, 4), zeros(3, 4, 4, dtype=F)),
        r"displacement: expected shape \[2, 4, 4\], got \[3, 4, 4\]",
    ),
    _row(
        "a patch of nothing",
        lambda: patches.Draw((8, 0), (0, 0)),
        "patches.size: expected a number > 0, got 0",
    ),
    _row(
        "noise of NaN",
        lambda: gaussian_field.deform(key(), zeros(8, 8), a=NAN),
        "a: expected numbers >= 0, got nan",
    ),
    _row(
        "noise on a line",
        lambda: gaussian_field.deform(key(), zeros(8), a=0.1),
        r"label: expected 2 or 3 axes, got shape \(8,\)",
    ),
    _row(
        "an annotator of negative strength",
        lambda: annotators.panel(("over",), over=-1.0),
        "over: expected a number >= 0, got -1.0",
    ),
    _row(
        "a target that is no class",
        lambda: annotators.panel(("good",), target=2),
        "target: expected one of 1, got 2",
    ),
    _row(
        "a wanted Dice of zero",
        lambda: severity.solve_severity(lambda *_: None, zeros(1, 4, 4), 0.0, key()),
        r"target_dice: expected a number in \(0, 1\], got 0.0",
    ),
    _row(
        "a share of more than all",
        lambda: replacement.choose_cases(key(), np.arange(4), share=1.5),
        r"share: expected a number in \[0, 1\], got 1.5",
    ),
    _row(
        "shares that do not add up",
        lambda: splits.split(10, seed=0, fractions=(0.5, 0.1, 0.1)),
        "fractions: expected three that add up to 1",
    ),
    _row(
        "a split without examples",
        lambda: splits.split(3, seed=0, fractions=(0.99, 0.0, 0.01)),
        "test: expected a fraction of 0.01, got no example at all",
    ),
]

_EXAMPLES = [
    _row(
        "an image with NaN",
        lambda: annotated(images=np.full((4, 6, 6, 1), NAN, F)),
        r"toy\[0\]: image: expected finite intensities, got NaN or inf",
    ),
    _row(
        "labels beyond the classes",
        lambda: annotated(labels=np.full((4, 2, 6, 6), 7, np.uint8)),
        r"toy\[0\]: labels: expected classes in 0\.\.1, got 7",
    ),
    _row(
        "a negative truth",
        lambda: annotated(truths=np.full((4, 6, 6), -1, np.int8)),
        r"toy\[0\]: truth: expected classes in 0\.\.1, got -1",
    ),
    _row(
        "a float truth",
        lambda: annotated(truths=np.full((4, 6, 6), 0.5, F)),
        r"toy\[0\]: truth: expected integers \(class ids\), got float32",
    ),
    _row(
        "labels of another size than the image",
        lambda: annotated(labels=zeros(4, 2, 6, 5, dtype=np.uint8)),
        r"toy\[0\]: labels: expected shape \[\*, 6, 6\] like image, got \[2, 6, 5\]",
    ),
]

ROWS = [*_FUSION, *_METRICS, *_CORE, *_EXAMPLES]
