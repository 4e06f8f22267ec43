"""Small components of a segmentation, which are removed where cases not trained on gain by it."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, UInt8

from noisyjax.core import checks


class Gain(NamedTuple):
    """What the Dice of a class gains where only its largest component stays, mean over labels.

    Attributes:
      before: mean Dice with all components.
      after: mean Dice with the largest alone.
      labels: of so many labels of cases.
    """

    before: float
    after: float
    labels: int

    @property
    def is_gain(self) -> bool:
        """Whether the largest alone is better."""
        return self.after > self.before


def largest(mask: Bool[np.ndarray, "*S"]) -> Bool[np.ndarray, "*S"]:
    """Returns the largest component of a mask, the first of equals; corners connect.

    >>> largest(np.array([True, False, True, True])).astype(int)
    array([0, 0, 1, 1])
    """
    checks.masks(mask=mask)
    corners = scipy.ndimage.generate_binary_structure(mask.ndim, mask.ndim)
    components, count = scipy.ndimage.label(mask, corners)
    if count < 2:
        return mask
    sizes = np.bincount(components.reshape(-1))
    return components == 1 + np.argmax(sizes[1:])


def keep_largest(ids: UInt8[np.ndarray, "*S"], classes: Iterable[int]) -> UInt8[np.ndarray, "*S"]:
    """Returns class ids in which all but the largest component of some classes is background."""
    kept = ids.copy()
    for label in classes:
        mask = ids == label
        kept[mask & ~largest(mask)] = 0
    return kept


def gain(dice: Sequence[tuple[float, float]]) -> Gain:
    """Returns the gain of a class, of its Dice before and after to each label; NaN does not count.

    >>> gain([(0.5, 0.75), (1.0, 1.0), (float("nan"), float("nan"))])
    Gain(before=0.75, after=0.875, labels=2)
    """
    pairs: Float[np.ndarray, "N 2"] = np.array(dice, float).reshape(-1, 2)
    known = pairs[~np.isnan(pairs).any(axis=1)]
    if not len(known):
        return Gain(float("nan"), float("nan"), 0)
    before, after = known.mean(axis=0).tolist()
    return Gain(before, after, len(known))
