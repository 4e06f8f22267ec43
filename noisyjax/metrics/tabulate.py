"""Tables of results on the host: one row per case first, means after.

The table of cases is always written (CSV: case, class, metric, value). A mean stands beside the
number of values it was made from and the number of undefined ones (NaN) that it leaves out;
infinite values are not left out.
"""

import csv
import math
import os
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from noisyjax.core import checks, files

_COLUMNS = ("case", "class", "metric", "value")


class Row(NamedTuple):
    """One value of one metric.

    Attributes:
      case: the case's name.
      label: the class's name; empty for metrics of the whole image. The CSV calls it "class".
      metric: the metric's name.
      value: a number, NaN if undefined.
    """

    case: str
    label: str
    metric: str
    value: float


class Summary(NamedTuple):
    """What a number of values come to.

    Attributes:
      mean: over the defined values; NaN if there is none, infinite if one of them is.
      sd: sample standard deviation (n - 1); NaN for fewer than two values or infinite ones.
      count: number of defined values.
      undefined: number of NaN.
    """

    mean: float
    sd: float
    count: int
    undefined: int


def case_rows(
    metric: str,
    values: Shaped[np.ndarray, "B *C"],
    cases: Sequence[str],
    classes: Sequence[str] = (),
) -> list[Row]:
    """Makes rows of one metric's values, case by case.

    Args:
      values: ``[B]``, or ``[B, C]`` with a column for each of the classes.
      cases: B names.
      classes: C names, or none for values ``[B]``.

    >>> case_rows("dice", np.array([[0.5, 1.0]]), ["a"], ["organ", "lesion"])[1]
    Row(case='a', label='lesion', metric='dice', value=1.0)
    """
    expected = (len(cases), len(classes)) if classes else (len(cases),)
    if values.shape != expected:
        raise ValueError(
            f"values: expected shape {expected} like cases and classes, got {values.shape}"
        )
    names = tuple(classes) or ("",)
    table = values.reshape(len(cases), len(names))
    return [
        Row(case, name, metric, float(value))
        for case, line in zip(cases, table, strict=True)
        for name, value in zip(names, line, strict=True)
    ]


def summarise(values: Iterable[float]) -> Summary:
    """Returns mean, standard deviation and counts of some values.

    >>> summarise([1.0, 2.0, float("nan")])
    Summary(mean=1.5, sd=0.7071067811865476, count=2, undefined=1)
    """
    everything = np.asarray(list(values), np.float64)
    defined = everything[~np.isnan(everything)]
    finite = bool(np.isfinite(defined).all())
    mean = float(defined.mean()) if defined.size else math.nan
    sd = float(defined.std(ddof=1)) if defined.size > 1 and finite else math.nan
    return Summary(mean, sd, defined.size, everything.size - defined.size)


def aggregate(rows: Iterable[Row], *, per_class: bool = False) -> dict[str, Summary]:
    """Summarises each metric over all rows, or over the rows of each class.

    Returns name to summary, in the order of first appearance. With `per_class` classes are kept
    separate, under the name "metric/class".
    """
    values: dict[str, list[float]] = {}
    for row in rows:
        name = f"{row.metric}/{row.label}" if per_class and row.label else row.metric
        values.setdefault(name, []).append(row.value)
    return {name: summarise(group) for name, group in values.items()}


def case_means(rows: Iterable[Row], metrics: Collection[str]) -> dict[str, dict[str, float]]:
    """Averages metrics of the cases over the classes.

    Returns metric to case to its mean, NaN where no class defines it; without metrics that have no
    rows.

    >>> case_means([Row("a", "one", "dice", 0.5), Row("a", "two", "dice", 1.0)], {"dice"})
    {'dice': {'a': 0.75}}
    """
    by_metric: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if row.metric in metrics:
            by_metric.setdefault(row.metric, {}).setdefault(row.case, []).append(row.value)
    return {
        metric: {case: summarise(values).mean for case, values in cases.items()}
        for metric, cases in by_metric.items()
    }


def write_rows(path: str | os.PathLike, rows: Iterable[Row]) -> None:
    """Writes the table of cases as CSV; values are written so that they read back the same."""
    table = ((row.case, row.label, row.metric, repr(float(row.value))) for row in rows)
    files.write_text(path, files.to_csv(_COLUMNS, table))


def read_rows(path: str | os.PathLike) -> list[Row]:
    """Reads what `write_rows` wrote.

    Raises:
      ValueError: if it is no such table; it names the file.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        try:
            header, *lines = list(csv.reader(file)) or [()]
            if tuple(header) != _COLUMNS:
                raise ValueError(str(tuple(header)))
            return [Row(case, label, metric, float(value)) for case, label, metric, value in lines]
        except (ValueError, csv.Error) as error:
            raise ValueError(
                f"{path}: expected the columns {_COLUMNS} and a number in each row, got {error}"
            ) from error


def mean_sd(
    summary: Summary,
    *,
    digits: int = 2,
    form: str | None = None,
    scale: float = 1.0,
    missing: str = "undefined",
) -> str:
    """Returns "mean ± sd" as text, with what is missing if anything is.

    Args:
      digits: after the point.
      form: a format of both numbers in place of `digits`, such as ``".1%"``.
      scale: a factor, for example 100 for percent.
      missing: "undefined" for the number of undefined values, or "of" for the number of defined
        ones of all, which is left out if none is.

    >>> mean_sd(Summary(0.8292, 0.0019, 10, 1), scale=100.0)
    '82.92 ± 0.19 (1 undefined)'
    >>> mean_sd(Summary(0.8292, 0.0019, 10, 1), form=".1%", missing="of")
    '82.9% ± 0.2% (10 of 11)'
    """
    checks.one_of("missing", missing, ("undefined", "of"))
    form = form or f".{digits}f"
    text = format(scale * summary.mean, form) if summary.count else "–"
    if not math.isnan(summary.sd):
        text += f" ± {format(scale * summary.sd, form)}"
    if not summary.undefined:
        return text
    if missing == "undefined":
        return f"{text} ({summary.undefined} undefined)"
    total = summary.count + summary.undefined
    return f"{text} ({summary.count} of {total})" if summary.count else text


def markdown_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, aligned: bool = True
) -> str:
    """Returns a Markdown table, each line ended.

    Args:
      rows: one text per column each.
      aligned: whether cells are padded, the first column to the left and the others to the right.

    >>> print(markdown_table(["method", "Dice"], [["ours", "0.98"]]), end="")
    | method | Dice |
    | :----- | ---: |
    | ours   | 0.98 |
    >>> print(markdown_table(["method", "Dice"], [["ours", "0.98"]], aligned=False), end="")
    | method | Dice |
    | --- | --- |
    | ours | 0.98 |
    """
    table = [list(columns), *(list(row) for row in rows)]
    for row in table:
        if len(row) != len(columns):
            raise ValueError(f"rows: expected {len(columns)} entries like columns, got {row}")
    rule = ["---"] * len(columns)
    if aligned:
        widths = [max(3, *map(len, cells)) for cells in zip(*table, strict=True)]
        for row in table:
            row[:] = [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]
        rule = [f":{'-' * (widths[0] - 1)}", *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    return "".join(f"| {' | '.join(row)} |\n" for row in [table[0], rule, *table[1:]])
