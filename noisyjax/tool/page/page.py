"""A report as one HTML file, which needs no network and no server."""

import base64
import hashlib
import json
import math
import numbers
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jinja2
import markupsafe

from noisyjax.core import files
from noisyjax.tool.page import decisions, views

_HERE = pathlib.Path(__file__).parent
# A select beside the filter's box, of texts of which there are at most so many.
_FEW = 12


class Column(NamedTuple):
    """A column of a table.

    Attributes:
      name: "case" and "rater" say which case, and whose label, a row is of.
      kind: "text" or "number".
    """

    name: str
    title: str
    kind: str = "text"


class Table(NamedTuple):
    """A table; cells that are None, or NaN, are shown as a dash."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str | numbers.Real | None]]
    note: str = ""


class Figure(NamedTuple):
    """A plot, as PNG."""

    title: str
    png: bytes


class Case(NamedTuple):
    """A case that has pictures; `facts` stand beside them, with its rows of the first table."""

    name: str
    views: Sequence[views.View]
    facts: Mapping[str, str] = {}


class Page(NamedTuple):
    """A report.

    Attributes:
      done: what was done, in two sentences.
      finding: what came out.
      tables: the one with the cases first, of which rows with pictures are links to these.
      decide: whether each row of the first table asks for a decision.
    """

    title: str
    done: str
    finding: str
    tables: Sequence[Table]
    cases: Sequence[Case] = ()
    figures: Sequence[Figure] = ()
    decide: bool = False


def of_entries(
    title: str, entries: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, note: str = ""
) -> Table:
    """Returns a table of what entries hold, or lack, under the names of columns."""
    rows = [[entry.get(column.name) for column in columns] for entry in entries]
    return Table(title, columns, rows, note)


def write(path: str | os.PathLike, page: Page) -> None:
    """Writes a page, at once or not at all."""
    files.write_text(path, render(page))


def render(page: Page) -> str:
    """Returns the HTML of a page.

    Names may hold anything: they are escaped, and no other script runs than the page's own.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cell": _cell, "value": _value, "png": _png, "data": _data}
    style, script = ((_HERE / name).read_text("utf-8") for name in ("page.css", "page.js"))
    return environment.get_template("page.html").render(
        page=page,
        style=markupsafe.Markup(style),
        style_hash=_hash(style),
        script=markupsafe.Markup(script),
        script_hash=_hash(script),
        choices=[_choices(table) for table in page.tables],
        outlines=json.dumps(_outlines(page)),
        words=decisions.WORDS,
        key=_key(page),
    )


def _cell(value: str | numbers.Real | None) -> str:
    """Returns what a cell shows."""
    if value is None or isinstance(value, str):
        return "–" if value is None else value
    if math.isnan(value):
        return "–"
    return str(int(value)) if isinstance(value, numbers.Integral) else f"{value:.4g}"


def _value(value: str | numbers.Real | None) -> str:
    """Returns what a cell is sorted and filtered by; "" for nothing."""
    if value is None or isinstance(value, str):
        return value or ""
    if math.isnan(value):
        return ""
    # Plain numbers, for those of NumPy say what they are.
    return repr(int(value) if isinstance(value, numbers.Integral) else float(value))


def _png(picture: bytes) -> str:
    return base64.b64encode(picture).decode("ascii")


def _data(case: Case) -> markupsafe.Markup:
    """Returns a case as JSON that no HTML ends."""
    content = {
        "name": case.name,
        "facts": dict(case.facts),
        "views": [view._asdict() for view in case.views],
    }
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return markupsafe.Markup(text)


def _outlines(page: Page) -> list[str]:
    """Returns the names of all contours, by which they have the same colours everywhere."""
    every = (name for case in page.cases for view in case.views for name in view.outlines)
    return list(dict.fromkeys(every))


def _hash(text: str) -> str:
    """Returns by what a browser knows the page's own script and style (CSP)."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")


def _choices(table: Table) -> dict[int, list[str]]:
    """Returns the values of the columns of texts that have few, by the column's number."""
    choices = {}
    for number, column in enumerate(table.columns):
        if column.kind == "text" and column.name != "case":
            values = sorted({_value(row[number]) for row in table.rows} - {""})
            if 1 < len(values) <= _FEW:
                choices[number] = values
    return choices


def _key(page: Page) -> str:
    """Returns under what a browser keeps the decisions of a page with these labels."""
    rows = page.tables[0].rows if page.decide else ()
    asked = [[str(cell) for cell in row] for row in rows]
    return hashlib.sha256(json.dumps([page.title, asked]).encode()).hexdigest()[:16]


def try_to_write(path: str | os.PathLike, make: Callable[[], Page]) -> list[str]:
    """Makes and writes a page; says what went wrong, for what a command counted stands without."""
    try:
        write(path, make())
    except Exception as error:
        text = " ".join(str(error).split())
        return [f"{path}: expected a page, got {type(error).__name__}: {text}"]
    return []
