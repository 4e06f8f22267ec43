"""Predictions of any program as files, beside the folder whose cases they are of.

    CASE.nii.gz                          class ids, with any ending that can be read
    CASE.npz                             nnU-Net's probabilities, with or without CASE.pkl
    probabilities/CLASS/CASE.nii.gz      of each class but the background, by number or name
    sample_*/...                         several samples: folders of any of the above
    raters/RATER/CASE.nii.gz             class ids predicted for each rater

What is not there follows from what is: class ids are those of the largest probability, and
probabilities the mean of the samples'.
"""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from noisyjax.data.folder import checker, label_ids, problem_kinds, segments
from noisyjax.data.sources import archive
from noisyjax.data.volumes import read_write
from noisyjax.tool import folder

# As the command predict writes them.
_PROBABILITIES = "probabilities"
_RATERS = "raters"
_SAMPLES = "sample_*"

# Of probabilities that were rounded to 16 bits, or resampled.
_TOLERANCE = 0.01


class Prediction(NamedTuple):
    """What is predicted of one case, in RAS axes; None for what is not.

    Attributes:
      segmentation: class ids, ``[*S]``.
      probs: of each class, ``[*S, L]``.
      samples: class ids of N samples, ``[N, *S]``.
      sample_probs: ``[N, *S, L]``.
      rater_labels: class ids predicted for each of the folder's raters, ``[R, *S]``.
      rater_mask: for which raters there are any, ``[R]``.
    """

    segmentation: UInt8[np.ndarray, "*S"]
    probs: Float[np.ndarray, "*S L"] | None = None
    samples: UInt8[np.ndarray, "N *S"] | None = None
    sample_probs: Float[np.ndarray, "N *S L"] | None = None
    rater_labels: UInt8[np.ndarray, "R *S"] | None = None
    rater_mask: Bool[np.ndarray, "R"] | None = None


def from_probabilities(
    probs: Float[np.ndarray, "*S L"], samples: Float[np.ndarray, "N *S L"] | None = None
) -> Prediction:
    """Returns the prediction of probabilities, the classes of the largest ones.

    >>> from_probabilities(np.array([[0.2, 0.8]], np.float32)).segmentation
    array([1], dtype=uint8)
    """
    chosen = None if samples is None else samples.argmax(axis=-1).astype(np.uint8)
    return Prediction(probs.argmax(axis=-1).astype(np.uint8), probs, chosen, samples)


@dataclasses.dataclass(frozen=True)
class Predictions:
    """A folder of predictions; make one by `find`.

    Attributes:
      root: where they are.
      opened: the folder whose cases they are of.
      cases: names of those that there is a prediction of, in the folder's order.
      missing: names of those that there should be one of.
      unknown: files that belong to no case.
      samples: folders of samples.
      raters: raters that masks are predicted for.
    """

    root: pathlib.Path
    opened: folder.Folder
    cases: tuple[str, ...]
    missing: tuple[str, ...]
    unknown: tuple[pathlib.Path, ...]
    samples: tuple[pathlib.Path, ...]
    raters: tuple[str, ...]

    def read(self, name: str) -> Prediction:
        """Reads what is predicted of a case.

        Raises:
          FolderError: if a file cannot be used; it names the file and what is wrong.
        """
        try:
            return self._read(name)
        except read_write.UnreadableError as error:
            raise folder.FolderError([str(error)]) from error

    def _read(self, name: str) -> Prediction:
        grid = _Grid(self.opened, name)
        samples = [_read_one(part, grid) for part in self.samples]
        segmentation, probs = _read_one(self.root, grid)
        masks, given = None, None
        if self.raters:
            by_rater = {rater: _labels(self.root / _RATERS / rater, grid) for rater in self.raters}
            names = self.opened.rater_names
            given = np.array([by_rater.get(rater) is not None for rater in names])
            none = np.full(grid.shape, folder.NO_LABEL, np.uint8)
            masks = np.stack([none if by_rater.get(r) is None else by_rater[r] for r in names])
        drawn, drawn_probs = None, None
        if samples:
            lacking = [
                str(part)
                for part, (ids, _) in zip(self.samples, samples, strict=True)
                if ids is None
            ]
            if lacking:
                raise folder.FolderError([f"{lacking[0]}: expected a sample of {name}, got none"])
            drawn = np.stack([ids for ids, _ in samples])
            if all(p is not None for _, p in samples):
                drawn_probs = np.stack([p for _, p in samples])
                probs = drawn_probs.mean(axis=0) if probs is None else probs
        if segmentation is None:
            segmentation = _most_frequent(probs, drawn, masks, given, self.opened.num_classes)
        return Prediction(segmentation, probs, drawn, drawn_probs, masks, given)


