"""How many labels are wrong, estimated from the examples' losses: a mixture of two groups."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from noisyjax.core import checks

_ITERATIONS = 200
# Least variance within the groups as a share of the variance of all: a few losses that happen to be
# equal are no group.
_LEAST_VARIANCE = 1e-4
# Largest difference of the shares by the losses and by their logarithms.
_AGREEMENT = 0.4
# Fewer examples than this show no groups.
_FEWEST = 10
# A loss below this share of the mean counts as that: the logarithm of none would be a group alone.
_SMALLEST = 0.2


class NoiseRate(NamedTuple):
    """How noisy the labels are, as estimated from the losses.

    Attributes:
      rate: share of noisy examples, ``[]``; 0 where the losses do not fall into two groups.
      gap: mean loss of the noisy ones less that of the others, ``[]``; 0 with a rate of 0.
      posterior: probability that each example is noisy, ``[N]``; 0 where there is no loss.
    """

    rate: Float[Array, ""]
    gap: Float[Array, ""]
    posterior: Float[Array, "N"]


class _Groups(NamedTuple):
    """Two groups of equal variance in a sample.

    Attributes:
      share: of the upper one, ``[]``.
      upper: probability of belonging to it, ``[N]``.
      better: whether the sample is better explained by them than by one group, ``[]``.
    """

    share: Array
    upper: Array
    better: Array


def estimate_noise_rate(
    losses: Float[Array, "N"], *, where: Bool[Array, "N"] | None = None
) -> NoiseRate:
    """Estimates the share of noisy examples by a mixture of two Gaussians (EM).

    The Gaussians, of equal variance, are those of the logarithms: clean losses are small and spread
    little, noisy ones are large and spread much. They are accepted where both the logarithms and
    the losses themselves are better explained by two groups than by one Gaussian or one uniform
    distribution (Bayesian information criterion), with about the same share. One skewed group looks
    like two as well, but like other ones in either scale. Groups that overlap too much give 0
    rather than a guess. Arazo et al. (ICML 2019) fit a mixture to the losses of an epoch.

    Args:
      losses: of the examples, above 0, ``[N]``; those that are not finite do not count.
      where: the examples that count, ``[N]``; None for all.

    >>> losses = jnp.concatenate([jnp.linspace(0.1, 0.2, 30), jnp.linspace(0.6, 0.7, 10)])
    >>> estimated = estimate_noise_rate(losses)
    >>> float(estimated.rate.round(3)), float(estimated.gap.round(3))
    (0.25, 0.5)
    """
    checks.masks(where=where)
    known = jnp.isfinite(losses) if where is None else where & jnp.isfinite(losses)
    number = jnp.maximum(known.sum(), 1).astype(jnp.float32)
    values = jnp.where(known, losses, 0.0)
    smallest = jnp.maximum(_SMALLEST * values.sum() / number, jnp.finfo(jnp.float32).tiny)
    logs = jnp.log(jnp.maximum(values, smallest))
    plain, scaled = _groups(values, known, number), _groups(logs, known, number)
    agreed = jnp.abs(plain.share - scaled.share) < _AGREEMENT
    two = (number >= _FEWEST) & plain.better & scaled.better & agreed
    upper = scaled.upper
    lower = jnp.where(known, 1.0 - upper, 0.0)
    gap = _mean(values, upper) - _mean(values, lower)
    return NoiseRate(
        jnp.where(two, scaled.share, 0.0),
        jnp.where(two, gap, 0.0),
        jnp.where(two, upper, 0.0),
    )


def _mean(values: Array, weight: Array) -> Array:
    return (values * weight).sum() / jnp.maximum(weight.sum(), 1e-6)


def _groups(sample: Array, known: Array, number: Array) -> _Groups:
    """Fits the mixture of two Gaussians of equal variance by EM."""
    mean = jnp.where(known, sample, 0.0).sum() / number
    deviation = jnp.sqrt(jnp.where(known, jnp.square(sample - mean), 0.0).sum() / number)
    # Numbers that are equal but for rounding have no groups.
    spread = deviation > 1e-6 * (1.0 + jnp.abs(mean))
    values = jnp.where(known, (sample - mean) / jnp.where(spread, deviation, 1.0), 0.0)

    def update(_, upper: Array) -> Array:
        low, high = _log_densities(values, known, upper)
        return jnp.where(known, jax.nn.sigmoid(high - low), 0.0)

    upper = jax.lax.fori_loop(0, _ITERATIONS, update, _two_means(values, known))
    both = jax.nn.logsumexp(_log_densities(values, known, upper), axis=0)
    # The values have mean 0 and variance 1.
    normal = -0.5 * (jnp.log(2 * jnp.pi) + 1.0)
    uniform = -jnp.log(jnp.maximum(jnp.ptp(values), 1e-6))
    single = number * jnp.maximum(normal, uniform)
    # The mixture has two numbers more: a mean and a share.
    better = 2.0 * (jnp.where(known, both, 0.0).sum() - single) > 2.0 * jnp.log(number)
    return _Groups(upper.sum() / number, upper, better & spread)


def _two_means(values: Array, known: Array) -> Array:
    """Marks the upper of the two groups of least squares, float ``[N]``: exact in one dimension."""
    rising = jnp.sort(jnp.where(known, values, jnp.inf))
    sums = jnp.cumsum(jnp.where(jnp.isfinite(rising), rising, 0.0))
    below = jnp.arange(1, values.size + 1)
    above = known.sum() - below
    # The mean of all is zero, so both groups have the same sum but for the sign.
    between = jnp.square(sums) * (1.0 / below + 1.0 / jnp.maximum(above, 1))
    last = jnp.argmax(jnp.where(above > 0, between, -1.0))
    return (known & (values > rising[last])).astype(jnp.float32)


def _log_densities(values: Array, known: Array, upper: Array) -> Array:
    """Log-density of each group times its share, ``[2, N]``, fitted to who belongs where."""
    values, weight = values[None], jnp.where(known[None], jnp.stack([1.0 - upper, upper]), 0.0)
    size = jnp.maximum(weight.sum(1, keepdims=True), 1e-6)
    squares = jnp.square(values - (weight * values).sum(1, keepdims=True) / size)
    variance = jnp.maximum((weight * squares).sum() / size.sum(), _LEAST_VARIANCE)
    return jnp.log(size / size.sum()) - 0.5 * (jnp.log(2 * jnp.pi * variance) + squares / variance)
