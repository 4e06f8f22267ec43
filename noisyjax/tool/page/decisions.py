"""What a person has decided on labels: ``decisions.csv``, which a page exports."""

import csv
import math
import os
from collections.abc import Collection, Mapping
from typing import NamedTuple

from noisyjax.core import checks

WORDS = ("keep", "mend", "drop", "weight")
COLUMNS = ("case", "rater", "decision", "weight")


class Decision(NamedTuple):
    """What becomes of a label.

    Attributes:
      rater: whose label it is; "" for the only one of the case, or for all.
      decision: one of `WORDS`.
      weight: of the case, 1 but for the decision "weight".
    """

    case: str
    rater: str
    decision: str
    weight: float


def read(path: str | os.PathLike, raters: Mapping[str, Collection[str]]) -> list[Decision]:
    """Reads the decisions on a folder's labels.

    Args:
      path: a file of CSV in UTF-8 with `COLUMNS`, a row each.
      raters: name of every case to those who labelled it.

    Raises:
      ValueError: names the file, the line and what was expected there.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        try:
            header, *rows = list(csv.reader(file)) or [[]]
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{path}: expected CSV in UTF-8, got {error}") from error
    if tuple(header) != COLUMNS:
        raise ValueError(f"{path}: expected the columns {','.join(COLUMNS)}, got {header!r:.80}")
    made: dict[tuple[str, str], Decision] = {}
    for number, row in enumerate(rows, start=2):
        if not row:
            continue
        try:
            one = _checked(row, raters)
            if (one.case, one.rater) in made:
                raise ValueError(f"expected one decision on each label, got {row[:2]} again")
        except ValueError as error:
            raise ValueError(f"{path}: line {number}: {error}") from error
        made[one.case, one.rater] = one
    return list(made.values())


def _checked(row: list[str], raters: Mapping[str, Collection[str]]) -> Decision:
    if len(row) != len(COLUMNS):
        raise ValueError(f"expected {len(COLUMNS)} cells, got {len(row)}")
    case, rater, word, weight = row
    if case not in raters:
        # Of hundreds, perhaps.
        raise ValueError(f"case: expected a case with labels, got {case!r}")
    if rater:
        checks.one_of(f"rater of {case}", rater, raters[case])
    checks.one_of("decision", word, WORDS)
    if word != "weight":
        if weight:
            raise ValueError(f'weight: expected "" for {word!r}, got {weight!r}')
        return Decision(case, rater, word, 1.0)
    try:
        number = float(weight)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise ValueError(f"weight: expected a number >= 0, got {weight!r}")
    return Decision(case, rater, word, number)
