"""What is wrong with a label: of all ways to mend it, the one after which it fits the prediction.

Each kind of mistake is undone: the label is flipped back, two classes are exchanged back, it is
moved to where it overlaps most, its outline is moved outwards or inwards until the volume is the
predicted one, a part is added or taken away, another case is looked for whose prediction it fits.
The way after which the Dice is the best names the kind; ways that follow the prediction more freely
have to gain more.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import fft, ndimage

from noisyjax.core import arrays

EMPTY = "empty"
MIRRORED = "mirrored"
EXCHANGED = "classes exchanged"
ANOTHER = "label of another case"
SHIFTED = "shifted"
NARROW, WIDE = "too narrow", "too wide"
MISSING, EXTRA = "missing part", "extra part"
UNCLEAR = "unclear"

# What is taken from the Dice after a way of mending: of many steps, or other cases, one always fits
# a little better.
_HANDICAP = {SHIFTED: 0.02, ANOTHER: 0.05}
# Likewise, as a share of what the label lacks in Dice: a part is the prediction itself.
_FREEDOM = {MISSING: 0.5, EXTRA: 0.5}
# With less gained nothing is named.
_LEAST = 0.02
# The logarithm of the volumes' ratio beyond which a label without other fault is wide or narrow.
_VOLUME = 0.2
# A class of which the label has less than this share of what is predicted is missing.
_ABSENT = 0.05
# A part of less than this share of its class is none.
_PART = 0.1
# A part is thicker than a border: so many voxels from its edge to its middle.
_THICK = 2.0


class Kind(NamedTuple):
    """What is probably wrong.

    Attributes:
      name: of the kind.
      dice: mean over the classes with the prediction, after it is mended so.
      case: whose label it is, of `ANOTHER`, or "".
    """

    name: str
    dice: float
    case: str = ""


def recognise(
    label: UInt8[np.ndarray, "*S"],
    prediction: UInt8[np.ndarray, "*S"],
    *,
    num_classes: int,
    spacing: tuple[float, ...],
    others: Mapping[str, float] | None = None,
) -> Kind:
    """Names what is wrong with a label, if something is.

    Args:
      label: class ids, background where there is none, ``[*S]``.
      prediction: class ids, ``[*S]``.
      num_classes: L.
      spacing: of the voxels, in mm.
      others: the Dice that the label has with the predictions of other cases, by their names.
    """
    as_is = dice(label, prediction, num_classes)
    size = {number: np.count_nonzero(label == number) for number in range(num_classes)}
    wanted = {number: np.count_nonzero(prediction == number) for number in range(num_classes)}
    if not label.any() and prediction.any():
        return Kind(EMPTY, 1.0)
    # Whose class is missing fits better when it is there, whatever else is wrong.
    if any(size[c] < _ABSENT * wanted[c] for c in range(1, num_classes)):
        absent = [c for c in range(1, num_classes) if size[c] < _ABSENT * wanted[c]]
        filled = np.where((label == 0) & np.isin(prediction, absent), prediction, label)
        return Kind(MISSING, dice(filled, prediction, num_classes))
    ways = [
        (name, dice(mended, prediction, num_classes), "")
        for name, mended in _mended(label, prediction, num_classes, spacing)
    ]
    ways += [(ANOTHER, value, name) for name, value in (others or {}).items()]

    def worth(way: tuple[str, float, str]) -> float:
        return way[1] - _HANDICAP.get(way[0], 0.0) - _FREEDOM.get(way[0], 0.0) * (1 - as_is)

    best = max(ways, key=worth)
    if worth(best) >= as_is + _LEAST:
        return Kind(*best)
    # On a small object the Dice hardly tells a border from another; the volume does.
    ratio = np.log(np.count_nonzero(label) / max(np.count_nonzero(prediction), 1))
    if abs(ratio) < _VOLUME:
        return Kind(UNCLEAR, as_is)
    return Kind(WIDE if ratio > 0 else NARROW, as_is)


def dice(
    label: UInt8[np.ndarray, "*S"], prediction: UInt8[np.ndarray, "*S"], num_classes: int
) -> float:
    """Returns the mean Dice of the classes but the background; of one in neither it is 1.

    >>> dice(np.array([0, 1, 1, 2], np.uint8), np.array([0, 1, 2, 2], np.uint8), 3)
    0.6666666666666666
    """
    both = np.bincount(
        label.ravel().astype(np.intp) * num_classes + prediction.ravel(), minlength=num_classes**2
    ).reshape(num_classes, num_classes)
    hits, sizes = both.diagonal()[1:], (both.sum(axis=0) + both.sum(axis=1))[1:]
    return float(np.mean(np.where(sizes > 0, 2 * hits / np.maximum(sizes, 1), 1.0)))


def _mended(
    label: UInt8[np.ndarray, "*S"],
    prediction: UInt8[np.ndarray, "*S"],
    num_classes: int,
    spacing: tuple[float, ...],
) -> Iterator[tuple[str, UInt8[np.ndarray, "*S"]]]:
    """Yields the label mended in each way, with the kind of mistake that this undoes."""
    for axis in range(label.ndim):
        yield MIRRORED, np.flip(label, axis)
    numbers = range(1, num_classes) if num_classes > 2 else range(2)
    for one, other in itertools.combinations(numbers, 2):
        table = np.arange(num_classes, dtype=np.uint8)
        table[[one, other]] = other, one
        yield EXCHANGED, table[label]
    yield SHIFTED, moved(label, best_step(label, prediction, num_classes))
    grows = np.count_nonzero(label) < np.count_nonzero(prediction)
    volume = int(np.count_nonzero(prediction))
    yield NARROW if grows else WIDE, resized(label, volume, spacing)
    parts = {MISSING: label.copy(), EXTRA: label.copy()}
    for number in range(1, num_classes):
        predicted = prediction == number
        least = _PART * np.count_nonzero(predicted)
        parts[MISSING][_parts(predicted & (label == arrays.BACKGROUND), least)] = number
        surplus = (label == number) & (prediction == arrays.BACKGROUND)
        parts[EXTRA][_parts(surplus, least)] = arrays.BACKGROUND
    yield from parts.items()


def best_step(
    label: UInt8[np.ndarray, "*S"], prediction: UInt8[np.ndarray, "*S"], num_classes: int
) -> list[int]:
    """Returns the step in voxels along each axis after which most voxels of a label are right."""
    shape = [fft.next_fast_len(2 * size - 1, real=True) for size in label.shape]
    total = 0.0
    for number in range(1, num_classes):
        own = fft.rfftn((label == number).astype(np.float32), shape)
        total = total + fft.rfftn((prediction == number).astype(np.float32), shape) * np.conj(own)
    overlap = fft.irfftn(total, shape)
    best = np.unravel_index(int(overlap.argmax()), overlap.shape)
    return [
        int(step if step < size else step - whole)
        for step, size, whole in zip(best, label.shape, shape, strict=True)
    ]


def moved(label: UInt8[np.ndarray, "*S"], steps: Sequence[int]) -> UInt8[np.ndarray, "*S"]:
    """Returns a label moved by whole voxels; what comes in is background.

    >>> moved(np.array([1, 2, 0], np.uint8), [1])
    array([0, 1, 2], dtype=uint8)
    """
    out = np.full_like(label, arrays.BACKGROUND)
    if any(abs(step) >= size for step, size in zip(steps, label.shape, strict=True)):
        return out
    to = tuple(
        slice(max(step, 0), size + min(step, 0))
        for step, size in zip(steps, label.shape, strict=True)
    )
    of = tuple(
        slice(max(-step, 0), size - max(step, 0))
        for step, size in zip(steps, label.shape, strict=True)
    )
    out[to] = label[of]
    return out


def resized(
    label: UInt8[np.ndarray, "*S"], volume: int, spacing: tuple[float, ...]
) -> UInt8[np.ndarray, "*S"]:
    """Returns a label with its outline moved until the foreground has a volume in voxels.

    What is new is of the class of the nearest voxel. A label without foreground stays as it is.
    """
    mask = label != arrays.BACKGROUND
    if not mask.any() or mask.all() or not 0 < volume < mask.size:
        return label
    away, nearest = ndimage.distance_transform_edt(~mask, sampling=spacing, return_indices=True)
    depth = away - ndimage.distance_transform_edt(mask, sampling=spacing)
    level = np.partition(depth, volume - 1, axis=None)[volume - 1]
    return np.where(depth <= level, label[tuple(nearest)], np.uint8(arrays.BACKGROUND))


def _parts(mask: Bool[np.ndarray, "*S"], least: float) -> Bool[np.ndarray, "*S"]:
    """Returns the components of a mask that are thick, and no less than so many voxels."""
    numbers, count = ndimage.label(mask)
    # Padded, for the edge of the image ends a part as well.
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[(slice(1, -1),) * mask.ndim]
    index = np.arange(count + 1)
    thick = np.asarray(ndimage.maximum(depth, numbers, index)) >= _THICK
    kept = thick & (np.bincount(numbers.ravel(), minlength=count + 1) >= least)
    kept[0] = False
    return kept[numbers]
