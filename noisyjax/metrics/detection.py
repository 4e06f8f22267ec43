"""How well examples with a wrong label are detected.

A score that counts and is NaN shows, as in `noisyjax.losses`.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from noisyjax.core import checks


def precision(flagged: Bool[Array, "N"], noisy: Bool[Array, "N"]) -> Float[Array, ""]:
    """Returns the share of the flagged examples that are noisy; NaN if none is flagged.

    >>> precision(jnp.array([True, True, False]), jnp.array([True, False, True]))
    Array(0.5, dtype=float32)
    """
    checks.masks(flagged=flagged, noisy=noisy)
    checks.shape("noisy", noisy, flagged.shape, like="flagged")
    return (flagged & noisy).sum() / flagged.sum()


def recall(flagged: Bool[Array, "N"], noisy: Bool[Array, "N"]) -> Float[Array, ""]:
    """Returns the share of the noisy examples that are flagged; NaN if none is noisy."""
    checks.masks(flagged=flagged, noisy=noisy)
    return precision(noisy, flagged)


def auc(
    scores: Float[Array, "N"], noisy: Bool[Array, "N"], *, where: Bool[Array, "N"] | None = None
) -> Float[Array, ""]:
    """Returns the area under the ROC curve of a score that is to be high for noisy examples.

    It is the probability that a noisy example has a higher score than a clean one, a tie counting
    as half (Mann and Whitney 1947): 0.5 for a score that tells nothing. It is NaN if a score is,
    and if no noisy or no clean example counts.

    Args:
      scores: ``[N]``.
      noisy: which examples have a wrong label, ``[N]``.
      where: the examples that count, ``[N]``: ``~jnp.isnan(scores)`` leaves out those that have no
        score yet.

    >>> auc(jnp.array([0.1, 0.4, 0.4, 0.9]), jnp.array([False, False, True, True]))
    Array(0.875, dtype=float32)
    """
    checks.masks(noisy=noisy, where=where)
    checks.shape("noisy", noisy, scores.shape, like="scores")
    known = jnp.ones(scores.shape, bool)
    if where is not None:
        checks.shape("where", where, scores.shape, like="scores")
        known = where
    clean = known & ~noisy
    rising = jnp.sort(jnp.where(clean, scores, jnp.nan))  # NaN last
    below = jnp.searchsorted(rising, scores, side="left")
    not_above = jnp.searchsorted(rising, scores, side="right")
    share = 0.5 * (below + not_above) / clean.sum()
    unknown = jnp.any(jnp.isnan(scores) & known)
    return jnp.where(unknown, jnp.nan, jnp.mean(share, where=known & noisy))
