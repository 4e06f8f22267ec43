"""Slices through vertebrae in CT and through the spinal cord in MR.

The vertebrae are those of two volumes of TotalSegmentator (Wasserthal et al. 2023): L1 to L5 and
their neighbours in one of the abdomen, T12 in one of the aorta. The cords are those of two MR
volumes of the Spinal Cord Toolbox (De Leener et al. 2017). Two patients each: real anatomy to study
label noise on, not data to generalise from. The spine data of RAR-U-Net (Yao et al. 2012) are
slices through vertebrae as well.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, Num
from scipy import ndimage

from noisyjax.core import checks
from noisyjax.data import patches, source
from noisyjax.data.sources import archive, hounsfield, slices

Pair = Sequence[float | int] | Num[np.ndarray, "2"]

_AXIAL = 2
# Soft tissue to cortical bone.
_BONE = (-200.0, 800.0)
# Shares of the intensities of an MR volume that become black and white.
_EXTREMES = (1.0, 99.0)
# As in data of the thoracic and lumbar spine: the sacrum is none of them.
_VERTEBRAE = tuple(f"vertebrae_T{i}" for i in range(1, 13)) + tuple(
    f"vertebrae_L{i}" for i in range(1, 6)
)


class Volume(NamedTuple):
    """Where a volume stands in its file: the names of the arrays of image, mask and spacing in mm.

    `names` are the names that are the structure if the mask is a label map.
    """

    name: str
    file: str
    image: str
    mask: str
    spacing: str = "spacing"
    names: tuple[str, ...] = ()


class Structure(NamedTuple):
    """What is to be segmented, and the volumes that show it.

    Attributes:
      window: intensities that become 0 and 1; None for the extremes of each volume.
      pixel: the usual side of a pixel in mm.
    """

    volumes: tuple[Volume, ...]
    window: tuple[float, float] | None
    pixel: float


STRUCTURES = {
    "vertebrae": Structure(
        (
            Volume("abdomen", "totalseg_abdomen_ct.npz", "ct_hu", "seg", names=_VERTEBRAE),
            Volume("aorta", "totalseg_aorta_cta.npz", "ct_hu", "vertebra_t12"),
        ),
        _BONE,
        1.5,
    ),
    "cord": Structure(
        tuple(
            Volume(
                name, "sct_spinal_cord_mr.npz", f"{name}_image", f"{name}_mask", f"{name}_spacing"
            )
            for name in ("t1", "t2")
        ),
        None,
        1.0,
    ),
}


def resample(
    plane: Float[np.ndarray, "H W"],
    centre: Pair,
    *,
    spacing: Pair,
    size: int,
    pixel: float | int,
    fill: float | int,
) -> Float[np.ndarray, "size size"]:
    """Returns a square of a plane at another resolution, interpolated linearly.

    The centre is in pixels of the plane ``[H, W]``; the plane's `spacing` and the square's `pixel`
    in mm.

    >>> resample(np.eye(3), (1, 1), spacing=(2, 2), size=3, pixel=1.0, fill=0.0)
    array([[0.5 , 0.5 , 0.25],
           [0.5 , 1.  , 0.5 ],
           [0.25, 0.5 , 0.5 ]])
    """
    steps = (np.arange(size) - (size - 1) / 2) * pixel
    positions = [middle + steps / step for middle, step in zip(centre, spacing, strict=True)]
    grid = np.stack(np.meshgrid(*positions, indexing="ij"))
    return ndimage.map_coordinates(plane, grid, order=1, mode="grid-constant", cval=fill)


def load(
    *,
    root: str,
    structure: str = "vertebrae",
    axis: int = _AXIAL,
    size: int = 96,
    pixel: float | int = 0.0,
    least: int = 40,
    block: int = 8,
    gap: int = 1,
) -> source.Source:
    """Loads the slices that show the structure, at one resolution.

    All slices of a volume show the same square, around the structure's centre of mass in the whole
    volume, so that its position in the square varies. A group is a block of neighbouring slices.

    Args:
      root: the folder of the files, which `STRUCTURES` names.
      structure: "vertebrae" or "cord".
      axis: the axis across the slices; 2 gives axial ones.
      size: pixels along each side.
      pixel: their size in mm; 0 for the structure's usual one.
      least: pixels of the structure that a slice must show.
      block: planes of a volume that make a group; 0 for whole volumes.
      gap: planes that are left out between two groups.

    Returns:
      The source: two classes, images in [0, 1], no raters of its own, no splits.

    Raises:
      FileNotFoundError, ValueError: as `archive.read`, or if an option is out of range or no slice
        shows enough of the structure.
    """
    checks.one_of("axis", axis, (0, 1, 2))
    checks.positive("size", size)
    checks.positive("pixel", pixel, or_zero=True)
    known = checks.lookup("structure", structure, STRUCTURES)
    pixel = pixel or known.pixel
    images, truths, names, groups, first = [], [], [], [], 0
    for volume in known.volumes:
        path = os.path.join(root, volume.file)
        image, mask, spacing = _read(path, volume)
        window = known.window or tuple(np.percentile(image, _EXTREMES))
        # In the order of the planes that are left when the axis is taken out.
        frame = {
            "centre": np.delete(patches.centre_of_mass(mask), axis),
            "spacing": np.delete(spacing, axis),
            "size": size,
            "pixel": pixel,
        }
        planes = np.moveaxis(image.astype(np.float32), axis, 0)
        inside = np.moveaxis(mask.astype(np.float32), axis, 0)
        cut = np.stack([resample(plane, **frame, fill=0.0) >= 0.5 for plane in inside])
        taken = slices.with_foreground(cut.sum(axis=(1, 2)), least=least)
        number = slices.blocks(taken, length=block, gap=gap)
        taken, number = taken[number >= 0], number[number >= 0]
        squares = [resample(planes[level], **frame, fill=window[0]) for level in taken]
        images += [hounsfield.to_bytes(square, window=window) for square in squares]
        truths += [cut[level].astype(np.uint8) for level in taken]
        names += [f"{volume.name}-{level:03d}" for level in taken]
        groups += (first + number).tolist()
        first += 1 + max(number, default=-1)
    if not images:
        raise ValueError(f"{root}: expected slices with {least} pixels of {structure}, got none")
    return source.Source(
        name=f"spine_slices-{structure}",
        examples=source.ArrayExamples(
            np.stack(images)[..., np.newaxis], truths=np.stack(truths), scale=hounsfield.SCALE
        ),
        num_classes=2,
        class_names=("background", structure),
        spacing=(pixel, pixel),
        has_truth=True,
        case_names=tuple(names),
        groups=np.asarray(groups, np.int32),
    )


def _read(
    path: str, volume: Volume
) -> tuple[Integer[np.ndarray, "*S"], Bool[np.ndarray, "*S"], Float[np.ndarray, "3"]]:
    """Returns image, mask of the structure and spacing."""
    layout = {
        volume.image: "int16 X Y Z",
        volume.mask: "uint8 X Y Z",
        volume.spacing: "float32 3",
    }
    if volume.names:
        layout["label_names"] = "text L"
    arrays = archive.read(path, layout, content="a volume and a mask of the spine")
    mask = arrays[volume.mask]
    if volume.names:
        known = [i for i, name in enumerate(arrays["label_names"]) if str(name) in volume.names]
        mask = np.isin(mask, known)
    return arrays[volume.image], mask > 0, arrays[volume.spacing]
