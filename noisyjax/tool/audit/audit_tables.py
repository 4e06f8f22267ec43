"""An audit as tables: of labels, of their classes, and of raters."""

import math
from collections.abc import Sequence
from typing import Any

from noisyjax.core import files
from noisyjax.tool import folder
from noisyjax.tool.audit import audit, measures
from noisyjax.tool.page import page

LABELS, CLASSES, RATERS = "audit.csv", "classes.csv", "raters.csv"
_LABELS = (
    page.Column("case", "case"),
    page.Column("rater", "rater"),
    page.Column("score", "score", "number"),
    page.Column("suspect", "suspect"),
    page.Column("kind", "what may be wrong"),
    page.Column("other", "whose label it is"),
    page.Column("class", "class"),
    page.Column("dice", "Dice with the prediction", "number"),
    page.Column("volume_mm3", "in question [mm³]", "number"),
    page.Column("distance_mm", "furthest [mm]", "number"),
)
_RATERS = (
    page.Column("rater", "rater"),
    page.Column("labels", "labels", "number"),
    page.Column("suspects", "suspects", "number"),
    page.Column("volume", "volume / expected", "number"),
    page.Column("offset_mm", "outline outside by [mm]", "number"),
    page.Column("dice", "Dice with the prediction", "number"),
)
_SHOWN = 20


def label_entries(report: audit.Report) -> list[dict[str, Any]]:
    """Returns what stands in ``audit.csv``, the labels that stand out most first."""
    return [
        {
            "rank": rank,
            "case": doubt.case,
            "rater": doubt.rater,
            "score": doubt.score,
            "suspect": "yes" if doubt.suspect else "no",
            "kind": doubt.kind,
            "other": doubt.other,
            "class": doubt.class_name,
            "dice": doubt.dice,
            "volume_mm3": doubt.volume,
            "distance_mm": doubt.distance,
        }
        for rank, doubt in enumerate(report.doubts, 1)
    ]


def class_entries(report: audit.Report) -> list[dict[str, Any]]:
    """Returns what stands in ``classes.csv``: each class of each label, and what was measured."""
    return [
        {
            "case": doubt.case,
            "rater": doubt.rater,
            "class": name,
            "score": doubt.by_class.get(name, math.nan),
            **measured._asdict(),
        }
        for doubt in report.doubts
        for name, measured in doubt.measured.items()
    ]


def rater_entries(report: audit.Report) -> list[dict[str, Any]]:
    """Returns what stands in ``raters.csv``: who differs by habit."""
    return [
        {
            "rater": habit.rater,
            "labels": habit.labels,
            "suspects": habit.suspects,
            "volume": habit.volume,
            "offset_mm": habit.offset,
            "dice": habit.dice,
        }
        for habit in report.habits
    ]


def to_csv(report: audit.Report) -> dict[str, str]:
    """Returns the tables by the names of their files."""
    classes = ("case", "rater", "class", "score", *measures.Measures._fields)
    return {
        LABELS: _csv(("rank", *(column.name for column in _LABELS)), label_entries(report)),
        CLASSES: _csv(classes, class_entries(report)),
        RATERS: _csv([column.name for column in _RATERS], rater_entries(report)),
    }


def for_page(report: audit.Report) -> list[page.Table]:
    """Returns the tables of the page."""
    title = f"Labels, the most doubtful first; suspect from a score of {report.threshold:.2f}"
    columns = _LABELS
    if not any(doubt.other for doubt in report.doubts):
        columns = tuple(column for column in columns if column.name != "other")
    # A decision on the only label of a case names no rater.
    if [habit.rater for habit in report.habits] == [folder.TRUTH]:
        columns = tuple(column for column in columns if column.name != "rater")
    note = "The score is 0 of a label like the others and 1 of one that is far off in everything."
    return [
        page.of_entries(title, label_entries(report), columns, note=note),
        page.of_entries("Habits: medians over a rater's labels", rater_entries(report), _RATERS),
    ]


def for_terminal(
    report: audit.Report,
) -> list[tuple[str, Sequence[str], list[tuple[str, ...]]]]:
    """Returns the tables that a command prints: the labels that are suspect, and the raters."""
    suspects = [entry for entry in label_entries(report) if entry["suspect"] == "yes"]
    left = "" if len(suspects) <= _SHOWN else f", the first {_SHOWN}"
    columns = [column for column in _LABELS if column.name != "suspect"]
    return [
        (f"Suspects: {len(suspects)} of {len(report.doubts)} labels{left}",
         *_printed(suspects[:_SHOWN], columns)),
        ("Habits", *_printed(rater_entries(report), _RATERS)),
    ]  # fmt: skip


def _printed(
    entries: Sequence[dict[str, Any]], columns: Sequence[page.Column]
) -> tuple[list[str], list[tuple[str, ...]]]:
    rows = [tuple(_text(entry[column.name]) for column in columns) for entry in entries]
    return [column.title for column in columns], rows


def _text(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return "" if math.isnan(value) else f"{value:.3g}"


def _csv(header: Sequence[str], entries: Sequence[dict[str, Any]]) -> str:
    rows = [
        ["" if value != value else value for value in (entry[name] for name in header)]
        for entry in entries
    ]
    return files.to_csv(header, rows)
