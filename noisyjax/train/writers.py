"""Where a run's numbers go: JSON lines and TensorBoard events."""

import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import tensorboardX

from noisyjax.core import files

METRICS_FILE = "metrics.jsonl"


def read_metrics(path: str | os.PathLike, *, last_step: int | None = None) -> list[dict[str, Any]]:
    """Reads a file of JSON lines.

    Args:
      path: the file; one that is absent has no lines.
      last_step: drop lines of later steps, None to keep all.

    Returns:
      The lines; one that was cut off by the end of its process is dropped.
    """
    path = pathlib.Path(path)
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if last_step is None or row["step"] <= last_step:
            rows.append(row)
    return rows


class MetricsWriter:
    """Appends rows to ``metrics.jsonl`` and the numbers in them to TensorBoard's events.

    A run that resumes from a step takes back what was written after it, so that every step stands
    in the file once.
    """

    def __init__(self, folder: str | os.PathLike, *, step: int = 0):
        """Opens the files.

        Args:
          folder: the working directory.
          step: the step the run starts from.
        """
        path = pathlib.Path(folder) / METRICS_FILE
        rows = read_metrics(path, last_step=step)
        files.write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
        self.seconds = max((row.get("seconds", 0.0) for row in rows), default=0.0)
        self._file = path.open("a", encoding="utf-8")
        self._events = tensorboardX.SummaryWriter(
            os.fspath(pathlib.Path(folder) / "events"), purge_step=step + 1 if step else None
        )

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *_) -> None:
        self._file.close()
        self._events.close()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one row.

        Args:
          step: number of updates done.
          values: name to number.
        """
        # Strict JSON has no NaN.
        row = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps({"step": step, **row}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._events.add_scalar(name, value, step)
