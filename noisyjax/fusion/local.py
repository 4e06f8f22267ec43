"""Spatial STAPLE: STAPLE with confusion matrices that vary over the image.

Asman and Landman 2012, "Formulating spatially varying performance in the statistical fusion
framework", IEEE TMI 31(6): a rater may be reliable in one region and not in another, so that the
matrix at a voxel x is estimated from the voxels of a window N(x) around it. With the votes D_r and
the probability W_j of class j,

    local[r, i, j](x) = sum_{y in N(x)} [D_r(y) = i] W_j(y) / sum_{y in N(x), r votes} W_j(y)
    cms = (1 - bias) local + bias everywhere

where ``everywhere`` is the same over the whole image. Voxels on which the raters agree tell
nothing about who is right, and there are many: they keep their label and enter no sum until EM has
ended. One last M-step then takes in all voxels, so that the matrices that are returned say what a
rater does anywhere and may be compared with those of other methods.

Within EM an image is one row of voxels with as many voxels without votes behind every line (and
plane) as half a window: a window sum along an axis then is a sum of the shifted row, without any
border, for any number of axes.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Integer

from noisyjax.core import checks
from noisyjax.fusion import patterns, rows

WINDOW = 11


@patterns.checked_on_host
@functools.partial(
    jax.jit,
    static_argnames=("num_classes", "window", "bias", "consensus", "max_iterations", "tolerance"),
)
def spatial_staple(
    labels: Integer[Array, "R *S"],
    num_classes: int = 2,
    *,
    rater_mask: Bool[Array, "R"] | None = None,
    window: int | tuple[int, ...] = WINDOW,
    bias: float = 0.0,
    consensus: float | int = 0.99,
    max_iterations: int = 100,
    tolerance: float = 1e-4,
) -> rows.Fusion:
    """Fuses the labels of one image by raters whose reliability varies over the image.

    The start is the mean vote; the prior, which stays as it is, the share of each class among the
    votes of the voxels in dispute. Where a class has no mass in the window its column is that of
    the whole image, and where it has none there either, that of a perfect rater. Unanimous, empty
    and full labels, and those of a single rater, are returned as they are, with perfect raters;
    voxels without any vote get zeros. A missing rater is no factor; its matrix is the identity.

    Mapped over images by vmap, they are fused one after the other on a CPU: each ends when it is
    done, and its sums stay in the cache.

    Args:
      labels: class ids, ``[R, *S]``; an id that is no class is no vote.
      rater_mask: ``[R]``, who labelled the image; None: everyone.
      window: side of the window in voxels, odd, one for all axes or one each; it is cut off at the
        border of the image.
      bias: from 0, matrices of the window alone, to 1, one matrix for the whole image.
      consensus: voxels where the mean vote for some class is above this keep it.
      max_iterations: at most so many pairs of M-step and E-step.
      tolerance: EM ends when the probabilities in dispute change by no more than this on average
        (half the sum of the absolute changes of all classes).

    Returns:
      Probabilities ``[*S, L]``; matrices ``[R, *S, L, L]`` of all voxels in the window, those of
      consensus too, given these probabilities; number of pairs; log-likelihood of the voxels in
      dispute by their own matrices.

    >>> masks = jnp.array([[0, 0, 1, 1, 1, 0], [0, 1, 1, 1, 1, 0], [0, 1, 1, 1, 0, 0]])
    >>> spatial_staple(masks).probs.argmax(axis=-1).tolist()
    [0, 1, 1, 1, 1, 0]
    """
    patterns.check(labels, num_classes, rater_mask)
    sides = _sides(window, labels.ndim - 1)
    checks.positive("max_iterations", max_iterations)
    checks.positive("tolerance", tolerance, or_zero=True)
    if not 0 <= bias <= 1:
        raise ValueError(f"bias: expected a number from 0 to 1, got {bias}")
    if not 0 <= consensus <= 1:
        raise ValueError(f"consensus: expected a number from 0 to 1, got {consensus}")
    spatial = labels.shape[1:]
    ballots = patterns.ballots(labels.reshape(len(labels), -1), num_classes, rater_mask)
    halves = [min(side // 2, size - 1) for side, size in zip(sides, spatial, strict=True)]
    widths = ((0, 0), *((0, half) for half in halves))
    padded = jnp.pad(ballots.reshape(labels.shape), widths, constant_values=num_classes)
    strides = [math.prod(padded.shape[axis + 2 :]) for axis in range(len(spatial))]
    fuse = functools.partial(
        _fuse,
        num_classes=num_classes,
        steps=tuple(zip(halves, strides, strict=True)),
        bias=bias,
        consensus=consensus,
        max_iterations=max_iterations,
        tolerance=tolerance,
    )
    probs, cms, *rest = _one_by_one(fuse)(padded.reshape(len(labels), -1))
    crop = tuple(slice(size) for size in spatial)
    probs = probs.reshape(num_classes, *padded.shape[1:])[:, *crop]
    cms = cms.reshape(*cms.shape[:3], *padded.shape[1:])[:, :, :, *crop]
    cms = jnp.moveaxis(cms, (1, 2), (-2, -1))
    return rows.Fusion(jnp.moveaxis(probs, 0, -1), cms, *rest)


class _Votes(NamedTuple):
    """One-hot votes ``[R, L, M]``, and whether there is one, ``[R, M]``."""

    one_hot: jax.Array
    cast: jax.Array


def _sides(window, ndim):
    sides = (window,) * ndim if isinstance(window, int) else window
    if len(sides) != ndim or any(side < 1 or side % 2 == 0 for side in sides):
        raise ValueError(f"window: expected odd sides of {ndim} axes in voxels, got {window}")
    return sides


def _one_by_one(f):
    """Makes vmap of ``f`` a loop on a CPU.

    A batch would run until its slowest image has ended, about twice the iterations of an image on
    average, with every intermediate array in main memory.
    """
    mapped = jax.custom_batching.custom_vmap(f)

    @mapped.def_vmap
    def _rule(axis_size, in_batched, ballots):
        del axis_size
        out = jax.lax.platform_dependent(
            ballots, cpu=functools.partial(jax.lax.map, mapped), default=jax.vmap(f)
        )
        return out, jax.tree.map(lambda _: in_batched[0], out)

    return mapped


def _fuse(ballots, *, num_classes, steps, bias, consensus, max_iterations, tolerance):
    """EM over M voxels in a row, ``[R, M]``: probabilities ``[L, M]``, matrices and the rest."""
    one_hot = jax.nn.one_hot(ballots, num_classes, axis=1, dtype=jnp.float32)
    votes = _Votes(one_hot, ballots < num_classes)
    total = jnp.sum(one_hot, axis=0)
    cast = jnp.sum(total, axis=0)
    start = total / jnp.maximum(cast, 1)[None]
    disputed = (jnp.max(start, axis=0) <= consensus) & (cast > 0)
    prior = rows.frequencies(total.T[:, None], disputed.astype(jnp.float32))

    def expect(probs):
        return _posterior(_chances(votes, disputed[None] * probs, steps, bias), prior)

    def step(state):
        probs, iterations, _ = state
        new = jnp.where(disputed[None], expect(probs)[0], start)
        change = jnp.sum(jnp.abs(new - probs)) / 2 / jnp.maximum(jnp.sum(disputed), 1)
        return new, iterations + 1, change

    def unfinished(state):
        _, iterations, change = state
        return (iterations < max_iterations) & (change > tolerance)

    initial = (start, jnp.int32(0), jnp.float32(jnp.inf))
    probs, iterations, _ = jax.lax.while_loop(unfinished, step, initial)
    log_likelihood = jnp.sum(jnp.where(disputed, expect(probs)[1], 0))
    everywhere, local = _sums(votes, probs, steps)
    cms = (1 - bias) * rows.normalise(local, everywhere) + bias * everywhere
    return probs, cms, iterations, log_likelihood


def _sums(votes, mass, steps):
    """The matrices of the image ``[R, L, L, 1]``; mass of vote and class in windows, with M."""
    exact = jax.lax.Precision.HIGHEST
    everywhere = jnp.einsum("rim,jm->rij", votes.one_hot, mass, precision=exact)
    everywhere = rows.normalise(everywhere, jnp.eye(len(mass), dtype=jnp.float32)[None])
    local = _window_sums(votes.one_hot[:, :, None] * mass[None, None], steps)
    return everywhere[..., None], local


def _chances(votes, mass, steps, bias):
    """M-step, as far as the E-step needs it: the entry of the vote itself, ``[R, L, M]``."""
    everywhere, local = _sums(votes, mass, steps)
    # Sums of slices, unlike jnp.sum, become one vectorised pass.
    classes = range(len(mass))
    total = sum(local[:, i] for i in classes)
    given = sum(votes.one_hot[:, i, None] * local[:, i] for i in classes)
    fallback = sum(votes.one_hot[:, i, None] * everywhere[:, i] for i in classes)
    chance = jnp.where(total > 0, given / jnp.where(total > 0, total, 1), fallback)
    chance = (1 - bias) * chance + bias * fallback if bias else chance
    return jnp.where(votes.cast[:, None], chance, 1)


def _posterior(chances, prior):
    """E-step: ``[L, M]`` and the logarithm of the evidence ``[M]``."""
    joint = jnp.broadcast_to(prior[:, None], chances.shape[1:])
    log_scale = jnp.zeros(chances.shape[2:])
    # Unrolled: one pass over the voxels, in which logarithms that nobody reads are left out.
    for chance in chances:
        joint, log_scale = rows.weigh(joint, log_scale, chance)
    total = sum(joint)
    return joint / jnp.where(total > 0, total, 1)[None], log_scale + jnp.log(total)


def _window_sums(x, steps):
    """Sums over windows of ``2 half + 1`` voxels, each ``stride`` from the next, for each axis.

    Every sum is of positive numbers, never a difference of running sums, in which small masses
    would drown. Sums of 1, 2, 4, ... voxels put together make few passes; they are faster than a
    band matrix per axis from 64 voxels on a side, and than `jax.lax.reduce_window` always. Barriers
    keep them from being fused into one pass that adds every voxel anew.
    """
    shape, size = x.shape, x.size
    x = x.reshape(-1)
    for half, stride in steps:
        power = jax.lax.optimization_barrier(jnp.pad(x, half * stride))
        x, done, width = jnp.zeros_like(x), 0, 1
        while width <= 2 * half + 1:
            if (2 * half + 1) & width:
                x = x + power[done * stride : done * stride + size]
                done += width
            power = power[: len(power) - width * stride] + power[width * stride :]
            power = jax.lax.optimization_barrier(power)
            width *= 2
        x = jax.lax.optimization_barrier(x)
    return x.reshape(shape)
