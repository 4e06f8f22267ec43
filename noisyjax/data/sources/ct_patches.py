"""Patches around one structure of a labelled CT, such as those of TotalSegmentator.

Wasserthal et al. 2023, TotalSegmentator: robust segmentation of 104 anatomic structures in CT
images, Radiology: Artificial Intelligence 5(5). One file is one patient: real anatomy to look at
noise and decisions, not a data set to generalise from.
"""

import numpy as np
from jaxtyping import UInt8

from noisyjax.core import checks
from noisyjax.data import order, patches, source
from noisyjax.data.sources import archive, hounsfield

_CONTENT = "a CT in HU and its labels"


def _masks(path: str, structure: str) -> tuple[archive.Arrays, UInt8[np.ndarray, "X Y Z"]]:
    """Reads the CT and the mask, from a label map with names or from an array of that name."""
    layout = {"ct_hu": "int16 X Y Z", "spacing": "float32 3"}
    present = archive.names(path, content=_CONTENT)
    if "label_names" in present:
        labels = {"seg": "uint8 X Y Z", "label_names": "text L"}
        arrays = archive.read(path, layout | labels, content=_CONTENT)
        names = [str(name) for name in arrays["label_names"]]
        known = [names[value] for value in np.unique(arrays["seg"]) if 0 < value < len(names)]
        checks.one_of(f"{path}: structure", structure, known)
        return arrays, (arrays["seg"] == names.index(structure)).astype(np.uint8)
    known = [name for name in present if name not in layout]
    checks.one_of(f"{path}: structure", structure, known)
    arrays = archive.read(path, layout | {structure: "uint8 X Y Z"}, content=_CONTENT)
    archive.check_range(path, structure, arrays[structure], 0, 1)
    return arrays, arrays[structure]


def load(
    *,
    path: str,
    structure: str,
    size: int = 64,
    count: int = 1,
    seed: int = 0,
    window: tuple[float, float] = hounsfield.WINDOW,
) -> source.Source:
    """Loads patches around a structure, at the resolution of the file.

    The first patch is centred on the structure's centre of mass, as in the study of Gaussian label
    noise, the others on voxels of the structure drawn at random with `seed`. All come from one
    patient, which one group says: no split can divide them. There are two classes, no raters, no
    splits; images are in [0, 1], air outside of the volume.

    Args:
      path: the ``.npz`` file: ``ct_hu`` ``[X, Y, Z]`` int16, ``spacing`` ``[3]`` float32 in mm, and
        either ``seg`` ``[X, Y, Z]`` uint8 with ``label_names`` ``[L]``, or one uint8 mask of 0 and
        1 per structure under the structure's name.
      structure: its name, as in the file.
      size: side of the patches in voxels.
      count: the number of patches; at most one per voxel of the structure.
      window: the intensities in HU that become 0 and 1; others are clipped.

    Raises:
      FileNotFoundError, ValueError: as `archive.read`, or if the structure is not in the file (the
        error lists those that are), or there are fewer voxels than patches.
    """
    checks.positive("size", size)
    checks.positive("count", count)
    arrays, mask = _masks(path, structure)
    voxels = np.argwhere(mask)
    if len(voxels) < count:
        raise ValueError(
            f"{path}: {structure}: expected at least {count} voxels (one per patch), "
            f"got {len(voxels)}"
        )
    centre = np.rint(voxels.mean(axis=0)).astype(int)
    drawn = voxels[order.permutation(len(voxels), seed=seed)[: count - 1]]
    centres = np.concatenate([centre[np.newaxis], drawn])
    image = hounsfield.to_bytes(arrays["ct_hu"], window=window)
    images, truths = (
        np.stack([patches.around(volume, c, (size,) * 3) for c in centres.tolist()])
        for volume in (image, mask)
    )
    return source.Source(
        name=f"ct_patches-{structure}",
        examples=source.ArrayExamples(
            images[..., np.newaxis], truths=truths, scale=hounsfield.SCALE
        ),
        num_classes=2,
        class_names=("background", structure),
        spacing=tuple(float(s) for s in arrays["spacing"]),
        has_truth=True,
        case_names=tuple(f"{structure}-{x}-{y}-{z}" for x, y, z in centres),
        groups=np.zeros(count, np.int32),
    )
