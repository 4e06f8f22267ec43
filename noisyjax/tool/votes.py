"""The votes of raters as counted patterns, over any number of images.

What R raters say of a voxel is its pattern. STAPLE and all overlaps of pairs follow from how often
each pattern occurs, so that the voxels of a whole data set are added exactly, image by image::

    found = votes.count(*votes.index(labels, num_classes))
    tables = votes.joint(votes.add([found, other]), num_classes)          # of both images
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Integer

from noisyjax.core import checks


class Votes(NamedTuple):
    """How often raters voted how.

    Attributes:
      patterns: a vote of each rater, 0 to L - 1, or L for none, ``[P, R]``; each pattern once.
      counts: number of voxels, ``[P]`` int64.
    """

    patterns: Int[np.ndarray, "P R"]
    counts: Int[np.ndarray, "P"]


def index(
    labels: Integer[np.ndarray, "R *S"],
    num_classes: int,
    *,
    rater_mask: Bool[np.ndarray, "R"] | None = None,
) -> tuple[Int[np.ndarray, "P R"], Int[np.ndarray, "*S"]]:
    """Returns the patterns of votes that occur, ``[P, R]``, and which of them each voxel has.

    Args:
      labels: class ids, ``[R, *S]``; an id that is no class (255) is no vote.
      num_classes: L.
      rater_mask: who labelled the image, ``[R]``; the others have no vote.

    >>> patterns, which = index(np.array([[0, 1, 0], [0, 1, 255]]), 2)
    >>> patterns.tolist(), which.tolist()
    ([[0, 0], [0, 2], [1, 1]], [0, 2, 1])
    """
    checks.ids("labels", labels)
    checks.at_least("num_classes", num_classes, 2)
    if rater_mask is not None:
        checks.shape("rater_mask", rater_mask, labels.shape[:1], like="labels")
    base = num_classes + 1
    patterns, which = np.zeros((1, 0), np.int32), np.zeros(labels.shape[1:], np.int32)
    for rater, given in enumerate(labels):
        if rater_mask is None or rater_mask[rater]:
            vote = np.where((given >= 0) & (given < num_classes), given, num_classes)
            which = which * np.int32(base) + vote.astype(np.int32)
        else:
            which = which * np.int32(base) + np.int32(num_classes)
        # As many numbers as occur, so that they stay small however many raters there are.
        there = np.bincount(which.ravel(), minlength=len(patterns) * base) > 0
        found = np.flatnonzero(there).astype(np.int32)
        patterns = np.column_stack([patterns[found // base], found % base])
        which = (np.cumsum(there, dtype=np.int32) - 1)[which]
    return patterns, which


def count(
    patterns: Int[np.ndarray, "P R"],
    which: Int[np.ndarray, "*S"],
    *,
    where: Bool[np.ndarray, "*S"] | None = None,
) -> Votes:
    """Counts the voxels ``[*S]`` of each pattern that `index` found, only those of `where`."""
    chosen = which.ravel() if where is None else which[where]
    counts = np.bincount(chosen, minlength=len(patterns)).astype(np.int64)
    return Votes(patterns, counts)


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


def joint(found: Votes, num_classes: int) -> Int[np.ndarray, "R R L L"]:
    """Counts the voxels where rater r says i and rater s says j, ``[R, R, L, L]``.

    >>> joint(Votes(np.array([[0, 1], [1, 1]]), np.array([2, 3])), 2)[0, 1].tolist()
    [[0, 2], [0, 3]]
    """
    said = found.patterns[:, :, None] == np.arange(num_classes)
    flat = said.reshape(len(said), -1).astype(np.int64)
    # Integers: there is no rounding, however many voxels there are.
    table = (flat * found.counts[:, None]).T @ flat
    size = (found.patterns.shape[1], num_classes)
    return table.reshape(*size, *size).transpose(0, 2, 1, 3)
