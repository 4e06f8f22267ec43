"""Files that are there completely or not at all."""

import contextlib
import csv
import io
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Gives a name to write to beside a path, and moves what was written there at the end.

    A reader never sees half a file, and after an error the old one stands as it was. The folder is
    made if it is not there; the suffix stays, for writers that go by it.

    Args:
      path: the file's name in the end.

    Yields:
      The name to write to.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text as it is, in UTF-8."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", newline="")


def to_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    r"""Returns a table as CSV.

    Args:
      header: names of the columns.
      rows: their values.

    Returns:
      The text, one line each.

    >>> to_csv(("case", "dice"), [("a, b", 0.5)])
    'case,dice\n"a, b",0.5\n'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
