"""Several rows of a table from one training.

A trained network gives more than one result: the mask that is best for accuracy or for Dice.
A study's config then names an axis of its table that no training depends on::

    config.readouts = (
        ("method", "loss", (
            ("CE, 1/2", "cross-entropy", {"dice": "test_dice"}),
            ("SD, 1/2", "soft Dice", {"dice": "test_dice"}),
            ("CE, Dice-optimal", "cross-entropy", {"dice": "test_dice@dice"}),
        )),
    )

Here the axis "method" replaces "loss"; a row names the level whose runs it reads, and
which of their numbers it calls by what name.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from noisyjax.studies import grid

# (name of the row, level of the axis that it reads, {new name: field of the summary})
Row = tuple[str, str, Mapping[str, str]]


def read(
    outcomes: Sequence[grid.Outcome], readouts: Sequence[tuple[str, str, Sequence[Row]]]
) -> list[grid.Outcome]:
    """Replaces axes of trainings by axes of readouts, (new axis, old axis, rows) each.

    Returns an outcome per cell and row that reads it, row by row where the old level was; as they
    were without readouts. A row that reads a level that the study does not have raises ValueError.
    """
    for axis, replaced, rows in readouts:
        known = {outcome.cell.levels[replaced] for outcome in outcomes}
        for name, level, _ in rows:
            if level not in known:
                raise ValueError(f"{name}: expected a level of {replaced} {known}, got {level!r}")
        outcomes = _in_order(
            [
                _renamed(outcome, axis, replaced, name, fields)
                for name, level, fields in rows
                for outcome in outcomes
                if outcome.cell.levels[replaced] == level
            ]
        )
    return list(outcomes)


def _in_order(outcomes: Sequence[grid.Outcome]) -> list[grid.Outcome]:
    """Sorts as the cells of a grid: each axis by first appearance, the first axis outermost."""
    order: dict[tuple[str, str], int] = {}
    for outcome in outcomes:
        for level in outcome.cell.levels.items():
            order.setdefault(level, len(order))
    return sorted(outcomes, key=lambda o: [order[level] for level in o.cell.levels.items()])


def _renamed(
    outcome: grid.Outcome, axis: str, replaced: str, name: str, fields: Mapping[str, Any]
) -> grid.Outcome:
    levels = {
        axis if old == replaced else old: name if old == replaced else level
        for old, level in outcome.cell.levels.items()
    }
    summary = outcome.summary
    if summary is not None:
        renamed = {new: summary[field] for new, field in fields.items() if field in summary}
        summary = {**summary, **renamed}
    return outcome._replace(cell=outcome.cell._replace(levels=levels), summary=summary)
