"""MetaImage and NRRD, by SimpleITK."""

import dataclasses
import math
import os
import re
import zlib

import numpy as np

from noisyjax.core import files
from noisyjax.data.volumes.formats import base, deflated

# The first bytes of a file, in which its header ends.
_HEADER = 2**16
# What the header of a MetaImage may say: images of SimpleITK have so many axes.
_AXES = ("2", "3", "4", "5")


def _simpleitk(path: str):
    try:
        import SimpleITK
    except ImportError as error:
        raise base.UnreadableError(
            path, "format", "expected SimpleITK for this format: pip install noisyjax[itk]"
        ) from error
    return SimpleITK


def _check_attached(path: str) -> None:
    """Raises if a header leaves the data to another file, which may be any file of the machine."""
    with open(path, "rb") as file:
        start = file.read(_HEADER).decode("latin-1")
    if path.lower().endswith(".mha"):
        match = re.search(r"^\s*ElementDataFile\s*=\s*(\S+)", start, re.MULTILINE)
        attached = match is not None and match[1] == "LOCAL"
    else:
        header = re.split(r"\r?\n\r?\n", start, maxsplit=1)[0]
        attached = start.startswith("NRRD") and not re.search(
            r"^data ?file\s*:", header, re.MULTILINE | re.IGNORECASE
        )
    if not attached:
        raise base.UnreadableError(
            path, "format", "expected a header followed by its data in the same file"
        )


def _check_axes(path: str) -> None:
    """Raises if a MetaImage says more axes than ITK has room for, which it does not look at."""
    if not path.lower().endswith(".mha"):
        return
    with open(path, "rb") as file:
        start = file.read(_HEADER).decode("latin-1")
    header = re.split(r"^\s*ElementDataFile", start, maxsplit=1, flags=re.MULTILINE)[0]
    for said in re.findall(r"^\s*NDims\s*[=:]\s*(.*?)\s*$", header, re.MULTILINE):
        if said not in _AXES:
            raise base.UnreadableError(
                path, "format", f"expected NDims of {_AXES[0]} to {_AXES[-1]}, got {said!r:.20}"
            )


def _verify(path: str, most: int) -> int | None:
    """Compares the checksum of deflated data, which ITK does not.

    Returns the bytes of the voxels that are there, None if that is not known. Raises as
    `deflated.verify`.
    """
    with open(path, "rb") as file:
        start = file.read(_HEADER).decode("latin-1")
        if path.lower().endswith(".mha"):
            end = re.search(r"^\s*ElementDataFile\s*=[^\n]*\n", start, re.MULTILINE)
            header = start[: end.end()] if end else ""
            # ITK takes what begins so for true.
            packed = re.search(r"^\s*CompressedData\s*=\s*[Tt1]", header, re.MULTILINE)
            other = re.search(r"^\s*(HeaderSize|BinaryData\s*=\s*[^Tt1\s])", header, re.MULTILINE)
        else:
            end = re.search(r"\r?\n\r?\n", start)
            header = start[: end.end()] if end else ""
            packed = re.search(r"^encoding\s*:\s*gz", header, re.MULTILINE | re.IGNORECASE)
            raw = re.search(r"^encoding\s*:\s*raw", header, re.MULTILINE | re.IGNORECASE)
            skips = re.search(r"^(line|byte) ?skip\s*:", header, re.MULTILINE | re.IGNORECASE)
            other = skips or not (packed or raw)
        if not end or other:
            return None
        file.seek(end.end())
        return deflated.verify(file, most=most) if packed else os.path.getsize(path) - end.end()


