"""Five noises of annotators of one foreground, each with one strength (UMA-Net, section IV-A).

Every noise is a function of a key, a mask and a strength, which may be traced: 0 leaves the mask
alone, and with the same key the mask is damaged more as the strength grows, so that
`noisyjax.noise.severity.solve_severity` finds the strength of a wanted Dice. Where a strength
counts whole voxels or points, a fraction is the probability of one more of them. What lies outside
of the image is unknown: nothing grows in or erodes there, and what is moved out is lost.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer, Key

from noisyjax.core import checks, distance
from noisyjax.noise import contour

Mask = Bool[Array, "*S"] | Integer[Array, "*S"]
Strength = float | int | Float[Array, ""] | Integer[Array, ""]


def erode_or_dilate(key: Key[Array, ""], mask: Mask, *, strength: Strength) -> Mask:
    """Erodes or dilates a mask ``[*S]`` by a ball, each in half of the draws.

    The voxels furthest from the outline stay, so that nothing that is there vanishes.

    Args:
      strength: the largest radius in voxels; the radius is uniform below it.

    >>> mask = jnp.zeros((9, 9), bool).at[2:7, 2:7].set(True)
    >>> erode_or_dilate(jax.random.key(2), mask, strength=2).sum()
    Array(9, dtype=int32)
    """
    _check(mask, strength)
    kind_key, radius_key = jax.random.split(key)
    foreground = mask != 0
    # Either the foreground or the background loses the voxels that are near to the other.
    shrinking = foreground ^ jax.random.bernoulli(kind_key)
    away = distance.distance_transform(shrinking)
    radius = strength * jax.random.uniform(radius_key)
    changed = shrinking & (away <= radius) & (away < jnp.max(away))
    return (foreground ^ changed).astype(mask.dtype)


def shift(key: Key[Array, ""], mask: Mask, *, strength: Strength) -> Mask:
    """Moves a mask ``[*S]`` along its last axis by `strength` voxels, in an image to the right.

    The key decides on the fraction of a voxel.

    >>> shift(jax.random.key(0), jnp.array([0, 1, 1, 0, 0, 0]), strength=2)
    Array([0, 0, 0, 1, 1, 0], dtype=int32)
    """
    _check(mask, strength)
    foreground = mask != 0
    index = jnp.arange(mask.shape[-1])
    source = index - _whole(key, strength)
    moved = jnp.take(foreground, jnp.maximum(source, 0), axis=-1)
    inside = (source >= 0).reshape([1] * (mask.ndim - 1) + [-1])
    return (moved & inside).astype(mask.dtype)


def reverse_square(key: Key[Array, ""], mask: Mask, *, strength: Strength) -> Mask:
    """Exchanges foreground and background in a square, or cube, at a random position of the image.

    Args:
      mask: ``[*S]``, any number of axes.
      strength: side of the square in voxels; at most the shortest side of the image counts.

    >>> reverse_square(jax.random.key(0), jnp.zeros((9, 9), bool), strength=3).sum()
    Array(9, dtype=int32)
    """
    _check(mask, strength)
    side_key, position_key = jax.random.split(key)
    foreground = mask != 0
    side = jnp.minimum(_whole(side_key, strength), min(mask.shape))
    positions = jax.random.uniform(position_key, (mask.ndim,))
    square = jnp.ones(mask.shape, bool)
    for axis, size in enumerate(mask.shape):
        # With the same position a larger square contains the smaller one.
        first = jnp.minimum(jnp.floor(positions[axis] * (size - side + 1)), size - side)
        index = jnp.arange(size).reshape([-1 if k == axis else 1 for k in range(mask.ndim)])
        square &= (index >= first) & (index < first + side)
    return (foreground ^ square).astype(mask.dtype)


def polygonise(key: Key[Array, ""], mask: Mask, *, strength: Strength) -> Mask:
    """Draws every outline of a mask anew: a closed cubic spline through a few of its points.

    Of every outline, also those of holes, the same number of points is drawn, all of them equally
    likely; small outlines keep all points that they have. Volumes are outlined slice by slice along
    their first axis, each with points of its own.

    Args:
      mask: ``[*S]``, two axes or more.
      strength: one over the number of points, of which at least 3 are drawn; 0 keeps them all.
    """
    _check(mask, strength)
    checks.rank("mask", mask, range(2, 9))
    slices = (mask != 0).reshape(-1, *mask.shape[-2:])

    def redraw(slice_key, one):
        points_key, count_key = jax.random.split(slice_key)
        # Few enough for an int32; beyond them every outline keeps all of its points.
        count = jnp.minimum(1 / jnp.maximum(strength, 1 / (4 * one.size)), 4 * one.size)
        return contour.redraw(points_key, one, points=jnp.maximum(_whole(count_key, count), 3))

    keys = jax.random.split(key, len(slices))
    redrawn = jax.lax.map(lambda pair: redraw(*pair), (keys, slices))
    return redrawn.reshape(mask.shape).astype(mask.dtype)


def erase(key: Key[Array, ""], mask: Mask, *, strength: Strength) -> Mask:
    """Erases one connected structure of a mask ``[*S]`` with the probability `strength`.

    The structure is that of a random voxel of the foreground, so that large ones go more often.
    Voxels that share a corner are connected.

    >>> erase(jax.random.key(0), jnp.array([1, 1, 1, 0, 0, 1, 0, 1]), strength=1)
    Array([1, 1, 1, 0, 0, 1, 0, 0], dtype=int32)
    """
    _check(mask, strength)
    chance_key, position_key = jax.random.split(key)
    foreground = mask != 0
    numbers = jnp.where(foreground, jax.random.uniform(position_key, mask.shape), -1.0)
    seed = foreground & (numbers == jnp.max(numbers))
    gone = _connected(seed, foreground) & (jax.random.uniform(chance_key) < strength)
    return (foreground & ~gone).astype(mask.dtype)


# name -> f(key, mask [*S], *, strength) -> mask [*S]
NOISES = {
    "erode_or_dilate": erode_or_dilate,
    "shift": shift,
    "reverse_square": reverse_square,
    "polygonise": polygonise,
    "erase": erase,
}


def _check(mask: Mask, strength: Strength) -> None:
    checks.ids("mask", mask, masks=True)
    if not isinstance(strength, jax.Array):
        checks.positive("strength", strength, or_zero=True)


def _whole(key: Key[Array, ""], number: Strength) -> Integer[Array, ""]:
    """A number rounded up with the probability of its fraction, and else down."""
    return jnp.floor(number + jax.random.uniform(key)).astype(jnp.int32)


def _connected(seed: Bool[Array, "*S"], mask: Bool[Array, "*S"]) -> Bool[Array, "*S"]:
    """The voxels of a mask that a path over faces, edges or corners joins to the seed."""

    def grow(search):
        _, reached = search
        grown = reached
        for axis in range(mask.ndim):
            before, after = (jnp.roll(grown, step, axis) for step in (1, -1))
            index = jnp.arange(mask.shape[axis])
            index = index.reshape([-1 if k == axis else 1 for k in range(mask.ndim)])
            # What comes in over the edge of the image does not count.
            grown = grown | (before & (index > 0)) | (after & (index < mask.shape[axis] - 1))
        return reached, grown & mask

    def unfinished(search):
        before, reached = search
        return jnp.any(before != reached)

    return jax.lax.while_loop(unfinished, grow, (jnp.zeros_like(seed), seed))[1]
