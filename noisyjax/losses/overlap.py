"""Losses on the overlap of two soft masks.

Targets ``[*S, L]`` that are zeros, and a mask ``[*S]`` where it is 255, do not count.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from noisyjax.core import checks, ignored
from noisyjax.losses import probabilities

SoftMask = Num[Array, "*S"] | Bool[Array, "*S"]


def soft_dice(
    probs: Float[Array, "*S L"],
    targets: Float[Array, "*S L"],
    *,
    where: Bool[Array, "*S"] | None = None,
    include_background: bool = False,
    smooth: float = 1e-5,
    power: int = 1,
) -> Float[Array, ""]:
    r"""Returns the soft Dice loss of one example, in ``[0, 1]``: 0 is perfect overlap.

    .. math:: 1 - \frac{1}{L} \sum_l
              \frac{2 \sum_i p_{il} t_{il} + s}{\sum_i p_{il}^k + \sum_i t_{il}^k + s}

    Its gradient is finite everywhere. What is no probability, in `probs` or `targets`, gives NaN.

    Args:
      probs: predicted probabilities, ``[*S, L]``.
      targets: one-hot labels or soft labels, ``[*S, L]``.
      where: the pixels that count, ``[*S]``.
      include_background: whether class 0 is part of the mean over classes.
      smooth: s, in voxels, added above and below. It decides what a class means that is absent
        from `targets`: with the small default, any predicted voxel of it costs the full loss of
        the class; absent from both counts as perfect overlap, also for ``smooth=0``.
      power: k, the power of the terms below: 1, or 2 as in V-Net. Soft labels reach 0 only with 2.

    References:
      Milletari et al., V-Net, 3DV 2016 (squares below). Drozdzal et al. 2016 (first powers).

    >>> mask = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> float(soft_dice(mask, mask)), float(soft_dice(mask[::-1], mask, smooth=0.0))
    (0.0, 1.0)
    """
    probs, targets = _counting(probs, targets, where)
    if not include_background:
        if probs.shape[-1] < 2:
            raise ValueError(
                "probs: expected at least two classes when the background is left out, "
                f"got shape {probs.shape}"
            )
        probs, targets = probs[..., 1:], targets[..., 1:]
    space = tuple(range(probs.ndim - 1))
    above = 2.0 * jnp.sum(probs * targets, axis=space) + smooth
    below = jnp.sum(probs**power, axis=space) + jnp.sum(targets**power, axis=space) + smooth
    # The inner `where` keeps the quotient of the branch that is not taken out of the gradient.
    filled = below > 0.0
    dice = jnp.where(filled, above / jnp.where(filled, below, 1.0), 1.0)
    return probabilities.refuse_others(1.0 - jnp.mean(dice), probs, targets)


def noise_robust_dice(
    probs: Float[Array, "*S L"],
    targets: Float[Array, "*S L"],
    *,
    gamma: float | int = 1.5,
    power: int = 2,
    where: Bool[Array, "*S"] | None = None,
) -> Float[Array, ""]:
    r"""Returns the noise-robust Dice loss of one example: 0 where prediction and target agree.

    .. math:: \frac{1}{L} \sum_l \frac{\sum_i |p_{il} - t_{il}|^\gamma}
              {\sum_i p_{il}^k + \sum_i t_{il}^k + 10^{-5}}

    Gamma 2 and power 2 give the soft Dice loss of power 2, gamma 1 a mean absolute error over the
    size of the class. All classes count, the background too. The published code sums over the
    pixels of a batch, here it is those of one example; only so examples can be weighed. The
    gradient is finite everywhere. What is no probability gives NaN.

    Args:
      probs: predicted probabilities, ``[*S, L]``.
      targets: one-hot labels or soft labels, ``[*S, L]``.
      gamma: in ``[1, 2]``; the lower, the smaller the share of pixels far from their label in the
        loss. The authors recommend 1.5.
      power: k, the power of the terms below: 2 in the paper, 1 in a published version. With 1 the
        loss is in ``[0, 1]``. With 2 it is not: a class that is absent from `targets` and predicted
        everywhere with probability p costs ``p ** (gamma - 2)``.
      where: the pixels that count, ``[*S]``.

    References:
      Wang et al., A noise-robust framework for automatic segmentation of COVID-19 pneumonia lesions
      from CT images, IEEE TMI 2020.

    >>> mask = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> float(noise_robust_dice(mask, mask)), round(float(noise_robust_dice(mask[::-1], mask)), 3)
    (0.0, 1.0)
    """
    if not 1 <= gamma <= 2:
        raise ValueError(f"gamma: expected a number in [1, 2], got {gamma}")
    probs, targets = _counting(probs, targets, where)
    space = tuple(range(probs.ndim - 1))
    above = jnp.sum(jnp.abs(probs - targets) ** gamma, axis=space)
    below = jnp.sum(probs**power, axis=space) + jnp.sum(targets**power, axis=space)
    return probabilities.refuse_others(jnp.mean(above / (below + 1e-5)), probs, targets)


def _counting(
    probs: Array, targets: Array, where: Array | None
) -> tuple[Float[Array, "*S L"], Float[Array, "*S L"]]:
    """Returns both, 0 where a pixel does not count, in float32 at least."""
    checks.shape("targets", targets, probs.shape, like="probs")
    if where is not None:
        checks.shape("where", where, probs.shape[:-1], like="probs")
    where = ignored.counting_targets(targets, where)[..., None]
    probs, targets = probabilities.at_least_float32(probs, targets)
    return jnp.where(where, probs, 0.0), jnp.where(where, targets, 0.0)


def jml(
    probs: Float[Array, "*S"],
    targets: SoftMask,
    *,
    form: int = 1,
    where: Bool[Array, "*S"] | None = None,
) -> Float[Array, ""]:
    r"""Returns the Jaccard metric loss of one class, in ``[0, 1]``: 0 for p = t, and only then.

    .. math:: 1 - \frac{A - \Delta}{A + \Delta} \quad\text{(form 1),} \qquad
              1 - \frac{P}{P + \Delta} \quad\text{(form 2)}

    with ``A = sum(p + t)``, ``P = sum(p t)`` and ``Delta = sum(abs(p - t))``. For targets of 0 and
    1 both are the soft Jaccard loss, which for soft ones prefers masks of 0 and 1 to the target
    itself. Two empty masks cost 0. The gradient is finite everywhere. What is no probability gives
    NaN.

    Args:
      probs: p, of one class against the rest, ``[*S]``, in ``[0, 1]``; several classes by `vmap`.
      targets: t, a mask or a soft label such as the mean of several raters' masks, ``[*S]``.
      form: 1 or 2.
      where: the pixels that count, ``[*S]``.

    References:
      Wang et al., Jaccard metric losses: optimizing the Jaccard index with soft labels, NeurIPS
      2023.

    >>> jml(jnp.array([0.5, 0.5]), jnp.array([0.5, 0.5]))
    Array(0., dtype=float32)
    >>> round(float(jml(jnp.array([1.0, 0.2]), jnp.array([0.5, 0.5]))), 4)
    0.5333
    """
    checks.one_of("form", form, (1, 2))
    area, product, difference = _sums(probs, targets, where)
    if form == 1:
        return _quotient(2.0 * difference, area + difference, probs.dtype)
    return _quotient(difference, product + difference, probs.dtype)


def dml(
    probs: Float[Array, "*S"],
    targets: SoftMask,
    *,
    form: int = 1,
    where: Bool[Array, "*S"] | None = None,
) -> Float[Array, ""]:
    r"""Returns the Dice semimetric loss of one class, in ``[0, 1]``: 0 for p = t, and only then.

    .. math:: \frac{\Delta}{A} \quad\text{(form 1),} \qquad
              1 - \frac{2 P}{2 P + \Delta} \quad\text{(form 2)}

    with the sums and arguments of `jml`. For targets of 0 and 1 both are the soft Dice loss.

    References:
      Wang et al., Dice semimetric losses: optimizing the Dice score with soft labels, MICCAI 2023.

    >>> round(float(dml(jnp.array([1.0, 0.2]), jnp.array([0.5, 0.5]), form=2)), 4)
    0.4
    """
    checks.one_of("form", form, (1, 2))
    area, product, difference = _sums(probs, targets, where)
    if form == 1:
        return _quotient(difference, area, probs.dtype)
    return _quotient(difference, 2.0 * product + difference, probs.dtype)


def _sums(
    probs: Array, targets: Array, where: Array | None
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """Returns ``sum(p + t)``, ``sum(p t)`` and ``sum(abs(p - t))``, in float32 at least."""
    checks.shape("targets", targets, probs.shape, like="probs")
    if where is not None:
        checks.shape("where", where, probs.shape, like="probs")
    where = ignored.counting(targets, where)
    probs, targets = probabilities.at_least_float32(probs, targets)
    probs, targets = jnp.where(where, probs, 0.0), jnp.where(where, targets, 0.0)
    sums = jnp.sum(probs + targets), jnp.sum(probs * targets), jnp.sum(jnp.abs(probs - targets))
    return tuple(probabilities.refuse_others(total, probs, targets) for total in sums)


def _quotient(above: Array, below: Array, dtype: jnp.dtype) -> Float[Array, ""]:
    """Returns ``above / below``, or 0 without gradient where there is next to nothing below.

    A gradient reaches 2 / below on its way back to a dtype, and squares what is below.
    """
    least = max(1e-18, 4.0 / float(jnp.finfo(dtype).max))
    filled = ~(below <= least)  # NaN too, which shows
    return jnp.where(filled, above / jnp.where(filled, below, 1.0), 0.0)
