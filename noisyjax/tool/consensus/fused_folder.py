"""The labels of a folder's raters fused, as another folder in nnU-Net's raw layout."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from noisyjax.core import checks, files
from noisyjax.fusion import patterns
from noisyjax.tool import data_set, each_case, folder, record
from noisyjax.tool.consensus import consensus_page, fusions
from noisyjax.tool.page import page
from noisyjax.tool.raters import agreement

# Per case: how many raters, the share of voxels in dispute, and for each class the mean Dice of
# pairs of raters and the volume of the consensus in mm^3 (of images: mm^2).
CASES = "agreement.csv"
# Per case, rater and class: volume, Dice to the consensus, sensitivity and specificity.
RATERS = "performance.csv"
PROBABILITIES = "probabilities"
DISAGREEMENT = "disagreement"
PAGE = "consensus.html"
MAKES = (*data_set.MAKES, CASES, RATERS, PROBABILITIES, DISAGREEMENT, PAGE)


class Written(NamedTuple):
    """What became of a folder.

    Attributes:
      out: the folder that was written.
      cases: names of the cases that are in it.
      without_raters: names of the cases that no rater has labelled, which are not.
      problems: what is wrong with the cases that could not be used.
      finished: whether all had been done before.
    """

    out: pathlib.Path
    cases: tuple[str, ...]
    without_raters: tuple[str, ...]
    problems: tuple[str, ...]
    finished: bool


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is asked of a folder; see `consensus.consensus`."""

    method: str
    options: dict[str, Any]
    raters: tuple[str, ...]
    weights: Mapping[str, float | int]
    ties: str
    probabilities: bool
    disagreement: bool
    images: str


def write(
    opened: folder.Folder, out: str | os.PathLike, settings: Settings, *, overwrite: bool = False
) -> Written:
    """Fuses every case of a folder; what is there already of the same options stays.

    Raises:
      ValueError: if raters are unknown, or the files hold no probabilities.
      FolderError: if nobody has labelled any case.
    """
    return _Work(opened, files.named("out", out).absolute(), settings).run(overwrite=overwrite)


