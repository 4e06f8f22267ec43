"""The report on predictions as tables, CSV files and one object for JSON."""

import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from noisyjax.core import files
from noisyjax.tool.evaluation import case_risk, evaluate, prediction_metrics

_CASE_COLUMNS = ("case", "class", "rater", "metric", "value")


def _entry(line: evaluate.Line) -> dict[str, Any]:
    metric, label, rater = line.key
    entry = {"metric": metric, "class": label, "rater": rater, **line.summary._asdict()}
    return entry | {"low": line.low, "high": line.high}


def _difference(one: evaluate.Difference) -> dict[str, Any]:
    metric, label, rater = one.key
    entry = {"metric": metric, "class": label, "rater": rater, **one.comparison._asdict()}
    return entry | {"p_holm": one.p_holm}


def case_rows(report: evaluate.Report) -> Iterator[tuple[str, str, str, str, float]]:
    """Yields each number of a case: case, class, rater, metric, value."""
    for n, name in enumerate(report.cases):
        for m, (metric, label, rater) in enumerate(report.keys):
            if not report.derived[m]:
                yield name, label, rater, metric, float(report.values[n, m])


def to_json(report: evaluate.Report) -> dict[str, Any]:
    """Returns all numbers of a report in dicts and lists."""
    judged = {key.metric for key in report.keys}
    return {
        "settings": vars(report.settings),
        "samples": report.samples,
        "metrics": {
            name: {"about": metric.about, "better": metric.better}
            for name, metric in prediction_metrics.METRICS.items()
            if name in judged
        },
        "summary": [_entry(line) for line in report.lines],
        "risk": [row._asdict() for row in case_risk.of_cases(report)],
        "differences": [_difference(one) for one in report.differences],
        "cases": [dict(zip(_CASE_COLUMNS, row, strict=True)) for row in case_rows(report)],
    }


def write_csv(report: evaluate.Report, out: str | os.PathLike) -> None:
    """Writes ``cases.csv``, ``summary.csv``, and ``risk.csv`` and ``versus.csv`` if not empty."""
    out = pathlib.Path(out)
    files.write_text(out / "cases.csv", files.to_csv(_CASE_COLUMNS, case_rows(report)))
    tables = {"summary.csv": [_entry(line) for line in report.lines]}
    tables |= {"risk.csv": [row._asdict() for row in case_risk.of_cases(report)]}
    tables |= {"versus.csv": [_difference(one) for one in report.differences]}
    for name, entries in tables.items():
        if entries:
            rows = (entry.values() for entry in entries)
            files.write_text(out / name, files.to_csv(list(entries[0]), rows))


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4g}"


def tables(report: evaluate.Report) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Yields what the terminal shows: title, headings and rows of one table after the other."""
    body = []
    for line in report.lines:
        if evaluate.is_main(line.key, report):
            mean, sd, count, undefined = line.summary
            limits = f"{_number(line.low)} to {_number(line.high)}".replace("– to –", "–")
            about = prediction_metrics.METRICS[line.key.metric].about
            cells = [_number(mean), _number(sd), limits, f"{count}/{count + undefined}", about]
            body.append([line.key.metric, line.key.label, line.key.rater, *cells])
    head = ["metric", "class", "beside", "mean", "sd", "interval", "cases", "what it is"]
    title = f"{len(report.cases)} cases"
    yield title + (f", {report.samples} samples" if report.samples else ""), head, body
    if risks := case_risk.of_cases(report):
        body = [
            [row.label, row.rater, row.confidence, *map(_number, row[4:]), str(row.cases)]
            for row in risks
        ]
        head = ["class", "beside", "by", "mean risk", "AURC", "E-AURC", "AUGRC", "AUSE", "cases"]
        yield "Risk (1 - Dice) of the cases that are kept", head, body
    if report.differences:
        body = [
            [
                *one.key,
                _number(one.comparison.difference),
                _number(one.comparison.sd),
                _number(one.comparison.p_value),
                _number(one.p_holm),
                str(one.comparison.count),
            ]
            for one in report.differences
        ]
        head = ["metric", "class", "beside", "difference", "sd", "p", "p (Holm)", "cases"]
        yield "Difference from the other predictions", head, body