def _open_simpleitk(path: str, max_bytes: int):
    sitk = _simpleitk(path)
    _check_attached(path)
    _check_axes(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise base.UnreadableError(
            path, "format", f"expected a readable header, got {_last_line(error)}"
        ) from error
    layers = reader.GetNumberOfComponents()
    if layers != 1 and not _segments(reader):
        raise base.UnreadableError(
            path, "format", "expected one number for each voxel, got several"
        )
    shape = tuple(int(n) for n in reader.GetSize())
    # float64 is the widest.
    base.check_allowed(path, layers * math.prod(shape) * 8, max_bytes, f"{shape}")
    # The data may be deflated.
    if layers * math.prod(shape) > os.path.getsize(path) * base.MOST_DEFLATED:
        raise base.cut_off(path, ValueError(f"its header says {shape}"))
    return reader


def _segments(reader) -> tuple[base.Segment, ...] | None:
    """Returns the segments that a header of Slicer names, None if it names none.

    What it leaves out is what Slicer takes for it: the value 1 and the layer 0.
    """
    keys = [re.fullmatch(r"Segment(\d+)_Name", key) for key in reader.GetMetaDataKeys()]
    numbers = sorted(int(match[1]) for match in keys if match)

    def field(number: int, name: str, default: str) -> str:
        key = f"Segment{number}_{name}"
        return reader.GetMetaData(key).strip() if reader.HasMetaDataKey(key) else default

    segments = []
    for number in numbers:
        value, layer = field(number, "LabelValue", "1"), field(number, "Layer", "0")
        if not (value.isdecimal() and layer.isdecimal()) or (
            int(layer) >= reader.GetNumberOfComponents()
        ):
            raise base.UnreadableError(
                reader.GetFileName(),
                "format",
                f"expected whole numbers for LabelValue and Layer of Segment{number}, a layer that "
                f"there is, got {value!r:.20} and {layer!r:.20}",
            )
        segments.append(base.Segment(field(number, "Name", ""), int(value), int(layer)))
    return tuple(segments) or None


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]


def peek(path: str, max_bytes: int) -> base.Volume:
    """Reads the header of a file."""
    reader = _open_simpleitk(path, max_bytes)
    axes = reader.GetDimension()
    affine = np.eye(4)
    columns = np.reshape(reader.GetDirection(), (axes, axes)) * reader.GetSpacing()
    used = min(axes, 3)
    affine[:used, :used] = columns[:used, :used]
    affine[:used, 3] = reader.GetOrigin()[:used]
    # ITK counts towards the left and the back.
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    hollow = base.hollow(path, tuple(int(n) for n in reader.GetSize()), affine)
    return dataclasses.replace(hollow, segments=_segments(reader))


def read(path: str, max_bytes: int) -> base.Volume:
    """Reads a file."""
    hollow = peek(path, max_bytes)
    reader = _open_simpleitk(path, max_bytes)
    layers = reader.GetNumberOfComponents()
    try:
        # float64 is the widest.
        there = _verify(path, layers * math.prod(hollow.shape) * 8)
    except (ValueError, zlib.error) as error:
        raise base.cut_off(path, error) from error
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise base.cut_off(path, ValueError(_last_line(error))) from error
    array = _simpleitk(path).GetArrayFromImage(image)
    # The layers stay last.
    array = np.ascontiguousarray(np.moveaxis(array.T, 0, -1) if layers > 1 else array.T)
    # ITK takes a size that it cannot read for 1.
    if there not in (None, array.nbytes):
        message = f"its header says {array.nbytes} bytes of voxels {hollow.shape}, it has {there}"
        raise base.cut_off(path, ValueError(message))
    array = array.reshape(hollow.shape + (layers,) * (layers > 1))
    return dataclasses.replace(hollow, array=array)


def write(path: str | os.PathLike, volume: base.Volume) -> None:
    """Writes a file, deflated."""
    sitk = _simpleitk(os.fspath(path))
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array.T))
    n = volume.num_axes
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    image.SetSpacing(volume.spacing)
    image.SetOrigin(affine[:n, 3].tolist())
    image.SetDirection((affine[:n, :n] / volume.spacing).ravel().tolist())
    with files.replacing(path) as unfinished:
        sitk.WriteImage(image, str(unfinished), useCompression=True)
