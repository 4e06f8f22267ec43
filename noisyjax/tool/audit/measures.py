"""How a label of one class differs from what is predicted of it, in a few numbers.

A blurred prediction is unsure at every border, and no label is wrong for that. So the numbers are
such as a border alone does not move: what Dice the label costs beside the best mask there is, its
volume, how far its surface lies outside or inside on average, how far its middle has moved.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from noisyjax.core import checks

# Voxels that both volumes get, so that two empty masks agree.
_SMOOTH = 1.0
# Distances of surfaces beyond this quantile are those of a few voxels.
_FAR = 0.95


class Measures(NamedTuple):
    """A label beside a prediction; what cannot be said is NaN.

    Attributes:
      regret: by how much the expected Dice of the label is less than the best mask's, in [0, 1].
      volume: natural logarithm of the label's volume over the expected one.
      offset: by how much the label has grown, in mm, and `moved` the length of the step that it has
        taken: both together explain the distances of the surfaces best, by least squares.
      far: 95 % quantile of the distances of both surfaces, in mm.
      surprise: the sum of ``|label - p|`` less that of the best mask, over both volumes.
    """

    regret: float
    volume: float
    offset: float
    far: float
    moved: float
    surprise: float


def measure(
    probs: Float[np.ndarray, "*S"],
    mask: Bool[np.ndarray, "*S"],
    *,
    known: Bool[np.ndarray, "*S"],
    spacing: tuple[float, ...],
) -> Measures:
    """Returns the measures of one class.

    Args:
      probs: that a voxel is of the class, ``[*S]``.
      mask: where the label says so, ``[*S]``.
      known: where there is a label at all, ``[*S]``.
      spacing: of the voxels, in mm.
    """
    checks.masks(mask=mask, known=known)
    probs, mask = np.where(known, probs, 0.0).astype(np.float64), mask & known
    expected, size = float(probs.sum()), float(mask.sum())
    best = best_mask(probs)
    dice = (2 * probs[mask].sum() + _SMOOTH) / (size + expected + _SMOOTH)
    most = (2 * probs[best].sum() + _SMOOTH) / (best.sum() + expected + _SMOOTH)
    wrong = abs_difference(probs, mask) - abs_difference(probs, best)
    inner = Measures(
        regret=max(float(most - dice), 0.0),
        volume=float(np.log((size + _SMOOTH) / (expected + _SMOOTH))),
        offset=np.nan,
        far=np.nan,
        moved=np.nan,
        surprise=max(float(wrong), 0.0) / (size + expected + _SMOOTH),
    )
    if not mask.any() or not best.any():
        return inner
    outside, inside = signed_distance(best, spacing), signed_distance(mask, spacing)
    at_label, at_best = outside[surface(mask)], inside[surface(best)]
    # Both surfaces, seen from the prediction: the label lies outside where the prediction's own
    # surface lies inside of the label.
    offset, step = _moved(
        np.concatenate([at_label, -at_best]),
        np.concatenate([_normals(inside, surface(mask)), _normals(outside, surface(best))]),
    )
    return inner._replace(
        offset=offset,
        far=float(np.quantile(np.abs(np.concatenate([at_label, at_best])), _FAR)),
        moved=float(np.linalg.norm(step)),
    )


def _normals(
    distance: Float[np.ndarray, "*S"], points: Bool[np.ndarray, "*S"]
) -> Float[np.ndarray, "N n"]:
    """Returns the directions outwards of a signed distance at some voxels."""
    slopes = [
        np.zeros_like(distance) if size < 2 else np.gradient(distance, axis=axis)
        for axis, size in enumerate(distance.shape)
    ]
    normals = np.stack([slope[points] for slope in slopes], axis=-1)
    return normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)


def _moved(
    distances: Float[np.ndarray, "N"], normals: Float[np.ndarray, "N n"]
) -> tuple[float, Float[np.ndarray, "n"]]:
    """Returns the growth and the step that together explain distances of a surface best."""
    terms = np.concatenate([np.ones((len(normals), 1)), normals], axis=1)
    # A little is taken off, so that a surface that shows one side alone has moved nowhere.
    squares = terms.T @ terms + 1e-3 * len(normals) * np.eye(terms.shape[1])
    offset, *step = np.linalg.solve(squares, terms.T @ distances)
    return float(offset), np.asarray(step)


def best_mask(probs: Float[np.ndarray, "*S"]) -> Bool[np.ndarray, "*S"]:
    """Returns the mask of the largest expected Dice: the most probable voxels, as many as pay."""
    order = np.sort(probs[probs > 0], axis=None)[::-1]
    if not len(order):
        return np.zeros(probs.shape, bool)
    gained = (2 * np.cumsum(order) + _SMOOTH) / (
        np.arange(1, len(order) + 1) + order.sum() + _SMOOTH
    )
    best = int(gained.argmax())
    if gained[best] <= _SMOOTH / (order.sum() + _SMOOTH):
        return np.zeros(probs.shape, bool)
    return probs >= order[best]


def abs_difference(probs: Float[np.ndarray, "*S"], mask: Bool[np.ndarray, "*S"]) -> float:
    """Returns the sum of ``|mask - p|``."""
    checks.masks(mask=mask)
    return float(probs.sum() + mask.sum() - 2 * probs[mask].sum())


def surface(mask: Bool[np.ndarray, "*S"]) -> Bool[np.ndarray, "*S"]:
    """Returns the voxels of a mask beside, above or below voxels that are not in it."""
    checks.masks(mask=mask)
    return mask & ~ndimage.binary_erosion(mask, border_value=1)


def signed_distance(
    mask: Bool[np.ndarray, "*S"], spacing: tuple[float, ...]
) -> Float[np.ndarray, "*S"]:
    """Returns the distance in mm to a mask's surface, negative in it, from edge to voxel centre.

    A mask that fills the image has the diagonal everywhere.
    """
    checks.masks(mask=mask)
    if mask.all():
        return np.full(mask.shape, -float(np.linalg.norm(np.multiply(mask.shape, spacing))))
    out = ndimage.distance_transform_edt(~mask, sampling=spacing)
    inner = ndimage.distance_transform_edt(mask, sampling=spacing)
    # The outline lies between the voxels: half a voxel from the centres on both sides.
    half = min(spacing) / 2
    return np.where(mask, half - inner, out - half)


def expected_label(
    probs: Float[np.ndarray, "*S L"], volume: float = 0.0
) -> UInt8[np.ndarray, "*S"]:
    """Returns the label that a rater is expected to give, class ids ``[*S]``.

    Args:
      probs: ``[*S, L]``.
      volume: natural logarithm of the foreground's volume over the expected one, of the rater's
        habit.

    >>> expected_label(np.array([[0.6, 0.3, 0.1], [0.2, 0.1, 0.7]]), np.log(2))
    array([1, 2], dtype=uint8)
    """
    foreground = 1 - probs[..., 0].astype(np.float64)
    count = min(round(float(foreground.sum() * np.exp(volume))), foreground.size)
    if count < 1:
        return np.zeros(foreground.shape, np.uint8)
    level = np.partition(foreground, -count, axis=None)[-count]
    ids = (1 + probs[..., 1:].argmax(axis=-1)).astype(np.uint8)
    return np.where((foreground >= level) & (foreground > 0), ids, np.uint8(0))
