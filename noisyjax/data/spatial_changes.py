"""Random changes that move voxels: those of the image and of every label map alike.

Of an example that was read with a margin only the voxels inside of it are computed.
"""

import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Key, Num, Shaped

from noisyjax.core import warp
from noisyjax.data import change_draws


def flip(
    image: Shaped[Array, "..."], axes: Sequence[int], flipped: Shaped[Array, "A"]
) -> Shaped[Array, "..."]:
    """Mirrors an array ``[*S, ...]`` along those spatial axes that are chosen, bool ``[A]``."""
    for axis, chosen in zip(axes, flipped, strict=True):
        image = jnp.where(chosen, jnp.flip(image, axis), image)
    return image


def quarter_turns(
    image: Shaped[Array, "..."], plane: Sequence[int], turns: Integer[Array, ""]
) -> Shaped[Array, "..."]:
    """Turns an array by right angles, like `jax.numpy.rot90` with a traced number of turns, 0 to 3.

    The array is ``[*S, ...]``; a turn goes from the first of two spatial axes towards the second,
    and `ValueError` is raised if they differ in length.
    """
    first, second = plane
    if image.shape[first] != image.shape[second]:
        raise ValueError(
            f"right_angle: expected square planes, got axes {tuple(plane)} of {image.shape}"
        )
    image = jnp.where(turns % 2 == 1, jnp.swapaxes(image, first, second), image)
    image = jnp.where((turns == 1) | (turns == 2), jnp.flip(image, first), image)
    return jnp.where(turns >= 2, jnp.flip(image, second), image)


def affine_displacement(
    shape: Sequence[int],
    angles: Float[Array, "P"],
    shift: Float[Array, "n"],
    factor: Float[Array, ""],
    *,
    spacing: Sequence[float],
) -> Float[Array, "n *S"]:
    """Returns where each voxel takes its value from in a rotated, scaled and shifted image.

    The rotation is about the image's centre, and rigid in mm.

    Args:
      shape: S.
      angles: in radians, one per pair of axes in the order of `itertools.combinations`.
      shift: how far the content moves, in voxels.
      factor: how much larger the content becomes.
      spacing: size of a voxel along each axis.

    Returns:
      Displacement in voxels, ``[n, *S]`` float32, for `warp.warp`.
    """
    n = len(shape)
    matrix = jnp.eye(n)
    for angle, (i, j) in zip(angles, itertools.combinations(range(n), 2), strict=True):
        # The rows and columns of the plane, and of the sine with its signs.
        plane, sine = np.zeros((2, n, n), np.float32)
        plane[i, i] = plane[j, j] = sine[i, j] = 1
        sine[j, i] = -1
        turn = (np.eye(n, dtype=np.float32) - plane) + jnp.cos(angle) * plane
        turn = turn + jnp.sin(angle) * sine
        matrix = jnp.matmul(matrix, turn, precision=jax.lax.Precision.HIGHEST)
    millimetres = jnp.asarray(spacing, jnp.float32)
    matrix = matrix * millimetres[None, :] / millimetres[:, None] / factor
    axes = [
        (jnp.arange(size) - (size - 1) / 2).reshape([-1 if k == axis else 1 for k in range(n)])
        for axis, size in enumerate(shape)
    ]
    offset = [grid - moved for grid, moved in zip(axes, shift, strict=True)]
    # Sums of one vector per axis: nothing as large as the image is kept on the way.
    rows = [sum(matrix[i, j] * offset[j] for j in range(n)) - axes[i] for i in range(n)]
    return jnp.stack(rows)


def largest(shift: float | int | Sequence[float | int]) -> float | int:
    """Returns the largest shift along any axis, of one number or one per axis."""
    return max(shift) if isinstance(shift, Sequence) else shift


def cut(
    image: Shaped[Array, "*S K"], masks: Shaped[Array, "*S R"], *, margin: Sequence[int]
) -> tuple[Shaped[Array, "*T K"], Shaped[Array, "*T R"]]:
    """Returns an image and its label maps without a margin at either end of each axis."""
    inside = tuple(slice(more, size - more) for size, more in zip(image.shape, margin))
    return image[inside], masks[inside]


