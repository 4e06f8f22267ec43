"""The tables of training cases that runs write as CSV."""

import csv
import pathlib


def read(path: pathlib.Path, *, missing: str) -> list[dict[str, str]]:
    """Reads a table: its rows, each a column's name to a text.

    Args:
      path: the CSV file.
      missing: why it may not be there.

    Raises:
      FileNotFoundError: if it is not there.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: not there, {missing}")
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
