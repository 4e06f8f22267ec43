"""Intensities of CT as images are stored: a window of Hounsfield units in a byte."""

import numpy as np
from jaxtyping import Num, UInt8

# From fat to bone with contrast in the vessels between them.
WINDOW = (-200.0, 400.0)

# Brings a stored image to [0, 1].
SCALE = 1 / 255


def to_bytes(
    hounsfield: Num[np.ndarray, "..."], *, window: tuple[float, float] = WINDOW
) -> UInt8[np.ndarray, "..."]:
    """Returns intensities ``[...]`` in HU as uint8; what lies outside of the window is clipped.

    The ends of the window become 0 and 255; one that does not rise raises ValueError.

    >>> to_bytes(np.array([-1000, -200, 100, 400, 3000]))
    array([  0,   0, 128, 255, 255], dtype=uint8)
    """
    low, high = window
    if not low < high:
        raise ValueError(f"window: expected (low, high) with low < high, got {window}")
    unit = np.clip((hounsfield.astype(np.float32) - low) / (high - low), 0.0, 1.0)
    return np.rint(unit * 255).astype(np.uint8)
