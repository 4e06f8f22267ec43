"""Segmentations made so large that they cover the truth, by images that were held out for it.

A margin: n images, none of them trained on, say how often their predicted masks must be dilated to
cover a share of the truth; a new mask that is dilated as often as the quantile of these numbers
covers it with probability 1 - alpha. A threshold: the mask ``p >= 1 - lambda`` with the least
lambda whose risk on the n images, and a little more, is at most alpha, misses a share of alpha of a
new image's truth on average::

    scores = [dilations_to_cover(p > 0.5, y, share=0.95) for p, y in held_out]
    margin = conformal_quantile(jnp.stack(scores), alpha=0.1)

Both hold for images that come as the held-out ones came (exchangeable), on average over the draw of
these. The unit is the image: of several raters, take the mean or the worst value for each image.

References:
  Mossina and Friedrich, Conformal prediction for image segmentation using morphological prediction
  sets, MICCAI 2025. Angelopoulos et al., Conformal risk control, ICLR 2024.
"""

import fractions
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer, Num

from noisyjax.core import checks, distance

Mask = Bool[Array, "*S"] | Integer[Array, "*S"]

# Products of two such denominators are int32.
_LARGEST_DENOMINATOR = 2**15


def conformal_rank(cases: int, *, alpha: float) -> int:
    """Returns which of the sorted scores of n cases, from 1, is `conformal_quantile`.

    >>> conformal_rank(70, alpha=0.1), conformal_rank(9, alpha=0.05)
    (64, 10)
    """
    return max(1, math.ceil((cases + 1) * (1 - _fraction("alpha", alpha))))


def conformal_quantile(scores: Num[Array, "n"], *, alpha: float) -> Float[Array, ""]:
    """Returns the value that the score of a new image does not exceed, by probability 1 - alpha.

    It is the ``ceil((n + 1) (1 - alpha))``-th smallest score ``[]``, or +inf where that is more
    than n: alpha is at least 1 / (n + 1) for a finite one. With ties the probability is larger.

    Args:
      scores: of the held-out images, ``[n]``, for example of `dilations_to_cover`.
      alpha: in ``(0, 1)``.

    >>> conformal_quantile(jnp.array([0, 1, 1, 3]), alpha=0.25)
    Array(3., dtype=float32)
    """
    checks.rank("scores", scores, 1)
    rank = conformal_rank(len(scores), alpha=alpha)
    scores = jnp.sort(scores.astype(jnp.promote_types(scores.dtype, jnp.float32)))
    return scores[rank - 1] if rank <= len(scores) else jnp.full((), jnp.inf, scores.dtype)


def dilations_to_cover(prediction: Mask, truth: Mask, *, share: float | int) -> Float[Array, ""]:
    """Returns the fewest dilations of a predicted mask that cover a share of the truth, ``[]``.

    A dilation adds the voxels beside, above and below (4 neighbours, 6 in three dimensions). An
    empty truth needs none; an empty prediction never covers any other, +inf.

    Args:
      prediction: mask, ``[*S]``.
      truth: mask, ``[*S]``.
      share: of the voxels of the truth, in ``(0, 1]``.

    >>> prediction, truth = jnp.array([[0, 0, 0, 1]], bool), jnp.array([[0, 1, 1, 1]], bool)
    >>> dilations_to_cover(prediction, truth, share=1), dilations_to_cover(
    ...     prediction, truth, share=0.6
    ... )
    (Array(2., dtype=float32), Array(1., dtype=float32))
    """
    checks.ids("prediction", prediction, masks=True)
    checks.ids("truth", truth, masks=True)
    checks.shape("truth", truth, prediction.shape, like="prediction")
    part = _fraction("share", share, or_one=True)
    truth = truth != 0
    steps = distance.taxicab_distance(prediction == 0)
    # Rounded up to a voxel in whole numbers, for the part may be met exactly.
    size = jnp.sum(truth, dtype=jnp.int32)
    whole, rest = jnp.divmod(size, part.denominator)
    wanted = whole * part.numerator - (-rest * part.numerator) // part.denominator

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) // 2
        enough = jnp.sum(truth & (steps <= middle), dtype=jnp.int32) >= wanted
        return jnp.where(enough, low, middle + 1), jnp.where(enough, middle, high)

    furthest = sum(truth.shape)
    halvings = furthest.bit_length()
    bounds = jnp.int32(0), jnp.int32(furthest)
    fewest = jax.lax.fori_loop(0, halvings, halve, bounds)[0].astype(jnp.float32)
    return jnp.where((size > 0) & ~jnp.any(prediction != 0), jnp.inf, fewest)


def risk_control(
    losses: Float[Array, "n k"], lambdas: Float[Array, "k"], *, alpha: float
) -> Float[Array, ""]:
    r"""Returns the least lambda whose loss on a new image is alpha or less in expectation, ``[]``.

    .. math:: \min \left\{ \lambda : \frac{1}{n + 1} \left( 1 + \sum_i L_i(\lambda) \right)
              \le \alpha \right\}

    or 1, the whole image, if no lambda is that safe, as for alpha below 1 / (n + 1).

    Args:
      losses: of n held-out images at each lambda, ``[n, k]``, in ``[0, 1]``, none growing with
        lambda. For the mask ``p >= 1 - lambda``, the share of the truth that it misses, 0 of an
        empty truth.
      lambdas: ``[k]``, in any order.
      alpha: in ``(0, 1)``.

    >>> losses = jnp.array([[1.0, 0.5, 0.0], [1.0, 0.25, 0.0], [0.5, 0.0, 0.0]])
    >>> risk_control(losses, jnp.array([0.0, 0.5, 1.0]), alpha=0.45)
    Array(0.5, dtype=float32)
    """
    checks.rank("losses", losses, 2)
    checks.shape("lambdas", lambdas, losses.shape[1:], like="losses")
    most = float((len(losses) + 1) * _fraction("alpha", alpha) - 1)
    safe = jnp.sum(losses.astype(jnp.promote_types(losses.dtype, jnp.float32)), axis=0) <= most
    least = jnp.min(lambdas, where=safe, initial=jnp.inf)
    return jnp.where(jnp.any(safe), least, 1.0)


def _fraction(name: str, value: float | int, *, or_one: bool = False) -> fractions.Fraction:
    """Returns a number in (0, 1) as the fraction that is meant: 0.1 is one tenth, and no float."""
    if not (0 < value < 1 or (or_one and value == 1)):
        raise ValueError(f"{name}: expected a number in (0, 1{']' if or_one else ')'}, got {value}")
    return fractions.Fraction(float(value)).limit_denominator(_LARGEST_DENOMINATOR)
