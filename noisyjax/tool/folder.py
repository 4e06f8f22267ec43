"""A folder's labels, case by case, on the voxels of its files."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Shaped, UInt8

from noisyjax.core import checks, ignored
from noisyjax.data.folder import (
    case_files,
    checker,
    label_ids,
    layouts,
    nnunet_layout,
    problem_kinds,
    segments,
)
from noisyjax.data.volumes import read_write

# What stands for no label in the arrays; in the files it is the class named "ignore".
NO_LABEL = ignored.IGNORE

# Whose label that of labelsTr or labelsTs is, where labels go by who gave them.
TRUTH = "truth"


class FolderError(ValueError):
    """A folder or a case that cannot be used; `problems` are what is wrong, a text each."""

    def __init__(self, problems: list[str]):
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclasses.dataclass(frozen=True)
class CaseLabels:
    """The labels of one case, in RAS axes.

    Attributes:
      labels: class ids of each of the folder's raters, ``[R, *S]``; `NO_LABEL` where there is none.
      rater_mask: who labelled the case, ``[R]``.
      truth: class ids ``[*S]`` of labelsTr or labelsTs, or None.
      spacing: of the voxels, in mm.
      like: a label file of the case, or its image, whose axes, dtype and affine a result gets.
    """

    name: str
    labels: UInt8[np.ndarray, "R *S"]
    rater_mask: Bool[np.ndarray, "R"]
    truth: UInt8[np.ndarray, "*S"] | None
    spacing: tuple[float, ...]
    like: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Folder:
    """A folder in the layout of `nnunet_layout`; make one by `open_folder`.

    Attributes:
      cases: those with a label, by name.
    """

    layout: nnunet_layout.Layout
    cases: dict[str, nnunet_layout.Case]

    @property
    def root(self) -> pathlib.Path:
        """Where it is."""
        return self.layout.root

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, the background first; "ignore" is none."""
        return self.layout.classes

    @property
    def class_ids(self) -> tuple[int, ...]:
        """What stands for the classes in files, then for "ignore", also where there is none yet."""
        ids = self.layout.class_ids
        return ids if len(ids) > self.num_classes else (*ids, ids[-1] + 1)

    @property
    def regions(self) -> dict[str, tuple[int, ...]]:
        """Regions of several classes that dataset.json names, to these classes."""
        found = self.layout.regions
        if found is None:
            return {}
        each = zip(found.names, found.members, strict=True)
        return {name: ids for name, ids in each if name not in self.class_names}

    @property
    def num_classes(self) -> int:
        """L."""
        return len(self.class_names)

    @property
    def rater_names(self) -> tuple[str, ...]:
        """Names of the R raters, in alphabetical order."""
        return self.layout.rater_names

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[CaseLabels]:
        return (self.read(name) for name in self.cases)

    def read(self, name: str) -> CaseLabels:
        """Reads the labels of a case.

        Raises:
          FolderError: if one of its files cannot be used; it names the file and the remedy.
        """
        case = checks.lookup("name", name, self.cases)
        read = checker.read_labels(case, self.layout)
        faults = [str(p) for p in read.problems if p.kind not in problem_kinds.HARMLESS]
        if faults:
            raise FolderError(faults)
        like = case.truth or next(case.raters[r] for r in self.rater_names if r in case.raters)
        # Layers, or a part of the image, are no label's.
        like = case.images[0] if segments.is_one(like) else like
        shape = read.volumes[like].shape
        empty = np.full(shape, NO_LABEL, np.uint8)

        def ids(path: pathlib.Path | None) -> np.ndarray:
            if path is None:
                return empty
            return case_files.class_ids(read.volumes[path].array, self.layout)

        given = [case.raters.get(rater) for rater in self.rater_names]
        return CaseLabels(
            name=name,
            labels=np.stack([ids(path) for path in given]) if given else empty[None][:0],
            rater_mask=np.array([path is not None for path in given], bool),
            truth=None if case.truth is None else ids(case.truth),
            spacing=read.volumes[like].spacing,
            like=like,
        )

    def by_rater(self, case: CaseLabels) -> dict[str, UInt8[np.ndarray, "*S"]]:
        """Returns the labels of a case by who gave them, the last of all by `TRUTH`.

        Raises:
          FolderError: if a rater has that name beside a truth.
        """
        given = zip(self.rater_names, case.labels, case.rater_mask, strict=True)
        own = {name: ids for name, ids, there in given if there}
        if case.truth is None:
            return own
        if TRUTH in own:
            raise FolderError(
                [f"{self.root}/ratersTr/{TRUTH}: expected another name of a rater beside labelsTr"]
            )
        return {**own, TRUTH: case.truth}

    def write(
        self,
        path: str | os.PathLike,
        values: Shaped[np.ndarray, "*S"],
        *,
        like: str | os.PathLike,
    ) -> None:
        """Writes what was made of a case on the voxels of its files, at once or not at all.

        Args:
          path: the file; its ending says the format.
          values: numbers of classes, written as their ids in the dtype of `like` if that holds them
            (L and `NO_LABEL` as the class "ignore" if the folder has one), or numbers, written as
            float32; ``[*S]`` in RAS axes.
          like: a file of the case (`CaseLabels.like`).

        Raises:
          ValueError: if the format holds no such numbers.
        """
        volume = read_write.read(like)
        if values.dtype.kind == "f":
            values = values.astype(np.float32)
        else:
            if self.num_classes < len(self.layout.class_names):
                values = np.where(values == NO_LABEL, np.uint8(self.num_classes), values)
            values, kept = label_ids.of_file(values, self.class_ids), volume.array.dtype
            if kept.kind in "iu" and self.class_ids[-1] <= np.iinfo(kept).max:
                values = values.astype(kept)
        read_write.write(path, read_write.from_ras(values, like=volume))


def open_folder(root: str | os.PathLike) -> Folder:
    """Opens a folder of images and labels in nnU-Net's raw layout, with raters beside it.

    No image or label is read yet.

    Raises:
      FolderError: if names or dataset.json are not in order, or no case has a label.
    """
    layout = layouts.read(root)
    # Here a case may be without a truth, or without raters.
    may_be = (*problem_kinds.HARMLESS, "missing_label", "no_rater")
    faults = [str(problem) for problem in layout.problems if problem.kind not in may_be]
    if faults:
        raise FolderError([f"{root}: {fault}" for fault in faults])
    if len(layout.class_names) > NO_LABEL:
        count = len(layout.class_names)
        raise FolderError([f"{root}/dataset.json: labels: expected at most 255, got {count}"])
    cases = {case.name: case for case in layout.cases if case.truth or case.raters}
    if not cases:
        raise FolderError([f"{root}: expected labels in labelsTr or ratersTr/RATER, got none"])
    return Folder(layout, cases)
