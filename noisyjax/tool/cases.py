"""Labels that are given as arrays, case by case as those of a folder."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from noisyjax.core import checks
from noisyjax.tool import folder

# What a function takes: a folder, its path, or the labels of one case or of several.
Given = folder.Folder | str | os.PathLike | np.ndarray | Sequence[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Arrays:
    """Cases that are arrays; `cases`, `read` and the names are as those of `folder.Folder`."""

    class_names: tuple[str, ...]
    rater_names: tuple[str, ...]
    cases: dict[str, folder.CaseLabels]

    @property
    def regions(self) -> dict[str, tuple[int, ...]]:
        """Regions that are named: none."""
        return {}

    @property
    def num_classes(self) -> int:
        """L."""
        return len(self.class_names)

    def read(self, name: str) -> folder.CaseLabels:
        """Returns the labels of a case."""
        return checks.lookup("name", name, self.cases)


def open_cases(
    given: Given,
    *,
    num_classes: int | None = None,
    rater_masks: np.ndarray | Sequence[np.ndarray] | None = None,
    truths: np.ndarray | Sequence[np.ndarray] | None = None,
    spacing: Sequence[float | int] | None = None,
    rater_names: Sequence[str] | None = None,
) -> folder.Folder | Arrays:
    """Returns a folder as it is, opens a path, or names what arrays hold.

    Args:
      given: a folder; or the labels of one case, ``[R, *S]``, or of several, a list of such arrays.
      num_classes: L; by default, of arrays, the largest id below `folder.NO_LABEL` and one.
      rater_masks: who labelled each case, ``[R]`` for one case or a list; by default who gave any
        label that is not `folder.NO_LABEL`.
      truths: class ids ``[*S]`` of one case, or a list.
      spacing: of the voxels in mm; by default 1.
      rater_names: R names; by default "rater_1" and so on.

    Raises:
      ValueError: if arrays do not fit each other, or come with a folder.
    """
    about = {
        "num_classes": num_classes,
        "rater_masks": rater_masks,
        "truths": truths,
        "spacing": spacing,
        "rater_names": rater_names,
    }
    if isinstance(given, folder.Folder | str | os.PathLike):
        for name, value in about.items():
            if value is not None:
                raise ValueError(f"{name}: expected None for a folder, which says it, got {value}")
        return given if isinstance(given, folder.Folder) else folder.open_folder(given)
    return _of_arrays(given, about)


def label_files(opened: folder.Folder) -> dict[str, list[pathlib.Path]]:
    """Returns the files that each case's labels are read from, with that of the folder."""
    about = opened.layout.described_by
    return {name: [about, *case.paths[len(case.images) :]] for name, case in opened.cases.items()}


def _list(name: str, value: Any, count: int, one: bool) -> list:
    """Returns a list of what belongs to each case; of one case it is given by itself."""
    if value is None:
        return [None] * count
    value = [value] if one else list(value)
    if len(value) != count:
        raise ValueError(f"{name}: expected {count} like labels, got {len(value)}")
    return [np.asarray(item) for item in value]


def _of_arrays(given: Any, about: Mapping[str, Any]) -> Arrays:
    one = not isinstance(given, list | tuple)
    labels = [np.asarray(array) for array in ([given] if one else given)]
    if not labels:
        raise ValueError("labels: expected at least one case, got none")
    masks = _list("rater_masks", about["rater_masks"], len(labels), one)
    truths = _list("truths", about["truths"], len(labels), one)
    number = about["num_classes"]
    if number is None:
        every = [array for array in (*labels, *truths) if array is not None]
        ids = [int(array[array < folder.NO_LABEL].max(initial=1)) for array in every]
        number = max(ids) + 1
    elif not 2 <= number <= folder.NO_LABEL:
        raise ValueError(f"num_classes: expected 2 to {folder.NO_LABEL}, got {number}")
    raters = len(labels[0])
    names = tuple(about["rater_names"] or (f"rater_{r + 1}" for r in range(raters)))
    cases = {}
    for i, (array, mask, truth) in enumerate(zip(labels, masks, truths, strict=True)):
        name = f"case_{i + 1}"
        cases[name] = _case(name, array, mask, truth, number, names, about["spacing"])
    return Arrays(("background", *(str(c) for c in range(1, number))), names, cases)


def _case(name, labels, mask, truth, num_classes, rater_names, spacing) -> folder.CaseLabels:
    checks.rank(f"labels of {name}", labels, (3, 4))
    checks.shape(f"labels of {name}", labels, (len(rater_names), *labels.shape[1:]), like="raters")
    ids = _ids(f"labels of {name}", labels, num_classes)
    if mask is None:
        mask = (ids != folder.NO_LABEL).any(axis=tuple(range(1, ids.ndim)))
    checks.shape(f"rater_masks of {name}", mask, (len(rater_names),), like="labels")
    if truth is not None:
        checks.shape(f"truths of {name}", truth, labels.shape[1:], like="labels")
        truth = _ids(f"truths of {name}", truth, num_classes)
    sizes = tuple(float(size) for size in spacing or (1.0,) * (labels.ndim - 1))
    checks.shape("spacing", np.asarray(sizes), (labels.ndim - 1,), like="the axes of the labels")
    for size in sizes:
        checks.positive("spacing", size)
    mask = np.asarray(mask, bool)
    ids = np.where(mask.reshape(-1, *(1,) * (ids.ndim - 1)), ids, np.uint8(folder.NO_LABEL))
    return folder.CaseLabels(name, ids, mask, truth, sizes, pathlib.Path())


def _ids(name: str, array: np.ndarray, num_classes: int) -> np.ndarray:
    checks.ids(name, array, masks=True)
    known = (array == folder.NO_LABEL) | ((array >= 0) & (array < num_classes))
    if not known.all():
        others = np.unique(array[~known])[:5].tolist()
        raise ValueError(
            f"{name}: expected ids below {num_classes}, or {folder.NO_LABEL} for no label, "
            f"got {others}"
        )
    return array.astype(np.uint8)
