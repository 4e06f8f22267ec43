"""From a volume as it was read to what a network is trained on, and back.

Pure functions of arrays; `prepare` joins them and keeps what `restore` needs to bring a
segmentation back to the voxels of the file.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Integer, Num, Shaped
from scipy import ndimage

from noisyjax.core import checks, ignored
from noisyjax.data import patches

Box = tuple[tuple[int, int], ...]

NORMALISATIONS = ("z_score", "bone", "ct_window", "none")

# The largest channel or label map that is made.
MAX_BYTES = 2**33
# Of a volume that is large then, so many times its voxels: a header in another unit makes more, and
# it would take an hour.
_MOST_TIMES = 1000
_LARGE = 2**26
_PART = 2**20

# Counts up when what `prepare` returns changes, so that no older cache is read.
VERSION = 3


def resampled_shape(
    shape: Sequence[int], *, spacing: Sequence[float | int], to: Sequence[float | int]
) -> tuple[int, ...]:
    """Returns the size of a volume in voxels of another spacing, at least one along each axis.

    >>> resampled_shape((10, 7), spacing=(1.0, 1.0), to=(2.0, 0.5))
    (5, 14)
    """
    return tuple(max(1, round(n * s / t)) for n, s, t in zip(shape, spacing, to, strict=True))


def resample(
    array: Shaped[np.ndarray, "*S"],
    *,
    spacing: Sequence[float | int],
    to: Sequence[float | int],
    linear: bool,
    shape: Sequence[int] = (),
) -> Shaped[np.ndarray, "*T"]:
    """Samples a volume at voxels of another spacing; the outer corner of the first voxel stays.

    Args:
      spacing: of the volume, in mm; `to` is the new one.
      linear: whether to interpolate between voxels (images, as float32 if they were integers) or to
        take the nearest (labels, which thus keep their values).
      shape: of the result ``[*T]``; by default that of `resampled_shape`.

    Raises:
      ValueError: if a spacing does not fit, or the result is absurdly large.

    >>> resample(np.array([0.0, 2.0]), spacing=(1.0,), to=(0.5,), linear=True)
    array([0. , 0.5, 1.5, 2. ])
    """
    checks.not_empty("array", array)
    for name, sizes in (("spacing", spacing), ("to", to)):
        if len(sizes) != array.ndim:
            raise ValueError(f"{name}: expected one for each of {array.ndim} axes, got {sizes}")
        for size in sizes:
            checks.positive(name, size)
    if linear and array.dtype.kind != "f":
        array = array.astype(np.float32)
    most = MAX_BYTES // array.itemsize
    if not shape:
        shape = resampled_shape(array.shape, spacing=spacing, to=to)
        most = min(most, max(_LARGE, _MOST_TIMES * array.size))
    shape = tuple(shape)
    if math.prod(shape) > most:
        raise ValueError(
            f"spacing: expected at most {most} voxels after resampling, got {shape} voxels "
            f"from {array.shape} of {tuple(spacing)} mm to {tuple(to)} mm"
        )
    if tuple(spacing) == tuple(to) and shape == array.shape:
        return array
    factors = np.asarray(to, float) / np.asarray(spacing, float)
    # Voxel i of the new grid has its middle at (i + 1/2) `to` from the corner.
    if not linear:
        nearest = [
            np.clip(np.floor((np.arange(n) + 0.5) * f).astype(int), 0, size - 1)
            for n, f, size in zip(shape, factors, array.shape, strict=True)
        ]
        return array[np.ix_(*nearest)]
    offset = 0.5 * factors - 0.5
    return ndimage.affine_transform(
        array, factors, offset, output_shape=shape, order=1, mode="nearest", prefilter=False
    )


def _scaled(values: Float[np.ndarray, "*S"], inside: np.ndarray) -> Float[np.ndarray, "*S"]:
    """Scales values in place."""
    mean = float(inside.mean(dtype=np.float64))
    deviation = _deviation(inside, mean)
    values -= mean
    values /= max(deviation, 1e-6)
    return values


def _deviation(values: Float[np.ndarray, "..."], mean: float) -> float:
    if values.size <= _LARGE:
        return float(values.std(dtype=np.float64))
    # Float64 of a whole large volume would take twice its memory.
    parts = (values.reshape(-1)[i : i + _PART] for i in range(0, values.size, _PART))
    squares = sum(float(np.square(part - np.float64(mean)).sum()) for part in parts)
    return math.sqrt(squares / values.size)


def z_score(image: Num[np.ndarray, "*S"]) -> Float[np.ndarray, "*S"]:
    """Returns an image with mean 0 and standard deviation 1, float32; zeros if it is constant.

    >>> z_score(np.array([1, 3], np.uint8))
    array([-1.,  1.], dtype=float32)
    """
    values = image.astype(np.float32)
    return _scaled(values, values)


def bone(image: Num[np.ndarray, "*S"], *, cut: float | int) -> Float[np.ndarray, "*S"]:
    """Returns a CT ``[*S]`` scaled by the mean and the standard deviation of its bone, float32.

    ``V' = (V - mu) / sigma`` with both over the voxels above the cut, as Yu et al. 2020 do for the
    mandible (Robustness study of noisy annotation, Section 2.1) to make bone stand out. Above the
    cut is bone: 900 where air is 0, as in the paper; -124 in Hounsfield units.

    Raises:
      ValueError: if no voxel is above the cut, which tells of another unit.

    >>> bone(np.array([0, 1000, 1200]), cut=900)
    array([-11.,  -1.,   1.], dtype=float32)
    """
    values = image.astype(np.float32)
    inside = values[values > cut]
    if not inside.size:
        raise ValueError(
            f"cut: expected voxels above {cut}, the brightest is {values.max():g}: in Hounsfield "
            "units the cut of 900 is -124"
        )
    return _scaled(values, inside)


def ct_window(
    image: Num[np.ndarray, "*S"], *, window: Sequence[float | int]
) -> Float[np.ndarray, "*S"]:
    """Returns the intensities ``[*S]`` of a window as 0 to 1, others clipped, float32.

    A window that does not rise raises ValueError.

    >>> ct_window(np.array([-300, 100, 500]), window=(-200, 400))
    array([0. , 0.5, 1. ], dtype=float32)
    """
    if len(window) != 2 or not window[0] < window[1]:
        raise ValueError(f"window: expected (low, high) with low < high, got {tuple(window)}")
    low, high = window
    return np.clip((image.astype(np.float32) - low) / (high - low), 0.0, 1.0).astype(np.float32)


def normalise(
    image: Num[np.ndarray, "*S"],
    name: str,
    *,
    cut: float | int = 900.0,
    window: Sequence[float | int] = (-200.0, 400.0),
) -> Float[np.ndarray, "*S"]:
    """Normalises one channel ``[*S]`` by one of `NORMALISATIONS`, to float32.

    `cut` is of `bone` and `window` of `ct_window`; errors likewise.
    """
    checks.one_of("normalise", name, NORMALISATIONS)
    if name == "z_score":
        return z_score(image)
    if name == "bone":
        return bone(image, cut=cut)
    if name == "ct_window":
        return ct_window(image, window=window)
    return image.astype(np.float32)


def bounding_box(mask: Bool[np.ndarray, "*S"], *, margin: int = 0) -> Box:
    """Returns first index and end along each axis of the smallest box around a mask ``[*S]``.

    The margin, in voxels, widens it where the volume allows it; an empty mask has the whole volume.

    >>> bounding_box(np.array([0, 0, 1, 1, 0, 0, 0]) > 0, margin=1)
    ((1, 5),)
    """
    checks.masks(mask=mask)
    checks.positive("margin", margin, or_zero=True)
    if not mask.any():
        return tuple((0, n) for n in mask.shape)
    box = []
    for axis, size in enumerate(mask.shape):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        marked = np.flatnonzero(mask.any(axis=others))
        box.append((max(0, int(marked[0]) - margin), min(size, int(marked[-1]) + 1 + margin)))
    return tuple(box)


def crop(array: Shaped[np.ndarray, "..."], box: Box) -> Shaped[np.ndarray, "..."]:
    """Returns the part of an array ``[*S, ...]`` inside a box over its first axes."""
    return array[tuple(slice(*ends) for ends in box)]


def _part(
    array: np.ndarray, starts: Sequence[int], size: Sequence[int], fill: float | int
) -> np.ndarray:
    centre = [start + n // 2 for start, n in zip(starts, size, strict=True)]
    return patches.around(array, centre, size, fill=fill)


def _starts(shape: Sequence[int], size: Sequence[int]) -> list[int]:
    return [(n - wanted) // 2 for n, wanted in zip(shape, size, strict=True)]


def fit(
    array: Shaped[np.ndarray, "..."], size: Sequence[int], *, fill: float | int = 0
) -> Shaped[np.ndarray, "..."]:
    """Cuts an array ``[*S, ...]`` to a size around its middle, or fills it up, to ``[*size, ...]``.

    >>> fit(np.array([1, 2, 3]), (5,)), fit(np.array([1, 2, 3, 4]), (2,))
    (array([0, 1, 2, 3, 0]), array([2, 3]))
    """
    return _part(array, _starts(array.shape, size), size, fill)


def unfit(
    array: Shaped[np.ndarray, "..."], shape: Sequence[int], *, fill: float | int = 0
) -> Shaped[np.ndarray, "..."]:
    """Reverses `fit`: what was added goes, what was cut away comes back as the fill.

    The result is ``[*shape, ...]``, with the shape before `fit`.

    >>> unfit(np.array([0, 1, 2, 3, 0]), (3,))
    array([1, 2, 3])
    """
    starts = [-start for start in _starts(shape, array.shape)]
    return _part(array, starts, shape, fill)


@dataclasses.dataclass(frozen=True)
class Grid:
    """How a prepared case lies in its file.

    Attributes:
      shape: of the file's volume in RAS axes.
      spacing: its voxels, in mm.
      to: voxels of the prepared case.
      box: the part of the resampled volume that was kept.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    to: tuple[float, ...]
    box: Box

    def to_array(self) -> Float[np.ndarray, "n 5"]:
        """Returns shape, spacing, new spacing, start and end of the box along each axis."""
        return np.column_stack([self.shape, self.spacing, self.to, self.box]).astype(np.float64)

    @classmethod
    def from_array(cls, array: Float[np.ndarray, "n 5"]) -> "Grid":
        """Reverses `to_array`."""
        shape, spacing, to, starts, ends = np.asarray(array).T.tolist()
        box = tuple((int(start), int(end)) for start, end in zip(starts, ends, strict=True))
        return cls(tuple(int(n) for n in shape), tuple(spacing), tuple(to), box)

    @property
    def prepared(self) -> tuple[int, ...]:
        """The shape of the prepared case."""
        return tuple(end - start for start, end in self.box)

    @property
    def is_files(self) -> bool:
        """Whether the voxels of the prepared case are those of its file."""
        return self.to == self.spacing and self.prepared == self.shape


