"""Finds everything that is wrong with a folder of images and labels, in one go."""

import collections
import dataclasses
import hashlib
import itertools
import pathlib
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Shaped

from noisyjax.core import checks
from noisyjax.data.folder import label_ids, layouts, nnunet_layout, problem_kinds, segments
from noisyjax.data.volumes import read_write

# How far a corner may be from another file's, in voxels: within half a voxel the nearest one is the
# same.
TOLERANCE = 0.25
# How far, in radians, a matrix turns by its quaternion's rounding to float32. What that moves a
# corner by is allowed, but not half a voxel, by which tools differ that count from corners.
_TURN = 9e-4
_MOST_TURNED = 0.45
# How far class ids may be from whole numbers, by a slope in the header.
_ROUNDING = 1e-2
# Micrometres in place of millimetres differ by more.
_FAR = 4.0


@dataclasses.dataclass(frozen=True)
class Read:
    """A case that was read.

    Attributes:
      volumes: file to volume in RAS axes, without those that cannot be read; labels are numbers of
        classes, as in `label_ids`.
      problems: what is wrong with its files.
      classes: the numbers of those of its labels.
    """

    case: nnunet_layout.Case
    volumes: dict[pathlib.Path, read_write.Volume]
    problems: tuple[problem_kinds.Problem, ...]
    classes: frozenset[int]

    @property
    def num_channels(self) -> int:
        """Channels, those of colours counted; 0 if not all of them could be read."""
        images = [self.volumes.get(path) for path in self.case.images]
        if any(image is None for image in images):
            return 0
        return sum(
            image.array.shape[-1] if image.array.ndim > image.num_axes else 1 for image in images
        )


class _Notes:
    """What is wrong with one case, and the classes of its labels."""

    def __init__(self, case: nnunet_layout.Case, layout: nnunet_layout.Layout):
        self._case, self._root, self._layout = case, layout.root, layout
        self.problems: list[problem_kinds.Problem] = []
        self.classes: set[int] = set()

    def add(self, kind: str, path: pathlib.Path, **fields: Any) -> None:
        file = path.relative_to(self._root).as_posix()
        problem = problem_kinds.problem(kind, case=self._case.name, file=file, **fields)
        # What says the spacing may be of several files.
        if problem not in self.problems:
            self.problems.append(problem)

    def read(
        self, path: pathlib.Path, max_bytes: int, *, header: bool = False
    ) -> read_write.Volume | None:
        """Reads a file in RAS axes, or its header alone, or notes why it cannot be read."""
        read = read_write.peek if header else read_write.read
        sidecar = self._case.sidecar(path)
        try:
            volume = read_write.to_ras(read(path, max_bytes=max_bytes, sidecar=sidecar))
            # Of a label map the numbers are the classes, of an image they stand for colours.
            of_image = path in self._case.images and not header
            return read_write.in_colours(volume) if of_image else self._label(path, volume)
        except read_write.UnreadableError as error:
            file = sidecar if error.fault == "sidecar" else path
            self.add(error.fault, file, got=str(error).removeprefix(f"{file}: "))
        except ValueError as error:
            self.add("format", path, got=error)
        return None

    def _label(self, path: pathlib.Path, volume: read_write.Volume) -> read_write.Volume:
        """Returns a label map of class ids."""
        if self._layout.soft:
            return volume
        if volume.segments is None:
            return self._rounded(path, volume)
        layout = self._layout
        label, faults = segments.to_ids(volume, layout.class_names, layout.class_ids)
        for kind, got in faults:
            self.add(kind, path, got=got, want=", ".join(layout.class_names))
        return label

    def _rounded(self, path: pathlib.Path, volume: read_write.Volume) -> read_write.Volume:
        """Returns a label map of whole numbers, where all that differ do so by their rounding."""
        whole = rounded(volume.array)
        if whole is not volume.array:
            differ = volume.array[whole != volume.array]
            self.add("rounded", path, got=differ.flat[np.abs(differ - np.round(differ)).argmax()])
        return dataclasses.replace(volume, array=whole)


