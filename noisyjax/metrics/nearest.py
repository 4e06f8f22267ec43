"""Distances from points to the nearest of others, in float64 on the host."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy import ndimage, spatial

from noisyjax.core import checks

# Asking a k-d tree for one point costs about as much as transforming this many voxels.
_VOXELS_PER_QUERY = 15


def distances(
    points: Bool[np.ndarray, "*S"], targets: Bool[np.ndarray, "*S"], sizes: tuple[float, ...]
) -> Float[np.ndarray, "N"]:
    """Returns the distance from each point to the nearest target, in the order of the array."""
    checks.masks(points=points, targets=targets)
    off_target = points & ~targets
    count = int(np.count_nonzero(off_target))
    # Surfaces are thin: a tree of their points is several times faster than a distance transform of
    # all voxels between them, unless the masks are noise.
    if count * _VOXELS_PER_QUERY > points.size:
        return ndimage.distance_transform_edt(~targets, sampling=sizes)[points]
    distances = np.zeros(int(np.count_nonzero(points)))
    if count:
        distances[off_target[points]] = _nearest(
            _coordinates(off_target), _coordinates(targets), sizes
        )
    return distances


def _coordinates(points: Bool[np.ndarray, "*S"]) -> Sequence[Integer[np.ndarray, "N"]]:
    # Several times faster than np.nonzero.
    return np.unravel_index(np.flatnonzero(points), points.shape)


def _nearest(
    points: Sequence[Integer[np.ndarray, "N"]],
    targets: Sequence[Integer[np.ndarray, "M"]],
    sizes: tuple[float, ...],
) -> Float[np.ndarray, "N"]:
    # A tree that is not balanced is built faster and answers as fast.
    tree = spatial.KDTree(
        np.stack(targets, axis=-1) * sizes, leafsize=32, compact_nodes=False, balanced_tree=False
    )
    _, index = tree.query(np.stack(points, axis=-1) * sizes)
    # From whole numbers of voxels, so that a distance equal to the tolerance is not off by rounding
    # and all values are those of a distance transform.
    squares = 0.0
    for point, target, size in zip(points, targets, sizes, strict=True):
        squares = squares + np.square((point - target[index]) * size)
    return np.sqrt(squares)
