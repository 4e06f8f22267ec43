"""Strokes and organs made thicker, thinner or broken, after Morpho-MNIST.

Morpho-MNIST (Castro et al. 2019) enlarges an image four times, measures its mean thickness on the
skeleton, and erodes or dilates by a disk of a share of half that thickness. Here the same is done
on the voxels themselves, with a signed distance whose zero lies on the faces between object and
background: its values are exact to a fraction of a voxel, so thresholds at fractional radii need no
enlarged image, and volumes cost one distance transform and not 64 times as much.

A mask is measured once (`measure`); the transforms take the measurement, so that a panel of
annotators shares it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from noisyjax.core import blur, checks, distance, morphology

# The public names of erosion and dilation by a given radius.
erode = morphology.erode
dilate = morphology.dilate

# The slope of the depth is 1 beside the centre line and at most 1/2 on its nearest voxels. On the
# spurs that lead from a centre line into the corners of a shape it is sqrt(1/2) or more.
_RIDGE_SLOPE = 0.65
# Directions are averaged over about two voxels, the window of Morpho-MNIST's angles.
_DIRECTION_SIGMA = 2.0
# If thinning would leave nothing, those of the deepest voxels stay whose surroundings (at this
# scale) hold at least this share of the largest amount of object.
_BULK_SIGMA = 1.0
_BULKIEST = 0.9
# Ties between a radius and a depth must not hang on the last bit of the mean thickness.
_TIE = 1e-3


class Shape(NamedTuple):
    """What the transforms need to know about a mask.

    Attributes:
      mask: ``[*S]`` bool.
      depth: signed distance to the faces of the mask in voxels, positive inside, ``[*S]``.
      ridge: the centre line (in 3-D the centre line or sheet), ``[*S]`` bool.
      half_width: half of the local thickness, valid on the ridge, ``[*S]``.
      radius: half of the mean thickness in voxels, ``[]``; 0 for an empty mask.
    """

    mask: Bool[Array, "*S"]
    depth: Float[Array, "*S"]
    ridge: Bool[Array, "*S"]
    half_width: Float[Array, "*S"]
    radius: Float[Array, ""]


def measure(mask: Bool[Array, "*S"]) -> Shape:
    """Measures depth, centre line and thickness of a mask ``[*S]``, which may be empty or full.

    A voxel at distance t < 1 from a centre line of half-width h has depth ``h - t``, and the
    central difference of the depth across the line is t. So the slope tells where the centre line
    is and, added to the depth, its half-width to a fraction of a voxel: a bar of w voxels
    measures w, whether w is even or odd.

    Distances are cut off at the length of the longest side, which also stands for the infinite ones
    of an empty or full mask.
    """
    checks.masks(mask=mask)
    # A voxel of the object with background next to it is half a voxel away from the face.
    inside = distance.distance_transform(mask)
    outside = distance.distance_transform(~mask)
    longest = max(mask.shape)
    depth = jnp.clip(jnp.where(mask, inside - 0.5, 0.5 - outside), -longest, longest)
    slope = jnp.sqrt(jnp.sum(jnp.square(_gradient(depth)), axis=0))
    ridge = mask & (slope < _RIDGE_SLOPE)
    half_width = depth + slope
    mean = jnp.sum(jnp.where(ridge, half_width, 0)) / jnp.maximum(jnp.sum(ridge), 1)
    # Shapes of a few voxels may have no flat spot; their deepest voxel stands in.
    deepest = jnp.maximum(jnp.max(depth), 0)
    return Shape(mask, depth, ridge, half_width, jnp.where(jnp.any(ridge), mean, deepest))


def thickness(mask: Bool[Array, "*S"]) -> Float[Array, ""]:
    """Returns the mean thickness in voxels, twice the mean half-width on the ridge, ``[]`` float32.

    It is 0 if the mask ``[*S]`` is empty.

    >>> float(thickness(jnp.zeros((20, 40), bool).at[8:12].set(True)))
    4.0
    """
    return 2 * measure(mask).radius


def thicken(shape: Shape, *, amount: float | int | Float[Array, ""] = 1.0) -> Bool[Array, "*S"]:
    """Dilates a mask by a ball of `amount` times half its mean thickness, ``[*S]`` bool.

    Args:
      amount: 1 doubles the thickness (Morpho-MNIST's thickening); 0 changes nothing. A positive
        amount adds the direct neighbours at least, to a mask that is not empty.
    """
    return shape.mask | (shape.depth >= -_reach(amount * shape.radius))


def thin(shape: Shape, *, amount: float | int | Float[Array, ""] = 0.7) -> Bool[Array, "*S"]:
    """Erodes a mask by a ball of `amount` times half its mean thickness, ``[*S]`` bool.

    Parts much thinner than the mean vanish, as in Morpho-MNIST. If all would vanish, the deepest
    voxels stay, and of those the ones in the bulkiest surroundings: an annotator who draws too
    little still draws something. The edge of the image does not erode.

    Args:
      amount: 0.7 is Morpho-MNIST's thinning; 0 changes nothing. A positive amount removes at least
        the voxels that touch the background, if others remain.
    """
    kept = shape.mask & (shape.depth > _reach(amount * shape.radius))
    deepest = shape.mask & (shape.depth > jnp.max(shape.depth) - _TIE)
    bulk = blur.gaussian_blur(shape.mask.astype(jnp.float32), _BULK_SIGMA) * deepest
    bulkiest = deepest & (bulk >= _BULKIEST * jnp.max(bulk))
    return jnp.where(jnp.any(kept), kept, bulkiest)


def cuts(
    key: Key[Array, ""],
    shape: Shape,
    *,
    count: int = 3,
    width: float | int = 1.5,
    extension: float | int | Float[Array, ""] = 0.5,
) -> Bool[Array, "*S"]:
    """Draws short cuts across a mask at random positions of its centre line.

    A position is drawn with a probability that falls to 0 where the mask has no direction
    (junctions, round blobs), which stands in for the pruned forks of Morpho-MNIST; positions keep a
    distance to each other while there is room, so that more cuts are more damage. A cut is a line
    in 2-D, a round slab in 3-D: all voxels within half of `width` (voxels) of the plane across the
    local direction, and within the local half-width plus `extension` (voxels) of the centre line.
    The local direction is the eigenvector with the smallest eigenvalue of the structure tensor of
    the depth.

    Returns:
      ``[*S]`` bool, the voxels of all cuts, also outside of the mask; none if the mask is empty.
    """
    size = shape.mask.shape
    ndim = len(size)
    if count == 0:
        return jnp.zeros(size, bool)
    gradient = _gradient(shape.depth)
    tensors = _structure_tensors(gradient)
    weights = jnp.where(shape.ridge, _directedness(tensors), 0)
    min_distance = 2 * width + shape.radius
    positions = _positions(key, shape.mask, weights, count=count, min_distance=min_distance)
    along = jnp.linalg.eigh(tensors.reshape(-1, ndim, ndim)[positions])[1][..., 0]
    # The gradient at a voxel beside the centre line points to the line and is as long as the way.
    steps = gradient.reshape(ndim, -1)[:, positions].T
    centres = jnp.stack(jnp.unravel_index(positions, size), axis=-1) + steps
    reach = jnp.maximum(shape.half_width.reshape(-1)[positions], 0.5) + extension
    grid = _grid(size)

    def cut(centre, direction, length):
        offset = grid - centre.reshape(-1, *[1] * ndim)
        lengthwise = jnp.tensordot(direction, offset, axes=1)
        across = jnp.sum(jnp.square(offset), axis=0) - jnp.square(lengthwise)
        return (jnp.abs(lengthwise) <= width / 2) & (across <= jnp.square(length))

    return jnp.any(jax.vmap(cut)(centres, along, reach), axis=0) & jnp.any(shape.mask)


def _positions(key, mask, weights, *, count, min_distance):
    """Draws flat indices ``[count]`` by weight, `min_distance` from each other if there is room."""
    # A mask without any directed centre line is cut anywhere.
    weights = jnp.where(jnp.any(weights > 0), weights, mask.astype(jnp.float32))
    # The largest of log weight + Gumbel noise is a draw by weight; the largest of those left is a
    # draw without replacement.
    scores = jnp.log(weights) + jax.random.gumbel(key, mask.shape)
    grid = _grid(mask.shape)

    def draw(free, _):
        left = jnp.where(jnp.any(free > -jnp.inf), free, scores)
        position = jnp.argmax(left)
        centre = jnp.stack(jnp.unravel_index(position, mask.shape)).astype(jnp.float32)
        offset = grid - centre.reshape(-1, *[1] * mask.ndim)
        near = jnp.sum(jnp.square(offset), axis=0) <= jnp.square(min_distance)
        return jnp.where(near, -jnp.inf, left), position

    return jax.lax.scan(draw, scores, length=count)[1]


def _grid(size):
    """Voxel coordinates, ``[n, *S]`` float32."""
    return jnp.stack(jnp.meshgrid(*map(jnp.arange, size), indexing="ij")).astype(jnp.float32)


def _reach(radius):
    """A radius that is not 0 reaches the nearest voxel centre, half a voxel from the face."""
    return jnp.where(radius > 0, jnp.maximum(radius, 0.5) + _TIE, 0)


def _gradient(x):
    """Central differences along every axis, ``[n, *S]``; the border repeats."""
    padded = jnp.pad(x, 1, mode="edge")
    inner = [slice(1, -1)] * x.ndim

    def difference(axis):
        after, before = list(inner), list(inner)
        after[axis], before[axis] = slice(2, None), slice(None, -2)
        return (padded[tuple(after)] - padded[tuple(before)]) / 2

    return jnp.stack([difference(axis) for axis in range(x.ndim)])


def _structure_tensors(gradient):
    """Blurred outer products of the gradient ``[n, *S]``, as ``[*S, n, n]``."""
    products = gradient[:, None] * gradient[None, :]
    flat = products.reshape(-1, *gradient.shape[1:])
    smooth = jax.vmap(lambda p: blur.gaussian_blur(p, _DIRECTION_SIGMA))(flat)
    return jnp.moveaxis(smooth.reshape(products.shape), (0, 1), (-2, -1))


def _directedness(tensors):
    """0 where no direction is preferred, 1 where one has no change at all; ``[*S]``."""
    ndim = tensors.shape[-1]
    mean = jnp.trace(tensors, axis1=-2, axis2=-1) / ndim
    volume = jnp.linalg.det(tensors) / jnp.maximum(mean, 1e-6) ** ndim
    return jnp.clip(1 - volume, 0, 1)
