"""Slices of volumes: which to take, and which belong together."""

import numpy as np
from jaxtyping import Int, Integer

from noisyjax.core import checks


def with_foreground(
    areas: Integer[np.ndarray, "D"], *, least: int, every: int = 1
) -> Int[np.ndarray, "..."]:
    """Returns the slices of a volume that show enough of the structure, int64, rising.

    `areas` are its pixels in each slice, ``[D]``, of which a slice needs `least`; of those slices
    every n-th is taken.

    >>> with_foreground(np.array([0, 3, 9, 8, 2]), least=3)
    array([1, 2, 3])
    """
    checks.positive("least", least)
    checks.positive("every", every)
    return np.flatnonzero(areas >= least)[::every]


def blocks(slices: Integer[np.ndarray, "M"], *, length: int, gap: int = 0) -> Int[np.ndarray, "M"]:
    """Divides the slices of a volume into blocks of neighbours, for splits that never divide one.

    Neighbouring slices are nearly the same image: one to train with and the next to test by would
    test nothing. So `gap` planes are left out after each block of `length` planes (0: one block).

    Returns:
      The block of each of the rising slices, ``[M]`` int64, or -1 for one that is left out.

    >>> blocks(np.array([4, 5, 6, 7, 8, 9, 11]), length=3, gap=1)
    array([ 0,  0,  0, -1,  1,  1, -1])
    """
    checks.positive("length", length, or_zero=True)
    checks.positive("gap", gap, or_zero=True)
    offsets = (slices - slices[:1]).astype(np.int64)
    if not length:
        return np.zeros_like(offsets)
    return np.where(offsets % (length + gap) < length, offsets // (length + gap), -1)