class _Work:
    """The making of one folder from another."""

    def __init__(self, opened: folder.Folder, out: pathlib.Path, settings: Settings):
        self._opened, self._out, self._settings = opened, out, settings
        for name in settings.raters:
            checks.one_of("raters", name, opened.rater_names)
        chosen = settings.raters or opened.rater_names
        self._raters = [name for name in opened.rater_names if name in chosen]
        for name in settings.weights:
            checks.one_of("weights", name, self._raters)
        weights = [settings.weights.get(name, 1) for name in self._raters]
        self._weights = fusions.checked_weights(
            settings.method, weights if settings.weights else None, len(self._raters)
        )
        ending = opened.layout.ending
        if ending == ".png" and (settings.probabilities or settings.disagreement):
            raise ValueError(
                "probabilities: expected none, nor a disagreement, for .png holds whole numbers"
            )
        counted = {n: sorted(set(self._raters) & set(c.raters)) for n, c in opened.cases.items()}
        self._names = [name for name, own in counted.items() if own]
        self._without = tuple(name for name, own in counted.items() if not own)
        if not self._names:
            raise folder.FolderError(
                [f"{opened.root}: expected labels in ratersTr/RATER, got none of these raters"]
            )
        # Labels that do not count need not be right.
        cases = {
            name: dataclasses.replace(
                opened.cases[name],
                truth=None,
                raters={rater: opened.cases[name].raters[rater] for rater in counted[name]},
            )
            for name in self._names
        }
        self._whole, self._opened = opened, dataclasses.replace(opened, cases=cases)
        self._columns = opened.rater_names.index
        # Pattern of votes to its row of what has been fused of all cases at once.
        self._pooled: tuple[dict[bytes, int], fusions.Fused] | None = None

    def run(self, *, overwrite: bool) -> Written:
        """Writes the folder, or what is missing of it."""
        opened, settings = self._opened, self._settings
        given = settings.options | dataclasses.asdict(settings)
        files = {name: tuple(self._whole.cases[name].raters.values()) for name in self._names}
        pooled = fusions.METHODS[settings.method].pooled
        made = record.open_record(
            self._out,
            "consensus",
            source=opened.root,
            digest=data_set.digest(opened, files, whole=pooled),
            options={name: value for name, value in given.items() if name != "options"},
            makes=MAKES,
            overwrite=overwrite,
        )
        names = opened.class_names
        measures = [f"{what}_{name}" for what in ("dice", "volume") for name in names[1:]]
        self._cases = record.Table(made.out / CASES, ("case", "raters", "disputed", *measures))
        columns = ("rater", "class", "volume", "dice", "sensitivity", "specificity")
        self._performance = record.Table(made.out / RATERS, ("case", *columns))
        todo = [name for name in self._names if not self._is_made(name)]
        if made.finished and not todo:
            return Written(made.out, tuple(self._names), self._without, (), True)
        if pooled:
            self._pooled = self._fuse_all()
        self._made = made
        problems = each_case.run(todo, self._make, self._note, title="fusing")
        cases = [name for name in self._names if self._is_made(name)]
        if not cases:
            raise folder.FolderError(problems)
        for table in (self._cases, self._performance):
            table.save(cases)
        undecided = settings.ties == "undecided"
        data_set.describe(opened, made.out, cases, with_ignore=undecided)
        problems += page.try_to_write(made.out / PAGE, lambda: self._page(cases))
        made.end(problems, cases=cases)
        return Written(made.out, tuple(cases), self._without, tuple(problems), False)

    def _page(self, cases: Sequence[str]) -> page.Page:
        """Returns the page of the cases that were made."""
        return consensus_page.make(
            self._opened,
            {name: self._targets(name)["label"] for name in cases},
            method=self._settings.method,
            cases=self._cases.rows,
            performance=self._performance.rows,
        )

    def _note(self, name: str, rows: tuple[list, list]) -> None:
        for table, own in zip((self._cases, self._performance), rows, strict=True):
            table.rows[name] = own
            table.save(self._names)

    def _targets(self, name: str) -> dict[str, pathlib.Path]:
        """The files of a case: "label", "disagreement", and the number of each class."""
        file, settings = f"{name}{self._opened.layout.ending}", self._settings
        paths = {"label": self._out / f"labels{self._opened.cases[name].part}" / file}
        if settings.disagreement:
            paths["disagreement"] = self._out / DISAGREEMENT / file
        for number in range(1, self._opened.num_classes) if settings.probabilities else ():
            paths[str(number)] = self._out / PROBABILITIES / str(number) / file
        return paths

    def _is_made(self, name: str) -> bool:
        noted = name in self._cases.rows and name in self._performance.rows
        return noted and all(path.exists() for path in self._targets(name).values())

    def _count(self, name: str) -> tuple[folder.CaseLabels, fusions.Counted]:
        read = self._opened.read(name)
        chosen = [self._columns(rater) for rater in self._raters]
        labels, mask = read.labels[chosen], read.rater_mask[chosen]
        return read, fusions.count(labels, self._opened.num_classes, mask)

    def _fuse_all(self) -> tuple[dict[bytes, int], fusions.Fused] | None:
        """Fuses all cases at once, of which one after the other is read; None if none can be."""
        parts = []
        for name in self._names:
            try:
                parts.append(self._count(name)[1].tally)
            except folder.FolderError:
                # It will be named when it is to be written.
                continue
        if not parts:
            return None
        tally = patterns.add(parts, self._opened.num_classes)
        fused = fusions.fuse_patterns(
            tally,
            self._opened.num_classes,
            self._settings.method,
            weights=self._weights,
            options=self._settings.options,
        )
        return {row.tobytes(): k for k, row in enumerate(tally.votes)}, fused

    def _of_all(self, case: fusions.Counted) -> fusions.Fused | None:
        """Returns what all cases have come to, for the patterns of one; None if each is alone."""
        if self._pooled is None:
            return None
        known, fused = self._pooled
        # What does not occur has any row.
        rows = [known.get(row.tobytes(), 0) for row in case.tally.votes]
        return fused._replace(probs=fused.probs[rows])

    def _make(self, name: str) -> tuple[list[Sequence[Any]], list[Sequence[Any]]]:
        """Makes the files of a case; returns its rows of the two tables."""
        settings = self._settings
        read, case = self._count(name)
        fused = fusions.fuse(
            case,
            settings.method,
            weights=self._weights,
            ties=settings.ties,
            options=settings.options,
            fused=self._of_all(case),
        )
        self._made.begin()
        data_set.place_images(self._opened.cases[name], self._out, how=settings.images)
        # The last class of the new dataset.json is "ignore" if there may be such voxels.
        ignore = np.uint8(self._opened.num_classes)
        label = np.where(fused.label == folder.NO_LABEL, ignore, fused.label)
        for what, path in self._targets(name).items():
            if what.isdecimal():
                values = fused.prob(int(what))
            else:
                values = {"label": label, "disagreement": fused.disagreement}[what]
            self._opened.write(path, values, like=read.like)
        return self._rows(read, case, fused)

    def _rows(
        self, read: folder.CaseLabels, case: fusions.Counted, fused: fusions.Voxels
    ) -> tuple[list[Sequence[Any]], list[Sequence[Any]]]:
        names, size = self._opened.class_names, float(np.prod(read.spacing))
        between = agreement.between_raters(case.tally, len(names))
        counts = agreement.confusion(case.labels, fused.label, len(names))
        volumes = np.bincount(fused.label.reshape(-1), minlength=256)[: len(names)] * size
        scores = agreement.performance(counts, fused.cms, fused.prob)
        of_case = [
            (
                int(case.rater_mask.sum()),
                _text(between.disputed),
                *map(_text, between.dice[1:]),
                *map(_text, volumes[1:]),
            )
        ]
        of_raters = [
            (
                rater,
                names[k],
                _text(between.volumes[r, k] * size),
                *(_text(score[r, k]) for score in scores),
            )
            for r, rater in enumerate(self._raters)
            if case.rater_mask[r]
            for k in range(1, len(names))
        ]
        return of_case, of_raters


def _text(number: float) -> str:
    """A number of a table; "" for none."""
    return "" if np.isnan(number) else f"{number:.6g}"