def _most_frequent(probs, samples, masks, given, num_classes: int) -> np.ndarray:
    """Returns the class ids where no map of them is given; the lower class of two as frequent."""
    if probs is not None:
        return probs.argmax(axis=-1).astype(np.uint8)
    votes = samples if samples is not None else masks[given]
    counts = np.stack([(votes == label).sum(axis=0) for label in range(num_classes)])
    return counts.argmax(axis=0).astype(np.uint8)


class _Grid:
    """Where the voxels of a case lie, by the header of its image."""

    def __init__(self, opened: folder.Folder, name: str):
        self.name, self.opened = name, opened
        self.path = opened.cases[name].images[0]
        self.stored = read_write.peek(self.path)
        self.ras = read_write.to_ras(self.stored)
        self.shape = self.ras.shape

    def read(self, path: pathlib.Path) -> np.ndarray:
        """Reads a file that must lie on the voxels of the image."""
        volume = read_write.to_ras(read_write.read(path))
        if volume.segments is not None:
            volume = self._merged(path, volume)
        if volume.array.shape != self.shape:
            shape = tuple(volume.array.shape)
            raise _error(path, f"expected voxels {self.shape} like {self.path}, got {shape}")
        picture = read_write.FORMATS[read_write.ending(path)] == "pillow"
        if not picture and (away := checker.elsewhere(volume, self.ras)):
            raise _error(path, f"expected the voxels of {self.path}, {away}")
        return volume.array

    def _merged(self, path: pathlib.Path, volume: read_write.Volume) -> read_write.Volume:
        """Returns a segmentation of Slicer as a label on the voxels of the image."""
        layout = self.opened.layout
        label, faults = segments.to_ids(volume, layout.class_names, layout.class_ids)
        for kind, got in faults:
            if kind not in problem_kinds.HARMLESS:
                want = ", ".join(layout.class_names)
                raise _error(path, problem_kinds.problem(kind, got=got, want=want).message)
        return segments.placed(label, self.ras)


def _error(path: str | os.PathLike, text: str) -> folder.FolderError:
    return folder.FolderError([f"{os.fspath(path)}: {text}"])


def _file(folder_path: pathlib.Path, grid: _Grid) -> pathlib.Path | None:
    """Returns the file of a case, the one with the folder's ending first."""
    ending = grid.opened.layout.ending
    others = (other for other in read_write.FORMATS if other != ending)
    for end in (ending, *others, segments.ENDING):
        path = folder_path / f"{grid.name}{end}"
        if path.is_file():
            return path
    return None


def _labels(folder_path: pathlib.Path, grid: _Grid) -> np.ndarray | None:
    path = _file(folder_path, grid)
    if path is None:
        return None
    array = checker.rounded(grid.read(path))
    ids = grid.opened.class_ids[: grid.opened.num_classes]
    values = np.unique(array)
    known = np.isin(values, ids)
    if not known.all():
        others = [float(value) for value in values[~known][:5]]
        raise _error(path, f"expected class ids {label_ids.shown(ids)}, got {others}")
    return label_ids.numbers(array, ids)


