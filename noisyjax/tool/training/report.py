"""How good a run of folds is on cases that its networks have not seen: summary and tables."""

import math
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from noisyjax.core import files
from noisyjax.tool import folder
from noisyjax.tool.evaluation import evaluate
from noisyjax.tool.training import run_files
from noisyjax.train.workdir import config_and_summary

METRICS = ("dice", "hd95")

# Of a fold's own summary: what it was and took, and how its network does on the test cases.
_OF_FOLD = ("steps", "parameters", "seconds_compile", "seconds_train")


def judge(run: pathlib.Path, opened: folder.Folder) -> evaluate.Report:
    """Judges the out-of-fold predictions: Dice and HD95 of each class to the truth and raters."""
    return evaluate.evaluate(
        run / run_files.OUT_OF_FOLD, opened, metrics=METRICS, conventions=("monai",), partial=True
    )


def write(
    run: pathlib.Path,
    judged: evaluate.Report | None,
    *,
    options: dict[str, Any],
    calibrated: dict[str, Any] | None,
) -> dict[str, Any]:
    """Writes ``summary.json`` and ``out_of_fold.csv``; returns the content of the first.

    Args:
      judged: None where no case was held out.
      options: of the run.
      calibrated: of `calibration.fit`, likewise.
    """
    splits = run_files.read_splits(run)
    each = [_of_fold(run, number, own["val"], judged) for number, own in enumerate(splits)]
    summary = {
        "options": options,
        "folds": each,
        "overall": _means(judged, None),
        "seconds": sum(one.get("seconds_train", 0.0) for one in each),
        "calibration": calibrated,
        "versions": config_and_summary.versions(),
    }
    if judged is not None:
        fold_of = {name: n for n, own in enumerate(splits) for name in own["val"]}
        files.write_text(run / run_files.CASES, files.to_csv(*_table(judged, fold_of)))
    files.write_json(run / run_files.SUMMARY, summary)
    return summary


def _of_fold(
    run: pathlib.Path, number: int, held_out: Sequence[str], judged: evaluate.Report | None
) -> dict[str, Any]:
    own = config_and_summary.read_summary(run_files.fold(run, number)) or {}
    tests = {name: value for name, value in own.items() if name.startswith("test_dice")}
    facts = {name: own[name] for name in _OF_FOLD if name in own}
    return {**facts, **tests, **_means(judged, held_out)}


def _means(judged: evaluate.Report | None, names: Iterable[str] | None) -> dict[str, Any]:
    """Returns the number of cases, and of each metric, rater and class the mean over them."""
    if judged is None:
        return {"cases": 0}
    rows = [i for i, name in enumerate(judged.cases) if names is None or name in set(names)]
    means: dict[str, Any] = {"cases": len(rows)}
    for column, key in enumerate(judged.keys):
        values = judged.values[rows, column]
        known = values[~np.isnan(values)]
        mean = float(known.mean()) if len(known) else math.nan
        means.setdefault(key.metric, {}).setdefault(key.rater, {})[key.label] = mean
    return means


def _table(
    judged: evaluate.Report, fold_of: dict[str, int]
) -> tuple[Sequence[str], list[Sequence[Any]]]:
    """Returns the header and the rows of the table of cases: one for each rater and class."""
    rows: dict[tuple[str, str, str], dict[str, float]] = {}
    for case, values in zip(judged.cases, judged.values, strict=True):
        for key, derived, value in zip(judged.keys, judged.derived, values, strict=True):
            if not derived and not math.isnan(value):
                rows.setdefault((case, key.rater, key.label), {})[key.metric] = value
    header = ("case", "fold", "rater", "class", *METRICS)
    return header, [
        (case, fold_of[case], rater, label)
        + tuple(f"{own[name]:.6g}" if name in own else "" for name in METRICS)
        for (case, rater, label), own in rows.items()
    ]
