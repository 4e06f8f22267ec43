"""The numbers of a study of noisy annotations, read from the folders of its runs.

Its axis "ratio" has the levels "0 %", "10 %", ...: the share of training cases with a noisy label.
A run is evaluated three times: on the test cases, on the training cases against the labels that it
learnt from, and on the training cases against the clean labels.
"""

import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from noisyjax.metrics import statistics, tabulate
from noisyjax.studies import grid, run_tables
from noisyjax.train.workdir import metrics_log

AXIS = "ratio"
METRICS = ("dice", "false_discovery_rate", "false_positive_rate")
# Below it a label counts as a bad one.
LOW_DICE = 0.8
TESTS = ("two-sample", "paired", "runs")


class Evaluation(NamedTuple):
    """One way to evaluate a run; its metrics in the split's table have a name with this prefix."""

    title: str
    split: str
    prefix: str


EVALUATIONS = (
    Evaluation("test", "test", ""),
    Evaluation("training, own labels", "train", "label_"),
    Evaluation("training, clean labels", "train", ""),
)


class Scores(NamedTuple):
    """One metric of one evaluation at one ratio, in percent.

    Attributes:
      cases: case to its value, a mean over the classes and over the runs; NaN if undefined in all.
      runs: seed to the mean over the cases of its run.
    """

    level: str
    ratio: float
    cases: dict[str, float]
    runs: dict[int, float]


class Difference(NamedTuple):
    """How a ratio, in percent, differs from 0 %: test to its result.

    `adjusted` has each test's p-value after Holm's correction over the ratios.
    """

    level: str
    ratio: float
    tests: dict[str, statistics.Comparison]
    adjusted: dict[str, float]


class Labels(NamedTuple):
    """The noisy labels of a run against the clean ones, N of them.

    Attributes:
      title: whose they are.
      voxels: "organ", "kept", "deleted" (of the label only, what a correction deletes) and "added"
        (of the clean label only) to voxels of the foreground, ``[N]``.
      quality: "dice" and "false_discovery_rate" to values, ``[N]``; NaN if undefined.
    """

    title: str
    voxels: dict[str, Float[np.ndarray, "N"]]
    quality: dict[str, Float[np.ndarray, "N"]]


class Losses(NamedTuple):
    """The losses of a run, (steps, losses) each, and the step of the checkpoint that was tested."""

    title: str
    train: tuple[list[float], list[float]]
    val: tuple[list[float], list[float]]
    chosen: float


# Of one evaluation: metric to its scores at each ratio.
Lines = dict[str, list[Scores]]
Results = dict[Evaluation, Lines]


def ratio(level: str) -> float:
    """Returns the number of a level's name; what is no percentage raises ValueError.

    >>> ratio("10 %")
    10.0
    """
    number, sign, rest = level.partition("%")
    try:
        if sign and not rest:
            return float(number)
    except ValueError:
        pass
    raise ValueError(f"{AXIS}: expected a level such as '10 %', got {level!r}")


def read(workdir: str | os.PathLike, outcomes: Sequence[grid.Outcome]) -> Results:
    """Reads the cases of all finished runs: evaluation to metric to its scores, the ratios rising.

    ``test_cases.csv`` and ``train_cases.csv`` of each run are read; what no run has measured is
    left out. The outcomes are of cells that differ by their ratio and seed only.
    """
    values: dict[tuple[Evaluation, str], dict[str, dict[int, dict[str, float]]]] = {}
    for cell, _, _ in sorted(_finished(outcomes), key=_ratio):
        cases = _cases(pathlib.Path(workdir) / cell.folder)
        for evaluation in EVALUATIONS:
            for metric in METRICS:
                measured = cases[evaluation.split].get(evaluation.prefix + metric)
                if measured:
                    levels = values.setdefault((evaluation, metric), {})
                    levels.setdefault(cell.levels[AXIS], {})[cell.seed] = measured
    results: Results = {}
    for (evaluation, metric), levels in values.items():
        lines = [_scores(level, runs) for level, runs in levels.items()]
        results.setdefault(evaluation, {})[metric] = lines
    return results


def _cases(folder: pathlib.Path) -> dict[str, dict[str, dict[str, float]]]:
    """Returns split to metric to case to value; a split that was not evaluated has no metrics."""
    names = {evaluation.prefix + metric for evaluation in EVALUATIONS for metric in METRICS}
    paths = {e.split: folder / f"{e.split}_cases.csv" for e in EVALUATIONS}
    return {
        split: tabulate.case_means(tabulate.read_rows(path), names) if path.exists() else {}
        for split, path in paths.items()
    }


