"""Tables and figures of a study of noisy annotations.

Yu et al. 2020, section 3: networks are trained with growing ratios of noisy cases, and it is asked
from which ratio on they are worse than one that has learnt from clean labels.
"""

import math
import os
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.figure
import numpy as np

from noisyjax.metrics import tabulate
from noisyjax.studies import grid
from noisyjax.studies.noise_ratio import figures, scores

# Metric to its heading and the factor of its numbers. The rate counts all background.
_COLUMNS = {
    "dice": ("Dice", 1.0),
    "false_discovery_rate": ("FDR", 1.0),
    "false_positive_rate": ("FPR (%)", 100.0),
}
_SCORES_NOTE = (
    "Mean ± sd over the cases (n − 1); a case counts once, with its mean over the runs of the "
    "ratio and over the classes. Sd of runs: of the means of the runs, from repetition to "
    "repetition. FDR: false positives as a share of what was predicted. FPR: as a share of all "
    "voxels that are not the organ, so it falls with the size of the image around it. The paper "
    "defines its vs-FPR as the latter, but the numbers that it reports (0.06 to 0.21) can only be "
    "the former."
)
_TESTS_NOTE = (
    "Difference: mean at the ratio less mean at 0 %, over the cases. P-values as they are, and in "
    "brackets after Holm's correction over the ratios. Two-sample: Student's t-test over the "
    "cases, as in the paper, as if the cases were others at every ratio; paired: the t-test over "
    "the same cases. Both take the trained networks for given; runs: Student's t-test over the "
    "means of the runs, which knows that another run would come out otherwise."
)
_LABELS_NOTE = (
    "The noisy labels against the clean ones, {title}. Kept: voxels of both; deleted: of the noisy "
    "label only; added: of the clean label only; organ: kept + added. FDR: deleted / (kept + "
    "deleted)."
)


class Part(NamedTuple):
    """One table, with a note of what the reader should know."""

    title: str
    head: list[str]
    body: list[list[str]]
    note: str


def report(
    workdir: str | os.PathLike, outcomes: Sequence[grid.Outcome]
) -> tuple[list[Part], dict[str, matplotlib.figure.Figure]]:
    """Reports on a study with the axis "ratio": tables, and figures by name.

    What is missing, because runs have failed or not finished, is left out: ratios, tests
    without 0 %, figures of labels without a noisy one. Where there are more axes than the ratio,
    each choice of their levels has a report of its own. Tables are the scores and the tests of each
    evaluation, and the quality of the labels; figures "ratio" (`figures.evaluations`), "losses",
    "voxels" and "quality".

    Raises:
      ValueError: if the study has no axis "ratio", or a level is no percentage.
    """
    groups: dict[tuple[str, ...], list[grid.Outcome]] = {}
    for outcome in outcomes:
        levels = outcome.cell.levels
        if scores.AXIS not in levels:
            raise ValueError(f"outcomes: expected the axis {scores.AXIS!r}, got {[*levels]}")
        others = tuple(level for axis, level in levels.items() if axis != scores.AXIS)
        groups.setdefault(others, []).append(outcome)
    parts, drawings = [], {}
    for others, group in groups.items():
        tables, drawn = _report(workdir, group)
        before = "".join(f"{level}: " for level in others)
        parts += [part._replace(title=f"{before}{part.title}") for part in tables]
        drawings |= {"-".join((kind, *map(grid.slug, others))): f for kind, f in drawn.items()}
    return parts, drawings


