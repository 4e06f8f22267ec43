"""The voxels that all cases are resampled to, by nnU-Net's rules (Isensee et al. 2021)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

# How many times coarser one axis is than the next, and in voxels shorter, to be thin slices.
_COARSE = 3
# Of the spacings of thick slices.
_PERCENTILE = 10
# A coarser spacing is looked for in such steps, and is one from this factor on.
_STEP = 1.03
_ALIKE = 2.0


class Choice(NamedTuple):
    """A choice and why it was made."""

    value: tuple[float, ...]
    reason: str


def target(spacings: Float[np.ndarray, "N n"], shapes: Shaped[np.ndarray, "N n"]) -> Choice:
    """Returns the spacing for cases ``[N]`` of these spacings, in mm, and sizes, in voxels.

    The median along each axis. Where slices are thick (the coarsest axis has more than 3 times the
    spacing of the next, and less than a third of the voxels), it is the 10th percentile there, but
    no less than the next spacing.

    >>> target(np.array([[1.0, 1.0, 5.0], [1.0, 1.0, 8.0]]), np.array([[99, 99, 20]] * 2)).value
    (1.0, 1.0, 5.3)
    """
    median, size = np.median(spacings, axis=0), np.median(shapes, axis=0)
    worst = int(np.argmax(median))
    others = [axis for axis in range(len(median)) if axis != worst]
    next_spacing = median[others].max()
    thick = median[worst] > _COARSE * next_spacing
    reason = "the median of the cases"
    if thick and size[worst] * _COARSE < size[others].min():
        median[worst] = max(np.percentile(spacings[:, worst], _PERCENTILE), next_spacing)
        reason = f"the median; along axis {worst}, of thick slices, the {_PERCENTILE}th percentile"
    # Rounded, for headers in float32 have a spacing of 0.99999994.
    return Choice(tuple(round(float(extent), 5) for extent in median), reason)


def coarser(spacing: Sequence[float | int]) -> tuple[float, ...]:
    """Returns a spacing a step coarser, along the finer axes until all are within a factor of 2.

    >>> coarser((1.0, 1.0, 5.0))
    (1.03, 1.03, 5.0)
    """
    ratios = max(spacing) / np.asarray(spacing)
    moves = ratios > _ALIKE if (ratios > _ALIKE).any() else np.ones(len(spacing), bool)
    new = np.asarray(spacing) * np.where(moves, _STEP, 1.0)
    return tuple(round(float(extent), 5) for extent in new)


def median_shape(
    shapes: Shaped[np.ndarray, "N n"],
    spacings: Float[np.ndarray, "N n"],
    to: Sequence[float | int],
) -> tuple[int, ...]:
    """Returns the median size of cases, in voxels of another spacing.

    >>> median_shape(np.array([[10, 10], [20, 10]]), np.ones((2, 2)), (1.0, 2.0))
    (15, 5)
    """
    sizes = np.round(np.asarray(shapes) * spacings / np.asarray(to))
    return tuple(max(1, round(float(extent))) for extent in np.median(sizes, axis=0))
