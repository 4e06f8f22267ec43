"""Pieces of volumes."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped


def around(
    volume: Shaped[np.ndarray, "..."],
    centre: Sequence[float | int],
    size: Sequence[int],
    *,
    fill: float | int = 0,
) -> Shaped[np.ndarray, "..."]:
    """Returns the patch around a point, filled up where it leaves the volume.

    Args:
      volume: ``[*S]`` or, with channels, ``[*S, K]``.
      centre: in voxels, one number per spatial axis.
      size: voxels of the patch along each of them.
      fill: the value outside of the volume.

    Returns:
      ``[*size]`` or ``[*size, K]``.

    >>> around(np.arange(5), (3.6,), (4,))
    array([2, 3, 4, 0])
    """
    starts = [round(c) - n // 2 for c, n in zip(centre, size, strict=True)]
    patch = np.full((*size, *volume.shape[len(size) :]), fill, volume.dtype)
    low = [max(0, -start) for start in starts]
    high = [
        max(before, min(n, extent - start))
        for before, n, extent, start in zip(low, size, volume.shape, starts)
    ]
    inside = tuple(slice(*ends) for ends in zip(low, high))
    source = tuple(
        slice(start + first, start + last) for start, first, last in zip(starts, low, high)
    )
    patch[inside] = volume[source]
    return patch


def centre_of_mass(mask: Shaped[np.ndarray, "*S"]) -> tuple[float, ...]:
    """Returns the mean index of a mask along each axis; the middle of the volume if it is empty."""
    inside = np.argwhere(mask)
    if not len(inside):
        return tuple((n - 1) / 2 for n in mask.shape)
    return tuple(inside.mean(axis=0).tolist())