def _report(
    workdir: str | os.PathLike, outcomes: Sequence[grid.Outcome]
) -> tuple[list[Part], dict[str, matplotlib.figure.Figure]]:
    results = scores.read(workdir, outcomes)
    labels = scores.labels(workdir, outcomes)
    losses = scores.losses(workdir, outcomes)
    parts, drawings = [], {}
    for evaluation, lines in results.items():
        parts.append(_scores(evaluation, lines))
    for evaluation, lines in results.items():
        tests = _tests(evaluation, lines)
        parts += [tests] if tests.body else []
    if results:
        drawings["ratio"] = figures.evaluations(results)
    if losses is not None:
        drawings["losses"] = figures.losses(losses)
    if labels is not None:
        parts.append(_labels(labels))
        drawings["voxels"] = figures.voxels(labels)
        drawings["quality"] = figures.quality(labels)
    return parts, drawings


def _scores(evaluation: scores.Evaluation, lines: scores.Lines) -> Part:
    """The table of one evaluation, a row per ratio."""
    rows: dict[str, list[str]] = {}
    for ratio in dict.fromkeys(line.level for of_metric in lines.values() for line in of_metric):
        rows[ratio] = [ratio]
    head, sizes = [scores.AXIS], {}
    for metric, of_metric in lines.items():
        heading, scale = _COLUMNS[metric]
        head += [heading, "sd of runs"]
        known = {line.level: line for line in of_metric}
        for level, row in rows.items():
            row += _numbers(known[level], scale) if level in known else ["–", "–"]
        sizes |= {line.level: [str(len(line.cases)), str(len(line.runs))] for line in of_metric}
    body = [[*row, *sizes[level]] for level, row in rows.items()]
    return Part(_title(evaluation), [*head, "cases", "runs"], body, _SCORES_NOTE)


def _title(evaluation: scores.Evaluation) -> str:
    return evaluation.title[0].upper() + evaluation.title[1:]


def _numbers(line: scores.Scores, scale: float) -> list[str]:
    cases = tabulate.summarise(line.cases.values())
    sd = scale * tabulate.summarise(line.runs.values()).sd
    return [tabulate.mean_sd(cases, digits=3, scale=scale), _number(sd, ".3f")]


def _number(value: float, form: str) -> str:
    return "–" if math.isnan(value) else format(value, form)


def _tests(evaluation: scores.Evaluation, lines: scores.Lines) -> Part:
    """The tests of one evaluation, a row per metric and ratio but 0 %."""
    body = []
    for metric, of_metric in lines.items():
        heading, scale = _COLUMNS[metric]
        for compared in scores.compare(of_metric):
            difference = scale * compared.tests["two-sample"].difference
            row = [heading, compared.level, _number(difference, "+.3f")]
            for test in scores.TESTS:
                p, adjusted = compared.tests[test].p_value, compared.adjusted[test]
                row.append("–" if math.isnan(p) else f"{_p_value(p)} ({_p_value(adjusted)})")
            body.append(row)
    head = ["metric", scores.AXIS, "difference", *(f"p, {t}" for t in scores.TESTS)]
    return Part(f"{_title(evaluation)}: against 0 %", head, body, _TESTS_NOTE)


def _p_value(value: float) -> str:
    return "<.001" if value < 0.001 else f"{value:.3f}"


def _labels(labels: scores.Labels) -> Part:
    """The table of the noisy labels."""
    body = []
    quality = zip(("Dice", "FDR"), labels.quality.values(), strict=True)
    for name, values, digits in (
        *((f"voxels {name}", values, 0) for name, values in labels.voxels.items()),
        *((name, values, 3) for name, values in quality),
    ):
        low, median, high = np.nanquantile(values, (0.25, 0.5, 0.75))
        summary = tabulate.mean_sd(tabulate.summarise(values), digits=digits)
        form = f".{digits}f"
        body.append([name, summary, format(median, form), f"{low:{form}} to {high:{form}}"])
    dice = labels.quality["dice"]
    limit = scores.LOW_DICE
    body.append([f"cases with Dice < {limit:g}", f"{(dice < limit).sum()} of {len(dice)}", "", ""])
    note = _LABELS_NOTE.format(title=labels.title)
    return Part("Noisy labels", ["", "mean ± sd", "median", "quartiles"], body, note)
