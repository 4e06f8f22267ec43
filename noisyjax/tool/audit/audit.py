"""The audit of a folder: every label beside a prediction that has not seen it."""

import dataclasses
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from noisyjax.core import arrays
from noisyjax.tool import each_case, folder
from noisyjax.tool.audit import evidence, kinds, measures, other_cases, regions, scores


class Doubt(NamedTuple):
    """What speaks against a label.

    Attributes:
      rater: whose it is; `folder.TRUTH` for that of labelsTr or labelsTs.
      score: of `scores.score`.
      suspect: whether it stands out.
      class_name: the class that stands out most.
      kind: of the mistake, of `kinds`; "" of a label whose score is below the upper quartile.
      other: whose label it is instead, of `kinds.ANOTHER`, or "".
      dice: mean over the classes, with what is predicted.
      volume: of the region in question, in mm³ (of an image mm²).
      distance: the furthest that it reaches, in mm.
      by_class: score of each class.
      measured: of each class, and of the foreground.
    """

    case: str
    rater: str
    score: float
    suspect: bool
    class_name: str
    kind: str
    other: str
    dice: float
    volume: float
    distance: float
    by_class: dict[str, float]
    measured: dict[str, measures.Measures]


class Habit(NamedTuple):
    """What a rater does in most of their labels, beside what is predicted.

    Attributes:
      labels: how many; `suspects` how many of them.
      volume: median of the foreground's volume over the expected one.
      offset: median of the signed distance of their outline to the predicted one, in mm.
      dice: median of the mean Dice with what is predicted.
    """

    rater: str
    labels: int
    suspects: int
    volume: float
    offset: float
    dice: float


@dataclasses.dataclass(frozen=True)
class Report:
    """An audit.

    Attributes:
      doubts: of every label, those that stand out most first.
      habits: of every rater.
      threshold: the score from which on a label is suspect.
      cases: names of those that were audited.
      without: names of the cases that there is no prediction of.
      problems: what is wrong with the cases that could not be used.
    """

    doubts: tuple[Doubt, ...]
    habits: tuple[Habit, ...]
    threshold: float
    cases: tuple[str, ...]
    without: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def suspects(self) -> tuple[Doubt, ...]:
        """The labels that stand out."""
        return tuple(doubt for doubt in self.doubts if doubt.suspect)


def audit(root: folder.Folder | str | os.PathLike, predictions: str | os.PathLike) -> Report:
    """Says which labels of a folder are probably wrong, and what is wrong with them.

    Args:
      root: the folder, or its path.
      predictions: a run of folds of `train_folds` on it, or a folder of predictions of any program
        by networks that have not seen the labels of the cases that they predict.

    Raises:
      folder.FolderError: if the folder, or no prediction, can be used.
      ValueError: if the run has seen all labels.
    """
    opened = root if isinstance(root, folder.Folder) else folder.open_folder(root)
    return Audit(opened, evidence.find(predictions, opened)).report()


