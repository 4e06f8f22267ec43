"""Reading and writing one image or label map: NIfTI, MetaImage, NRRD, PNG or TIFF.

A file says what it is before anything of its size is allocated: a header that claims more than the
file can hold, or than is allowed, is an error. Nothing is unpickled, and formats that may name
other files (detached MetaImage and NRRD headers) are read only where the data are in the file.
"""

import dataclasses
import os
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Shaped
from nibabel import orientations

from noisyjax.core import checks, files
from noisyjax.data.volumes import formats
from noisyjax.data.volumes.formats import base

MAX_BYTES = 2**33

# What reads and writes a file, by the end of its name.
FORMATS = {
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".mha": "simpleitk",
    ".nrrd": "simpleitk",
    ".png": "pillow",
    ".tif": "pillow",
    ".tiff": "pillow",
}

# Of a voxel, and of the first one's distance, in mm: beyond are headers that are damaged.
_SIZES = (1e-6, 1e6)
_FARTHEST = 1e9

_MOST_SIDECAR = 2**16

_RAS = orientations.axcodes2ornt("RAS")

Volume = base.Volume
UnreadableError = base.UnreadableError


def ending(path: str | os.PathLike) -> str:
    """Returns the ending of a file's name that says its format, or "" for none of `FORMATS`.

    >>> ending("a/case.1_0000.nii.gz")
    '.nii.gz'
    """
    name = os.fspath(path).lower()
    return max((end for end in FORMATS if name.endswith(end)), key=len, default="")


def read(
    path: str | os.PathLike,
    *,
    max_bytes: int = MAX_BYTES,
    sidecar: str | os.PathLike | None = None,
) -> Volume:
    """Reads a file as it is, in its own orientation.

    Intensities that the header scales come as float32; everything else keeps the file's dtype. Two
    or three axes are read; axes of length one beyond the third are dropped. A PNG or TIFF has
    voxels of 1 mm, or as a sidecar says, a file like ``{"spacing": [5, 0.5, 0.5]}`` with mm along
    each axis in the order of the array. No array larger than `max_bytes` is allocated.

    Raises:
      UnreadableError: naming the file and what is wrong with it; a `ValueError`.
    """
    return _sized(_checked(formats.READERS, path, max_bytes), sidecar)


def peek(
    path: str | os.PathLike,
    *,
    max_bytes: int = MAX_BYTES,
    sidecar: str | os.PathLike | None = None,
) -> Volume:
    """Reads the header alone: as `read`, with zeros that take no memory in place of voxels."""
    return _sized(_checked(formats.PEEKERS, path, max_bytes), sidecar)


def _sized(volume: Volume, sidecar: str | os.PathLike | None) -> Volume:
    """Gives a volume the spacing of its sidecar."""
    if sidecar is None:
        return volume
    n = volume.num_axes
    try:
        got = files.read_json(sidecar, most=_MOST_SIDECAR).get("spacing")
    except (OSError, ValueError) as error:
        raise UnreadableError(sidecar, "sidecar", str(error)) from error
    numbers = got if isinstance(got, list) else []
    usable = [type(s) in (int, float) and _SIZES[0] <= s <= _SIZES[1] for s in numbers]
    if len(numbers) != n or not all(usable):
        message = f"expected a spacing of {n} numbers in mm, got {got!r:.60}"
        raise UnreadableError(sidecar, "sidecar", message)
    affine = np.diag([*map(float, numbers), *[1.0] * (4 - n)])
    return dataclasses.replace(volume, affine=affine)


