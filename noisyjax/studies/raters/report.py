"""The report on raters as tables, CSV files and a figure."""

import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import rich.table

from noisyjax.core import files
from noisyjax.metrics import tabulate
from noisyjax.studies import table
from noisyjax.studies.figures import plots
from noisyjax.studies.raters import figures, scores

# How many of a rater's images the table names.
WORST = 3

_KINDS = ("sensitivity", "specificity")

_LEGEND = """\
Sensitivity and specificity over the voxels of all images of the rater; Dice to the estimated truth,
volume ratio (log2: 1 is twice too much, -1 half of it; undefined where one volume is zero) and Dice
to the other raters as mean ± sd over images. Missed: images with foreground in the estimate only;
added: in the label only. Trace / L: how often the rater is right, by the matrix, classes counting
alike.
"""


def rows(result: scores.Report) -> tuple[list[str], list[list[str]]]:
    """Returns headings and rows of the table, one row per rater.

    Of several classes of foreground, sensitivity and specificity are means; see `class_rows`.
    """
    head = ["rater", "images", "sensitivity", "specificity", "Dice", "log2 volume ratio"]
    head += ["missed", "added", "trace / L", "Dice to others", "worst images (Dice)"]
    body = []
    for rater in result.raters:
        worst = ", ".join(f"{case} ({dice:.2f})" for case, dice in _worst(result, rater))
        numbers = [np.mean(rater.sensitivity), np.mean(rater.specificity)]
        line = [rater.name, str(rater.images), *map(_number, numbers)]
        line += [tabulate.mean_sd(rater.dice, digits=3), tabulate.mean_sd(rater.bias)]
        line += [str(rater.missed), str(rater.added), _number(rater.trace)]
        body.append([*line, tabulate.mean_sd(rater.agreement, digits=3), worst or "–"])
    return head, body


def class_rows(result: scores.Report) -> tuple[list[str], list[list[str]]]:
    """Returns headings and rows of the table of classes; no rows with one class of foreground."""
    classes = result.reference.examples.data.class_names[1:]
    head = ["rater", *(f"{kind} {name}" for kind in _KINDS for name in classes)]
    if len(classes) < 2:
        return head, []
    return head, [
        [rater.name, *(_number(value) for kind in _KINDS for value in getattr(rater, kind))]
        for rater in result.raters
    ]


def markdown(result: scores.Report) -> str:
    """Returns the report as Markdown: the tables, and what the reader should know."""
    parts = [f"# Raters\n\n{scores.headline(result)}.\n"]
    parts += [f"**Note:** {note}.\n" for note in result.notes]
    parts.append(tabulate.markdown_table(*rows(result)))
    if class_rows(result)[1]:
        parts.append(tabulate.markdown_table(*class_rows(result)))
    parts.append(_LEGEND)
    return "\n".join(parts)


def rater_csv(result: scores.Report) -> str:
    """Lists each rater's numbers, one row per rater; undefined numbers are nan."""
    classes = result.reference.examples.data.class_names[1:]
    lines = []
    for rater in result.raters:
        line: dict[str, Any] = {"rater": rater.name, "images": rater.images}
        for kind in _KINDS:
            values = getattr(rater, kind)
            line[kind] = float(np.mean(values))
            if len(classes) > 1:
                pairs = zip(classes, values, strict=True)
                line |= {f"{kind}/{name}": float(value) for name, value in pairs}
        for name in ("dice", "bias", "agreement"):
            summary = getattr(rater, name)
            line |= {f"{name}_{part}": value for part, value in summary._asdict().items()}
        line |= {"missed": rater.missed, "added": rater.added, "trace": rater.trace}
        line["worst"] = " ".join(case for case, _ in _worst(result, rater))
        lines.append(line)
    return files.to_csv(list(lines[0]), (line.values() for line in lines))


def case_csv(result: scores.Report) -> str:
    """Lists each number of each label: case, rater, class, metric."""
    return files.to_csv(["case", "rater", "class", "metric", "value"], _case_lines(result))


def _case_lines(result: scores.Report) -> Iterator[tuple]:
    cases, reference = result.cases, result.reference
    classes = reference.examples.data.class_names[1:]
    for n, r in np.argwhere(reference.examples.rater_masks):
        head = cases.names[n], reference.names[r]
        for metric in ("dice", "bias", "agreement"):
            yield *head, "", metric, float(getattr(cases, metric)[n, r])
        for metric in _KINDS:
            for name, value in zip(classes, getattr(cases, metric)[n, r], strict=True):
                yield *head, name, metric, float(value)


def write(result: scores.Report, folder: str | os.PathLike) -> None:
    """Writes ``raters.md``, ``raters.csv``, ``raters_cases.csv`` and ``raters.png``."""
    folder = pathlib.Path(folder)
    files.write_text(folder / "raters.csv", rater_csv(result))
    files.write_text(folder / "raters_cases.csv", case_csv(result))
    plots.save(figures.overview(result), folder / "raters.png")
    # Last: where it is, the others are.
    files.write_text(folder / "raters.md", markdown(result))


def terminal(result: scores.Report) -> rich.table.Table:
    """Builds the table that the terminal shows, without the worst images."""
    head, body = rows(result)
    short = {"sensitivity": "sens.", "specificity": "spec.", "log2 volume ratio": "log2 ratio"}
    head = [short.get(heading, heading) for heading in head[:-1]]
    return table.terminal(scores.headline(result), head, [line[:-1] for line in body])


def _worst(result: scores.Report, rater: scores.Rater) -> list[tuple[str, float]]:
    index = result.reference.names.index(rater.name)
    return [
        (result.cases.names[n], float(result.cases.dice[n, index])) for n in rater.worst[:WORST]
    ]


def _number(value: float | np.floating) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"
