"""How the intensities of each channel are normalised, by its name, as in nnU-Net."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Num

# Of the foreground's intensities, which "ct" clips to.
_PERCENTILES = (0.5, 99.5)
# Where cropping to what is not zero leaves less than this share, the rest is no part of the image.
_CROPPED = 0.75
# Names of channels, in small letters, that say what is done.
_BY_NAME = {
    "ct": "ct",
    "nonorm": "none",
    "rescale_to_0_1": "rescale_to_0_1",
    "rgb_to_0_1": "rgb_to_0_1",
}


class Statistics(NamedTuple):
    """Of the intensities of the foreground, in one channel."""

    low: float
    high: float
    mean: float
    deviation: float


def statistics(values: Num[np.ndarray, "V"]) -> Statistics:
    """Returns what "ct" reads: the .5 and 99.5 percentiles, mean and standard deviation.

    Without a value it is (0, 1, 0, 1).

    >>> statistics(np.arange(1001))
    Statistics(low=5.0, high=995.0, mean=500.0, deviation=288.9637)
    """
    if not values.size:
        return Statistics(0.0, 1.0, 0.0, 1.0)
    low, high = np.percentile(values, _PERCENTILES)
    mean, deviation = values.mean(dtype=np.float64), values.std(dtype=np.float64)
    # Seven digits, as the voxels have.
    return Statistics(*(float(f"{number:.7g}") for number in (low, high, mean, deviation)))


def normalisation(channel: str, *, nonzero_share: float | int) -> tuple[str, str]:
    """Returns how a channel of this name is normalised, and why.

    Args:
      nonzero_share: of the voxels of the median case, what is left after cropping to the box of
        those that are not zero.

    >>> normalisation("CT", nonzero_share=1.0)
    ('ct', 'the channel is named CT')
    >>> normalisation("T1", nonzero_share=0.5)[0]
    'z_score_nonzero'
    """
    if known := _BY_NAME.get(channel.casefold()):
        return known, f"the channel is named {channel}"
    if nonzero_share < _CROPPED:
        return "z_score_nonzero", f"{1 - nonzero_share:.0%} around the images are zero"
    return "z_score", f"{channel} has no fixed unit"


def of_channels(
    channels: Sequence[str], *, nonzero_share: float | int
) -> tuple[tuple[str, ...], str]:
    """Returns the normalisation of each channel, and the reasons in a text."""
    pairs = [normalisation(channel, nonzero_share=nonzero_share) for channel in channels]
    reasons = dict.fromkeys(reason for _, reason in pairs)
    return tuple(name for name, _ in pairs), "; ".join(reasons)
