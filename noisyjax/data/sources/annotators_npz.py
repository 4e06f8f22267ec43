"""Images with the labels of several annotators in one ``.npz`` file.

The layout is that of the example published with Zhang et al. 2020, Disentangling Human Error from
the Ground Truth in Segmentation of Medical Images (NeurIPS): 100 MNIST digits under Gaussian noise,
with the truth and three simulated annotators.
"""

import os
import zipfile
import zlib

import numpy as np

from noisyjax.data import source

RATERS = ("gt", "over", "under", "wrong")
_SPLITS = {"train": "idx_train", "val": "idx_val", "test": "idx_test"}


def _arrays(path: str) -> dict[str, np.ndarray]:
    """Reads the arrays that are needed, and nothing that would have to be unpickled."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: expected an .npz file with several annotators' labels")
    needed = ("images", *RATERS, *_SPLITS.values())
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError(
                f"{path}: expected an .npz archive; the file is cut off or another one"
            )
        file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            missing = [key for key in needed if key not in archive.files]
            if missing:
                raise ValueError(f"{path}: expected arrays {needed}, missing {missing}")
            try:
                return {key: archive[key] for key in needed}
            except (ValueError, zipfile.BadZipFile, zlib.error) as error:
                raise ValueError(f"{path}: expected plain arrays, got {error}") from error


def _check(path: str, arrays: dict[str, np.ndarray]) -> None:
    images = arrays["images"]
    if images.ndim != 4 or images.dtype != np.uint8:
        raise ValueError(
            f"{path}: images: expected uint8 [N, H, W, K], got {images.dtype} {images.shape}"
        )
    for key in RATERS:
        labels = arrays[key]
        if labels.shape != images.shape[:3] or labels.dtype != np.uint8:
            raise ValueError(
                f"{path}: {key}: expected uint8 {images.shape[:3]} like images, "
                f"got {labels.dtype} {labels.shape}"
            )
        if labels.max(initial=0) > 1:
            raise ValueError(f"{path}: {key}: expected labels 0 and 1, got {labels.max()}")
    ids = np.concatenate([arrays[key] for key in _SPLITS.values()])
    if ids.dtype.kind not in "iu" or len(np.unique(ids)) != len(ids):
        raise ValueError(f"{path}: expected idx_train, idx_val and idx_test to be distinct ids")
    if ids.min() < 0 or ids.max() >= len(images):
        raise ValueError(
            f"{path}: expected ids in 0..{len(images) - 1}, got {ids.min()}..{ids.max()}"
        )


def load(*, path: str) -> source.Source:
    """Loads the images, the truth and the four annotators.

    Args:
      path: the ``.npz`` file: ``images`` ``[N, H, W, K]`` uint8; ``gt`` (the truth, and the
        faithful annotator), ``over``, ``under``, ``wrong`` ``[N, H, W]`` of 0 and 1; ``idx_train``,
        ``idx_val``, ``idx_test``.

    Returns:
      The source, images in [0, 1], with the file's own splits.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if an array is missing, or has another shape, dtype or range.
    """
    arrays = _arrays(path)
    _check(path, arrays)
    return source.Source(
        name="annotators_npz",
        examples=source.ArrayExamples(
            arrays["images"],
            truths=arrays["gt"],
            labels=np.stack([arrays[key] for key in RATERS], axis=1),
            scale=1 / 255,
        ),
        num_classes=2,
        class_names=("background", "digit"),
        spacing=(1.0, 1.0),
        rater_names=RATERS,
        splits={name: arrays[key].astype(np.int32) for name, key in _SPLITS.items()},
    )
