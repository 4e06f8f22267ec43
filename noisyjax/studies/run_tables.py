"""The tables of training cases that runs write as CSV."""

import csv
import pathlib


def read(path: pathlib.Path, *, missing: str) -> list[dict[str, str]]:
    """Reads a CSV file: its rows, each a column's name to a text.

    Where there is none, the FileNotFoundError says what `missing` says: why it may not be there.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: not there, {missing}")
    with open(path, encoding="utf-8-sig", newline="") as file:
        try:
            return list(csv.DictReader(file))
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{path}: expected the table of a run, got {error}") from error
