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
from noisyjax.data.volumes import normalisations, splines

Box = tuple[tuple[int, int], ...]

# The largest channel or label map that is made.
MAX_BYTES = 2**33
# Of a volume that is large then, so many times its voxels: a header in another unit makes more, and
# it would take an hour.
_MOST_TIMES = 1000
_LARGE = 2**26

INTERPOLATIONS = ("linear", "cubic")
BOXES = ("", "bright", "labels", "nonzero")

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
    if linear and array.dtype.kind != "f":
        array = array.astype(np.float32)
    shape = _new_shape(array, spacing, to, shape)
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


def _new_shape(
    array: Shaped[np.ndarray, "*S"],
    spacing: Sequence[float | int],
    to: Sequence[float | int],
    shape: Sequence[int],
) -> tuple[int, ...]:
    """Returns the shape that `resample` is given, or that of `resampled_shape`, if it may be."""
    checks.not_empty("array", array)
    for name, sizes in (("spacing", spacing), ("to", to)):
        if len(sizes) != array.ndim:
            raise ValueError(f"{name}: expected one for each of {array.ndim} axes, got {sizes}")
        for size in sizes:
            checks.positive(name, size)
    most = MAX_BYTES // array.itemsize
    if not shape:
        shape = resampled_shape(array.shape, spacing=spacing, to=to)
        most = min(most, max(_LARGE, _MOST_TIMES * array.size))
    if math.prod(shape) > most:
        raise ValueError(
            f"spacing: expected at most {most} voxels after resampling, got {tuple(shape)} voxels "
            f"from {array.shape} of {tuple(spacing)} mm to {tuple(to)} mm"
        )
    return tuple(shape)


def spline(
    image: Float[np.ndarray, "*S"],
    *,
    spacing: Sequence[float | int],
    to: Sequence[float | int],
) -> Float[np.ndarray, "*T"]:
    """Samples an image at voxels of another spacing by cubic splines, within its own values.

    Along an axis of a volume that is more than 3 times coarser than another, of the old or the new
    voxels, the nearest is taken, and the splines run within the slices (nnU-Net's rule). Grids,
    checks and errors are those of `resample`.
    """
    shape = _new_shape(image, spacing, to, ())
    if tuple(spacing) == tuple(to):
        return image
    factors = np.asarray(to, float) / np.asarray(spacing, float)
    axis = splines.slice_axis(spacing, to)
    if axis is None:
        return splines.sample(image, shape, factors)
    plane = tuple(np.delete(shape, axis).tolist())
    slices = [
        splines.sample(one, plane, np.delete(factors, axis)) for one in np.moveaxis(image, axis, 0)
    ]
    own = tuple(spacing[a] if a == axis else to[a] for a in range(len(to)))
    return resample(np.stack(slices, axis), spacing=own, to=to, linear=False, shape=shape)


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
    normalisation: str | Sequence[str] = "z_score",
    cut: float | int = 900.0,
    window: Sequence[float | int] = (-200.0, 400.0),
    intensities: Sequence[Sequence[float | int]] = (),
    interpolation: str = "linear",
    box: str = "",
    margin: int = 0,
) -> tuple[Float[np.ndarray, "*T K"], Num[np.ndarray, "M *T"], Grid]:
    """Normalises each channel, resamples image and label maps, and cuts out a box.

    Args:
      image: ``[*S, K]``.
      labels: M label maps, ``[M, *S]``, of which the nearest voxel is taken.
      spacing: voxels of both, in mm.
      to: voxels of the result.
      normalisation: one of `normalisations.NORMALISATIONS` for all channels, or one for each.
      cut: of "bone".
      window: of "ct_window".
      intensities: of "ct", for each channel.
      interpolation: of the image, "linear" or "cubic", see `spline`.
      box: "" for everything; "bright", what is not the darkest value of the image (the patient in
        images whose background is one value); "nonzero", what is not zero in the file, where then
        means and deviations are taken, as nnU-Net does; "labels", what any of the label maps
        marks. The last looks at the labels, also those of test images.
      margin: voxels around the box.

    Returns:
      The image, float32, the label maps, and the grid.

    Raises:
      ValueError: for an unknown name, or as `normalisations.normalise` and `resample`.
    """
    checks.one_of("box", box, BOXES)
    checks.one_of("interpolation", interpolation, INTERPOLATIONS)
    checks.not_empty("image", image)
    names = _of_channels("normalise", normalisation, image.shape[-1])
    each = intensities or ((0.0, 1.0, 0.0, 1.0),) * len(names)
    if len(each) != len(names):
        raise ValueError(f"intensities: expected {len(names)} for the channels, got {len(each)}")
    spacing, to = tuple(map(float, spacing)), tuple(map(float, to))
    options = {"spacing": spacing, "to": to}
    known = _nonzero(image) if box == "nonzero" or "z_score_nonzero" in names else None
    inner = bounding_box(known) if box == "nonzero" else ()
    channels = []
    for channel, name, own in zip(np.moveaxis(image, -1, 0), names, each, strict=True):
        scaled = normalisations.normalise(
            channel, name, cut=cut, window=window, intensities=own, known=known, box=inner
        )
        linear = interpolation == "linear"
        channels.append(
            resample(scaled, linear=True, **options) if linear else spline(scaled, **options)
        )
    # Nothing is copied that need not be: a large volume is.
    result = channels[0][..., np.newaxis] if len(channels) == 1 else np.stack(channels, axis=-1)
    kept = labels
    if spacing != to:
        maps = [resample(label, linear=False, **options) for label in labels]
        kept = np.stack(maps) if maps else np.zeros((0, *result.shape[:-1]), labels.dtype)
    if box == "nonzero":
        factors = np.divide(spacing, to)
        ends = _resampled_box(inner, result.shape[:-1], factors=factors, margin=margin)
    else:
        ends = bounding_box(_inside(result, kept, box), margin=margin)
    grid = Grid(image.shape[:-1], spacing, to, ends)
    return crop(result, ends), crop(kept, ((0, len(kept)), *ends)), grid


