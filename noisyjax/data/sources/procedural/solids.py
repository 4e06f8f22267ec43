"""Solids and textures that phantoms are drawn from, as functions of the voxels' coordinates.

A solid is its signed distance in mm, negative inside; for ellipsoids and oval tubes it is exact on
the surface and approximate away from it.
"""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from noisyjax.core import rng

# A Python number or a traced one.
Scalar = float | int | Float[Array, ""]
Volume = Float[Array, "*S"]
Point = Sequence[Scalar | Volume] | Float[Array, "n"]


def uniform(
    key: Key[Array, ""], ranges: Mapping[str, tuple[float, float]]
) -> dict[str, Float[Array, ""]]:
    """Draws a number for each name, uniform in its range."""
    unit = jax.random.uniform(key, (len(ranges),))
    return {name: low + (high - low) * u for (name, (low, high)), u in zip(ranges.items(), unit)}


def draw_cases(
    draw: Callable[[Array], tuple[Array, Array]], count: int, *, seed: int, chunk: int
) -> Iterator[tuple[np.ndarray, tuple[Array, Array]]]:
    """Yields ids of cases and their images and truths, which `draw` makes of keys ``[chunk]``."""
    keys = rng.example_keys(rng.purpose_key(seed, "sample"), np.arange(count))
    # Every chunk has the same length, so that one program serves all counts.
    for start in range(0, count, chunk):
        ids = np.minimum(np.arange(start, start + chunk), count - 1)
        yield ids, draw(keys[ids])


def grid(shape: Sequence[int], *, spacing: float) -> Float[Array, "n *S"]:
    """Returns the voxels' centres ``[n, *S]``, `spacing` mm apart, 0 in the middle of the grid.

    >>> grid((2,), spacing=3.0)
    Array([[-1.5,  1.5]], dtype=float32)
    """
    axes = [(jnp.arange(size, dtype=jnp.float32) - (size - 1) / 2) * spacing for size in shape]
    return jnp.stack(jnp.meshgrid(*axes, indexing="ij"))


def smooth_fields(
    key: Key[Array, ""], count: int, shape: Sequence[int], *, length: float
) -> Float[Array, "N *S"]:
    """Draws `count` independent smooth fields ``[N, *S]``, standard normal at every voxel.

    White noise on a coarse grid of knots, spread by a Gaussian along each axis; each row of its
    matrix has norm one, which makes the variance one up to the edges. The knots' distance and the
    Gaussian's width are `length` voxels.
    """
    # Knots go on beyond both ends, so that the ends lie between knots like every other voxel.
    knots = [math.ceil((size - 1) / length) + 5 for size in shape]
    # Numbers drawn along one axis compile several times as fast as along four.
    fields = jax.random.normal(key, (count * math.prod(knots),)).reshape(count, *knots)
    for axis, (size, number) in enumerate(zip(shape, knots, strict=True), start=1):
        position = np.arange(size)[:, np.newaxis] / length - (np.arange(number) - 2)
        matrix = np.exp(-0.5 * np.square(position))
        matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
        spread = jnp.tensordot(matrix.astype(np.float32), fields, axes=(1, axis))
        fields = jnp.moveaxis(spread, 0, axis)
    return fields


def ellipsoid(points: Float[Array, "n *S"], centre: Point, radii: Point) -> Volume:
    """Returns the signed distance in mm ``[*S]`` to an ellipsoid along the axes.

    Points ``[n, *S]``, the centre and the n semi-axes are in mm; these may be arrays ``[*S]``.
    """
    offsets = [(p - c) / r for p, c, r in zip(points, centre, radii, strict=True)]
    scaled = jnp.sqrt(sum(jnp.square(o) for o in offsets))
    # The distance divided by the gradient's length: exact to first order at the surface.
    slope = jnp.sqrt(sum(jnp.square(o / r) for o, r in zip(offsets, radii, strict=True)))
    distance = scaled * (scaled - 1) / jnp.maximum(slope, 1e-9)
    # At the centre itself the quotient is 0 / 0.
    return jnp.where(scaled > 1e-6, distance, -functools.reduce(jnp.minimum, radii))


def tube(
    points: Float[Array, "3 *S"], centre: tuple[Scalar | Volume, Scalar | Volume], radii: Point
) -> Volume:
    """Returns the signed distance in mm ``[*S]`` to an oval tube along the last axis.

    The other two coordinates of its centre line and its two semi-axes are in mm; arrays ``[*S]``
    bend it.
    """
    across = jnp.stack([points[0] - centre[0], points[1] - centre[1]])
    return ellipsoid(across, (0.0, 0.0), radii)


def paint(image: Volume, solid: Volume, value: Scalar | Volume, *, spacing: float) -> Volume:
    """Returns an image ``[*S]`` with a solid of some intensity painted over it.

    Intensities mix in a layer of `spacing` mm at the surface.
    """
    share = jnp.clip(0.5 - solid / spacing, 0.0, 1.0)
    return image + share * (value - image)
