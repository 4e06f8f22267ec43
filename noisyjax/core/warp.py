"""Moving images and label maps by a displacement field."""

import itertools

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from noisyjax.core import checks


def warp(
    image: Shaped[Array, "..."],
    displacement: Float[Array, "n *S"],
    *,
    order: int = 0,
    fill: float | int = 0,
) -> Shaped[Array, "..."]:
    """Returns ``image(i + X(i))`` at every voxel i, and `fill` where that leaves the image.

    Order 0 takes the nearest voxel, index ``floor(i + X + 1/2)``: exact for a piecewise constant
    label. Order 1 interpolates linearly between voxel centres and lets the image go over into
    `fill` within one voxel, as ``scipy.ndimage.map_coordinates(..., mode="grid-constant")``.

    Args:
      image: ``[*S]`` or, with channels, ``[*S, C]``; any dtype with order 0, floats with order 1 (a
        label map is warped as one-hot channels).
      displacement: X in voxels, ``[n, *S]`` float32.

    >>> warp(jnp.array([1, 2, 3, 4]), jnp.array([[1.0, 0.4, 0.6, 1.0]]))
    Array([2, 2, 4, 0], dtype=int32)
    """
    checks.one_of("order", order, (0, 1))
    shape = displacement.shape[1:]
    checks.shape("displacement", displacement, (len(shape), *shape))
    checks.rank("image", image, (len(shape), len(shape) + 1))
    checks.shape("image", image, shape + (None,) * (image.ndim - len(shape)), like="displacement")
    if order == 0:
        return _look_up(image, jnp.floor(displacement + 0.5), fill)
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(f"image: expected floats to interpolate (order=1), got {image.dtype}")
    whole = jnp.floor(displacement)
    fraction = displacement - whole
    result = jnp.zeros_like(image)
    for corner in itertools.product((0, 1), repeat=len(shape)):
        offset = jnp.array(corner, whole.dtype).reshape(-1, *[1] * len(shape))
        weight = jnp.prod(offset * fraction + (1 - offset) * (1 - fraction), axis=0)
        weight = weight.reshape(weight.shape + (1,) * (image.ndim - len(shape)))
        result += weight.astype(image.dtype) * _look_up(image, whole + offset, fill)
    return result


def _look_up(image, steps, fill):
    """The image at a whole number of steps from every voxel; steps ``[n, *S]``."""
    shape = steps.shape[1:]
    flat = jnp.zeros(shape, jnp.int32)
    inside = jnp.ones(shape, bool)
    for axis, size in enumerate(shape):
        # More steps than the axis is long leave the image anyway, and large floats overflow int32.
        index = jnp.clip(steps[axis], -size, size).astype(jnp.int32)
        index += jnp.arange(size).reshape([-1 if k == axis else 1 for k in range(len(shape))])
        inside &= (index >= 0) & (index < size)
        flat = flat * size + jnp.clip(index, 0, size - 1)
    channels = image.shape[len(shape) :]
    values = image.reshape(-1, *channels).at[flat].get(mode="promise_in_bounds")
    inside = inside.reshape(shape + (1,) * len(channels))
    return jnp.where(inside, values, jnp.asarray(fill, image.dtype))
