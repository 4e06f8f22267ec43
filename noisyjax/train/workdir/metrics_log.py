"""Where a run's numbers go: JSON lines and TensorBoard events."""

import contextlib
import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from absl import logging

from noisyjax.core import files
from noisyjax.train.devices import distributed
from noisyjax.train.workdir import lock, tensorboard

METRICS_FILE = "metrics.jsonl"


def read_metrics(path: str | os.PathLike, *, last_step: int | None = None) -> list[dict[str, Any]]:
    """Reads a file of JSON lines, up to `last_step`; one that is absent has no lines.

    A line that was cut off by the end of its process is dropped; so is a damaged one, with a
    warning.
    """
    path = pathlib.Path(path)
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    rows, lines = [], text.splitlines()
    for number, line in enumerate(lines, 1):
        row = _row(line)
        if row is None:
            if number < len(lines):
                logging.warning("%s: line %d is damaged and left out", path, number)
        elif last_step is None or row["step"] <= last_step:
            rows.append(row)
    return rows


def _row(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


class MetricsWriter:
    """Appends rows to ``metrics.jsonl`` and the numbers in them to TensorBoard's events.

    A run that resumes from a step takes back what was written after it, so that every step stands
    in the file once. Of several processes one writes, and the others do nothing.
    """

    def __init__(self, folder: str | os.PathLike, *, step: int = 0):
        """Opens the files of a working directory, for a run that starts from a step."""
        self.seconds, self._file = 0.0, None
        if not distributed.is_writer():
            return
        self._path = pathlib.Path(folder) / METRICS_FILE
        rows = read_metrics(self._path, last_step=step)
        files.write_text(self._path, "".join(json.dumps(row) + "\n" for row in rows))
        self.seconds = max((row.get("seconds", 0.0) for row in rows), default=0.0)
        self._file = self._path.open("a", encoding="utf-8")
        self._events = tensorboard.EventsWriter(self._path.with_name("events"), step=step)

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *_) -> None:
        if self._file is None:
            return
        # Closing may fail as well, where the disk is full.
        with contextlib.closing(self._events), files.naming(self._path):
            self._file.close()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one row for a step, which is the number of updates done."""
        if self._file is None:
            return
        lock.check(self._path.parent)
        # Strict JSON has no NaN.
        row = {name: value if math.isfinite(value) else None for name, value in values.items()}
        with files.naming(self._path):
            self._file.write(json.dumps({"step": step, **row}) + "\n")
            self._file.flush()
        self._events.write(step, values)
