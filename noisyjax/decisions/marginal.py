"""From probabilities to segmentations: the decisions that are best for Accuracy and for Dice.

A marginal function m gives the probability that a voxel is foreground. The expected Accuracy is
largest for the mask ``m >= 1/2``, the Dice against m for the mask ``m >= t*`` with
``t* = sup_s D_m(s) / 2``, a threshold of at most 1/2 that every image has for itself. The noisier
the labels, the more the two masks differ.

Definitions 1 and 2 of the paper (cross-entropy and soft Dice against m) are
`losses.entropy.soft_cross_entropy` and `losses.overlap.soft_dice` with ``smooth=0``; Definition 4
is `expected_dice`.

Marginals are checked to be numbers from 0 to 1 where their values can be seen, that is outside of
`jit` and `vmap`.

References:
  Nordström, Hult and Maki, Marginal Thresholding in Noisy Image Segmentation, 2023 (Eq. 9-16,
  Listing 3). Nordström et al., On Image Segmentation With Noisy Labels: Characterization and Volume
  Properties of the Optimal Solutions to Accuracy and Dice, NeurIPS 2022. Dinkelbach, On nonlinear
  fractional programming, Management Science 1967.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer

from noisyjax.core import checks

Mask = Bool[Array, "*S"]
Marginal = Float[Array, "*S"]

# Convolutions and sums of probabilities leave [0, 1] by a few rounding errors.
_SLACK = 1e-5
# Less foreground than this is none: the gradient of a quotient squares what is below.
_EMPTY = 1e-18
# An image of more voxels is searched in every `_STRIDE`-th slab and row of it first.
_LARGE = 2**15
_STRIDE = 8
# Sums run over slabs of at least this many voxels.
_SLAB = 2**12
# The search ends when the threshold moves by less, relative to itself.
_TOLERANCE = 1e-6
_MAX_PASSES = 100


def accuracy_optimal(m: Marginal) -> Mask:
    """Returns the mask ``[*S]`` of the largest expected Accuracy, ``m >= 1/2`` (Eq. 11).

    Voxels of exactly 1/2, whose label does not matter, are foreground.

    >>> accuracy_optimal(jnp.array([0.9, 0.6, 0.4, 0.1])).astype(int)
    Array([1, 1, 0, 0], dtype=int32)
    """
    _check_range("m", m)
    return m >= 0.5


def dice_optimal_threshold(m: Marginal, *, where: Mask | None = None) -> Float[Array, ""]:
    """Returns ``t* = sup_s D_m(s) / 2``, the threshold of the mask with the best Dice (Eq. 15).

    The paper sorts the voxels and tries every number of them. Here ``t <- D_m(m >= t) / 2`` is
    repeated, Dinkelbach's method for the maximum of a quotient: from the first step on t rises
    towards t* and converges quadratically, and a step is one pass over the image. A large image
    starts from the threshold of a sample of its slabs and rows, and takes two or three passes.

    Args:
      m: probabilities of the foreground, ``[*S]``. Batches by `vmap`, each image with its own
        threshold.
      where: the voxels that count, ``[*S]``; the others may hold anything.

    Returns:
      The threshold, ``[]``, in ``[0, 1/2]``, float32 at least: half the best Dice, so 1/2 for a
      marginal without noise, c / (1 + c) for one that is c everywhere, 0 if m is 0 everywhere.
      NaN if m has a NaN under `jit`. A decision, so no gradient flows through it.

    Raises:
      ValueError: if m is not in ``[0, 1]`` where it counts (outside of `jit`).

    >>> dice_optimal_threshold(jnp.array([0.9, 0.6, 0.4, 0.1])).round(4)
    Array(0.38, dtype=float32)
    """
    checks.masks(where=where)
    if where is not None:
        checks.shape("where", where, m.shape, like="m")
        # A voxel of probability 0 is in no mask and adds to no sum.
        m = jnp.where(where, m, 0)
    _check_range("m", m)
    return _threshold(m)


def dice_optimal(m: Marginal, *, where: Mask | None = None) -> Mask:
    """Returns the mask of the largest Dice against the marginal, ``m >= t*`` (Eq. 12, Listing 3).

    Voxels of exactly t*, whose label does not matter, are foreground up to the rounding of t*. If m
    is 0 everywhere any mask has Dice 0 but the empty one, whose Dice is 1 by convention, and which
    is returned. The mask is False where `where`, the voxels that count, is.

    >>> dice_optimal(jnp.array([0.9, 0.6, 0.4, 0.1])).astype(int)
    Array([1, 1, 1, 0], dtype=int32)
    """
    mask = _above(m, dice_optimal_threshold(m, where=where))
    return mask if where is None else mask & where


def expected_dice(
    s: Mask | Integer[Array, "*S"] | Marginal, m: Marginal, *, where: Mask | None = None
) -> Float[Array, ""]:
    """Returns the Dice of a mask against a marginal (Definition 4).

    ``2 sum(s m) / (sum s + sum m)``, ``[]``, 1 if both are empty. It is the expectation of the Dice
    against labels drawn from m where all of these have the same volume, and close to it where their
    volumes vary little.

    Args:
      s: a mask of 0 and 1, or a soft one in between, ``[*S]``.
      m: probabilities of the foreground, ``[*S]``.
      where: the voxels that count, ``[*S]``.

    >>> expected_dice(jnp.array([1, 1, 1, 0]), jnp.array([0.9, 0.6, 0.4, 0.1])).round(4)
    Array(0.76, dtype=float32)
    """
    checks.masks(where=where)
    both, either = _sums(*_counted(s, m, where))
    filled = either > _EMPTY
    return jnp.where(filled, 2 * both / jnp.where(filled, either, 1), 1.0)


def decide(
    probs: Float[Array, "*S L"], decision: str, *, where: Mask | None = None
) -> Int[Array, "*S"]:
    """Turns the probabilities of the classes into class ids.

    "argmax" takes the most probable class, the first of equals. "accuracy" is the same with the
    last of equals, which for two classes is `accuracy_optimal`. "dice" is
    `dice_optimal` for two classes. For more, each foreground class has its own threshold t_k
    against the rest; of the classes that reach theirs, a voxel gets the one with the largest
    ``m_k / t_k``, and background if there is none. That is a heuristic: each threshold is the best
    for its class alone, while a voxel that two classes claim goes to one of them only.

    Args:
      probs: ``[*S, L]``, each in ``[0, 1]``; class 0 is the background.
      decision: one of `DECISIONS`.
      where: the voxels that count for the thresholds, ``[*S]``; the others become background.

    Returns:
      Class ids, ``[*S]`` int32.

    Raises:
      ValueError: if the decision is unknown, there are fewer than two classes, or a probability
        that counts is not in ``[0, 1]`` (outside of `jit`).

    >>> probs = jnp.array([[0.1, 0.9], [0.4, 0.6], [0.6, 0.4], [0.9, 0.1]])
    >>> decide(probs, "accuracy"), decide(probs, "dice")
    (Array([1, 1, 0, 0], dtype=int32), Array([1, 1, 1, 0], dtype=int32))
    """
    rule = checks.lookup("decision", decision, DECISIONS)
    if probs.shape[-1] < 2:
        raise ValueError(f"probs: expected at least two classes, got shape {list(probs.shape)}")
    checks.masks(where=where)
    if where is not None:
        checks.shape("where", where, probs.shape[:-1], like="probs")
        probs = jnp.where(where[..., None], probs, 0)
    _check_range("probs", probs)
    ids = rule(probs)
    return ids if where is None else jnp.where(where, ids, 0)


def _argmax(probs):
    return jnp.argmax(probs, axis=-1).astype(jnp.int32)


def _accuracy(probs):
    if probs.shape[-1] == 2:
        return (probs[..., 1] >= 0.5).astype(jnp.int32)
    return probs.shape[-1] - 1 - _argmax(probs[..., ::-1])


def _dice(probs):
    foreground = jnp.moveaxis(probs[..., 1:], -1, 0)
    thresholds = jax.vmap(_threshold)(foreground).reshape(-1, *[1] * (probs.ndim - 1))
    claims = _above(foreground, thresholds)
    ratios = jnp.where(claims, foreground / jnp.where(thresholds > 0, thresholds, 1), 0)
    best = 1 + jnp.argmax(ratios, axis=0).astype(jnp.int32)
    return jnp.where(jnp.any(claims, axis=0), best, 0)


# name -> f(probs [*S, L]) -> class ids [*S]
DECISIONS = {"argmax": _argmax, "accuracy": _accuracy, "dice": _dice}
# Those that look at each voxel alone.
VOXELWISE = ("argmax", "accuracy")


def _check_range(name, m):
    """Raises unless all of m is in [0, 1] up to rounding; a traced array has no values to check."""
    if isinstance(m, jax.core.Tracer):
        return
    low, high = map(float, _range(m))
    # Comparisons with NaN are False.
    if not (low >= -_SLACK and high <= 1 + _SLACK):
        raise ValueError(f"{name}: expected probabilities in [0, 1], got {low:.6g} to {high:.6g}")


@jax.jit
def _range(m):
    negative, positive = _columns("max", lambda slab: (-slab, slab), _slabs(m))
    return -jnp.max(negative), jnp.max(positive)


def _counted(s, m, where):
    """Both as floats, 0 where they do not count."""
    checks.shape("s", s, m.shape, like="m")
    m = m.astype(jnp.promote_types(m.dtype, jnp.float32))
    s = s.astype(m.dtype)
    if where is not None:
        checks.shape("where", where, m.shape, like="m")
        s, m = jnp.where(where, s, 0), jnp.where(where, m, 0)
    _check_range("m", m)
    return s, m


@jax.jit
def _sums(s, m):
    """Returns sum(s m) and sum(s) + sum(m)."""
    terms = _columns("sum", lambda s, m: (s * m, s + m), _slabs(s), _slabs(m))
    return tuple(map(_spread_sum, terms))


@jax.jit
def _above(m, threshold):
    # The threshold is 0 only if there is no foreground at all.
    return (m >= threshold) & (threshold > 0)


@jax.jit
def _threshold(m):
    # Sums of half-precision numbers would not see the small ones.
    m = jax.lax.stop_gradient(m).astype(jnp.promote_types(m.dtype, jnp.float32))
    start = jnp.asarray(jnp.finfo(m.dtype).tiny, m.dtype)
    if m.size > _LARGE:
        # Whole rows of the last axis are the cheapest to gather.
        sample = m[tuple(slice(None, None, _STRIDE) for _ in m.shape[:-1])]
        start = _climb(sample, start)
    return _climb(m, start)


def _climb(m, start):
    """Repeats ``t <- D_m(m >= t) / 2`` from any start until t stays.

    A start above t* leads to a t below it, and from below t never falls. With V the sum of m and K
    the number of voxels in ``m >= t``, t* lies at most ``(V + K) / V`` times the last step above t.
    """
    slabs = _slabs(m)
    volume, _ = _masked_sums(slabs, jnp.zeros((), m.dtype))

    def unsettled(state):
        before, now, passes = state
        return (jnp.abs(now - before) > _TOLERANCE * now) & (passes < _MAX_PASSES)

    def step(state):
        _, now, passes = state
        inside, number = _masked_sums(slabs, now)
        below = volume + number
        return now, inside / jnp.where(below == 0, 1, below), passes + 1

    infinite = jnp.full((), jnp.inf, m.dtype)
    return jax.lax.while_loop(unsettled, step, (infinite, start, 0))[1]


def _slabs(m):
    """The image as ``[slabs, voxels]``, split at the last axis that leaves large enough slabs."""
    axes = [k for k in range(m.ndim) if math.prod(m.shape[k:]) >= _SLAB]
    return m.reshape(math.prod(m.shape[: max(axes, default=0)]), -1)


def _masked_sums(slabs, threshold):
    """Sum and number of the voxels with ``m >= threshold``, in one pass over the image."""

    def terms(slab):
        below = slab < threshold
        # NaN is in the sum, so that it shows in the result.
        return jnp.where(below, 0, slab), (~below).astype(jnp.int32)

    sums, numbers = _columns("sum", terms, slabs)
    return _spread_sum(sums), jnp.sum(numbers)


# name -> how two slabs are joined, how the first axis is reduced
_REDUCTIONS = {"sum": (jnp.add, jnp.sum), "max": (jnp.maximum, jnp.max)}


def _columns(reduction, terms, *slabs):
    """Reduces each of ``terms(*slabs)`` over the slabs, to one number per voxel of a slab.

    XLA compiles the loop for CPUs to vector code that reads memory at full speed, where its
    reductions take eight times as long. Either way thousands of sums of a few hundred terms lose
    far less of float32 to rounding than one sum of millions.
    """
    join, reduce = _REDUCTIONS[reduction]

    def loop(*slabs):
        def add(k, state):
            return tuple(map(join, state, terms(*(x[k] for x in slabs))))

        return jax.lax.fori_loop(1, len(slabs[0]), add, terms(*(x[0] for x in slabs)))

    def whole(*slabs):
        return tuple(reduce(x, axis=0).astype(x.dtype) for x in terms(*slabs))

    return jax.lax.platform_dependent(*slabs, cpu=loop, default=whole)


def _spread_sum(x):
    """Sums a vector in columns as long as they are many, and so on, for the sake of rounding."""
    while x.size > 1:
        rows = 2 ** math.ceil(math.log2(x.size) / 2)
        x = jnp.pad(x, (0, -x.size % rows)).reshape(rows, -1).sum(axis=0)
    return x[0]