def _inside(
    image: Float[np.ndarray, "*S K"], labels: Num[np.ndarray, "M *S"], box: str
) -> Bool[np.ndarray, "*S"]:
    """Returns the voxels that a box is put around; none for one around everything."""
    if box == "labels":
        return ((labels > 0) & ignored.known(labels)).any(axis=0)
    if box == "bright":
        least = image.min(axis=tuple(range(image.ndim - 1)), keepdims=True)
        return (image > least).any(axis=-1)
    return np.zeros(image.shape[:-1], bool)


def _of_channels(name: str, value: str | Sequence[str], count: int) -> tuple[str, ...]:
    """Returns an option for each channel, from one for all or one for each."""
    each = (value,) * count if isinstance(value, str) else tuple(value)
    if len(each) != count:
        raise ValueError(f"{name}: expected one for all or each of {count} channels, got {each}")
    return each


def _nonzero(image: Num[np.ndarray, "*S K"]) -> Bool[np.ndarray, "*S"]:
    known = np.zeros(image.shape[:-1], bool)
    for channel in np.moveaxis(image, -1, 0):
        known |= channel != 0
    return known


def _resampled_box(
    box: Box, shape: Sequence[int], *, factors: Float[np.ndarray, "n"], margin: int
) -> Box:
    """Returns the box around the voxels of another spacing that a box touches."""
    ends = []
    for (start, end), factor, size in zip(box, factors, shape, strict=True):
        # Less than a voxel's rounding is no part of one more.
        first = min(math.floor(start * factor + 1e-6), size - 1)
        last = max(math.ceil(end * factor - 1e-6), first + 1)
        ends.append((max(0, first - margin), min(size, last + margin)))
    return tuple(ends)


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
