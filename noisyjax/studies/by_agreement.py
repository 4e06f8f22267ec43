"""How good methods are where the raters agree little, more and much.

Zhang et al. 2020, Figures 14 and 15: the test images are divided into three groups by the raters'
consensus, the mean intersection over union of their labels in pairs, and each method's overlap is
shown for each group. A division belongs to the images and their labels, so it is the same for all
methods.
"""

import json
import math
import os
import pathlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

import matplotlib.axes
import matplotlib.figure
import matplotlib.patches
import numpy as np

from noisyjax.metrics import tabulate
from noisyjax.studies import grid

GROUPS = ("low", "medium", "high")
AGREEMENT = "rater_iou"

# What decides, beside the seed, which labels an image has; of a test image they are all there.
_DATA = ("name", "options", "panel", "panel_options", "raters")

Division = dict[Hashable, str]
# metric to case to value.
_Values = dict[str, dict[str, float]]


class Line(NamedTuple):
    """The results of one choice of levels, ``{axis: level}``, by group.

    Attributes:
      agreement: mean agreement of the raters on the group's cases.
      highest: the highest agreement in the group.
      metrics: metric to group to its values, over the cases of all repetitions.
    """

    levels: dict[str, str]
    agreement: dict[str, tabulate.Summary]
    highest: dict[str, float]
    metrics: dict[str, dict[str, tabulate.Summary]]


def divide(values: Mapping[Hashable, float]) -> Division:
    """Divides cases into three groups of equal size by a number: case to one of `GROUPS`.

    Cases with the same number stay together: they go where the middle of them belongs, and the
    groups are then as equal as that allows. Cases with NaN (no two raters) are left out.

    >>> divide({"a": 0.9, "b": 0.1, "c": 0.5, "d": float("nan")})
    {'a': 'high', 'b': 'low', 'c': 'medium'}
    """
    known = {case: value for case, value in values.items() if not math.isnan(value)}
    if not known:
        return {}
    _, position, counts = np.unique(list(known.values()), return_inverse=True, return_counts=True)
    # Twice the rank of the middle of each number's cases, a whole number.
    middles = 2 * np.cumsum(counts) - counts
    thirds = len(GROUPS) * middles // (2 * len(known))
    return {case: GROUPS[thirds[p]] for case, p in zip(known, position, strict=True)}


def groups(rows: Iterable[tabulate.Row], metric: str = AGREEMENT) -> dict[str, str]:
    """Divides the cases of one evaluation by a metric; those without it are left out."""
    return divide({row.case: row.value for row in rows if row.metric == metric})


def summarise(
    workdir: str | os.PathLike,
    outcomes: Sequence[grid.Outcome],
    metrics: Sequence[str],
    *,
    repeats: Sequence[str] = (),
) -> list[Line]:
    """Summarises the test cases of each group, for each choice of levels, in the outcomes' order.

    Args:
      workdir: the study's folder; ``test_cases.csv`` of each run that finished is read.
      metrics: metrics of ``test_cases.csv``, such as "dice"; the mean over the classes counts.
      repeats: axes whose levels are repetitions, such as folds; seeds always are.
    """
    done = [outcome.cell for outcome in outcomes if outcome.summary is not None]
    paths = {cell.folder: pathlib.Path(workdir) / cell.folder / "test_cases.csv" for cell in done}
    values = {
        folder: tabulate.case_means(tabulate.read_rows(path), {AGREEMENT, *metrics})
        for folder, path in paths.items()
    }
    divisions = _divisions(done, values)
    lines: dict[tuple, list[grid.Cell]] = {}
    for cell in done:
        levels = tuple((axis, n) for axis, n in cell.levels.items() if axis not in repeats)
        lines.setdefault(levels, []).append(cell)
    return [
        _line(dict(levels), cells, metrics, values=values, divisions=divisions)
        for levels, cells in lines.items()
    ]


def _line(
    levels: dict[str, str],
    cells: Sequence[grid.Cell],
    metrics: Sequence[str],
    *,
    values: Mapping[str, _Values],
    divisions: Mapping[str, Division],
) -> Line:
    """Puts the cases of the repetitions `cells` into their groups."""
    values_of: dict[str, dict[str, list[float]]] = {
        metric: {group: [] for group in GROUPS} for metric in (AGREEMENT, *metrics)
    }
    for cell in cells:
        division = divisions[_data_set(cell)]
        for metric, of_group in values_of.items():
            for case, value in values[cell.folder].get(metric, {}).items():
                if (cell.seed, case) in division:
                    of_group[division[cell.seed, case]].append(value)
    summaries = {
        metric: {group: tabulate.summarise(v) for group, v in of_group.items()}
        for metric, of_group in values_of.items()
    }
    highest = {group: max(v, default=math.nan) for group, v in values_of[AGREEMENT].items()}
    shown = {metric: summaries[metric] for metric in metrics}
    return Line(levels, summaries[AGREEMENT], highest, shown)


