"""How many labels are wrong, told from the losses of the examples: a mixture of two Gaussians."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

_ITERATIONS = 200
# Least variance of a group as a share of the variance of all: a few losses that happen to be equal
# are no group.
_LEAST_VARIANCE = 1e-4
# Density of the deepest point between two groups, as a share of the lower peak.
_VALLEY = 0.9
_POINTS = 65
# Fewer examples than this show no groups.
_FEWEST = 10


class NoiseRate(NamedTuple):
    """What the losses say about noise.

    Attributes:
      rate: share of noisy examples, ``[]``; 0 where the losses do not fall into two groups.
      gap: mean loss of the noisy ones less that of the others, ``[]``; 0 with a rate of 0.
      posterior: probability that each example is noisy, ``[N]``; 0 where there is no loss.
    """

    rate: Float[Array, ""]
    gap: Float[Array, ""]
    posterior: Float[Array, "N"]


class _Mixture(NamedTuple):
    """Two Gaussians, the lower one first: shares, means and variances, ``[2]`` each."""

    share: Array
    mean: Array
    variance: Array


def estimate_noise_rate(
    losses: Float[Array, "N"], *, where: Bool[Array, "N"] | None = None
) -> NoiseRate:
    """Estimates the share of noisy examples by a mixture of two Gaussians (EM).

    The groups are believed where the mixture explains the losses better than one Gaussian or one
    uniform distribution does (by the Bayesian information criterion) and its density has a valley
    between the two means: a skewed distribution is no mixture. Overlapping groups therefore give 0
    rather than a guess.

    Args:
      losses: of the examples, ``[N]``; those that are not finite do not count.
      where: the examples that count, ``[N]``; None for all.

    Returns:
      The estimate. The noisy group is that of the higher mean.

    References:
      Arazo et al., Unsupervised label noise modeling and loss correction, ICML 2019, fit such a
      mixture to the losses of an epoch.

    >>> losses = jnp.concatenate([jnp.linspace(0.1, 0.2, 30), jnp.linspace(0.6, 0.7, 10)])
    >>> found = estimate_noise_rate(losses)
    >>> float(found.rate.round(3)), float(found.gap.round(3))
    (0.25, 0.5)
    """
    known = jnp.isfinite(losses) if where is None else where & jnp.isfinite(losses)
    number = jnp.maximum(known.sum(), 1).astype(jnp.float32)
    clean = jnp.where(known, losses, 0.0)
    mean = clean.sum() / number
    deviation = jnp.sqrt(jnp.where(known, jnp.square(clean - mean), 0.0).sum() / number)
    # Losses that are equal but for rounding have no groups.
    spread = deviation > 1e-6 * (1.0 + jnp.abs(mean))
    values = jnp.where(known, (clean - mean) / jnp.where(spread, deviation, 1.0), 0.0)

    def update(_, upper: Array) -> Array:
        return _upper(values, _fit(values, known, upper), known)

    upper = jax.lax.fori_loop(0, _ITERATIONS, update, _two_means(values, known))
    fitted = _fit(values, known, upper)
    two = spread & (number >= _FEWEST) & _better(values, known, fitted, number) & _valley(fitted)
    return NoiseRate(
        jnp.where(two, fitted.share[1], 0.0),
        jnp.where(two, deviation * (fitted.mean[1] - fitted.mean[0]), 0.0),
        jnp.where(two, _upper(values, fitted, known), 0.0),
    )


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


def _fit(values: Array, known: Array, upper: Array) -> _Mixture:
    """The mixture of two groups of which each example belongs to the upper one by a share."""
    weight = jnp.where(known[None], jnp.stack([1.0 - upper, upper]), 0.0)
    size = jnp.maximum(weight.sum(1), 1e-6)
    mean = (weight @ values) / size
    variance = (weight * jnp.square(values[None] - mean[:, None])).sum(1) / size
    return _Mixture(size / size.sum(), mean, jnp.maximum(variance, _LEAST_VARIANCE))


def _log_densities(values: Array, mixture: _Mixture) -> Array:
    """Log-density of each component, times its share, ``[2, N]``."""
    share, mean, variance = (part[:, None] for part in mixture)
    square = jnp.square(values[None] - mean) / variance
    return jnp.log(share) - 0.5 * (jnp.log(2 * jnp.pi * variance) + square)


def _upper(values: Array, mixture: _Mixture, known: Array) -> Array:
    lower, upper = _log_densities(values, mixture)
    return jnp.where(known, jax.nn.sigmoid(upper - lower), 0.0)


def _better(values: Array, known: Array, mixture: _Mixture, number: Array) -> Array:
    """Whether the mixture has the smaller information criterion, with three numbers more."""
    both = jnp.where(known, jax.nn.logsumexp(_log_densities(values, mixture), axis=0), 0.0)
    # The values have mean 0 and variance 1.
    normal = -0.5 * (jnp.log(2 * jnp.pi) + 1.0)
    uniform = -jnp.log(jnp.ptp(values))
    single = number * jnp.maximum(normal, uniform)
    return 2.0 * (both.sum() - single) > 3.0 * jnp.log(number)


def _valley(mixture: _Mixture) -> Array:
    """Whether the density is clearly lower somewhere between the means than at both."""
    low, high = mixture.mean
    density = jax.nn.logsumexp(_log_densities(jnp.linspace(low, high, _POINTS), mixture), axis=0)
    return (high > low) & (density.min() < jnp.minimum(density[0], density[-1]) + np.log(_VALLEY))