def rounded(array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    """Returns class ids as whole numbers if all are nearly that; else, and if they are, as given.

    >>> rounded(np.array([0, 0.999, 2.001])), rounded(np.array([0, 0.5]))
    (array([0., 1., 2.]), array([0. , 0.5]))
    """
    if array.dtype.kind != "f":
        return array
    whole = np.round(array)
    with np.errstate(invalid="ignore"):
        furthest = np.abs(array - whole).max()
    # NaN compares as false.
    return whole if 0 < furthest <= _ROUNDING else array


def elsewhere(
    volume: read_write.Volume, like: read_write.Volume, *, tolerance: float | int = TOLERANCE
) -> str:
    """Returns how far a volume's corners are from another's of its shape, or "" if they are not.

    The tolerance is in voxels of the other; what the rounding of headers makes of long axes is
    always allowed.
    """
    ends = [(0, n - 1) for n in like.shape] + [(0,)] * (3 - like.num_axes)
    corners = np.array([(*corner, 1) for corner in itertools.product(*ends)])
    moved = (corners @ (volume.affine - like.affine).T)[:, :3]
    voxels = np.abs(np.linalg.solve(like.affine[:3, :3], moved.T)).max()
    allowed = max(tolerance, min(_TURN * max(like.shape), _MOST_TURNED))
    if voxels <= allowed:
        return ""
    return (
        f"its corners are up to {np.abs(moved).max():.3g} mm away, {voxels:.3g} voxels where "
        f"{allowed:g} are allowed"
    )


def _about_image(notes: _Notes, path: pathlib.Path, volume: read_write.Volume) -> None:
    values = volume.array
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        notes.add("not_finite", path, got=int((~np.isfinite(values)).sum()))
    elif values.min() == values.max():
        notes.add("constant", path, got=values.flat[0])
    if volume.num_axes == 3 and min(volume.shape) == 1:
        notes.add("one_slice", path, got=volume.shape)


def _about_label(
    notes: _Notes,
    path: pathlib.Path,
    label: read_write.Volume,
    image: read_write.Volume,
    like: pathlib.Path,
    layout: nnunet_layout.Layout,
    tolerance: float | int,
) -> read_write.Volume:
    """Notes what is wrong with a label; returns it as numbers of classes if its values are ids.

    Soft ones stay probabilities.
    """
    ids = layout.class_ids
    if label.array.ndim != label.num_axes:
        notes.add("label_colours", path)
        return label
    if label.shape != image.shape and segments.is_one(path):
        label = segments.placed(label, image)
    if label.shape != image.shape:
        notes.add("shape", path, got=label.shape, want=f"{like.name}, has {image.shape}")
    elif away := elsewhere(label, image, tolerance=tolerance):
        notes.add("label_affine", path, got=away, want=like.name)
    values = np.unique(label.array)
    if layout.soft:
        # False for NaN.
        valid = (values >= 0) & (values <= 1)
        if not valid.all():
            notes.add("no_probability", path, got=values[~valid][0])
        notes.classes.update((values > 0.5).tolist())
        return label
    whole = np.isfinite(values) & (values == np.round(values))
    if not whole.all():
        notes.add("not_whole", path, got=values[~whole][0])
        return label
    known = np.isin(values, ids)
    if ids and not known.all():
        shown = [int(value) for value in values[~known][:5]]
        notes.add("outside_classes", path, got=shown, want=label_ids.shown(ids))
    if not values.any():
        notes.add("empty_mask", path)
    notes.classes.update(label_ids.numbers(values[known], ids).tolist())
    if not known.all():
        return label
    return dataclasses.replace(label, array=label_ids.numbers(label.array, ids))


def read_case(
    case: nnunet_layout.Case,
    layout: nnunet_layout.Layout,
    *,
    max_bytes: int = read_write.MAX_BYTES,
    tolerance: float | int = TOLERANCE,
) -> Read:
    """Reads all files of a case in RAS axes, of `max_bytes` unpacked at most, and checks them.

    What lies elsewhere by more than the tolerance, as in `elsewhere`, is a problem.
    """
    notes = _Notes(case, layout)
    read = {path: notes.read(path, max_bytes) for path in case.paths}
    read = {path: volume for path, volume in read.items() if volume is not None}
    images = [path for path in case.images if path in read]
    for path in images:
        volume, first = read[path], read[images[0]]
        _about_image(notes, path, volume)
        if volume.shape != first.shape:
            want = f"{images[0].name}, has {first.shape}"
            notes.add("channel_shape", path, got=volume.shape, want=want)
        elif away := elsewhere(volume, first, tolerance=tolerance):
            notes.add("channel_affine", path, got=away, want=images[0].name)
    if len(images) == 1 and nnunet_layout.in_one_file(layout.ending, len(layout.channel_names)):
        first = read[images[0]]
        if first.array.ndim == first.num_axes:
            notes.add("no_colours", images[0], want=len(layout.channel_names))
    for path in case.paths[len(case.images) :]:
        if path in read and images:
            first = read[images[0]], images[0]
            read[path] = _about_label(notes, path, read[path], *first, layout, tolerance)
    return Read(case, read, tuple(notes.problems), frozenset(notes.classes))


def read_labels(
    case: nnunet_layout.Case,
    layout: nnunet_layout.Layout,
    *,
    max_bytes: int = read_write.MAX_BYTES,
    tolerance: float | int = TOLERANCE,
) -> Read:
    """Reads the truth and the raters' labels of a case, and of its first image the header alone.

    The labels are checked as by `read_case`.
    """
    notes = _Notes(case, layout)
    image = notes.read(case.images[0], max_bytes, header=True)
    volumes = {} if image is None else {case.images[0]: image}
    for path in case.paths[len(case.images) :]:
        if (label := notes.read(path, max_bytes)) is not None:
            # A label whose image cannot be read has to lie on the first label.
            on, like = next(iter(volumes.items()), (path, label))
            volumes[path] = _about_label(notes, path, label, like, on, layout, tolerance)
    return Read(case, volumes, tuple(notes.problems), frozenset(notes.classes))


def across(
    facts: Iterable[tuple[nnunet_layout.Case, int, int, tuple[float, ...]]],
) -> Iterator[problem_kinds.Problem]:
    """Yields what does not fit together among cases that are each right, beside the first case.

    `facts` has each case with its numbers of spatial axes and channels, and its spacing.
    """
    facts = list(facts)
    if not facts:
        return
    first, axes, channels, _ = facts[0]
    file = first.images[0].name
    usual = np.median([spacing for _, own, _, spacing in facts if own == axes], axis=0)
    for case, own_axes, own_channels, spacing in facts:
        path = case.images[0]
        where = {"case": case.name, "file": f"{path.parent.name}/{path.name}"}
        if own_axes != axes:
            want = f"{file}, has {axes}"
            yield problem_kinds.problem("mixed_axes", got=own_axes, want=want, **where)
            continue
        if own_channels != channels:
            want = f"{file}, has {channels}"
            yield problem_kinds.problem("number_of_channels", got=own_channels, want=want, **where)
        ratio = np.asarray(spacing) / usual
        if (ratio > _FAR).any() or (ratio < 1 / _FAR).any():
            got, want = (tuple(round(float(s), 4) for s in sizes) for sizes in (spacing, usual))
            yield problem_kinds.problem("far_spacing", got=got, want=want, **where)


def _copies(layout: nnunet_layout.Layout) -> Iterator[problem_kinds.Problem]:
    """Yields images that are another case's, byte for byte; only files of one size are read."""
    by_size = collections.defaultdict(list)
    for case in layout.cases:
        path = case.images[0]
        if path.is_file() and path.stat().st_size:
            by_size[path.stat().st_size].append((case, path))
    for cases in by_size.values():
        seen = {}
        for case, path in cases if len(cases) > 1 else ():
            with open(path, "rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
            file_name = path.relative_to(layout.root).as_posix()
            if content in seen:
                got = seen[content]
                yield problem_kinds.problem("same_image", case=case.name, file=file_name, got=got)
            seen.setdefault(content, file_name)


def check(
    root: str | pathlib.Path,
    *,
    ignore: Collection[str] = (),
    max_bytes: int = read_write.MAX_BYTES,
    tolerance: float | int = TOLERANCE,
) -> list[problem_kinds.Problem]:
    """Lists every problem of a folder in one of the `layouts`, reading case by case.

    Those of names come first. Kinds to `ignore` are meant to be so; `max_bytes` is the largest
    image or label map, unpacked, and `tolerance` as in `elsewhere`.

    Raises:
      ValueError: if a kind is unknown, or the tolerance is no number.
    """
    checks.positive("tolerance", tolerance, or_zero=True)
    for kind in ignore:
        checks.one_of("ignore", kind, problem_kinds.KINDS)
    layout = layouts.read(root)
    problems, facts, classes = problem_kinds.Problems(layout.problems), [], set()
    for case in layout.cases:
        read = read_case(case, layout, max_bytes=max_bytes, tolerance=tolerance)
        problems += read.problems
        classes |= read.classes
        count = len(layout.channel_names)
        if read.num_channels and count in (len(case.images), read.num_channels):
            first = read.volumes[case.images[0]]
            facts.append((case, first.num_axes, read.num_channels, first.spacing))
    problems += across(facts)
    problems += _copies(layout)
    for number, name in enumerate(layout.classes):
        if number and classes and number not in classes:
            got = f"{layout.class_ids[number]}, {name}"
            problems.add("absent_class", file="dataset.json", got=got)
    return [problem for problem in problems if problem.kind not in ignore]
