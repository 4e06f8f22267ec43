"""Moving images and label maps by a displacement field."""

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
        voxels, index, _ = _places(image, jnp.floor(displacement + 0.5), corner, fill, around=1)
        return voxels.at[index].get(mode="promise_in_bounds")
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(f"image: expected floats to interpolate (order=1), got {image.dtype}")
    whole = jnp.floor(displacement)
    fraction = displacement - whole
    voxels, index, steps = _places(image, whole, corner, fill, around=2)
    result = jnp.zeros((), image.dtype)
    for ends in itertools.product((0, 1), repeat=axes):
        weight = jnp.ones(())
        for axis, end in enumerate(ends):
            weight = weight * (fraction[axis] if end else 1 - fraction[axis])
        weight = weight.reshape(weight.shape + (1,) * (image.ndim - axes))
        step = sum(step for step, end in zip(steps, ends, strict=True) if end)
        values = voxels.at[index + step].get(mode="promise_in_bounds")
        result = result + weight.astype(image.dtype) * values
    return result


def _places(image, whole, corner, fill, *, around):
    """Returns the voxels in a row, with `fill` around the image, and which one is looked up where.

    Args:
      whole: whole steps from every voxel, ``[n, *T]``.
      around: so many voxels are added at each end: what is looked up beyond them becomes one of
        them.

    Returns:
      Voxels ``[N]`` or ``[N, C]``; their index, ``[*T]``; how far it is to the next voxel along
      each axis.
    """
    axes, shape = len(whole), whole.shape[1:]
    pad = [(around, around)] * axes + [(0, 0)] * (image.ndim - axes)
    padded = jnp.pad(image, pad, constant_values=jnp.asarray(fill, image.dtype))
    flat, steps = jnp.zeros((1,) * axes, jnp.int32), []
    for axis, (size, first) in enumerate(zip(image.shape[:axes], corner, strict=True)):
        # More steps than these leave the image anyway, and large floats overflow int32.
        most = size + shape[axis] + abs(first)
        index = jnp.clip(whole[axis], -most, most).astype(jnp.int32)
        start = jnp.arange(first, first + shape[axis], dtype=jnp.int32)
        index = index + start.reshape([-1 if k == axis else 1 for k in range(axes)])
        inside = jnp.clip(index, -around, size - 1 + around) + around
        flat = flat * padded.shape[axis] + inside
        steps = [step * padded.shape[axis] for step in steps] + [1]
    return padded.reshape(-1, *padded.shape[axes:]), flat, steps
