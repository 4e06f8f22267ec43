"""Cubic splines through the voxels of an image."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import ndimage

# Slices are thick where their distance is so many times the voxels within them.
_THICK = 3.0
# Voxels within which the border is felt.
_MARGIN = 12


def slice_axis(spacing: Sequence[float | int], to: Sequence[float | int]) -> int | None:
    """Returns the axis between the thick slices of a volume, of old or new voxels; None for none.

    >>> slice_axis((1.0, 1.0, 5.0), (1.0, 1.0, 1.0)), slice_axis((1.0, 5.0, 5.0), (1.0, 1.0, 1.0))
    (2, None)
    """
    for extents in (spacing, to) if len(to) == 3 else ():
        coarsest = np.flatnonzero(np.asarray(extents) == max(extents))
        if max(extents) > _THICK * min(extents):
            # Of two such axes none is the one between slices.
            return int(coarsest[0]) if len(coarsest) == 1 else None
    return None


def sample(
    image: Float[np.ndarray, "*S"], shape: tuple[int, ...], factors: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "*T"]:
    """Samples an image ``[*S]`` at voxels of another size, without leaving its range of values.

    The outer corner of the first voxel stays; beyond the border the outermost voxels go on.

    Args:
      shape: of the result.
      factors: sides of the new voxels, in old ones.
    """
    padded = np.pad(image, _MARGIN, mode="edge")
    coefficients = ndimage.spline_filter(padded, order=3, output=np.float32, mode="nearest")
    sampled = ndimage.affine_transform(
        coefficients,
        factors,
        0.5 * factors - 0.5 + _MARGIN,
        output_shape=shape,
        order=3,
        mode="nearest",
        prefilter=False,
    )
    return np.clip(sampled, image.min(), image.max(), out=sampled)
