"""Hippocampi in MR volumes, of the Medical Segmentation Decathlon (Antonelli et al. 2022).

Small whole volumes around the hippocampus, 1 mm voxels, with its anterior and posterior part. The
volumes differ in size and are padded at the far ends to a common one.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Integer

from noisyjax.data import patches, source
from noisyjax.data.sources import archive

PARTS = ("anterior", "posterior")
_LAYOUT = {
    "image": "uint8 N D H W",
    "label": "uint8 N D H W",
    "shape": "integer N 3",
    "name": "text N",
}


def normalise(
    image: Integer[np.ndarray, "*S"], extent: Integer[np.ndarray, "n"]
) -> Float[np.ndarray, "*S"]:
    """Returns a volume ``[*S]`` with mean 0 and standard deviation 1 within its true extent.

    The extent is the number of voxels along each axis that are not padding; the padding becomes 0,
    as does a constant volume.

    >>> normalise(np.array([1, 3, 0], np.uint8), np.array([2]))
    array([-1.,  1.,  0.], dtype=float32)
    """
    inside = tuple(slice(0, int(size)) for size in extent)
    values = image[inside].astype(np.float32)
    result = np.zeros(image.shape, np.float32)
    result[inside] = (values - values.mean()) / max(float(values.std()), 1e-6)
    return result


def read(path: str) -> archive.Arrays:
    """Reads the arrays of a file as they are; see `load`, also for errors.

    Returns:
      "image" and "label" ``[N, D, H, W]``, padded; "shape" ``[N, 3]``, the true extents; "name".
    """
    arrays = archive.read(path, _LAYOUT, content="hippocampus volumes")
    archive.check_range(path, "label", arrays["label"], 0, len(PARTS))
    for axis, size in enumerate(arrays["image"].shape[1:]):
        archive.check_range(path, f"shape[:, {axis}]", arrays["shape"][:, axis], 1, size)
    return arrays


def load(*, path: str, merge: bool = True, patch: Sequence[int] = ()) -> source.Source:
    """Loads the volumes and their labels; the case names are the file's.

    Images have mean 0 and standard deviation 1 within their true extent and 0 in the padding. There
    are no raters of its own and no splits.

    Args:
      path: the ``.npz`` file: ``image`` ``[N, D, H, W]`` uint8; ``label`` ``[N, D, H, W]`` uint8, 1
        anterior and 2 posterior; ``shape`` ``[N, 3]``, the true extents; ``name`` ``[N]``.
      merge: whether the two parts are one class.
      patch: voxels along each axis of a patch centred in the hippocampus; empty for whole volumes.

    Raises:
      FileNotFoundError, ValueError: as `archive.read`, or if values are out of range.
    """
    arrays = read(path)
    images, labels, extents = arrays["image"], arrays["label"], arrays["shape"]
    normalised = np.stack([normalise(*case) for case in zip(images, extents, strict=True)])
    if patch:
        centres = [patches.centre_of_mass(label > 0) for label in labels]
        normalised = _cut(normalised, centres, patch)
        labels = _cut(labels, centres, patch)
    names = ("hippocampus",) if merge else PARTS
    return source.Source(
        name="hippocampus",
        examples=source.ArrayExamples(
            normalised[..., np.newaxis],
            truths=(labels > 0).astype(np.uint8) if merge else labels,
        ),
        num_classes=1 + len(names),
        class_names=("background", *names),
        spacing=(1.0, 1.0, 1.0),
        has_truth=True,
        case_names=tuple(str(name) for name in arrays["name"]),
    )


def _cut(
    volumes: np.ndarray, centres: Sequence[Sequence[float]], size: Sequence[int]
) -> np.ndarray:
    pairs = zip(volumes, centres, strict=True)
    return np.stack([patches.around(volume, centre, size) for volume, centre in pairs])
