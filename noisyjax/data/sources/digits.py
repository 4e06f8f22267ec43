"""Real handwritten digits that come with scikit-learn: the data set that is always there.

1,797 digits of 43 writers, 8x8 pixels, 0..16 (Alpaydin and Kaynak 1998, Optical Recognition of
Handwritten Digits, UCI Machine Learning Repository). Which writer wrote which digit is not known.
"""

import functools

import numpy as np
from jaxtyping import Float, Num
from scipy import ndimage

from noisyjax.data import source

_ENLARGEMENT = 4
_RANGE = 16.0


def enlarge(images: Num[np.ndarray, "N H W"]) -> Float[np.ndarray, "N Hx4 Wx4"]:
    """Enlarges images ``[N, H, W]`` in 0..16 to float32 ``[N, 4H, 4W]`` in [0, 1] by cubic splines.

    Each pixel is a square that four by four new ones fill (the grid of pixel areas, not of pixel
    centres), so that nothing shifts; overshoot of the spline is clipped.
    """
    scaled = images.astype(np.float32) / _RANGE
    zoomed = ndimage.zoom(
        scaled, (1, _ENLARGEMENT, _ENLARGEMENT), order=3, mode="nearest", grid_mode=True
    )
    return np.clip(zoomed, 0.0, 1.0)


# Kept: enlarging takes half a second, and each run of a study loads them.
@functools.cache
def _digits() -> tuple[Float[np.ndarray, "N 32 32"], tuple[str, ...]]:
    """Returns the enlarged images, which cannot be written to, and the names of the cases."""
    # Imported here: it takes as long as all of JAX, and who reads other data does not need it.
    from sklearn import datasets

    bunch = datasets.load_digits()
    images = enlarge(bunch.images)
    images.flags.writeable = False
    return images, tuple(f"digits-{i:04d}-{d}" for i, d in enumerate(bunch.target))


def load() -> source.Source:
    """Loads the digits as 32x32 images in [0, 1]; the truth is an intensity of a half or more.

    Two classes, no raters of its own, no splits.
    """
    images, names = _digits()
    return source.Source(
        name="digits",
        examples=source.ArrayExamples(
            images[..., np.newaxis], truths=source.upper_half(images, low=0.0, high=1.0)
        ),
        num_classes=2,
        class_names=("background", "digit"),
        spacing=(1.0, 1.0),
        has_truth=True,
        case_names=names,
    )