class Audit:
    """An audit that is being made: labels are measured first, and then told apart."""

    def __init__(self, opened: folder.Folder, found: evidence.Evidence):
        self.opened, self.found = opened, found
        self._measured: dict[tuple[str, str], list[measures.Measures]] = {}
        self._coarse: dict[str, other_cases.Coarse] = {}
        self._spacing: dict[str, tuple[float, ...]] = {}
        self.habit_of: dict[str, float] = {}

    def read(self, name: str) -> tuple[folder.CaseLabels, Float[np.ndarray, "*S L"]]:
        """Returns the labels of a case and what is predicted of it."""
        case, probs = self.opened.read(name), self.found.read(name)
        size = case.labels.shape[1:] if case.truth is None else case.truth.shape
        if probs.shape[:-1] != size:
            raise folder.FolderError(
                [f"{self.found.found.root}: expected {name} of {size}, got {probs.shape[:-1]}"]
            )
        return case, probs

    def report(self) -> Report:
        """Measures all labels, scores them, and names what is wrong with those that stand out."""
        problems = each_case.run(
            self.found.cases, self._measure, self._keep, title="measuring labels"
        )
        if not self._measured:
            raise folder.FolderError(problems or [f"{self.opened.root}: expected labels, got none"])
        keys = list(self._measured)
        raters = [rater for _, rater in keys]
        voxel = float(np.median([np.prod(s) ** (1 / len(s)) for s in self._spacing.values()]))
        scored = scores.score(list(self._measured.values()), raters, voxel=voxel)
        field = measures.Measures._fields.index("volume")
        for rater in dict.fromkeys(raters):
            own = [rows[-1][field] for (_, r), rows in self._measured.items() if r == rater]
            self.habit_of[rater] = float(np.median(own))
        numbers = {key: number for number, key in enumerate(keys)}
        doubts: list[Doubt] = []

        def tell(name: str) -> list[Doubt]:
            case, probs = self.read(name)
            return [
                self._doubt(case, rater, ids, probs, scored, numbers[name, rater])
                for rater, ids in self.opened.by_rater(case).items()
            ]

        cases = tuple(dict.fromkeys(name for name, _ in keys))
        problems += each_case.run(
            cases, tell, lambda _, made: doubts.extend(made), title="looking at labels"
        )
        doubts.sort(key=lambda doubt: -doubt.score)
        without = tuple(name for name in self.opened.cases if name not in self.found.cases)
        habits = tuple(self._habit(rater, doubts) for rater in sorted(self.habit_of))
        return Report(tuple(doubts), habits, scored.threshold, cases, without, tuple(problems))

    def _measure(self, name: str):
        case, probs = self.read(name)
        rows = {}
        for rater, ids in self.opened.by_rater(case).items():
            known = ids != folder.NO_LABEL
            parts = [(probs[..., c], ids == c) for c in range(1, self.opened.num_classes)]
            parts.append((1 - probs[..., 0], known & (ids != arrays.BACKGROUND)))
            rows[rater] = [
                measures.measure(own, mask, known=known, spacing=case.spacing)
                for own, mask in parts
            ]
        return rows, other_cases.coarse(measures.expected_label(probs)), case.spacing

    def _keep(self, name: str, made) -> None:
        rows, self._coarse[name], self._spacing[name] = made
        self._measured |= {(name, rater): row for rater, row in rows.items()}

    def expected(self, rater: str, probs: Float[np.ndarray, "*S L"]) -> UInt8[np.ndarray, "*S"]:
        """Returns the label that a rater with this habit is expected to give."""
        return measures.expected_label(probs, self.habit_of[rater])

    def region(
        self,
        ids: UInt8[np.ndarray, "*S"],
        probs: Float[np.ndarray, "*S L"],
        rater: str,
        spacing: tuple[float, ...],
    ) -> regions.Region:
        """Returns the region of a label in question."""
        known: Bool[np.ndarray, "*S"] = ids != folder.NO_LABEL
        return regions.find(ids, probs, self.expected(rater, probs), known=known, spacing=spacing)

    def _doubt(self, case, rater, ids, probs, scored: scores.Scores, number: int) -> Doubt:
        wanted, count = self.expected(rater, probs), self.opened.num_classes
        label = np.where(ids == folder.NO_LABEL, np.uint8(arrays.BACKGROUND), ids)
        kind = kinds.Kind("", 0.0)
        if scored.looked_at[number]:
            others = other_cases.overlaps(
                other_cases.coarse(label),
                {name: one for name, one in self._coarse.items() if name != case.name},
                num_classes=count,
            )
            kind = kinds.recognise(
                label, wanted, num_classes=count, spacing=case.spacing, others=others
            )
        region = self.region(ids, probs, rater, case.spacing)
        names = self.opened.class_names[1:]
        by_class = dict(zip(names, map(float, scored.by_class[number]), strict=False))
        return Doubt(
            case=case.name,
            rater=rater,
            score=float(scored.score[number]),
            suspect=bool(scored.suspect[number]),
            class_name=max(by_class, key=by_class.__getitem__),
            kind=kind.name,
            other=kind.case,
            dice=kinds.dice(label, wanted, count),
            volume=region.volume,
            distance=region.distance,
            by_class=by_class,
            measured=dict(
                zip((*names, "foreground"), self._measured[case.name, rater], strict=True)
            ),
        )

    def _habit(self, rater: str, doubts: Sequence[Doubt]) -> Habit:
        own = [doubt for doubt in doubts if doubt.rater == rater]
        offsets = [doubt.measured["foreground"].offset for doubt in own]
        known = [offset for offset in offsets if not np.isnan(offset)]
        return Habit(
            rater=rater,
            labels=len(own),
            suspects=sum(doubt.suspect for doubt in own),
            volume=float(np.exp(self.habit_of[rater])),
            offset=float(np.median(known)) if known else np.nan,
            dice=float(np.median([doubt.dice for doubt in own])) if own else np.nan,
        )
