"""Calibration: whether things happen as often as predicted.

Predictions are divided into bins by their probability. What is kept of each bin can be added over
images before anything is divided::

    bins = calibration.bin_probabilities(probs, truth)
    bins = jax.tree.map(jnp.add, bins, others)
    error = calibration.expected_calibration_error(bins)
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from noisyjax.core import checks


class Bins(NamedTuple):
    """What is known of the pixels of each bin, ``[K]`` float32 each.

    Attributes:
      count: number of pixels (exact up to 2**24 in one call; add more on the host in float64).
      probability: sum of the probabilities that they are the object.
      positive: number of them that are.
    """

    count: Float[Array, "K"]
    probability: Float[Array, "K"]
    positive: Float[Array, "K"]


def bin_probabilities(
    probs: Float[Array, "*S"],
    truth: Bool[Array, "*S"] | Integer[Array, "*S"],
    *,
    num_bins: int = 15,
    where: Bool[Array, "*S"] | None = None,
) -> Bins:
    """Divides pixels into bins of equal width by the probability of the object.

    Args:
      probs: probability that a pixel is the object, ``[*S]``, in ``[0, 1]``.
      truth: ``[*S]``, the object where it is not zero.
      num_bins: K; bin k holds probabilities in ``(k / K, (k + 1) / K]``, the first also 0.
      where: the pixels that count, ``[*S]``.
    """
    checks.shape("truth", truth, probs.shape, like="probs")
    checks.positive("num_bins", num_bins)
    checks.ids("truth", truth, masks=True)
    if where is not None:
        checks.shape("where", where, probs.shape, like="probs")
    weights = jnp.ones(probs.shape) if where is None else where.astype(jnp.float32)
    edges = jnp.linspace(0.0, 1.0, num_bins + 1)[1:-1]
    index = jnp.searchsorted(edges, probs.reshape(-1))

    def total(values: Float[Array, "*S"]) -> Float[Array, "K"]:
        return jnp.zeros(num_bins).at[index].add(values.reshape(-1))

    return Bins(total(weights), total(weights * probs), total(weights * (truth != 0)))


def reliability_curve(bins: Bins) -> tuple[Float[Array, "K"], Float[Array, "K"]]:
    """Returns (mean probability, share of the object) of each bin ``[K]``, NaN where it is empty.

    A calibrated prediction lies on the diagonal.
    """
    filled = bins.count > 0
    count = jnp.maximum(bins.count, 1.0)
    mean, share = bins.probability / count, bins.positive / count
    return jnp.where(filled, mean, jnp.nan), jnp.where(filled, share, jnp.nan)


def expected_calibration_error(bins: Bins) -> Float[Array, ""]:
    """Returns the mean distance of the reliability curve from the diagonal over all pixels.

    The bins, or sums of several images' bins, are weighted by their pixels (Naeini et al. 2015; Guo
    et al. 2017, Equation 3). It is in ``[0, 1]``; NaN if no pixel counts.

    >>> bins = bin_probabilities(jnp.array([0.75, 0.75, 0.75, 0.75]), jnp.array([1, 1, 0, 0]))
    >>> expected_calibration_error(bins)
    Array(0.25, dtype=float32)
    """
    gaps = jnp.abs(bins.probability - bins.positive)
    total = jnp.sum(bins.count)
    return jnp.where(total > 0, jnp.sum(gaps) / jnp.maximum(total, 1.0), jnp.nan)


def brier_score(
    probs: Float[Array, "*S"],
    truth: Bool[Array, "*S"] | Integer[Array, "*S"],
    *,
    where: Bool[Array, "*S"] | None = None,
) -> Float[Array, ""]:
    """Returns the mean squared difference of the probability from what happened (Brier 1950).

    It is in ``[0, 1]``; NaN if no pixel counts.

    Args:
      probs: probability that a pixel is the object, ``[*S]``.
      truth: ``[*S]``, the object where it is not zero.
      where: the pixels that count, ``[*S]``.
    """
    checks.shape("truth", truth, probs.shape, like="probs")
    checks.ids("truth", truth, masks=True)
    return jnp.mean(jnp.square(probs - (truth != 0)), where=where)
