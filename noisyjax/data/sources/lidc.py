"""Lung nodules in CT slices, each outlined by up to four radiologists (LIDC-IDRI).

Armato et al. 2011, The Lung Image Database Consortium (LIDC) and Image Database Resource Initiative
(IDRI): A completed reference database of lung nodules on CT scans, Medical Physics 38(2).

Which radiologist gave the first mask differs from nodule to nodule: the raters are not persistent,
unless the masks of each nodule are put in the order of their size. There is no truth.
"""

import numpy as np
from jaxtyping import Bool, UInt8

from noisyjax.core import checks
from noisyjax.data import source
from noisyjax.data.sources import archive

_RATERS = 4
_SIZES = ("smallest", "second smallest", "second largest", "largest")


def _sorted(
    labels: UInt8[np.ndarray, "N R H W"], given: Bool[np.ndarray, "N R"]
) -> tuple[UInt8[np.ndarray, "N R H W"], Bool[np.ndarray, "N R"]]:
    """Puts the masks of each image in the order of their area; equal ones stay as they are."""
    order = np.argsort(labels.sum(axis=(2, 3), dtype=np.int64), axis=1, kind="stable")
    sorted_labels = np.take_along_axis(labels, order[..., np.newaxis, np.newaxis], axis=1)
    return sorted_labels, np.take_along_axis(given, order, axis=1)


def _centre(path: str, images: UInt8[np.ndarray, "N *R H W"], side: int) -> np.ndarray:
    """Cuts the central square out of the last two axes; a side of 0 leaves them whole."""
    checks.positive("crop", side, or_zero=True)
    sizes = images.shape[-2:]
    if side > min(sizes):
        raise ValueError(f"{path}: crop: expected at most the images' size {sizes}, got {side}")
    rows, columns = (slice((n - side) // 2, (n + side) // 2) if side else slice(n) for n in sizes)
    return images[..., rows, columns]


def load(
    *,
    path: str,
    count_unmarked: bool = True,
    crop: int = 0,
    by_size: bool = False,
    vote: bool = False,
) -> source.Source:
    """Loads nodules with four masks each.

    Args:
      path: the ``.npz`` file: ``image`` ``[N, H, W]`` uint8; ``masks_packed`` ``[N, 4, H, W / 8]``
        uint8 (``numpy.packbits`` along the last axis); ``patient``, ``nodule``, ``slice`` ``[N]``.
      count_unmarked: what an empty mask is, in a file with nodules that not everyone marked: the
        label of a reader who saw no nodule (True), or no label, hidden by the rater mask (False).
      crop: side of a central square that is cut out of each image; 0 for the whole image. A mask
        that lies outside of it becomes empty, and stays a label.
      by_size: whether to sort the masks of each nodule by the area they outline in the whole image.
        Rater 1 is then whoever drew the smallest outline and rater 4 whoever drew the largest:
        roles and no persons, but each with a confusion matrix that means something, so that the
        raters count as persistent. The role of one label depends on all labels of its image, and
        an empty mask is the smallest.
      vote: whether what at least half of a nodule's readers outlined is its truth, the usual
        reference for these data.

    Returns:
      The source: images in [0, 1], four raters that are not persistent (unless `by_size`), no
      truth (unless `vote`), no splits; groups are patients.

    Raises:
      FileNotFoundError, ValueError: as `archive.read`, or if a nodule is left without a mask, or
        the crop is larger than the images.
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
    if by_size:
        labels, rater_masks = _sorted(labels, rater_masks)
    images, labels = _centre(path, images, crop), _centre(path, labels, crop)
    votes = (labels * rater_masks[:, :, np.newaxis, np.newaxis]).sum(axis=1)
    half = rater_masks.sum(axis=1)[:, np.newaxis, np.newaxis] / 2
    cases = zip(arrays["patient"], arrays["nodule"], arrays["slice"], strict=True)
    return source.Source(
        name="lidc",
        examples=source.ArrayExamples(
            images[..., np.newaxis],
            truths=(votes >= half).astype(np.uint8) if vote else None,
            labels=labels,
            rater_masks=rater_masks,
            scale=1 / 255,
        ),
        num_classes=2,
        class_names=("background", "nodule"),
        spacing=(1.0, 1.0),
        has_truth=vote,
        rater_names=_SIZES if by_size else tuple(f"reader {r + 1}" for r in range(_RATERS)),
        persistent_raters=by_size,
        case_names=tuple(
            f"LIDC-IDRI-{patient:04d}-nodule{nodule:02d}-slice{level:02d}"
            for patient, nodule, level in cases
        ),
        groups=arrays["patient"].astype(np.int32),
    )
