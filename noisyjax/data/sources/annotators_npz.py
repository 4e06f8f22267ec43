"""Images with the labels of several annotators in one ``.npz`` file.

The layout is that of the example published with Zhang et al. 2020, Disentangling Human Error from
the Ground Truth in Segmentation of Medical Images (NeurIPS): 100 MNIST digits under Gaussian noise,
with the truth and three simulated annotators.
"""

import numpy as np

from noisyjax.data import source
from noisyjax.data.sources import archive

RATERS = ("gt", "over", "under", "wrong")
_SPLITS = {"train": "idx_train", "val": "idx_val", "test": "idx_test"}
_LAYOUT = {
    "images": "uint8 N H W K",
    **dict.fromkeys(RATERS, "uint8 N H W"),
    **{key: f"integer {key}" for key in _SPLITS.values()},
}


def _check(path: str, arrays: archive.Arrays) -> None:
    for key in RATERS:
        archive.check_range(path, key, arrays[key], 0, 1)
    ids = np.concatenate([arrays[key] for key in _SPLITS.values()])
    if len(np.unique(ids)) != len(ids):
        raise ValueError(f"{path}: expected idx_train, idx_val and idx_test to be distinct ids")
    archive.check_range(path, "ids", ids, 0, len(arrays["images"]) - 1)


def load(*, path: str) -> source.Source:
    """Loads the images, in [0, 1], the truth and the four annotators, with the file's own splits.

    Args:
      path: the ``.npz`` file: ``images`` ``[N, H, W, K]`` uint8; ``gt`` (the truth, and the
        faithful annotator), ``over``, ``under``, ``wrong`` ``[N, H, W]`` of 0 and 1; ``idx_train``,
        ``idx_val``, ``idx_test``.

    Raises:
      FileNotFoundError, ValueError: as `archive.read`, or if values are out of range.
    """
    arrays = archive.read(path, _LAYOUT, content="several annotators' labels")
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
        has_truth=True,
        rater_names=RATERS,
        splits={name: arrays[key].astype(np.int32) for name, key in _SPLITS.items()},
    )
