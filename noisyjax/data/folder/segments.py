"""Segmentations of Slicer (``.seg.nrrd``): segments with names, which may overlap, to class ids."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from noisyjax.data.volumes import read_write

ENDING = ".seg.nrrd"
# How far the voxels of a segmentation that was cut may be from those of its image.
_OFF = 0.25


def is_one(path: pathlib.Path) -> bool:
    """Whether a file is a segmentation of Slicer, by its name."""
    return path.name.endswith(ENDING)


def to_ids(
    volume: read_write.Volume, names: Sequence[str], ids: Sequence[int]
) -> tuple[read_write.Volume, list[tuple[str, str]]]:
    """Returns a segmentation as a label of class ids, and kind and text of what is wrong with it.

    The segments' names are those of classes, in small letters or capitals. A later segment lies
    above the ones before it, as in Slicer's own export.
    """
    by_name = {name.casefold(): number for name, number in zip(names, ids, strict=True)}
    layers = volume.array if volume.array.ndim > volume.num_axes else volume.array[..., np.newaxis]
    merged, faults = np.zeros(volume.shape, np.uint16), []
    unnamed, overlapping = layers != 0, 0
    for segment in volume.segments:
        mask = layers[..., segment.layer] == segment.value
        unnamed[..., segment.layer] &= ~mask
        number = by_name.get(segment.name.casefold())
        if number is None:
            # Slicer begins with an empty segment.
            if mask.any():
                faults.append(("unknown_segment", segment.name))
            continue
        overlapping += int((mask & (merged != 0) & (merged != number)).sum())
        merged[mask] = number
    if unnamed.any():
        faults.append(("unknown_segment", f"of the value {layers[unnamed][0]}, without a name,"))
    if overlapping:
        faults.append(("overlap", str(overlapping)))
    return dataclasses.replace(volume, array=merged, segments=None), faults


def placed(label: read_write.Volume, image: read_write.Volume) -> read_write.Volume:
    """Puts a segmentation that was cut to its segments where it lies in its image, if it does."""
    step = np.linalg.solve(image.affine, label.affine)
    start = np.round(step[:3, 3]).astype(int)
    end = start + label.shape
    inside = (start >= 0).all() and (end <= image.shape).all()
    if not inside or np.abs(step[:3, 3] - start).max() > _OFF:
        return label
    if not np.allclose(step[:3, :3], np.eye(3), atol=_OFF / max(image.shape)):
        return label
    whole = np.zeros(image.shape, label.array.dtype)
    whole[tuple(map(slice, start, end))] = label.array
    return dataclasses.replace(label, array=whole, affine=image.affine)