def _data_set(cell: grid.Cell) -> str:
    data = cell.config.data.to_dict()
    return json.dumps({name: data[name] for name in _DATA}, sort_keys=True, default=str)


def _divisions(cells: Iterable[grid.Cell], values: Mapping[str, _Values]) -> dict[str, Division]:
    """Divides (seed, case) of each data set once, whatever the methods' runs tested of it."""
    agreement: dict[str, dict[Hashable, float]] = {}
    for cell in cells:
        known = agreement.setdefault(_data_set(cell), {})
        for case, value in values[cell.folder].get(AGREEMENT, {}).items():
            known.setdefault((cell.seed, case), value)
    return {name: divide(known) for name, known in agreement.items()}


def table(lines: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
    """Returns headings and rows: the levels, each metric in each group, and what the groups are."""
    if not lines:
        return [], []
    columns = [f"{metric}, {group}" for metric in lines[0].metrics for group in GROUPS]
    body = []
    for line in lines:
        numbers = [
            tabulate.mean_sd(line.metrics[metric][group], digits=3)
            for metric in line.metrics
            for group in GROUPS
        ]
        sizes = " / ".join(str(line.agreement[group].count) for group in GROUPS)
        highest = (line.highest[group] for group in GROUPS)
        limits = " / ".join("–" if math.isnan(value) else f"{value:.2f}" for value in highest)
        body.append([*line.levels.values(), *numbers, sizes, limits])
    return [*lines[0].levels, *columns, "cases", "IoU up to"], body


def figure(lines: Sequence[Line]) -> matplotlib.figure.Figure:
    """Draws bars with standard deviations: groups side by side, in each a bar per method.

    The levels of the last axis are bars of their own. There is a row per metric and a column per
    choice of the other axes' levels.
    """
    panels: dict[str, list[Line]] = {}
    for line in lines:
        *others, _ = line.levels.values()
        panels.setdefault(" ".join(others), []).append(line)
    metrics = list(lines[0].metrics) if lines else []
    size = (4.2 * max(len(panels), 1) + 1.6, 3.0 * max(len(metrics), 1))
    drawn = matplotlib.figure.Figure(figsize=size, layout="constrained")
    if not metrics:
        return drawn
    names = list(dict.fromkeys(_last(line) for line in lines))
    every_axes = drawn.subplots(len(metrics), len(panels), squeeze=False, sharey="row")
    for metric, row in zip(metrics, every_axes, strict=True):
        for (title, shown), axes in zip(panels.items(), row, strict=True):
            _bars(axes, shown, metric, names)
            axes.set_title(title, fontsize=9)
        row[0].set_ylabel(metric)
    colours = [matplotlib.patches.Patch(color=_colour(n, names), label=n) for n in names]
    drawn.legend(handles=colours, loc="outside right upper", fontsize=8, frameon=False)
    return drawn


def _last(line: Line) -> str:
    return list(line.levels.values())[-1]


def _colour(name: str, names: Sequence[str]) -> str:
    return f"C{names.index(name) % 10}"


def _bars(
    axes: matplotlib.axes.Axes, lines: Sequence[Line], metric: str, names: Sequence[str]
) -> None:
    width = 0.8 / len(lines)
    for index, line in enumerate(lines):
        of_group = [line.metrics[metric][group] for group in GROUPS]
        axes.bar(
            np.arange(len(GROUPS)) + width * (index - (len(lines) - 1) / 2),
            [summary.mean for summary in of_group],
            0.9 * width,
            yerr=np.nan_to_num([summary.sd for summary in of_group]),
            error_kw={"elinewidth": 0.8, "capsize": 2},
            color=_colour(_last(line), names),
        )
    axes.set_xticks(range(len(GROUPS)), GROUPS)
    axes.set_xlabel("agreement of the raters")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def report(
    workdir: str | os.PathLike,
    rows: Sequence[grid.Outcome],
    *,
    metrics: Sequence[str],
    repeats: Sequence[str] = (),
) -> tuple[list[str], list[list[str]], matplotlib.figure.Figure]:
    """Reports how good methods are at low, medium and high agreement: headings, rows and figure.

    Arguments are those of `summarise`. Numbers are mean ± standard deviation over the cases of a
    group; without a finished run there are no rows.
    """
    lines = summarise(workdir, rows, metrics, repeats=repeats)
    return *table(lines), figure(lines)
