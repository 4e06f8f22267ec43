"""Counted patterns of votes, added over images of any shape, and what pairs of raters share.

Numbers are whole and of 64 bits, so that the voxels of a data set are counted exactly.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Integer

from noisyjax.fusion import patterns


class Votes(NamedTuple):
    """How often raters voted how.

    Attributes:
      patterns: a vote of each rater, 0 to L - 1, or L for none, ``[P, R]``; each pattern once.
      counts: number of voxels, ``[P]`` int64.
    """

    patterns: Int[np.ndarray, "P R"]
    counts: Int[np.ndarray, "P"]


def count(codes: Integer[np.ndarray, "*V"], tally: patterns.Tally) -> Votes:
    """Counts the patterns of some voxels of an image, of `fusion.patterns.of_image`, that occur.

    >>> codes, tally = patterns.of_image(np.array([[0, 1, 0], [1, 1, 1]]), 2)
    >>> count(codes[1:], tally)
    Votes(patterns=array([[0, 1],
           [1, 1]], dtype=int32), counts=array([1, 1]))
    """
    counts = np.bincount(patterns.rows(tally, codes).reshape(-1), minlength=len(tally.votes))
    there = counts > 0
    return Votes(tally.votes[there], counts[there])


def add(parts: Sequence[Votes]) -> Votes:
    """Adds the votes of several images of the same raters.

    >>> add([Votes(np.array([[0, 1]]), np.array([2])), Votes(np.array([[0, 1]]), np.array([3]))])
    Votes(patterns=array([[0, 1]]), counts=array([5]))
    """
    every = np.concatenate([part.patterns for part in parts])
    counts = np.concatenate([part.counts for part in parts])
    patterns, which = np.unique(every, axis=0, return_inverse=True)
    total = np.zeros(len(patterns), np.int64)
    np.add.at(total, which.ravel(), counts)
    return Votes(patterns, total)


def joint(tally: Votes, num_classes: int) -> Int[np.ndarray, "R R L L"]:
    """Counts the voxels where rater r says i and rater s says j, ``[R, R, L, L]``.

    >>> joint(Votes(np.array([[0, 1], [1, 1]]), np.array([2, 3])), 2)[0, 1].tolist()
    [[0, 2], [0, 3]]
    """
    label = tally.patterns[:, :, None] == np.arange(num_classes)
    size = label.shape[1:]
    flat = label.reshape(len(label), size[0] * size[1]).astype(np.int64)
    table = (flat * tally.counts[:, None]).T @ flat
    return table.reshape(*size, *size).transpose(0, 2, 1, 3)
