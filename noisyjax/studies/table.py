"""From the outcomes of a study to its tables: every seed as CSV, mean ± sd as Markdown."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import rich.table

from noisyjax.core import files
from noisyjax.metrics import tabulate
from noisyjax.studies import grid


class Column(NamedTuple):
    """A column of the table: the summary's field, its heading, and the format of its numbers."""

    field: str
    heading: str
    format: str = ".3f"


def tidy_csv(outcomes: Sequence[grid.Outcome]) -> str:
    """Lists every number of every cell: axes, seed, metric, value; a failed cell has one row."""
    axes = list(outcomes[0].cell.levels) if outcomes else []
    lines = []
    for cell, summary, error in outcomes:
        head = [*cell.levels.values(), cell.seed]
        if error is not None:
            lines.append([*head, "failed", error.strip().splitlines()[-1]])
            continue
        lines += [[*head, name, value] for name, value in sorted(summary.items())]
    return files.to_csv([*axes, "seed", "metric", "value"], lines)


def rows(
    outcomes: Sequence[grid.Outcome], columns: Sequence[Column], repeats: Sequence[str] = ()
) -> list[list[str]]:
    """Folds the repetitions: one row per choice of levels, ``mean ± sd`` per column.

    The last entry is the number of runs that finished of those that were started; a column is "–"
    where no run defines it (a majority vote has no confusion matrices). `repeats` are axes whose
    levels are repetitions, such as folds; seeds always are.
    """
    out = []
    for levels, group in _groups(outcomes, repeats).items():
        done = [outcome.summary for outcome in group if outcome.summary is not None]
        numbers = [_mean_sd([s.get(c.field, math.nan) for s in done], c.format) for c in columns]
        out.append([*levels, *numbers, f"{len(done)}/{len(group)}"])
    return out


def headings(
    outcomes: Sequence[grid.Outcome], columns: Sequence[Column], repeats: Sequence[str] = ()
) -> list[str]:
    """Returns the headings that belong to `rows`."""
    axes = _axes(outcomes, repeats)
    return [*axes, *(column.heading for column in columns), "runs" if repeats else "seeds"]


def pivot(
    outcomes: Sequence[grid.Outcome], column: Column, axis: str, repeats: Sequence[str] = ()
) -> tuple[list[str], list[list[str]]]:
    """Shows one number with the levels of an axis side by side, as papers do: headings and rows.

    The levels of `axis` become columns; the heading of `column` is not used. `repeats` as in
    `rows`.
    """
    across = list(dict.fromkeys(outcome.cell.levels[axis] for outcome in outcomes))
    axes = _axes(outcomes, repeats)
    index = axes.index(axis)
    body: dict[tuple[str, ...], dict[str, str]] = {}
    for levels, group in _groups(outcomes, repeats).items():
        values = [o.summary.get(column.field, math.nan) for o in group if o.summary is not None]
        row = body.setdefault((*levels[:index], *levels[index + 1 :]), {})
        row[levels[index]] = _mean_sd(values, column.format)
    lines = [[*rest, *(row.get(name, "–") for name in across)] for rest, row in body.items()]
    return [*axes[:index], *axes[index + 1 :], *across], lines


def _axes(outcomes: Sequence[grid.Outcome], repeats: Sequence[str]) -> list[str]:
    levels = outcomes[0].cell.levels if outcomes else {}
    return [axis for axis in levels if axis not in repeats]


def _groups(
    outcomes: Sequence[grid.Outcome], repeats: Sequence[str]
) -> dict[tuple[str, ...], list[grid.Outcome]]:
    """Groups the outcomes that differ by their repetition only."""
    groups: dict[tuple[str, ...], list[grid.Outcome]] = {}
    axes = _axes(outcomes, repeats)
    for outcome in outcomes:
        levels = tuple(outcome.cell.levels[axis] for axis in axes)
        groups.setdefault(levels, []).append(outcome)
    return groups


def terminal(title: str, head: Sequence[str], body: Sequence[Sequence[str]]) -> rich.table.Table:
    """Builds the table that the terminal shows."""
    table = rich.table.Table(*head, title=title)
    for line in body:
        table.add_row(*line)
    return table


def _mean_sd(values: Sequence[float], form: str) -> str:
    return tabulate.mean_sd(tabulate.summarise(values), form=form, missing="of")
