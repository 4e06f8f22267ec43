"""The consensus of several raters by the model of Dawid & Skene (1979), batch by batch.

One confusion matrix per rater, the same for all images and voxels, and one probability per class.
Expectation and maximisation alternate as they do over a whole data set, but each batch gives a part
of the counts, and older batches are forgotten slowly (stepwise EM: Cappé & Moulines 2009).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from noisyjax.core import checks, ignored
from noisyjax.losses import confusion

# Share of the counts that a batch replaces.
EMA_RATE = 0.1
# Stands for a class or a pair of classes that has not been seen; one pixel of a batch is more.
_LEAST = 1e-9


def matrices(
    counts: Float[Array, "R L L"], *, min_error_rate: float | int
) -> Float[Array, "R L L"]:
    """The raters' confusion matrices (the M-step); a class never seen has a uniform column.

    Args:
      counts: how often rater r said i where j is true, up to a factor, ``[R, L, L]``.
      min_error_rate: in ``[0, (L - 1) / L]``; no entry is above 1 minus this, nor below its share
        of it, so that no rater is trusted blindly, neither in being right nor in how they err.
    """
    size = counts.shape[-1]
    least = min_error_rate / (size - 1)
    shares = counts + _LEAST
    return (1 - size * least) * shares / shares.sum(-2, keepdims=True) + least


def log_prior(counts: Float[Array, "R L L"]) -> Float[Array, "L"]:
    """The logarithm of how frequent each class is estimated to be, ``[L]``."""
    frequency = counts.sum((0, 1)) + _LEAST
    return jnp.log(frequency / frequency.sum())


def log_likelihood(
    cms: Float[Array, "R *#S L L"],
    labels: Integer[Array, "R *S"],
    rater_mask: Bool[Array, "R"],
    *,
    imputed_labels: Float[Array, "R *S L"] | None = None,
    imputed_weight: float | int | Float[Array, ""] = 1.0,
) -> Float[Array, "*S L"]:
    """The logarithm of the likelihood of one image's labels under each true class.

    Args:
      cms: the raters' matrices, ``[R, *S, L, L]`` or broadcast over space; entries above 0.
      imputed_labels: probabilities of each rater's label, ``[R, *S, L]``: in place of the label of
        those who did not label the image, by the mean of the logarithm over what it may be.
      imputed_weight: what an imputed label counts, beside 1 for a label.
    """
    labelled = confusion.log_likelihood(cms, labels, rater_mask=rater_mask)
    if imputed_labels is None:
        return labelled
    imputed_log_likelihood = jnp.einsum("r...i,r...ij->r...j", imputed_labels, jnp.log(cms))
    missing = ~rater_mask.reshape(-1, *(1,) * labels.ndim)
    return labelled + imputed_weight * jnp.where(missing, imputed_log_likelihood, 0.0).sum(0)


def joint_counts(
    labels: Integer[Array, "R *S"], posterior: Float[Array, "*S L"], rater_mask: Bool[Array, "R"]
) -> Float[Array, "R L L"]:
    """What one image adds to the counts (the E-step's sums), as a mean over its labelled voxels.

    `posterior` is the probability of each true class given all labels. An id that is no class
    counts nowhere, and a rater who did not label the image has zeros.
    """
    checks.ids("labels", labels)
    checks.masks(rater_mask=rater_mask)
    given = ignored.given(labels, rater_mask)
    label = jax.nn.one_hot(labels, posterior.shape[-1]) * given[..., None]
    total = jnp.einsum("r...i,...j->rij", label, posterior)
    return total / posterior[..., 0].size * ignored.scale(given.any(0))


def update_counts(
    counts: Float[Array, "R L L"], joint_counts: Float[Array, "R L L"], weight: Float[Array, ""]
) -> Float[Array, "R L L"]:
    """The counts after a batch; one in which no image counts changes nothing.

    `joint_counts` is the weighted sum over its images, `weight` the sum of their weights.
    """
    mean = joint_counts / jnp.maximum(weight, _LEAST)
    return jnp.where(weight > 0, (1 - EMA_RATE) * counts + EMA_RATE * mean, counts)
