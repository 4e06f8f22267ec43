"""Lung nodules in CT slices, each outlined by up to four radiologists (LIDC-IDRI).

Armato et al. 2011, The Lung Image Database Consortium (LIDC) and Image Database Resource Initiative
(IDRI): A completed reference database of lung nodules on CT scans, Medical Physics 38(2).

Which radiologist gave the first mask differs from nodule to nodule: the raters are not persistent.
There is no truth.
"""

import numpy as np

from noisyjax.data import source
from noisyjax.data.sources import archive

_RATERS = 4


def load(*, path: str, count_unmarked: bool = True) -> source.Source:
    """Loads nodules with four masks each.

    Args:
      path: the ``.npz`` file: ``image`` ``[N, H, W]`` uint8; ``masks_packed`` ``[N, 4, H, W / 8]``
        uint8 (``numpy.packbits`` along the last axis); ``patient``, ``nodule``, ``slice`` ``[N]``.
      count_unmarked: what an empty mask is, in a file with nodules that not everyone marked: the
        label of a reader who saw no nodule (True), or no label, hidden by the rater mask (False).

    Returns:
      The source: images in [0, 1], four raters that are not persistent, no truth, no splits; groups
      are patients.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if an array is missing, or has another shape or dtype.
    """
    arrays = archive.read(
        path,
        {
            "image": "uint8 N H W",
            "masks_packed": f"uint8 N {_RATERS} H packed",
            "patient": "integer N",
            "nodule": "integer N",
            "slice": "integer N",
        },
        content="nodules and four readers' masks",
    )
    images = arrays["image"]
    labels = archive.unpack(path, "masks_packed", arrays["masks_packed"], images.shape[-1])
    rater_masks = labels.any(axis=(2, 3)) | count_unmarked
    if not rater_masks.any(axis=1).all():
        unmarked = np.flatnonzero(~rater_masks.any(axis=1))
        raise ValueError(
            f"{path}: masks_packed: expected a mask of at least one reader for each nodule, "
            f"got none for examples {unmarked[:5].tolist()} ({len(unmarked)} in all)"
        )
    cases = zip(arrays["patient"], arrays["nodule"], arrays["slice"], strict=True)
    return source.Source(
        name="lidc",
        examples=source.ArrayExamples(
            images[..., np.newaxis], labels=labels, rater_masks=rater_masks, scale=1 / 255
        ),
        num_classes=2,
        class_names=("background", "nodule"),
        spacing=(1.0, 1.0),
        rater_names=tuple(f"reader {r + 1}" for r in range(_RATERS)),
        persistent_raters=False,
        case_names=tuple(
            f"LIDC-IDRI-{patient:04d}-nodule{nodule:02d}-slice{level:02d}"
            for patient, nodule, level in cases
        ),
        groups=arrays["patient"].astype(np.int32),
    )