def _ratio(outcome: grid.Outcome) -> float:
    return ratio(outcome.cell.levels[AXIS])


def _finished(outcomes: Sequence[grid.Outcome]) -> list[grid.Outcome]:
    return [outcome for outcome in outcomes if outcome.summary is not None]


def _scores(level: str, runs: Mapping[int, Mapping[str, float]]) -> Scores:
    of_case: dict[str, list[float]] = {}
    for cases in runs.values():
        for case, value in cases.items():
            of_case.setdefault(case, []).append(value)
    return Scores(
        level,
        ratio(level),
        {case: tabulate.summarise(values).mean for case, values in of_case.items()},
        {seed: tabulate.summarise(cases.values()).mean for seed, cases in runs.items()},
    )


def compare(lines: Sequence[Scores]) -> list[Difference]:
    """Tests every ratio against 0 % (ratio less 0 %); without runs at 0 % there are no tests.

    Three tests: "two-sample", Student's t-test over the cases as if they were others at every
    ratio, which is what the paper does; "paired", the t-test over the same cases; "runs", Student's
    over the means of the runs. The first two take the trained networks as fixed; only the third
    accounts for the variation between runs.
    """
    base = next((line for line in lines if line.ratio == 0), None)
    if base is None:
        return []
    others = [line for line in lines if line is not base]
    tests = [_tests(line, base) for line in others]
    adjusted = {
        name: statistics.holm([of_ratio[name].p_value for of_ratio in tests]) for name in TESTS
    }
    return [
        Difference(
            line.level, line.ratio, tests[i], {name: float(p[i]) for name, p in adjusted.items()}
        )
        for i, line in enumerate(others)
    ]


def _tests(line: Scores, base: Scores) -> dict[str, statistics.Comparison]:
    shared = [case for case in line.cases if case in base.cases]
    return {
        "two-sample": statistics.unpaired(
            [*line.cases.values()], [*base.cases.values()], skip_undefined=True
        ),
        "paired": statistics.paired(
            [line.cases[case] for case in shared],
            [base.cases[case] for case in shared],
            skip_undefined=True,
        ),
        "runs": statistics.unpaired(
            [*line.runs.values()], [*base.runs.values()], skip_undefined=True
        ),
    }


def labels(workdir: str | os.PathLike, outcomes: Sequence[grid.Outcome]) -> Labels | None:
    """Reads how good the noisy labels are, from the first run at the highest ratio.

    ``replaced.csv`` of the run is read; None if no run has a noisy label.
    """
    for cell, _, _ in _highest_first(outcomes):
        path = pathlib.Path(workdir) / cell.folder / "replaced.csv"
        table = run_tables.read(path, missing="") if path.exists() else []
        if rows := [row for row in table if row["replaced"] == "1"]:
            names = ("overlap", "kept", "deleted", "added")
            dice, kept, deleted, added = (np.array([float(r[n]) for r in rows]) for n in names)
            drawn = kept + deleted
            rate = np.where(drawn > 0, deleted / np.maximum(drawn, 1), math.nan)
            return Labels(
                _title(cell),
                {"organ": kept + added, "kept": kept, "deleted": deleted, "added": added},
                {"dice": dice, "false_discovery_rate": rate},
            )
    return None


def losses(workdir: str | os.PathLike, outcomes: Sequence[grid.Outcome]) -> Losses | None:
    """Reads the losses of the first run at the highest ratio.

    ``metrics.jsonl`` of the run is read; None if no run has finished.
    """
    for cell, summary, _ in _highest_first(outcomes)[:1]:
        rows = metrics_log.read_metrics(
            pathlib.Path(workdir) / cell.folder / metrics_log.METRICS_FILE
        )
        train, val = (_curve(rows, name) for name in ("train_loss", "val_nll"))
        return Losses(_title(cell), train, val, summary["tested_step"])
    return None


def _curve(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[list[float], list[float]]:
    # A loss that is not finite is written as null.
    known = [row for row in rows if row.get(name) is not None]
    return [float(row["step"]) for row in known], [float(row[name]) for row in known]


def _title(cell: grid.Cell) -> str:
    return ", ".join((*cell.levels.values(), f"seed {cell.seed}"))


def _highest_first(outcomes: Sequence[grid.Outcome]) -> list[grid.Outcome]:
    return sorted(_finished(outcomes), key=_ratio, reverse=True)
