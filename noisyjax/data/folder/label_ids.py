"""The ids of classes: those of a file, which may have gaps, and 0, 1, ..., L - 1 of the arrays."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Integer, Num, UInt8

# The largest id: labels are written in 16 bits at most, and "ignore" may come after it.
MOST = 2**16 - 2


def numbers(array: Num[np.ndarray, "*S"], ids: Sequence[int]) -> UInt8[np.ndarray, "*S"]:
    """Returns the numbers of the classes of a label that has nothing but their ids, ascending.

    >>> numbers(np.array([0, 5, 2]), (0, 2, 5))
    array([0, 2, 1], dtype=uint8)
    """
    if tuple(ids) == tuple(range(len(ids))):
        return array.astype(np.uint8)
    return np.searchsorted(np.array(ids), array).astype(np.uint8)


def of_file(
    array: Integer[np.ndarray, "*S"], ids: Sequence[int]
) -> UInt8[np.ndarray, "*S"] | np.ndarray:
    """Reverses `numbers`, in the smallest of uint8 and uint16 that holds the ids.

    What is no number of a class stays as it is.

    >>> of_file(np.array([0, 2, 1, 255]), (0, 2, 300))
    array([  0, 300,   2, 255], dtype=uint16)
    """
    table = np.arange(256)
    table[: len(ids)] = ids
    return table.astype(np.uint8 if max(ids) < 256 else np.uint16)[array]


def shown(ids: Sequence[int]) -> str:
    """Returns ids as a text.

    >>> shown((0, 1, 2)), shown((0, 2, 5))
    ('0 to 2', '0, 2, 5')
    """
    whole = tuple(ids) == tuple(range(len(ids)))
    return f"0 to {len(ids) - 1}" if whole else ", ".join(map(str, ids))
