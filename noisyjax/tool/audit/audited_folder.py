"""The audit of a folder as files: tables, the regions in question, and a page to work through."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from noisyjax.core import files
from noisyjax.data.volumes import read_write
from noisyjax.tool import cases, each_case, folder, record
from noisyjax.tool.audit import audit, audit_tables, evidence
from noisyjax.tool.page import gallery, page
from noisyjax.tool.training import train_folds

COMMAND = "audit"
# The run of its own, where no predictions are given.
RUN = "run"
REGIONS = "regions"
PAGE = "audit.html"
_TABLES = (audit_tables.LABELS, audit_tables.CLASSES, audit_tables.RATERS)
MAKES = (*_TABLES, REGIONS, PAGE, RUN)
_EXPECTED = "prediction"


class Written(NamedTuple):
    """What became of an audit.

    Attributes:
      out: its folder.
      report: None if it was done before.
      problems: what is wrong with the cases that could not be used.
    """

    out: pathlib.Path
    report: audit.Report | None
    problems: tuple[str, ...]


def write(
    root: str | os.PathLike,
    out: str | os.PathLike,
    *,
    predictions: str | os.PathLike | None = None,
    training: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Written:
    """Audits a folder and writes what was found; done again it says so.

    Args:
      root: the folder.
      out: a folder outside of it, absent, empty, or of the same audit.
      predictions: see `audit.audit`; by default networks of five folds are trained in ``out/run``.
      training: options of `train_folds.train_folds`, if networks are trained.
      overwrite: whether what was made in `out` with other options is removed.

    Raises:
      folder.FolderError: if the folder, or no prediction, can be used.
      record.OtherRun: if `out` holds something else.
      ValueError: if an option cannot be.
    """
    opened = folder.open_folder(root)
    own = {} if predictions is None else evidence.files_of(predictions)
    labels = [path for paths in cases.label_files(opened).values() for path in paths]
    inputs = [*labels, *(path for name in opened.cases for path in own.get(name, ()))]
    given = None if predictions is None else os.path.realpath(predictions)
    made = record.open_record(
        out,
        COMMAND,
        source=root,
        digest=record.digest(dict.fromkeys(inputs), opened.root),
        options={"predictions": given, "training": dict(training or {})},
        makes=MAKES,
        overwrite=overwrite,
    )
    if made.finished:
        return Written(made.out, None, ())
    problems: list[str] = []
    if predictions is None:
        made.begin()
        predictions = made.out / RUN
        run = train_folds.train_folds(root, predictions, **(training or {}))
        problems += run.problems
    work = audit.Audit(opened, evidence.find(predictions, opened))
    report = work.report()
    made.begin()
    problems += report.problems
    for name, text in audit_tables.to_csv(report).items():
        files.write_text(made.out / name, text)
    problems += _write_regions(work, report, made.out / REGIONS)
    problems += page.try_to_write(made.out / PAGE, lambda: _page(work, report))
    results = {
        "threshold": report.threshold,
        "suspects": [[doubt.case, doubt.rater, doubt.kind] for doubt in report.suspects],
        "habits": [habit._asdict() for habit in report.habits],
        "without_prediction": list(report.without),
    }
    made.end(problems, results=files.plain(results))
    return Written(made.out, report, tuple(problems))


def _write_regions(work: audit.Audit, report: audit.Report, out: pathlib.Path) -> list[str]:
    """Writes the regions of the suspects: ``RATER/CASE``."""
    by_case: dict[str, list[str]] = {}
    for doubt in report.suspects:
        by_case.setdefault(doubt.case, []).append(doubt.rater)

    def write_one(name: str) -> None:
        case, probs = work.read(name)
        like = read_write.read(case.like)
        for rater in by_case[name]:
            found = work.region(work.opened.by_rater(case)[rater], probs, rater, case.spacing)
            volume = read_write.from_ras(found.map, like=like)
            path = out / rater / f"{name}{work.opened.layout.ending}"
            read_write.write(path, volume)

    return each_case.run(list(by_case), write_one, lambda name, made: None, title="writing regions")


def _page(work: audit.Audit, report: audit.Report) -> page.Page:
    opened = work.opened

    def labels(name: str) -> gallery.Labels:
        case, probs = work.read(name)
        own, suspects = work.opened.by_rater(case), raters_of.get(name, [])
        region = np.zeros(probs.shape[:-1], bool)
        for rater in suspects:
            region |= work.region(own[rater], probs, rater, case.spacing).map > 0
        # The page shows one prediction, by the habit of the rater whose label is in question.
        expected = work.expected(suspects[0] if suspects else next(iter(own)), probs)
        return gallery.Labels({**own, _EXPECTED: expected}, case.spacing, region)

    raters_of: dict[str, list[str]] = {}
    for doubt in report.suspects:
        raters_of.setdefault(doubt.case, []).append(doubt.rater)
    # Every suspect, then as many of the others as there is room for.
    names = list(dict.fromkeys(doubt.case for doubt in report.doubts))
    return page.Page(
        title=f"Audit of the labels of {opened.root.name}",
        done=(
            f"{len(report.doubts)} labels of {len(report.cases)} cases were held against "
            "predictions of networks that have not seen them. Each is judged beside what is usual "
            "of its rater."
        ),
        finding=finding(report),
        tables=audit_tables.for_page(report),
        cases=gallery.make(opened, names, labels),
        decide=True,
    )


def finding(report: audit.Report) -> str:
    """Returns what came out, in a sentence or two."""
    count, suspects = len(report.doubts), report.suspects
    if not suspects:
        return f"None of {count} labels stands out."
    kinds: dict[str, int] = {}
    for doubt in suspects:
        kinds[doubt.kind or "unclear"] = kinds.get(doubt.kind or "unclear", 0) + 1
    each = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
    first = suspects[0]
    whose = "" if first.rater == folder.TRUTH else f" of {first.rater}"
    return (
        f"{len(suspects)} of {count} labels are probably wrong ({each}); most of all "
        f"{first.case}{whose}: {first.kind}."
    )
