"""A folder as it was decided on: labels dropped, mended and weighted, the others as they are."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from noisyjax.data.folder import nnunet_layout, segments
from noisyjax.data.volumes import read_write
from noisyjax.tool import data_set, folder
from noisyjax.tool.consensus import fuse
from noisyjax.tool.evaluation import predictions
from noisyjax.tool.page import decisions

_KEPT = ("keep", 1.0)


def read(path: str | os.PathLike, opened: folder.Folder) -> list[decisions.Decision]:
    """Reads the decisions on a folder's labels; see `decisions.read`."""
    return decisions.read(path, {name: labels(opened, name) for name in opened.cases})


def labels(opened: folder.Folder, name: str) -> dict[str, pathlib.Path]:
    """Returns the label files of a case, by who gave them."""
    case = opened.cases[name]
    return case.raters if case.truth is None else {folder.TRUTH: case.truth, **case.raters}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What becomes of the labels of a folder; make one by `plan`.

    Attributes:
      words: of each case, who gave a label to what is decided on it: "keep", "mend" or "drop".
      weights: of the cases that do not count 1.
      mended: labels in the place of those that are to be mended, as far as there are any.
    """

    opened: folder.Folder
    words: Mapping[str, Mapping[str, str]]
    weights: Mapping[str, float]
    mended: predictions.Predictions | None


def plan(
    opened: folder.Folder,
    made: Sequence[decisions.Decision],
    *,
    mended: str | os.PathLike | None = None,
) -> Plan:
    """Finds out what becomes of each label, and that it can.

    A decision of no rater is on all labels of the case that have none of their own. A weight is of
    the case: the mean of those of its labels; one of 0 drops the label.

    Args:
      mended: a folder with CASE.nii.gz, or in any layout of `predictions`; other labels to be
        mended become the consensus of the others of their case.

    Raises:
      ValueError: if a label cannot be mended, or none is left to learn from.
    """
    if folder.TRUTH in opened.rater_names:
        raise ValueError(f"decisions: expected no rater of the name {folder.TRUTH!r}, got one")
    found = None if mended is None else predictions.find(mended, opened, partial=True)
    whole = {one.case: one for one in made if not one.rater}
    own = {(one.case, one.rater): one for one in made if one.rater}
    words: dict[str, dict[str, str]] = {}
    weights: dict[str, float] = {}
    for name in opened.cases:
        each = {}
        for who in labels(opened, name):
            of_all = whole.get(name) if _teaches(opened, who) else None
            each[who] = _word(own.get((name, who), of_all))
        words[name] = {who: word for who, (word, _) in each.items()}
        left = [each[who][1] for who, word in words[name].items() if _left(opened, who, word)]
        if left and np.mean(left) != 1:
            weights[name] = float(np.mean(left))
        given = found is not None and name in found.cases
        if "mend" in words[name].values() and not given and not _others(words[name]):
            raise ValueError(
                f"decisions: {name}: expected a label of another rater that is kept, by which to "
                f"mend, or {name} in a folder given as mended, got none"
            )
    trains = [name for name, case in opened.cases.items() if case.part == "Tr"]
    if not any(_left(opened, *item) for name in trains for item in words[name].items()):
        raise ValueError("decisions: expected a label to learn from to be left, got none")
    return Plan(opened, words, weights, found)


def _teaches(opened: folder.Folder, who: str) -> bool:
    """Whether a network learns from somebody's labels: the truth teaches where no rater does."""
    return (who == folder.TRUTH) == opened.layout.truth_trains


def _left(opened: folder.Folder, who: str, word: str) -> bool:
    return _teaches(opened, who) and word != "drop"


def _others(words: Mapping[str, str]) -> set[str]:
    """Returns the raters by whom a label is mended."""
    return {who for who, word in words.items() if word == "keep" and who != folder.TRUTH}


def _word(one: decisions.Decision | None) -> tuple[str, float]:
    """Returns what becomes of a label, and its weight."""
    if one is None:
        return _KEPT
    if one.decision == "weight":
        return ("keep", one.weight) if one.weight else ("drop", 1.0)
    return one.decision, 1.0


def write(decided: Plan, out: str | os.PathLike) -> folder.Folder:
    """Writes the folder, or what is missing of it, and opens it.

    Images and labels that stay are links to the old files. A case without any label is not there.
    """
    out = pathlib.Path(out)
    opened = decided.opened
    if not (out / "dataset.json").exists():
        names = [name for name in opened.cases if _write_case(decided, out, name)]
        data_set.describe(opened, out, names, weights=decided.weights)
    return folder.open_folder(out)


def _write_case(decided: Plan, out: pathlib.Path, name: str) -> bool:
    """Writes the files of a case; returns whether it has a label."""
    opened, words = decided.opened, decided.words[name]
    case, paths = opened.cases[name], labels(opened, name)
    left = [who for who, word in words.items() if word != "drop"]
    if not left:
        return False
    data_set.place_images(case, out, how="link")
    read = opened.read(name) if "mend" in words.values() else None
    for who in left:
        target = out / (f"labels{case.part}" if who == folder.TRUTH else f"raters{case.part}/{who}")
        if words[who] == "keep":
            _place(case, paths[who], target)
        else:
            path = target / f"{name}{opened.layout.ending}"
            opened.write(path, _mended(decided, read), like=read.like)
    return True


def _place(case: nnunet_layout.Case, path: pathlib.Path, target: pathlib.Path) -> None:
    end = segments.ENDING if segments.is_one(path) else read_write.ending(path)
    data_set.place(path, target / f"{case.name}{end}", how="link")
    sidecar: Any = case.sidecar(path)
    if sidecar is not None and sidecar.parent == path.parent:
        data_set.place(sidecar, target / f"{case.name}.json", how="link")


def _mended(decided: Plan, read: folder.CaseLabels) -> UInt8[np.ndarray, "*S"]:
    """Returns the label of a case in the place of those that are mended."""
    if decided.mended is not None and read.name in decided.mended.cases:
        return decided.mended.read(read.name).segmentation
    opened, words = decided.opened, decided.words[read.name]
    others = np.array([rater in _others(words) for rater in opened.rater_names])
    return fuse.consensus(read.labels, opened.num_classes, rater_mask=others).label
