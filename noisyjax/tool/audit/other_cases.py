"""Whose label is it? Labels beside the predictions of other cases, on coarse voxels."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from noisyjax.core import arrays
from noisyjax.tool.audit import kinds

# Along an axis; a mix-up of cases shows on few voxels.
_COARSE = 48


class Coarse(NamedTuple):
    """Class ids of every s-th voxel along each axis; steps are powers of 2, and so comparable.

    Attributes:
      ids: ``[*T]``.
      step: s.
    """

    ids: UInt8[np.ndarray, "*T"]
    step: int


def coarse(ids: UInt8[np.ndarray, "*S"]) -> Coarse:
    """Returns class ids with the least step that leaves 48 voxels or less along each axis."""
    step = 1
    while -(-max(ids.shape) // step) > _COARSE:
        step *= 2
    return _every(Coarse(ids, 1), step)


def overlaps(
    label: Coarse, predictions: Mapping[str, Coarse], *, num_classes: int
) -> dict[str, float]:
    """Returns the mean Dice of a label and what is predicted of each case.

    A label is laid with its middle on the middle of the other image, as a file that was saved under
    another name.

    Args:
      label: of the case in question.
      predictions: of other cases by their names, of any size.
      num_classes: L.
    """
    found = {}
    for name, other in predictions.items():
        if other.ids.ndim == label.ids.ndim:
            step = max(label.step, other.step)
            own, theirs = (_every(one, step).ids for one in (label, other))
            found[name] = kinds.dice(centred(own, theirs.shape), theirs, num_classes)
    return found


def _every(given: Coarse, step: int) -> Coarse:
    """Returns class ids of a step that is a multiple of the given one."""
    return Coarse(given.ids[(slice(None, None, step // given.step),) * given.ids.ndim], step)


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
