"""How much a label stands out among those of its rater.

A rater who draws everything a little wide does so by habit, and no single label is wrong for it. So
each measure is taken beside its median over the rater's labels, in units of their spread; wrong
labels among them hardly move either. What stands out in several measures and classes has the
highest score.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from noisyjax.core import checks
from noisyjax.tool.audit import measures

# Measures of which only a large value is a fault; of the others a small one is as well.
_FAULTS = ("regret", "surprise", "moved")
_SIGNED = ("volume", "offset")
SCORED = (*_FAULTS, *_SIGNED)
# A spread that is less is that of few labels: of shares and logarithms, and in voxels.
_LEAST_SPREAD = {"regret": 0.01, "surprise": 0.01, "volume": 0.03, "moved": 0.1, "offset": 0.05}
_IN_VOXELS = ("moved", "offset")
# Beyond so many spreads a measure is no more wrong; what cannot be measured counts as that.
_MOST = 4.0
# A rater with fewer labels has no habit of their own.
_ENOUGH = 10
# Scores so far above the upper quartile, in interquartile ranges, are suspect (Tukey's fences).
_FENCE = 1.5
# Of a perfectly usual set of labels still none is suspect below this score.
_LEAST_SUSPECT = 0.4
# The normal distribution's standard deviation in its median absolute deviations.
_NORMAL = 1.4826


class Scores(NamedTuple):
    """How much labels stand out.

    Attributes:
      score: 0 for one like the others, 1 for one that is far off in all measures, ``[N]``.
      by_class: of each class, and last of the foreground, ``[N, C]``.
      suspect: those that stand out, ``[N]``.
      looked_at: those of the upper quartile too, in which something may be wrong, ``[N]``.
      threshold: the score from which on they do.
    """

    score: Float[np.ndarray, "N"]
    by_class: Float[np.ndarray, "N C"]
    suspect: Bool[np.ndarray, "N"]
    looked_at: Bool[np.ndarray, "N"]
    threshold: float


def score(
    measured: Sequence[Sequence[measures.Measures]],
    raters: Sequence[str],
    *,
    voxel: float,
) -> Scores:
    """Returns the scores of labels.

    Args:
      measured: of each label the measures of each class, and of the foreground.
      raters: whose labels they are.
      voxel: the size of one, in mm.
    """
    values = np.array(measured, float)
    checks.rank("measured", values, 3)
    fields = measures.Measures._fields
    squares = []
    for name in SCORED:
        least = _LEAST_SPREAD[name] * (voxel if name in _IN_VOXELS else 1.0)
        beside = standardised(values[..., fields.index(name)], raters, least)
        off = np.abs(beside) if name in _SIGNED else np.maximum(beside, 0.0)
        squares.append(np.minimum(np.nan_to_num(off, nan=_MOST), _MOST) ** 2)
    by_class = np.sqrt(np.mean(squares, axis=0)) / _MOST
    total = np.sqrt(np.mean(by_class**2, axis=1))
    low, high = np.quantile(total, [0.25, 0.75])
    threshold = max(float(high + _FENCE * (high - low)), _LEAST_SUSPECT)
    suspect = total >= threshold
    return Scores(total, by_class, suspect, suspect | (total > high), threshold)


def standardised(
    values: Float[np.ndarray, "N C"], raters: Sequence[str], least: float
) -> Float[np.ndarray, "N C"]:
    """Returns values beside their rater's median, in units of the spread around it.

    Raters with fewer than ten labels are taken together. What is the same, of all labels, as a
    class that is nowhere, stands out nowhere.

    >>> standardised(np.array([[1.0], [2.0], [3.0], [9.0]]), ["a"] * 4, 0.1).round(2).tolist()
    [[-1.01], [-0.34], [0.34], [4.38]]
    """
    own = np.asarray(raters)
    names, counts = np.unique(own, return_counts=True)
    known = {name for name, count in zip(names, counts, strict=True) if count >= _ENOUGH}
    groups = [np.flatnonzero(own == name) for name in sorted(known)]
    groups.append(np.flatnonzero([name not in known for name in own]))
    out = np.full(values.shape, np.nan)
    for rows in filter(len, groups):
        part = values[rows]
        # A class that nobody has is NaN throughout, and no fault of any label.
        part = np.where(np.isnan(part).all(axis=0), 0.0, part)
        middle = np.nanmedian(part, axis=0)
        spread = _NORMAL * np.nanmedian(np.abs(part - middle), axis=0)
        out[rows] = (part - middle) / np.maximum(spread, least)
    return out