def _free(
    keys,
    image,
    masks,
    *,
    margin,
    amounts: dict,
    probabilities: dict,
    spacing,
    image_fill,
):
    """Rotation, scale and shift by any amount: linear for the image, nearest for masks."""
    n = image.ndim - 1
    symmetric = functools.partial(jax.random.uniform, minval=-1.0, maxval=1.0)
    # Three keys, so that the number of angles does not decide what the others draw.
    draws = jax.random.split(keys["free"], 3)
    chosen = change_draws.chosen(keys["free_chosen"], probabilities)
    angles = symmetric(draws[0], (n * (n - 1) // 2,)) * jnp.deg2rad(amounts["rotation"])
    shift = symmetric(draws[1], (n,)) * jnp.asarray(amounts["shift"])
    factor = jnp.exp(symmetric(draws[2]) * jnp.log1p(amounts["scale"]))
    shape = [size - 2 * more for size, more in zip(image.shape[:-1], margin, strict=True)]

    def moved(image, masks):
        displacement = affine_displacement(
            shape,
            jnp.where(chosen[0], angles, 0.0),
            jnp.where(chosen[1], shift, 0.0),
            jnp.where(chosen[2], factor, 1.0),
            spacing=spacing or (1.0,) * n,
        )
        return (
            warp.warp(image, displacement, order=1, fill=image_fill, corner=margin),
            warp.warp(masks, displacement, order=0, corner=margin),
        )

    on = jnp.array([bool(largest(amount)) for amount in amounts.values()])
    kept = functools.partial(cut, margin=margin)
    return jax.lax.cond(jnp.any(chosen & on), moved, kept, image, masks)


def _right_angles(keys, image, masks, *, flip_axes, planes):
    """Mirrors and quarter turns: nothing is interpolated."""
    if flip_axes:
        chosen = jax.random.bernoulli(keys["flip"], shape=(len(flip_axes),))
        image, masks = (flip(array, flip_axes, chosen) for array in (image, masks))
    if planes:
        turns = jax.random.randint(keys["right_angle"], (len(planes),), 0, 4)
        for plane, count in zip(planes, turns, strict=True):
            image, masks = (quarter_turns(array, plane, count) for array in (image, masks))
    return image, masks


def change(
    key: Key[Array, ""],
    image: Float[Array, "*S K"],
    labels: Num[Array, "R *S"],
    *,
    margin: Sequence[int] = (),
    flip_axes: Sequence[int] = (),
    right_angle_planes: Sequence[Sequence[int]] = (),
    rotation: float = 0.0,
    rotation_probability: float = 1.0,
    shift: float | Sequence[float] = 0.0,
    shift_probability: float = 1.0,
    scale: float = 0.0,
    scale_probability: float = 1.0,
    spacing: Sequence[float] = (),
    image_fill: float = 0.0,
) -> tuple[Float[Array, "*T K"], Num[Array, "R *T"]]:
    """Moves an image and its label maps at random and cuts off their margin.

    Args:
      image: ``[*S, K]`` float32.
      labels: label maps, ``[R, *S]``.
      margin: voxels at each end of an axis that are there only to move in; empty for none.
      flip_axes: spatial axes, each mirrored with probability 1/2.
      right_angle_planes: pairs of spatial axes, each turned by 0, 90, 180 or 270 degrees; the
        plane has to be square.
      rotation: before that, the largest angle of a free rotation in each plane, in degrees.
      rotation_probability: with which an example is rotated; as for the two below.
      shift: largest shift, in voxels, one number or one per axis.
      scale: the size changes by a factor between ``1 / (1 + scale)`` and ``1 + scale``.
      spacing: size of a voxel along each axis, for rotations; empty for cubes.
      image_fill: the intensity of what comes in from outside of the image; labels there are
        background.

    Returns:
      Image and label maps of the size inside of the margin.
    """
    keys = change_draws.streams(key)
    masks = jnp.moveaxis(labels, 0, -1)
    margin = tuple(margin) or (0,) * (image.ndim - 1)
    if rotation or largest(shift) or scale:
        image, masks = _free(
            keys,
            image,
            masks,
            margin=margin,
            amounts={"rotation": rotation, "shift": shift, "scale": scale},
            probabilities={
                "rotation": rotation_probability,
                "shift": shift_probability,
                "scale": scale_probability,
            },
            spacing=spacing,
            image_fill=image_fill,
        )
    else:
        image, masks = cut(image, masks, margin=margin)
    image, masks = _right_angles(keys, image, masks, flip_axes=flip_axes, planes=right_angle_planes)
    return image, jnp.moveaxis(masks, -1, 0)
