"""NIfTI files."""

import dataclasses
import gzip
import math
import os
import zlib

import nibabel as nib
import numpy as np

from noisyjax.core import files
from noisyjax.data.volumes.formats import base, nifti_header

# Fields of a header that say where the voxels lie: sform, qform, their codes, the unit.
_PLACE = (
    *("pixdim", "xyzt_units", "qform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "sform_code", "srow_x", "srow_y", "srow_z"),
)


def _check_size(path: str, shape: tuple, itemsize: int, max_bytes: int, offset: int = 0) -> None:
    """Raises for a size that is absurd, not allowed, or more than the file can hold."""
    if not shape or min(shape) < 1:
        raise base.UnreadableError(
            path, "format", f"expected axes of at least one voxel, got {shape}"
        )
    # Python's integers do not overflow.
    size = math.prod(int(n) for n in shape) * itemsize
    base.check_allowed(path, size, max_bytes, f"{size} {shape}")
    packed = os.path.getsize(path)
    if size + offset > packed * (base.MOST_DEFLATED if path.lower().endswith(".gz") else 1):
        raise base.UnreadableError(
            path,
            "truncated",
            f"expected {size} bytes of voxels {shape}, the file has {packed}: it is cut off",
        )


def _content(path: str, most: int) -> bytes:
    """Returns the bytes of a file, unpacked and with its checksum verified."""
    if not path.lower().endswith(".gz"):
        with open(path, "rb") as file:
            return file.read()
    with gzip.open(path) as file:
        content = file.read(most + 1)
        # Reading to the end is what verifies the checksum.
        if len(content) > most or file.read(1):
            raise base.UnreadableError(
                path, "format", f"expected {most} bytes after unpacking, there are more"
            )
    return content


def _check_beginning(path: str) -> None:
    """Raises if a deflated file ends within its header."""
    if path.lower().endswith(".gz"):
        try:
            with gzip.open(path) as file:
                file.read(4096)
        except (EOFError, zlib.error) as error:
            raise base.cut_off(path, error) from error
        except OSError:
            # Not a deflated file at all.
            return


def _open_nifti(path: str, max_bytes: int) -> nib.Nifti1Image:
    """Reads the header, and checks that the file can hold what it says."""
    try:
        if damage := nifti_header.damage(path):
            raise base.UnreadableError(path, *damage)
        lazy = nib.load(path)
        dtype, shape = lazy.get_data_dtype(), tuple(int(n) for n in lazy.shape)
        kind = type(lazy)
    except base.UnreadableError:
        raise
    except Exception as error:
        # A damaged header fails anywhere in nibabel, by errors of many kinds.
        _check_beginning(path)
        raise base.UnreadableError(
            path, "format", "expected a NIfTI file, it is another one or its header is damaged"
        ) from error
    if kind not in (nib.Nifti1Image, nib.Nifti2Image):
        raise base.UnreadableError(
            path, "format", f"expected a single NIfTI file, got {kind.__name__}"
        )
    if dtype.kind not in "iufb":
        raise base.UnreadableError(path, "format", f"expected numbers, got voxels of {dtype}")
    _check_size(path, shape, dtype.itemsize, max_bytes, int(lazy.dataobj.offset))
    return lazy


def _placed(volume: base.Volume, image: nib.Nifti1Image) -> base.Volume:
    """Returns a volume with both matrices of its file."""
    matrices = {name: np.array(image.header[name]) for name in _PLACE}
    return dataclasses.replace(volume, matrices=matrices)


def _place(header: nib.Nifti1Header, volume: base.Volume) -> None:
    """Gives a header both matrices of the file that a volume came from, if it lies there yet."""
    if volume.matrices is None:
        return
    other = header.copy()
    for name, value in volume.matrices.items():
        # Beyond the space axes are times and the like, which are not of the new file.
        kept = {"pixdim": slice(0, 4)}.get(name, ...)
        other[name][kept] = value[kept] & 7 if name == "xyzt_units" else value[kept]
    # Of float64 in NIfTI-2 it is rounded.
    if np.allclose(other.get_best_affine(), volume.affine, rtol=1e-5, atol=1e-5):
        for name in _PLACE:
            header[name] = other[name]


def peek(path: str, max_bytes: int) -> base.Volume:
    """Reads the header of a file."""
    lazy = _open_nifti(path, max_bytes)
    return _placed(base.hollow(path, lazy.shape, lazy.affine), lazy)


def read(path: str, max_bytes: int) -> base.Volume:
    """Reads a file."""
    lazy = _open_nifti(path, max_bytes)
    dtype = lazy.get_data_dtype()
    # Some writers fill the last block up.
    most = int(lazy.dataobj.offset) + math.prod(lazy.shape) * dtype.itemsize + 4096
    try:
        image = type(lazy).from_bytes(_content(path, most))
        with np.errstate(over="ignore"):
            array = np.asanyarray(image.dataobj)
    except base.UnreadableError:
        raise
    except Exception as error:
        raise base.cut_off(path, error) from error
    scaled = array.dtype != dtype and array.dtype.kind == "f"
    with np.errstate(over="ignore"):
        array = array.astype(np.float32) if scaled else array.astype(dtype.newbyteorder("="))
    array = base.without_ones(path, array)
    return _placed(base.Volume(array, np.asarray(image.affine, np.float64), array.ndim), image)


def write(path: str | os.PathLike, volume: base.Volume) -> None:
    """Writes a file, the same one of the same volume."""
    array = volume.array
    if array.ndim != volume.num_axes:
        raise ValueError(f"{path}: expected one number for each voxel, got colours")
    try:
        image = nib.Nifti1Image(array, volume.affine, dtype=array.dtype)
    except nib.spatialimages.HeaderDataError as error:
        raise ValueError(f"{path}: expected a dtype of NIfTI, got {array.dtype}") from error
    image.header.set_xyzt_units("mm")
    _place(image.header, volume)
    content = image.to_bytes()
    if os.fspath(path).lower().endswith(".gz"):
        # Without a time, so that the same volume is the same file.
        content = gzip.compress(content, mtime=0)
    with files.replacing(path) as unfinished:
        unfinished.write_bytes(content)