def prepare(
    image: Num[np.ndarray, "*S K"],
    labels: Num[np.ndarray, "M *S"],
    *,
    spacing: Sequence[float | int],
    to: Sequence[float | int],
    normalisation: str = "z_score",
    cut: float | int = 900.0,
    window: Sequence[float | int] = (-200.0, 400.0),
    box: str = "",
    margin: int = 0,
) -> tuple[Float[np.ndarray, "*T K"], Num[np.ndarray, "M *T"], Grid]:
    """Normalises each channel, resamples image and label maps, and cuts out a box.

    Args:
      image: ``[*S, K]``.
      labels: M label maps, ``[M, *S]``.
      spacing: voxels of both, in mm.
      to: voxels of the result.
      normalisation: one of `NORMALISATIONS`, over the whole image.
      cut: of `bone`.
      window: of `ct_window`.
      box: "" for everything; "bright", what is not the darkest value of the image (the patient in
        images whose background is one value); "labels", what any of the label maps marks. The last
        looks at the labels, also those of test images.
      margin: voxels around the box.

    Returns:
      The image, float32, the label maps, and the grid.

    Raises:
      ValueError: for an unknown name, or as `normalise` and `resample`.
    """
    checks.one_of("box", box, ("", "bright", "labels"))
    checks.not_empty("image", image)
    spacing, to = tuple(map(float, spacing)), tuple(map(float, to))
    options = {"spacing": spacing, "to": to}
    channels = [
        resample(normalise(channel, normalisation, cut=cut, window=window), linear=True, **options)
        for channel in np.moveaxis(image, -1, 0)
    ]
    # Nothing is copied that need not be: a large volume is.
    result = channels[0][..., np.newaxis] if len(channels) == 1 else np.stack(channels, axis=-1)
    shape = result.shape[:-1]
    kept = labels
    if spacing != to:
        maps = [resample(label, linear=False, **options) for label in labels]
        kept = np.stack(maps) if maps else np.zeros((0, *shape), labels.dtype)
    ends = tuple((0, n) for n in shape)
    if box == "labels":
        ends = bounding_box(((kept > 0) & ignored.known(kept)).any(axis=0), margin=margin)
    elif box:
        least = result.min(axis=tuple(range(len(shape))), keepdims=True)
        ends = bounding_box((result > least).any(axis=-1), margin=margin)
    grid = Grid(image.shape[:-1], spacing, to, ends)
    return crop(result, ends), crop(kept, ((0, len(kept)), *ends)), grid


