"""Moving images and label maps by a displacement field."""

import functools
import itertools
from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from noisyjax.core import checks


def warp(
    image: Shaped[Array, "..."],
    displacement: Float[Array, "n *S"],
    *,
    order: int = 0,
    fill: float | int = 0,
    corner: Sequence[int] | None = None,
) -> Shaped[Array, "..."]:
    """Returns ``image(i + X(i))`` at every voxel i, and `fill` where that leaves the image.

    Order 0 takes the nearest voxel, index ``floor(i + X + 1/2)``: exact for a piecewise constant
    label. Order 1 interpolates linearly between voxel centres and lets the image go over into
    `fill` within one voxel, as ``scipy.ndimage.map_coordinates(..., mode="grid-constant")``.

    Args:
      image: ``[*S]`` or, with channels, ``[*S, C]``; any dtype with order 0, floats with order 1 (a
        label map is warped as one-hot channels).
      displacement: X in voxels, ``[n, *S]`` float32.
      corner: where only a part of the warped image is wanted, its first voxel; the displacement is
        that of the part's voxels, and only these are computed.

    >>> warp(jnp.array([1, 2, 3, 4]), jnp.array([[1.0, 0.4, 0.6, 1.0]]))
    Array([2, 2, 4, 0], dtype=int32)
    >>> warp(jnp.array([1, 2, 3, 4]), jnp.array([[1.0, -2.0]]), corner=(1,))
    Array([3, 1], dtype=int32)
    """
    checks.one_of("order", order, (0, 1))
    axes = displacement.ndim - 1
    checks.rank("image", image, (axes, axes + 1))
    checks.shape("displacement", displacement, (axes, *displacement.shape[1:]))
    if corner is None:
        expected = displacement.shape[1:] + (None,) * (image.ndim - axes)
        checks.shape("image", image, expected, like="displacement")
        corner = (0,) * axes
    if order == 0:
        return _nearest(image, jnp.floor(displacement + 0.5), corner, fill)
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(f"image: expected floats to interpolate (order=1), got {image.dtype}")
    return _linear(image, displacement, corner, fill)


def _nearest(image, whole, corner, fill):
    """The image at a whole number of steps from every voxel; steps ``[n, *T]``."""
    axes = len(whole)
    index = _index(image, whole, corner)
    inside = functools.reduce(
        jnp.logical_and, [(i >= 0) & (i < size) for i, size in zip(index, image.shape)]
    )
    channels = image.shape[axes:]
    flat = _flat([jnp.clip(i, 0, n - 1) for i, n in zip(index, image.shape)], image.shape)
    values = image.reshape(-1, *channels).at[flat].get(mode="promise_in_bounds")
    inside = inside.reshape(inside.shape + (1,) * len(channels))
    return jnp.where(inside, values, jnp.asarray(fill, image.dtype))


def _linear(image, displacement, corner, fill):
    """The image between its voxels: all corners of a cell are at fixed steps from the first."""
    axes = len(displacement)
    whole = jnp.floor(displacement)
    fraction = displacement - whole
    # Two voxels of `fill` at each end: a cell beyond them is like one of theirs.
    pad = [(2, 2)] * axes + [(0, 0)] * (image.ndim - axes)
    padded = jnp.pad(image, pad, constant_values=jnp.asarray(fill, image.dtype))
    index = _index(image, whole, corner)
    first = _flat([jnp.clip(i, -2, n) + 2 for i, n in zip(index, image.shape)], padded.shape)
    voxels = padded.reshape(-1, *image.shape[axes:])
    result = jnp.zeros((), image.dtype)
    for ends in itertools.product((0, 1), repeat=axes):
        weight = jnp.ones(())
        for axis, end in enumerate(ends):
            weight = weight * (fraction[axis] if end else 1 - fraction[axis])
        weight = weight.reshape(weight.shape + (1,) * (image.ndim - axes))
        values = voxels.at[first + _flat(ends, padded.shape)].get(mode="promise_in_bounds")
        result = result + weight.astype(image.dtype) * values
    return result


def _index(image, whole, corner):
    """The index along each axis, which may lie outside of the image, in a list."""
    axes, shape = len(whole), whole.shape[1:]
    index = []
    for axis, first in enumerate(corner):
        # More steps than these leave the image anyway, and large floats overflow int32.
        most = image.shape[axis] + shape[axis] + abs(first)
        start = jnp.arange(first, first + shape[axis], dtype=jnp.int32)
        start = start.reshape([-1 if k == axis else 1 for k in range(axes)])
        index.append(jnp.clip(whole[axis], -most, most).astype(jnp.int32) + start)
    return index


def _flat(index, shape):
    """The place in a row of what has an index along each axis of an array."""
    flat = 0
    for along, size in zip(index, shape):
        flat = flat * size + along
    return flat