def _checked(
    readers: dict[str, Callable[[str, int], Volume]], path: str | os.PathLike, max_bytes: int
) -> Volume:
    end = ending(path)
    if not end:
        known = ", ".join(FORMATS)
        raise UnreadableError(path, "format", f"expected a name that ends in one of {known}")
    if not os.path.isfile(path):
        raise UnreadableError(path, "missing", "expected a file, there is none")
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        message = f"expected a file that can be read, got: {error.strerror}"
        raise UnreadableError(path, "missing", message) from error
    if not os.path.getsize(path):
        raise UnreadableError(path, "empty", "expected an image, the file has no bytes")
    volume = readers[FORMATS[end]](os.fspath(path), max_bytes)
    if min(volume.shape) < 1:
        message = f"expected axes of at least one voxel, got {volume.shape}"
        raise UnreadableError(path, "format", message)
    if not _is_usable(volume.affine):
        raise UnreadableError(
            path,
            "affine",
            f"expected an affine that can be inverted, voxels of {_SIZES[0]:g} to {_SIZES[1]:g} mm "
            f"and at most {_FARTHEST:g} mm from the origin, got {volume.affine[:3].tolist()}",
        )
    return volume


def _is_usable(affine: Float[np.ndarray, "4 4"]) -> bool:
    """Whether one can compute with an affine: no overflow, no axis that is none."""
    if not np.isfinite(affine).all() or (np.abs(affine[:3, 3]) > _FARTHEST).any():
        return False
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if (sizes < _SIZES[0]).any() or (sizes > _SIZES[1]).any():
        return False
    return bool(abs(np.linalg.det(affine[:3, :3] / sizes)) > 1e-6)


def write(path: str | os.PathLike, volume: Volume) -> None:
    """Writes a volume, at once or not at all; dtype, affine and spacing stay, bool becomes uint8.

    What was read from a NIfTI file keeps both matrices with their codes, unless its affine is
    another now.
    A PNG or TIFF holds no affine; there it is left out. A format that is unknown or cannot hold the
    dtype or the axes raises ValueError.
    """
    end = ending(path)
    checks.one_of("path: ending", end, FORMATS)
    checks.not_empty(os.fspath(path), volume.array)
    if volume.array.dtype == bool:
        volume = dataclasses.replace(volume, array=volume.array.astype(np.uint8))
    formats.WRITERS[FORMATS[end]](path, volume)


def in_colours(volume: Volume) -> Volume:
    """Returns an image whose numbers stand for colours as those, ``[*S, 3]``; others as they are.

    Colours that are all grey become grey values, ``[*S]``. The numbers of a label map are its
    classes: it is not to be given. A colour that lets others through raises `ValueError`.
    """
    if volume.palette is None:
        return volume
    used = volume.palette[np.unique(volume.array)]
    if (used[:, 3] < 255).any():
        raise ValueError("expected colours without transparency, got a palette with it")
    colours = volume.palette[:, :3]
    if (colours == colours[:, :1]).all():
        colours = colours[:, 0]
    return dataclasses.replace(volume, array=colours[volume.array], palette=None)


def to_ras(volume: Volume) -> Volume:
    """Turns a volume so that its axes run to the right, the front and the top of the patient.

    Axes are swapped and mirrored, nothing is interpolated; an oblique volume stays oblique. Images
    of two axes stay as they are.

    >>> left = Volume(np.arange(2).reshape(2, 1, 1), np.diag([-1.0, 1.0, 1.0, 1.0]), 3)
    >>> to_ras(left).array.ravel()
    array([1, 0])
    """
    if volume.num_axes != 3:
        return volume
    turn = orientations.io_orientation(volume.affine)
    affine = volume.affine @ orientations.inv_ornt_aff(turn, volume.shape)
    array = orientations.apply_orientation(volume.array, turn)
    return Volume(array, affine, 3, segments=volume.segments)


def from_ras(array: Shaped[np.ndarray, "..."], *, like: Volume) -> Volume:
    """Turns an array ``[*S]`` in the axes of ``to_ras(like)`` back to those of `like`.

    It lies where `like` does, by both matrices and codes of a NIfTI file.

    A shape that is not that of ``to_ras(like)`` raises ValueError.
    """
    if like.num_axes != 3:
        checks.shape("array", array, like.shape, like="the image")
        return dataclasses.replace(like, array=array, palette=None, segments=None)
    turn = orientations.io_orientation(like.affine)
    back = orientations.apply_orientation(array, orientations.ornt_transform(_RAS, turn))
    checks.shape("array, turned back", back, like.shape, like="the image")
    return dataclasses.replace(like, array=back, palette=None, segments=None)
