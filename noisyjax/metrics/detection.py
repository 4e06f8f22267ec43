"""How well examples with a wrong label are detected."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from noisyjax.core import checks


def precision(flagged: Bool[Array, "N"], noisy: Bool[Array, "N"]) -> Float[Array, ""]:
    """Returns the share of the flagged examples that are noisy; NaN if none is flagged.

    >>> precision(jnp.array([True, True, False]), jnp.array([True, False, True]))
    Array(0.5, dtype=float32)
    """
    checks.shape("noisy", noisy, flagged.shape, like="flagged")
    return (flagged & noisy).sum() / flagged.sum()


def recall(flagged: Bool[Array, "N"], noisy: Bool[Array, "N"]) -> Float[Array, ""]:
    """Returns the share of the noisy examples that are flagged; NaN if none is noisy."""
    return precision(noisy, flagged)


def auc(scores: Float[Array, "N"], noisy: Bool[Array, "N"]) -> Float[Array, ""]:
    """Returns the area under the ROC curve of a score that is to be high for noisy examples.

    It is the probability that a noisy example has a higher score than a clean one, a tie counting
    as half (Mann and Whitney 1947): 0.5 for a score that tells nothing. Examples without a score
    (NaN) do not count; the area is NaN if no noisy or no clean examples are left.

    >>> auc(jnp.array([0.1, 0.4, 0.4, 0.9]), jnp.array([False, False, True, True]))
    Array(0.875, dtype=float32)
    """
    checks.shape("noisy", noisy, scores.shape, like="scores")
    known = ~jnp.isnan(scores)
    clean = known & ~noisy
    rising = jnp.sort(jnp.where(clean, scores, jnp.nan))  # NaN last
    below = jnp.searchsorted(rising, scores, side="left")
    not_above = jnp.searchsorted(rising, scores, side="right")
    share = 0.5 * (below + not_above) / clean.sum()
    return jnp.mean(share, where=known & noisy)
