"""The intensities of one channel, from those of a file to those that a network sees."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Num

from noisyjax.core import checks

NORMALISATIONS = (
    "z_score",
    "z_score_nonzero",
    "ct",
    "bone",
    "ct_window",
    "rescale_to_0_1",
    "rgb_to_0_1",
    "none",
)

# Of larger volumes no copy in float64 is made, but of parts.
_LARGE = 2**26
_PART = 2**20


def _scaled(values: Float[np.ndarray, "*S"], inside: np.ndarray) -> Float[np.ndarray, "*S"]:
    """Scales values in place."""
    mean = float(inside.mean(dtype=np.float64))
    deviation = _deviation(inside, mean)
    values -= mean
    values /= max(deviation, 1e-6)
    return values


def _deviation(values: Float[np.ndarray, "..."], mean: float) -> float:
    if values.size <= _LARGE:
        return float(values.std(dtype=np.float64))
    # Float64 of a whole large volume would take twice its memory.
    parts = (values.reshape(-1)[i : i + _PART] for i in range(0, values.size, _PART))
    squares = sum(float(np.square(part - np.float64(mean)).sum()) for part in parts)
    return math.sqrt(squares / values.size)


def z_score(image: Num[np.ndarray, "*S"]) -> Float[np.ndarray, "*S"]:
    """Returns an image with mean 0 and standard deviation 1, float32; zeros if it is constant.

    >>> z_score(np.array([1, 3], np.uint8))
    array([-1.,  1.], dtype=float32)
    """
    values = image.astype(np.float32)
    return _scaled(values, values)


def bone(image: Num[np.ndarray, "*S"], *, cut: float | int) -> Float[np.ndarray, "*S"]:
    """Returns a CT ``[*S]`` scaled by the mean and the standard deviation of its bone, float32.

    ``V' = (V - mu) / sigma`` with both over the voxels above the cut, as Yu et al. 2020 do for the
    mandible (Robustness study of noisy annotation, Section 2.1) to make bone stand out. Above the
    cut is bone: 900 where air is 0, as in the paper; -124 in Hounsfield units.

    Raises:
      ValueError: if no voxel is above the cut, which tells of another unit.

    >>> bone(np.array([0, 1000, 1200]), cut=900)
    array([-11.,  -1.,   1.], dtype=float32)
    """
    values = image.astype(np.float32)
    inside = values[values > cut]
    if not inside.size:
        raise ValueError(
            f"cut: expected voxels above {cut}, the brightest is {values.max():g}: in Hounsfield "
            "units the cut of 900 is -124"
        )
    return _scaled(values, inside)


def ct_window(
    image: Num[np.ndarray, "*S"], *, window: Sequence[float | int]
) -> Float[np.ndarray, "*S"]:
    """Returns the intensities ``[*S]`` of a window as 0 to 1, others clipped, float32.

    A window that does not rise raises ValueError.

    >>> ct_window(np.array([-300, 100, 500]), window=(-200, 400))
    array([0. , 0.5, 1. ], dtype=float32)
    """
    if len(window) != 2 or not window[0] < window[1]:
        raise ValueError(f"window: expected (low, high) with low < high, got {tuple(window)}")
    low, high = window
    return np.clip((image.astype(np.float32) - low) / (high - low), 0.0, 1.0).astype(np.float32)


def z_score_nonzero(
    image: Num[np.ndarray, "*S"], known: Bool[np.ndarray, "*S"]
) -> Float[np.ndarray, "*S"]:
    """Returns an image with mean 0 and standard deviation 1 where it is known, 0 elsewhere.

    >>> z_score_nonzero(np.array([0, 5, 7]), np.array([False, True, True]))
    array([ 0., -1.,  1.], dtype=float32)
    """
    checks.masks(known=known)
    values = image.astype(np.float32)
    if known.any():
        _scaled(values, values[known])
    values[~known] = 0
    return values


def ct(
    image: Num[np.ndarray, "*S"], *, intensities: Sequence[float | int]
) -> Float[np.ndarray, "*S"]:
    """Returns a CT ``[*S]`` clipped to (low, high), less the mean, over the deviation, float32.

    Args:
      intensities: low, high, mean and standard deviation of the foreground of all training cases.

    Raises:
      ValueError: if these are no such numbers.

    >>> ct(np.array([-1000, 40, 80]), intensities=(-40, 140, 60, 20))
    array([-5., -1.,  1.], dtype=float32)
    """
    if len(intensities) != 4 or not (intensities[0] < intensities[1] and intensities[3] > 0):
        raise ValueError(
            "intensities: expected (low, high, mean, standard deviation) with low < high and a "
            f"deviation > 0, got {tuple(intensities)}"
        )
    low, high, mean, deviation = map(np.float32, intensities)
    values = np.clip(image.astype(np.float32), low, high)
    values -= mean
    values /= deviation
    return values


def rescale_to_0_1(image: Num[np.ndarray, "*S"]) -> Float[np.ndarray, "*S"]:
    """Returns an image whose least value is 0 and largest 1, float32; zeros if it is constant.

    >>> rescale_to_0_1(np.array([2, 3, 6]))
    array([0.  , 0.25, 1.  ], dtype=float32)
    """
    values = image.astype(np.float32)
    values -= values.min()
    values /= max(float(values.max()), 1e-8)
    return values


def normalise(
    image: Num[np.ndarray, "*S"],
    name: str,
    *,
    cut: float | int = 900.0,
    window: Sequence[float | int] = (-200.0, 400.0),
    intensities: Sequence[float | int] = (0.0, 1.0, 0.0, 1.0),
    known: Bool[np.ndarray, "*S"] | None = None,
    box: Sequence[tuple[int, int]] = (),
) -> Float[np.ndarray, "*S"]:
    """Normalises one channel ``[*S]`` by one of `NORMALISATIONS`, to float32.

    Args:
      cut: of `bone`.
      window: of `ct_window`.
      intensities: of `ct`.
      known: where the image is, of `z_score_nonzero`; by default where it is not zero.
      box: first index and end along each axis of the part that the mean and the deviation of
        `z_score` are of; everything by default.

    Raises:
      ValueError: for another name, or as these functions.
    """
    checks.one_of("normalise", name, NORMALISATIONS)
    if name == "z_score":
        if not box:
            return z_score(image)
        values = image.astype(np.float32)
        return _scaled(values, values[tuple(slice(*ends) for ends in box)].copy())
    if name == "z_score_nonzero":
        return z_score_nonzero(image, image != 0 if known is None else known)
    if name == "ct":
        return ct(image, intensities=intensities)
    if name == "bone":
        return bone(image, cut=cut)
    if name == "ct_window":
        return ct_window(image, window=window)
    if name == "rescale_to_0_1":
        return rescale_to_0_1(image)
    values = image.astype(np.float32)
    return values / np.float32(255) if name == "rgb_to_0_1" else values
