"""The plan of a training: what is read from ``plan.json``, which a person may edit."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Plan(NamedTuple):
    """How cases are prepared and what network learns from them.

    Axes are to the right, the front and the top; rows and columns for images.

    Attributes:
      spacing: voxels of the prepared cases, in mm.
      normalisation: of each channel, one of `preprocess.NORMALISATIONS`.
      intensities: of each channel (low, high, mean, standard deviation) of the foreground, which
        the normalisation "ct" reads.
      patch: voxels of a patch along each axis; images that are all smaller are learnt from whole.
      strides: of each level of the network but the finest, along each axis.
      kernels: of each level, finest first, along each axis.
      widths: channels of each level.
      batch_size: patches of an update.
      mirror_axes: along which mirroring exchanges no classes.
      reasons: why each of these is what it is, in a word.
      fingerprint: what was found in the folder.
      expected: "memory_gib", "seconds_per_step" and "parameters", as far as they were measured.
    """

    spacing: tuple[float, ...]
    normalisation: tuple[str, ...]
    intensities: tuple[tuple[float, float, float, float], ...]
    patch: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    widths: tuple[int, ...]
    batch_size: int
    mirror_axes: tuple[int, ...]
    reasons: Mapping[str, str]
    fingerprint: Mapping[str, Any]
    expected: Mapping[str, float]
