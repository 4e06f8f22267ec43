"""Exact Euclidean and taxicab distance transforms on grids of any dimension."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from noisyjax.core import checks

Spacing = Sequence[float | int] | Float[Array, "n"] | None


def distance_transform(
    mask: Bool[Array, "*S"], *, spacing: Spacing = None, squared: bool = False
) -> Float[Array, "*S"]:
    """Returns the distance of every voxel to the nearest background voxel.

    Distances run between voxel centres, as in ``scipy.ndimage.distance_transform_edt``; what lies
    outside of the image is not background. Along the first axis two scans count the steps since the
    last background voxel. Every further axis k takes
    ``d(x) = min_j d(x + j e_k) + (j s_k)^2``, and stops at the first j whose own cost is no less
    than the largest distance left, so the work grows with the thickness of the objects and not with
    the size of the image.

    Args:
      mask: ``[*S]`` bool, True on the object.
      spacing: size of a voxel along each axis in mm, n numbers or ``[n]``; None measures in voxels.
      squared: return squared distances; without `spacing` they are exact integers (below 2^24).

    Returns:
      ``[*S]`` float32: 0 on the background, +inf everywhere if there is no background at all.

    Raises:
      ValueError: if `spacing` has not one positive number per axis (of a device array only the
        shape is looked at).

    >>> distance_transform(jnp.array([[1, 1, 1, 0], [1, 1, 1, 1]], bool), squared=True)
    Array([[ 9.,  4.,  1.,  0.],
           [10.,  5.,  2.,  1.]], dtype=float32)
    """
    checks.masks(mask=mask)
    checks.rank("mask", mask, range(1, 9))
    sizes = voxel_sizes(spacing, mask.ndim)
    distances = jnp.square(line_distance(mask, axis=0) * sizes[0])
    for axis in range(1, mask.ndim):
        distances = _lower_envelope(distances, axis, sizes[axis])
    return distances if squared else jnp.sqrt(distances)


def taxicab_distance(mask: Bool[Array, "*S"]) -> Float[Array, "*S"]:
    """Returns the fewest steps along the axes from every voxel to the background.

    It is ``[*S]`` float32: 0 on the background, +inf everywhere if there is no background at all,
    as in ``scipy.ndimage.distance_transform_cdt`` with the metric "taxicab". A mask that is dilated
    k times by a cross of 3 voxels along each axis covers what lies k steps or less from it.

    >>> taxicab_distance(jnp.array([[1, 1, 1, 0], [1, 1, 1, 1]], bool))
    Array([[3., 2., 1., 0.],
           [4., 3., 2., 1.]], dtype=float32)
    """
    checks.masks(mask=mask)
    steps = jnp.where(mask, jnp.inf, 0.0)

    def spread(nearest, here):
        nearest = jnp.minimum(nearest + 1, here)
        return nearest, nearest

    for axis in range(mask.ndim):
        lines = jnp.moveaxis(steps, axis, 0)
        nowhere = jnp.full(lines.shape[1:], jnp.inf, jnp.float32)
        lines = jax.lax.scan(spread, nowhere, lines)[1]
        lines = jax.lax.scan(spread, nowhere, lines, reverse=True)[1]
        steps = jnp.moveaxis(lines, 0, axis)
    return steps


def voxel_sizes(spacing: Spacing, ndim: int) -> Float[Array, "n"]:
    """Returns the spacing as ``[n]`` float32, one mm (or one voxel) per axis if none is given.

    Raises:
      ValueError: if there is not one number per axis, or a Python number is not positive.
    """
    if spacing is None:
        return jnp.ones(ndim, jnp.float32)
    sizes = jnp.asarray(spacing, jnp.float32)
    checks.shape("spacing", sizes, (ndim,), like="the axes of the mask")
    if not isinstance(spacing, jax.Array):
        for size in spacing:
            checks.positive("spacing", float(size))
    return sizes


def line_distance(mask: Bool[Array, "*S"], *, axis: int) -> Float[Array, "*S"]:
    """Returns the distance to the nearest background voxel on the same line along one axis.

    It is ``[*S]`` float32 in voxels, +inf on lines without background.
    """
    checks.masks(mask=mask)
    lines = jnp.moveaxis(mask, axis, 0)

    # Two scans over the planes of the axis: on CPU several times faster than cumulative maxima of
    # indices, which work in logarithmically many passes over the whole array.
    def count(since, here):
        since = jnp.where(here, since + 1, 0)
        return since, since

    nowhere = jnp.full(lines.shape[1:], jnp.inf, jnp.float32)
    before = jax.lax.scan(count, nowhere, lines)[1]
    after = jax.lax.scan(count, nowhere, lines, reverse=True)[1]
    return jnp.moveaxis(jnp.minimum(before, after), 0, axis)


def _lower_envelope(
    distances: Float[Array, "*S"], axis: int, size: Float[Array, ""]
) -> Float[Array, "*S"]:
    """Spreads squared distances along one axis: ``min_j d(x + j e) + (j size)^2``."""
    length = distances.shape[axis]

    def cost(step):
        return jnp.square(step.astype(jnp.float32) * size)

    def unfinished(carry):
        step, nearest, _, _ = carry
        return (step < length) & (cost(step) < jnp.max(nearest))

    # The two copies move by one voxel per step, because a shift by a traced amount would turn into
    # a gather under vmap.
    def widen(carry):
        step, nearest, from_left, from_right = carry
        from_left = _shift(from_left, axis, 1)
        from_right = _shift(from_right, axis, -1)
        candidate = jnp.minimum(from_left, from_right) + cost(step)
        return step + 1, jnp.minimum(nearest, candidate), from_left, from_right

    start = (jnp.int32(1), distances, distances, distances)
    return jax.lax.while_loop(unfinished, widen, start)[1]


def _shift(x: Float[Array, "*S"], axis: int, by: int) -> Float[Array, "*S"]:
    """Moves an array by one voxel along an axis, +inf comes in."""
    padding = [(0, 0, 0)] * x.ndim
    padding[axis] = (by, -by, 0)
    return jax.lax.pad(x, jnp.array(jnp.inf, x.dtype), padding)
