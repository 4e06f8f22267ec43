"""Whose label is it? Labels beside the predictions of other cases, on coarse voxels."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8

from noisyjax.core import arrays
from noisyjax.tool.audit import kinds

# Along an axis; a mix-up of cases shows on few voxels.
_COARSE = 48


def coarse(ids: UInt8[np.ndarray, "*S"]) -> UInt8[np.ndarray, "*T"]:
    """Returns every s-th voxel of class ids, with the least s that leaves 48 along each axis."""
    step = -(-max(ids.shape) // _COARSE)
    return ids[(slice(step // 2, None, step),) * ids.ndim]


def overlaps(
    label: UInt8[np.ndarray, "*S"],
    predictions: Mapping[str, UInt8[np.ndarray, "..."]],
    *,
    num_classes: int,
) -> dict[str, float]:
    """Returns the mean Dice of a label and what is predicted of each case.

    A label is laid with its middle on the middle of the other image, as a file that was saved under
    another name.

    Args:
      label: coarse class ids, ``[*S]``.
      predictions: coarse class ids of other cases by their names, of any size.
      num_classes: L.
    """
    return {
        name: kinds.dice(centred(label, other.shape), other, num_classes)
        for name, other in predictions.items()
        if other.ndim == label.ndim
    }


def centred(ids: UInt8[np.ndarray, "*S"], shape: tuple[int, ...]) -> UInt8[np.ndarray, "*T"]:
    """Returns class ids cut, or filled with background, to a size around the same middle.

    >>> centred(np.array([1, 2, 3], np.uint8), (1,)), centred(np.array([1], np.uint8), (3,))
    (array([2], dtype=uint8), array([0, 1, 0], dtype=uint8))
    """
    out = np.full(shape, arrays.BACKGROUND, ids.dtype)
    to, of = [], []
    for size, wanted in zip(ids.shape, shape, strict=True):
        length = min(size, wanted)
        to.append(slice((wanted - length) // 2, (wanted - length) // 2 + length))
        of.append(slice((size - length) // 2, (size - length) // 2 + length))
    out[tuple(to)] = ids[tuple(of)]
    return out
