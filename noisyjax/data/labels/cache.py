"""What was made of examples, kept in memory up to a number of bytes, or on the disk."""

import collections
import os
import pathlib
import threading
from typing import Any

import numpy as np

from noisyjax.data.store import kept

Arrays = dict[str, np.ndarray]

# Axes of the arrays of an example before the spatial ones, of those that have some.
LEADING = {"image": 0, "truth": 0, "target": 0, "labels": 1}


class Cache:
    """Keeps the arrays of the examples that were asked for last; threads may share it.

    Attributes:
      overflowed: whether something had to go already.
    """

    def __init__(self, limit: int):
        self.overflowed = False
        self._limit, self._bytes = limit, 0
        self._cases: collections.OrderedDict[Any, Arrays] = collections.OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any) -> Arrays | None:
        """Returns the arrays of an example, or None."""
        with self._lock:
            if key in self._cases:
                self._cases.move_to_end(key)
            return self._cases.get(key)

    def put(self, key: Any, case: Arrays) -> None:
        """Keeps the arrays of an example; what was used least recently goes."""
        with self._lock:
            if key in self._cases:
                return
            self._cases[key] = case
            self._bytes += _size(case)
            while self._bytes > self._limit:
                self._bytes -= _size(self._cases.popitem(last=False)[1])
                self.overflowed = True


# Records of examples on the disk that are held in memory.
_OPEN = 512


class OnDisk:
    """Keeps the arrays of examples in a folder, where other runs with the same labels find them."""

    overflowed = False

    def __init__(self, folder: str | os.PathLike, axes: int):
        self._folder = pathlib.Path(folder)
        self._open: dict[str, kept.Arrays] = {}
        self._cut = {
            name: tuple(range(leading, leading + axes)) for name, leading in LEADING.items()
        }

    def get(self, key: str) -> kept.Arrays | None:
        """Returns the arrays of an example, large ones on the disk, or None."""
        case = self._open.get(key)
        if case is None:
            case = kept.read(self._folder / key)
            if len(self._open) >= _OPEN:
                self._open.clear()
            if case is not None:
                self._open[key] = case
        return case

    def put(self, key: str, case: Arrays) -> None:
        """Keeps the arrays of an example under a `kept.digest`."""
        kept.write(self._folder / key, case, self._cut)


def _size(case: Arrays) -> int:
    return sum(array.nbytes for array in case.values())
