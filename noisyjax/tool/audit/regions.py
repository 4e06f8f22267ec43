"""The region in question: where a label says what the prediction denies."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from noisyjax.core import arrays, checks

# What the numbers of a region's voxels mean.
LACKING, SURPLUS, OTHER_CLASS = 1, 2, 3
# Where the label is less probable than this, it is in question.
_DENIED = 0.25


class Region(NamedTuple):
    """The voxels of a label that are in question.

    Attributes:
      map: `LACKING`, where the label is background and a class is predicted; `SURPLUS`, where it is
        a class and background is predicted; `OTHER_CLASS`; 0 elsewhere, ``[*S]``.
      volume: in mm³ (of an image mm²).
      distance: the furthest that the region reaches from the label, or the label from what is
        predicted, in mm; 0 of an empty region, NaN where there is nothing to measure from.
    """

    map: UInt8[np.ndarray, "*S"]
    volume: float
    distance: float


def find(
    ids: UInt8[np.ndarray, "*S"],
    probs: Float[np.ndarray, "*S L"],
    prediction: UInt8[np.ndarray, "*S"],
    *,
    known: Bool[np.ndarray, "*S"],
    spacing: tuple[float, ...],
) -> Region:
    """Returns the region of a case in question.

    Args:
      ids: the label, ``[*S]``.
      probs: predicted of each class, ``[*S, L]``.
      prediction: class ids, ``[*S]``.
      known: where there is a label at all, ``[*S]``.
      spacing: of the voxels, in mm.
    """
    checks.masks(known=known)
    named = np.where(known, ids, arrays.BACKGROUND)
    own = np.take_along_axis(probs, named[..., np.newaxis].astype(np.intp), axis=-1)[..., 0]
    denied = known & (prediction != named) & (own < _DENIED)
    region = np.zeros(ids.shape, np.uint8)
    background = named == arrays.BACKGROUND
    region[denied & background] = LACKING
    region[denied & (prediction == arrays.BACKGROUND)] = SURPLUS
    region[denied & ~background & (prediction != arrays.BACKGROUND)] = OTHER_CLASS
    far = [0.0]
    for number in np.unique(prediction[denied]):
        if number != arrays.BACKGROUND:
            far.append(_reach(denied & (prediction == number), named == number, spacing))
    for number in np.unique(named[denied]):
        if number != arrays.BACKGROUND:
            far.append(_reach(denied & (named == number), prediction == number, spacing))
    volume = float(np.count_nonzero(region) * np.prod(spacing))
    return Region(region, volume, float(np.max(far)))


def _reach(
    part: Bool[np.ndarray, "*S"], mask: Bool[np.ndarray, "*S"], spacing: tuple[float, ...]
) -> float:
    """Returns the largest distance of a part's voxels to a mask, NaN of an empty one."""
    if not mask.any():
        return np.nan
    return float(ndimage.distance_transform_edt(~mask, sampling=spacing)[part].max())