def lost(labels: Integer[np.ndarray, "*S"], grid: Grid) -> dict[int, tuple[int, int]]:
    """Returns what of a label map ``[*S]`` has no voxel left in the prepared case.

    A mapping of classes to how many of their components are lost, and how many there are; voxels
    of a component touch by a corner at least. Empty if nothing is lost. 255 is no class.

    >>> fine = Grid(shape=(6,), spacing=(1.0,), to=(3.0,), box=((0, 2),))
    >>> lost(np.array([0, 1, 0, 2, 0, 2]), fine)
    {2: (2, 2)}
    """
    options = {"spacing": grid.spacing, "to": grid.to}
    is_finer = all(new <= old for new, old in zip(grid.to, grid.spacing, strict=True))
    if is_finer and grid.prepared == resampled_shape(labels.shape, **options):
        return {}
    touching = np.ones((3,) * labels.ndim, bool)
    found = {}
    for label in np.unique(labels[(labels != 0) & ignored.known(labels)]).tolist():
        components, count = ndimage.label(labels == label, touching)
        kept = crop(resample(components, linear=False, **options), grid.box)
        if left := count - int(np.count_nonzero(np.unique(kept))):
            found[label] = (left, count)
    return found


def restore(
    labels: Num[np.ndarray, "*T"], grid: Grid, *, linear: bool = False
) -> Num[np.ndarray, "*S"]:
    """Brings a label map ``[*T]`` of a prepared case, before `fit`, back to its file's voxels.

    The result is ``[*S]`` in RAS axes, 0 outside of the box; `linear` interpolates, for
    probabilities, where else the nearest voxel is taken.

    Raises:
      ValueError: if the shape is not that of the prepared case.
    """
    checks.shape("labels", labels, grid.prepared, like="the prepared case")
    shape = resampled_shape(grid.shape, spacing=grid.spacing, to=grid.to)
    whole = np.zeros(shape, labels.dtype)
    whole[tuple(slice(*ends) for ends in grid.box)] = labels
    return resample(whole, spacing=grid.to, to=grid.spacing, linear=linear, shape=grid.shape)
