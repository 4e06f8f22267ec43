"""Slices of a case as pictures: the image in grey or colours, with contours of labels on it."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import contourpy
import numpy as np
from jaxtyping import Bool, Integer, Shaped, UInt8
from PIL import Image

from noisyjax.core import checks, ignored

# Of a picture, in pixels; contours are drawn on a grid twice as fine.
_LONGEST = 256
_GRID = 512
_QUALITY = 85
# The grey values between which a picture goes from black to white.
_WINDOW = (0.5, 99.5)
# Around the masks, of the longest side of what they cover, and at least, in mm.
_MARGIN, _LEAST_MARGIN = 0.25, 5.0
# Voxels that are so much longer along one axis were imaged in slices across it.
_ANISOTROPIC = 2.0
_PLANES = ("sagittal", "coronal", "axial")


class View(NamedTuple):
    """A slice with contours, as texts and numbers that JSON holds.

    Attributes:
      title: which slice it is.
      picture: a JPEG, in base64.
      width: of the grid that `outlines` and `region` are drawn on; likewise height.
      outlines: name of a label to the contours of its classes, the ``d`` of an SVG path.
      region: likewise that of the voxels in question, "" for none.
    """

    title: str
    picture: str
    width: int
    height: int
    outlines: dict[str, str]
    region: str


def through(shape: Sequence[int], spacing: Sequence[float]) -> int | None:
    """Returns the axis that slices lie along: the last, or that of long voxels; None of images.

    >>> through((9, 9, 9), (1.0, 3.0, 1.0)), through((9, 9), (1.0, 1.0))
    (1, None)
    """
    if len(shape) == 2:
        return None
    longest = int(np.argmax(spacing))
    return longest if spacing[longest] >= _ANISOTROPIC * min(spacing) else len(shape) - 1


def in_question(
    labels: Sequence[Integer[np.ndarray, "*S"]], region: Bool[np.ndarray, "*S"] | None = None
) -> tuple[Bool[np.ndarray, "*S"], str]:
    """Returns the voxels by which slices are chosen, and what they are.

    They are the region; if there is none those that labels differ on, and if they do nowhere their
    foreground. Voxels without a label (`ignored.IGNORE`) differ from nothing.
    """
    checks.masks(region=region)
    if region is not None and region.any():
        return region, "in question"
    given = np.stack(labels)
    known = given != ignored.IGNORE
    largest = np.where(known, given, 0).max(axis=0)
    differ = largest != np.where(known, given, largest).min(axis=0)
    return (differ, "in dispute") if differ.any() else (largest > 0, "labelled")


def choose(
    voxels: Bool[np.ndarray, "*S"], spacing: Sequence[float], *, count: int = 3
) -> list[int]:
    """Returns which slices matter: those with most of some voxels, in order.

    Each next one is the fullest that is not too near to those before it: where all slices with such
    voxels are divided by `count` and one, at least that far. Of an image it is [0].

    >>> choose(np.ones((2, 2, 9), bool), (1.0, 1.0, 1.0), count=2)
    [4, 7]
    """
    checks.masks(voxels=voxels)
    axis = through(voxels.shape, spacing)
    if axis is None:
        return [0]
    others = tuple(i for i in range(voxels.ndim) if i != axis)
    left = voxels.sum(axis=others)
    if not left.any():
        return [len(left) // 2]
    gap = math.ceil(np.count_nonzero(left) / (count + 1))
    chosen: list[int] = []
    while left.any() and len(chosen) < count:
        fullest = np.flatnonzero(left == left.max())
        index = int(fullest[len(fullest) // 2])
        chosen.append(index)
        left[max(0, index - gap + 1) : index + gap] = 0
    return sorted(chosen)


def plane(
    array: Shaped[np.ndarray, "..."], index: int, axis: int | None
) -> Shaped[np.ndarray, "..."]:
    """Returns a slice as it is shown: of a volume from front or top down, right on the left.

    Axes behind those of space, as of colours, stay.
    """
    if axis is None:
        return array
    return np.swapaxes(np.take(array, index, axis=axis), 0, 1)[::-1, ::-1]


def views(
    image: Shaped[np.ndarray, "..."],
    labels: Mapping[str, Integer[np.ndarray, "*S"]],
    spacing: Sequence[float],
    *,
    region: Bool[np.ndarray, "*S"] | None = None,
    count: int = 3,
) -> list[View]:
    """Returns the slices of a case that matter, all of one part of the image and one window.

    Args:
      image: ``[*S]``, or in colours ``[*S, 3]``.
      labels: name to class ids, of at least one label.
      spacing: of the voxels in mm.
      region: the voxels in question, which decide on the slices and are filled.
      count: of slices, at most.
    """
    ids = list(labels.values())
    asked, what = in_question(ids, region)
    axis = through(ids[0].shape, spacing)
    chosen = choose(asked, spacing, count=count)
    covered = asked | np.any([(one > 0) & (one != ignored.IGNORE) for one in ids], axis=0)
    flat = covered if axis is None else plane(covered.any(axis, keepdims=True), 0, axis)
    # Down and across.
    sizes = list(spacing) if axis is None else [s for i, s in enumerate(spacing) if i != axis][::-1]
    part = _part(flat, sizes)
    shown = np.stack([plane(image, index, axis)[part] for index in chosen])
    grey = _windowed(shown if image.ndim == len(spacing) or image.shape[-1] == 3 else shown[..., 0])
    extent = [count * size for count, size in zip(grey.shape[1:3], sizes, strict=True)]
    height, width = (max(1, round(_GRID * length / max(extent))) for length in extent)
    made = []
    for index, pixels in zip(chosen, grey, strict=True):
        outlines = {
            name: outline(plane(one, index, axis)[part], (width, height))
            for name, one in labels.items()
        }
        title = "" if axis is None else _title(asked, index, axis, what)
        asked_for = (
            ""
            if region is None
            else outline(plane(region, index, axis)[part].astype(np.uint8), (width, height))
        )
        picture = _jpeg(pixels, (width, height))
        made.append(View(title, picture, width, height, outlines, asked_for))
    return made


def _title(asked: Bool[np.ndarray, "X Y Z"], index: int, axis: int, what: str) -> str:
    count = np.count_nonzero(np.take(asked, index, axis=axis))
    return f"{_PLANES[axis]} slice {index + 1} of {asked.shape[axis]}, {count} voxels {what}"


def _part(covered: Bool[np.ndarray, "Y X"], sizes: Sequence[float]) -> tuple[slice, slice]:
    """Returns the part of a slice that holds what is covered, with a margin."""
    if not covered.any():
        return slice(None), slice(None)
    ends = [np.flatnonzero(covered.any(axis=1 - axis))[[0, -1]] for axis in (0, 1)]
    longest = max(
        (last - first + 1) * size for (first, last), size in zip(ends, sizes, strict=True)
    )
    margin = max(_LEAST_MARGIN, _MARGIN * longest)
    parts = []
    for (first, last), size in zip(ends, sizes, strict=True):
        more = math.ceil(margin / size)
        parts.append(slice(max(0, int(first) - more), int(last) + 1 + more))
    return parts[0], parts[1]


def _windowed(image: Shaped[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """Returns grey values from 0 to 255."""
    values = np.nan_to_num(image.astype(np.float32))
    low, high = np.percentile(values, _WINDOW)
    return (np.clip((values - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)


def _jpeg(pixels: UInt8[np.ndarray, "Y X *C"], size: tuple[int, int]) -> str:
    """Returns a JPEG whose pixels are square and at most so many, in base64."""
    width, height = size
    picture = Image.fromarray(pixels)
    scale = _LONGEST / max(size)
    target = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = picture.resize(target, Image.Resampling.BICUBIC)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")


def outline(ids: Integer[np.ndarray, "Y X"], size: tuple[int, int]) -> str:
    """Returns the contours of all classes as the ``d`` of an SVG path on a grid of whole numbers.

    They run halfway between voxels; those without a label belong to no class.

    Args:
      size: width and height of the grid that the slice fills.

    >>> outline(np.ones((1, 1), np.uint8), (4, 4))
    'M0 2l2-2 2 2-2 2z'
    """
    scale = np.divide(size, ids.shape[::-1])
    parts = []
    for label in np.unique(ids[(ids > 0) & (ids != ignored.IGNORE)]):
        # With a rim, so that contours close at the border.
        mask = np.pad(ids == label, 1).astype(np.float32)
        for line in contourpy.contour_generator(z=mask).lines(0.5):
            parts.append(_path(np.rint((line - 0.5) * scale).astype(int)))
    return "".join(parts)


def _path(points: Integer[np.ndarray, "n 2"]) -> str:
    """Returns a closed line of points by its corners, relative to each other."""
    steps = np.diff(points, axis=0)
    steps = steps[steps.any(axis=1)]
    if not len(steps):
        return ""
    # What goes on in the same direction is one step.
    turns = steps[1:, 0] * steps[:-1, 1] != steps[1:, 1] * steps[:-1, 0]
    back = (steps[1:] * steps[:-1]).sum(axis=1) < 0
    starts = np.flatnonzero(np.concatenate([[True], turns | back]))
    steps = np.add.reduceat(steps, starts)[:-1]
    numbers = " ".join(f"{x} {y}" for x, y in steps.tolist()).replace(" -", "-")
    return f"M{points[0, 0]} {points[0, 1]}l{numbers}z"
