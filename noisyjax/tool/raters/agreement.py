"""How far the raters of one case agree with each other and with what they say together."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from noisyjax.fusion import patterns
from noisyjax.tool.raters import votes


class Agreement(NamedTuple):
    """Of one case; NaN stands for what cannot be said.

    Attributes:
      disputed: share of the voxels with a vote on which not all votes agree.
      dice: mean over the pairs of raters of which one has the class at least, ``[L]``.
      volumes: voxels of each rater and class, ``[R, L]``.
    """

    disputed: float
    dice: Float[np.ndarray, "L"]
    volumes: Int[np.ndarray, "R L"]


def between_raters(tally: patterns.Tally, num_classes: int) -> Agreement:
    """Compares the raters of one case with each other.

    Where one of a pair has no label, the voxel does not count.

    >>> labels = np.array([[0, 0, 1, 1], [0, 1, 1, 1]])
    >>> codes = patterns.encode_on_host(labels, 2)
    >>> counted = between_raters(patterns.tally([codes], num_raters=2, num_classes=2), 2)
    >>> counted.disputed, counted.dice.round(2).tolist(), counted.volumes.tolist()
    (0.25, [0.67, 0.8], [[2, 2], [1, 3]])
    """
    counted = votes.Votes(tally.votes, tally.counts)
    chosen = [(tally.votes == k).any(axis=1) for k in range(num_classes)]
    named = np.sum(chosen, axis=0)
    cast = tally.counts[named > 0].sum()
    disputed = tally.counts[named > 1].sum() / cast if cast else np.nan
    joint = votes.joint(counted, num_classes)
    pairs = joint[np.triu_indices(len(joint), 1)]
    size = pairs.sum(axis=1) + pairs.sum(axis=2)
    scores = np.where(size > 0, 2 * np.diagonal(pairs, axis1=1, axis2=2) / np.maximum(size, 1), 0)
    defined = (size > 0).sum(axis=0)
    dice = np.where(defined > 0, scores.sum(axis=0) / np.maximum(defined, 1), np.nan)
    own = np.diagonal(np.diagonal(joint), axis1=0, axis2=1)
    return Agreement(float(disputed), dice, own)


def confusion(
    labels: Int[np.ndarray, "R *S"] | np.ndarray, truth: np.ndarray, num_classes: int
) -> Int[np.ndarray, "R L L"]:
    """Counts voxels of a rater's class (first) and the consensus' (second), ``[R, L, L]``.

    An id that is no class, of either, does not count.
    """
    counts = []
    for label in labels:
        seen = (label < num_classes) & (truth < num_classes)
        pairs = label[seen].astype(np.int64) * num_classes + truth[seen]
        counts.append(np.bincount(pairs, minlength=num_classes**2))
    return np.reshape(counts, (len(labels), num_classes, num_classes))


def performance(
    counts: Int[np.ndarray, "R L L"],
    cms: Float[np.ndarray, "R *T L L"] | None,
    prob: Callable[[int], Float[np.ndarray, "*S"]],
) -> tuple[Float[np.ndarray, "R L"], Float[np.ndarray, "R L"], Float[np.ndarray, "R L"]]:
    """Compares the raters with their consensus: Dice, sensitivity, specificity, ``[R, L]`` each.

    Sensitivity and specificity are those of the matrices of a fusion (the mean over the image of
    those that vary), or where it has none those of the counts. NaN stands for what has no value.

    Args:
      counts: of `confusion`.
      cms: ``cms[r, i, j]`` = p(rater r says i | true class j), ``[R, L, L]`` or ``[R, *S, L, L]``.
      prob: class to its probability in the consensus, ``[*S]``.
    """
    size = counts.sum(axis=1) + counts.sum(axis=2)
    hits = np.diagonal(counts, axis1=1, axis2=2)
    dice = np.where(size > 0, 2 * hits / np.maximum(size, 1), np.nan)
    joint = counts.astype(np.float64)
    if cms is not None:
        voxels = cms.reshape(len(cms), -1, *cms.shape[-2:])
        for k in range(counts.shape[-1]):
            # One class after the other, and a constant matrix once: images may be large.
            mass = prob(k).reshape(-1).astype(np.float64)
            mass = mass if cms.ndim > 3 else mass.sum(keepdims=True)
            joint[..., k] = np.einsum("rvi,v->ri", voxels[..., k], mass)
    true = joint.sum(axis=1)
    hit = np.diagonal(joint, axis1=1, axis2=2)
    others = true.sum(axis=1, keepdims=True) - true
    wrong = joint.sum(axis=2) - hit
    return dice, _ratio(hit, true), 1 - _ratio(wrong, others)


def _ratio(
    above: Float[np.ndarray, "R L"], below: Float[np.ndarray, "R L"]
) -> Float[np.ndarray, "R L"]:
    return np.where(below > 0, above / np.where(below > 0, below, 1), np.nan)
