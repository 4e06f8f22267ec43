"""What was made of examples, kept up to a number of bytes."""

import collections
import threading
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


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


def _size(case: Arrays) -> int:
    return sum(array.nbytes for array in case.values())
