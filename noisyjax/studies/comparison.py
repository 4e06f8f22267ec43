"""Paired tests between the levels of an axis, over the folds and seeds that they share."""

from collections.abc import Sequence
from typing import NamedTuple

from noisyjax.metrics import statistics
from noisyjax.studies import grid

HEADINGS = ("compared", "pairs", "difference", "sd", "p", "p (Holm)")


class Row(NamedTuple):
    """One comparison of the level `first` with `second`, at `levels` of the other axes.

    Attributes:
      result: of the test, over the pairs of runs that differ in this axis only.
      adjusted: p-value after Holm's correction over all rows.
    """

    levels: dict[str, str]
    first: str
    second: str
    result: statistics.Comparison
    adjusted: float


def compare(
    outcomes: Sequence[grid.Outcome],
    *,
    field: str,
    axis: str,
    pairs: Sequence[tuple[str, str]],
    repeats: Sequence[str] = (),
    test: str = "t",
) -> list[Row]:
    """Compares levels of an axis, run by run.

    Args:
      outcomes: of a study; failed ones are left out, with their partners.
      field: the number that is compared.
      pairs: (first, second) levels, compared for each choice of the levels of the other axes.
      repeats: axes whose levels are repetitions (folds), as seeds always are.
      test: see `statistics.paired`.
    """
    runs: dict[tuple, dict] = {}
    for cell, summary, _ in outcomes:
        if summary is None or field not in summary:
            continue
        fixed = {a: level for a, level in cell.levels.items() if a not in (axis, *repeats)}
        again = (*(cell.levels[a] for a in repeats), cell.seed)
        group = runs.setdefault(tuple(fixed.items()), {})
        group.setdefault(cell.levels[axis], {})[again] = summary[field]
    tests = []
    for fixed, group in runs.items():
        for first, second in pairs:
            one, other = group.get(first, {}), group.get(second, {})
            shared = [again for again in one if again in other]
            values = [one[again] for again in shared], [other[again] for again in shared]
            result = statistics.paired(*values, test=test, skip_undefined=True)
            tests.append((dict(fixed), first, second, result))
    adjusted = statistics.holm([result.p_value for *_, result in tests])
    return [Row(*row, float(p)) for row, p in zip(tests, adjusted, strict=True)]


def rows(compared: Sequence[Row], form: str = ".4f") -> list[list[str]]:
    """Returns the table's rows: the levels, then `HEADINGS`."""
    return [
        [
            *row.levels.values(),
            f"{row.first} − {row.second}",
            str(row.result.count),
            format(row.result.difference, f"+{form}"),
            format(row.result.sd, form),
            format(row.result.p_value, ".2g"),
            format(row.adjusted, ".2g"),
        ]
        for row in compared
    ]
