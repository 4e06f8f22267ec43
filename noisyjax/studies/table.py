"""From the outcomes of a study to its tables: every seed as CSV, mean ± sd as Markdown."""

import csv
import io
import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import rich.table

from noisyjax.studies import grid


class Column(NamedTuple):
    """A column of the table: the summary's field, its heading, and the format of its numbers."""

    field: str
    heading: str
    format: str = ".3f"


def tidy_csv(outcomes: Sequence[grid.Outcome]) -> str:
    """Lists every number of every cell: axes, seed, metric, value; a failed cell has one row."""
    axes = list(outcomes[0].cell.levels) if outcomes else []
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*axes, "seed", "metric", "value"])
    for cell, summary, error in outcomes:
        head = [*cell.levels.values(), cell.seed]
        if error is not None:
            writer.writerow([*head, "failed", error.strip().splitlines()[-1]])
            continue
        for name, value in sorted(summary.items()):
            writer.writerow([*head, name, value])
    return file.getvalue()


def rows(outcomes: Sequence[grid.Outcome], columns: Sequence[Column]) -> list[list[str]]:
    """Folds the seeds: one row per choice of levels, ``mean ± sd`` per column.

    The last entry is the number of seeds that finished of those that were run; a column is "–"
    where no seed defines it (a majority vote has no confusion matrices).
    """
    groups: dict[tuple[str, ...], list[grid.Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(tuple(outcome.cell.levels.values()), []).append(outcome)
    out = []
    for levels, group in groups.items():
        done = [outcome.summary for outcome in group if outcome.summary is not None]
        numbers = [_mean_sd([s.get(c.field, math.nan) for s in done], c.format) for c in columns]
        out.append([*levels, *numbers, f"{len(done)}/{len(group)}"])
    return out


def headings(outcomes: Sequence[grid.Outcome], columns: Sequence[Column]) -> list[str]:
    """Returns the headings that belong to `rows`."""
    axes = list(outcomes[0].cell.levels) if outcomes else []
    return [*axes, *(column.heading for column in columns), "seeds"]


def markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Writes a table as Markdown.

    Example:
      >>> print(markdown(["method", "Dice"], [["oracle", "0.976"]]), end="")
      | method | Dice |
      | --- | --- |
      | oracle | 0.976 |
    """
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def terminal(title: str, head: Sequence[str], body: Sequence[Sequence[str]]) -> rich.table.Table:
    """Builds the table that the terminal shows."""
    table = rich.table.Table(title=title)
    for heading in head:
        table.add_column(heading)
    for line in body:
        table.add_row(*line)
    return table


def _mean_sd(values: Sequence[float], form: str) -> str:
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "–"
    text = format(statistics.fmean(known), form)
    if len(known) > 1:
        text += f" ± {format(statistics.stdev(known), form)}"
    if len(known) < len(values):
        text += f" ({len(known)} of {len(values)})"
    return text