def _read_one(
    folder_path: pathlib.Path, grid: _Grid
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Returns class ids and probabilities in a folder, as far as there are any."""
    labels = _labels(folder_path, grid)
    packed = folder_path / f"{grid.name}.npz"
    if packed.is_file():
        probs = _unpacked(packed, labels, grid)
    elif (folder_path / _PROBABILITIES).is_dir():
        probs = _of_classes(folder_path / _PROBABILITIES, grid)
    else:
        return labels, None
    if labels is None and probs is not None:
        labels = probs.argmax(axis=-1).astype(np.uint8)
    return labels, probs


def _of_classes(folder_path: pathlib.Path, grid: _Grid) -> np.ndarray | None:
    names = grid.opened.class_names
    maps = {}
    for part in sorted(path for path in folder_path.iterdir() if path.is_dir()):
        if part.name not in names and part.name not in map(str, range(len(names))):
            raise _error(part, f"expected a class, one of 0 to {len(names) - 1} or {names}")
        label = names.index(part.name) if part.name in names else int(part.name)
        if (path := _file(part, grid)) is not None:
            maps[label] = path
    if not maps:
        return None
    if lacking := [label for label in range(1, len(names)) if label not in maps]:
        path = folder_path / str(lacking[0]) / f"{grid.name}{grid.opened.layout.ending}"
        raise _error(path, f"expected the probabilities of class {lacking[0]}, got none")
    read = {label: grid.read(path).astype(np.float32) for label, path in maps.items()}
    for label, probs in read.items():
        _check_range(maps[label], probs)
    rest = 1 - sum(read[label] for label in range(1, len(names)))
    # What lies a little below 0 does so by rounding.
    read[0] = np.where((rest < 0) & (rest > -_TOLERANCE), 0.0, rest)
    every = folder_path / "*" / maps[1].name
    return _checked(every, np.stack([read[label] for label in range(len(names))], axis=-1))


def _unpacked(path: pathlib.Path, labels: np.ndarray | None, grid: _Grid) -> np.ndarray:
    """Reads nnU-Net's probabilities, ``[L, Z, Y, X]``: the axes of the file in reverse order.

    Of pictures they are ``[L, 1, H, W]``, as stored. A reader of nnU-Net's turns images to RAS
    first: what it wrote is told by the class ids beside it.
    """
    count, stored = grid.opened.num_classes, grid.stored
    try:
        held = archive.names(str(path), content="probabilities")
        name = "softmax" if "softmax" in held and "probabilities" not in held else "probabilities"
        layout = {name: f"float {count} Z Y X"}
        array = archive.read(str(path), layout, content="probabilities")[name]
    except ValueError as error:
        raise folder.FolderError([str(error)]) from error
    picture = read_write.FORMATS[read_write.ending(grid.path)] == "pillow"
    if stored.num_axes == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if not picture:
        array = array.transpose(0, *range(array.ndim - 1, 0, -1))
    turned = {}
    if array.shape[1:] == stored.shape:
        each = [
            read_write.to_ras(read_write.Volume(one, stored.affine, stored.num_axes)).array
            for one in array
        ]
        turned["stored"] = np.stack(each, axis=-1)
    if array.shape[1:] == grid.shape:
        turned["ras"] = np.moveaxis(array, 0, -1)
    if not turned:
        expected = stored.shape if picture else stored.shape[::-1]
        raise _error(path, f"expected {count} x {expected} like {grid.path}, got {array.shape}")
    best = next(iter(turned))
    if labels is not None:
        alike = {name: (p.argmax(axis=-1) == labels).mean() for name, p in turned.items()}
        best = max(alike, key=alike.__getitem__)
    return _checked(path, turned[best].astype(np.float32))


def _check_range(path: pathlib.Path, probs: np.ndarray) -> None:
    if not np.isfinite(probs).all():
        raise _error(path, "expected probabilities, got NaN or inf")
    low, high = float(probs.min()), float(probs.max())
    if low < 0 or high > 1 + _TOLERANCE:
        raise _error(path, f"expected probabilities in [0, 1], got {low:.4g} to {high:.4g}")


def _checked(path: pathlib.Path, probs: np.ndarray) -> np.ndarray:
    """Returns probabilities that add up to 1; where there are none at all it is the background."""
    _check_range(path, probs)
    total = probs.sum(axis=-1, keepdims=True)
    # nnU-Net leaves what it crops away without any probability.
    empty = total[..., 0] == 0
    if (np.abs(total[~empty] - 1) > _TOLERANCE).any():
        worst = total[~empty][np.abs(total[~empty] - 1).argmax()]
        raise _error(path, f"expected probabilities of sum 1, got {float(worst.squeeze()):.4g}")
    probs = probs / np.where(total > 0, total, 1.0)
    probs[empty, 0] = 1.0
    return probs


def _stem(path: pathlib.Path) -> str:
    """Returns the name of the case that a file is named after, or "" for a file of none."""
    if path.name.startswith(".") or not path.is_file():
        return ""
    if path.name.endswith(".npz"):
        return path.name.removesuffix(".npz")
    end = segments.ENDING if segments.is_one(path) else read_write.ending(path)
    return path.name[: -len(end)] if end else ""


def _places(root: pathlib.Path) -> list[pathlib.Path]:
    """Returns the folders in which files are named after cases."""
    places = [root]
    for part in (root, *root.glob(_SAMPLES)):
        if part != root:
            places.append(part)
        if (part / _PROBABILITIES).is_dir():
            places += [path for path in (part / _PROBABILITIES).iterdir() if path.is_dir()]
    if (root / _RATERS).is_dir():
        places += [path for path in (root / _RATERS).iterdir() if path.is_dir()]
    return places


def files_of_cases(root: str | os.PathLike) -> dict[str, list[pathlib.Path]]:
    """Returns the files of a folder of predictions by the names that they have without ending."""
    stems: dict[str, list[pathlib.Path]] = {}
    for folder_path in _places(pathlib.Path(root)):
        for path in sorted(folder_path.iterdir()) if folder_path.is_dir() else ():
            if stem := _stem(path):
                stems.setdefault(stem, []).append(path)
    return stems


def find(root: str | os.PathLike, opened: folder.Folder, *, partial: bool = False) -> Predictions:
    """Lists what is predicted; nothing is read yet.

    Every case of imagesTr is expected to have a prediction if one has, and likewise of imagesTs;
    not so with `partial`, as of a validation fold.

    Raises:
      FolderError: if there is no prediction at all, or one of a rater whom the folder does not
        know.
    """
    root = pathlib.Path(root)
    if not root.is_dir():
        raise _error(root, "expected a folder of predictions, there is none")
    stems = {stem: paths[0] for stem, paths in files_of_cases(root).items()}
    cases = tuple(name for name in opened.cases if name in stems)
    if not cases:
        example = next(iter(opened.cases))
        raise _error(root, f"expected predictions as {example}{opened.layout.ending}, got none")
    parts = {opened.cases[name].part for name in cases}
    missing = [
        name
        for name, case in opened.cases.items()
        if name not in stems and case.part in parts and not partial
    ]
    raters: Sequence[pathlib.Path] = ()
    if (root / _RATERS).is_dir():
        raters = sorted(path for path in (root / _RATERS).iterdir() if path.is_dir())
    for path in raters:
        if path.name not in opened.rater_names:
            known = ", ".join(opened.rater_names) or "none"
            raise _error(path, f"expected a rater of {opened.root}, one of {known}")
    return Predictions(
        root=root,
        opened=opened,
        cases=cases,
        missing=tuple(missing),
        unknown=tuple(path for stem, path in stems.items() if stem not in opened.cases),
        samples=tuple(sorted(path for path in root.glob(_SAMPLES) if path.is_dir())),
        raters=tuple(path.name for path in raters),
    )
