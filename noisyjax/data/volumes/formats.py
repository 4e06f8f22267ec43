"""The formats of `noisyjax.data.volumes.read_write`: NIfTI, MetaImage and NRRD, PNG and TIFF."""

import dataclasses
import gzip
import io
import math
import os
import re
import zlib

import nibabel as nib
import numpy as np
import PIL.Image
from jaxtyping import Float, Shaped

from noisyjax.core import files
from noisyjax.data.volumes import nifti_header

# What stops a file from being read.
FAULTS = ("missing", "empty", "truncated", "too_large", "format", "four_dimensional", "affine")

# No deflated stream expands by more than this.
_MOST_DEFLATED = 1032
# Mode to the shape of a pixel.
_COLOUR = {"RGB": (3,)}
_GREY = ("L", "P", "1", "I", "I;16", "I;16B", "I;16L", "F")


class UnreadableError(ValueError):
    """A file that cannot be read; `fault` is one of `FAULTS`."""

    def __init__(self, path: str | os.PathLike, fault: str, message: str):
        super().__init__(f"{os.fspath(path)}: {message}")
        self.fault = fault


@dataclasses.dataclass(frozen=True)
class Volume:
    """An image or label map and where it lies.

    Attributes:
      array: ``[*S]``, or ``[*S, K]`` for an image in colours, of the file's own dtype.
      affine: float64 ``[4, 4]``, from voxel indices to mm as in NIfTI: towards the right, the front
        and the top of the patient. For two axes the third is the plane's normal.
      num_axes: n, the spatial axes.
    """

    array: Shaped[np.ndarray, "..."]
    affine: Float[np.ndarray, "4 4"]
    num_axes: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each spatial axis."""
        return self.array.shape[: self.num_axes]

    @property
    def spacing(self) -> tuple[float, ...]:
        """The size of a voxel along each spatial axis, in mm."""
        columns = self.affine[:3, : self.num_axes]
        return tuple(float(length) for length in np.linalg.norm(columns, axis=0))


def _check_allowed(path: str, size: int, max_bytes: int, header: str) -> None:
    if size > max_bytes:
        raise UnreadableError(
            path, "too_large", f"expected at most {max_bytes} bytes, its header says {header}"
        )


def _check_size(path: str, shape: tuple, itemsize: int, max_bytes: int, offset: int = 0) -> None:
    """Raises for a size that is absurd, not allowed, or more than the file can hold."""
    if not shape or min(shape) < 1:
        raise UnreadableError(path, "format", f"expected axes of at least one voxel, got {shape}")
    # Python's integers do not overflow.
    size = math.prod(int(n) for n in shape) * itemsize
    _check_allowed(path, size, max_bytes, f"{size} {shape}")
    packed = os.path.getsize(path)
    if size + offset > packed * (_MOST_DEFLATED if path.lower().endswith(".gz") else 1):
        raise UnreadableError(
            path,
            "truncated",
            f"expected {size} bytes of voxels {shape}, the file has {packed}: it is cut off",
        )


def _without_ones(path: str, array: np.ndarray) -> np.ndarray:
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3):
        raise UnreadableError(
            path,
            "four_dimensional",
            f"expected an image of 2 or 3 axes, got shape {array.shape}",
        )
    return array


def _hollow(path: str, shape: tuple[int, ...], affine: np.ndarray) -> Volume:
    """Returns a volume of zeros that takes no memory."""
    array = _without_ones(path, np.broadcast_to(np.uint8(0), shape))
    return Volume(array, np.asarray(affine, np.float64), array.ndim)


def _cut_off(path: str, error: Exception) -> UnreadableError:
    return UnreadableError(
        path, "truncated", f"expected a whole file, it is cut off or damaged ({error})"
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
            raise UnreadableError(
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
            raise _cut_off(path, error) from error
        except OSError:
            # Not a deflated file at all.
            return


def _open_nifti(path: str, max_bytes: int) -> nib.Nifti1Image:
    """Reads the header, and checks that the file can hold what it says."""
    try:
        if damage := nifti_header.damage(path):
            raise UnreadableError(path, *damage)
        lazy = nib.load(path)
        dtype, shape = lazy.get_data_dtype(), tuple(int(n) for n in lazy.shape)
        kind = type(lazy)
    except UnreadableError:
        raise
    except Exception as error:
        # A damaged header fails anywhere in nibabel, by errors of many kinds.
        _check_beginning(path)
        raise UnreadableError(
            path, "format", "expected a NIfTI file, it is another one or its header is damaged"
        ) from error
    if kind not in (nib.Nifti1Image, nib.Nifti2Image):
        raise UnreadableError(path, "format", f"expected a single NIfTI file, got {kind.__name__}")
    if dtype.kind not in "iufb":
        raise UnreadableError(path, "format", f"expected numbers, got voxels of {dtype}")
    _check_size(path, shape, dtype.itemsize, max_bytes, int(lazy.dataobj.offset))
    return lazy


def _peek_nifti(path: str, max_bytes: int) -> Volume:
    lazy = _open_nifti(path, max_bytes)
    return _hollow(path, lazy.shape, lazy.affine)


def _read_nifti(path: str, max_bytes: int) -> Volume:
    lazy = _open_nifti(path, max_bytes)
    dtype = lazy.get_data_dtype()
    # Some writers fill the last block up.
    most = int(lazy.dataobj.offset) + math.prod(lazy.shape) * dtype.itemsize + 4096
    try:
        image = type(lazy).from_bytes(_content(path, most))
        with np.errstate(over="ignore"):
            array = np.asanyarray(image.dataobj)
    except (EOFError, OSError, ValueError, zlib.error) as error:
        if isinstance(error, UnreadableError):
            raise
        raise _cut_off(path, error) from error
    scaled = array.dtype != dtype and array.dtype.kind == "f"
    with np.errstate(over="ignore"):
        array = array.astype(np.float32) if scaled else array.astype(dtype.newbyteorder("="))
    array = _without_ones(path, array)
    return Volume(array, np.asarray(image.affine, np.float64), array.ndim)


def _simpleitk(path: str):
    try:
        import SimpleITK
    except ImportError as error:
        raise UnreadableError(
            path, "format", "expected SimpleITK for this format: pip install SimpleITK"
        ) from error
    return SimpleITK


def _check_attached(path: str) -> None:
    """Raises if a header leaves the data to another file, which may be any file of the machine."""
    with open(path, "rb") as file:
        start = file.read(1 << 16).decode("latin-1")
    if path.lower().endswith(".mha"):
        match = re.search(r"^\s*ElementDataFile\s*=\s*(\S+)", start, re.MULTILINE)
        attached = match is not None and match[1] == "LOCAL"
    else:
        header = re.split(r"\r?\n\r?\n", start, maxsplit=1)[0]
        attached = start.startswith("NRRD") and not re.search(
            r"^data ?file\s*:", header, re.MULTILINE | re.IGNORECASE
        )
    if not attached:
        raise UnreadableError(
            path, "format", "expected a header followed by its data in the same file"
        )


def _open_simpleitk(path: str, max_bytes: int):
    sitk = _simpleitk(path)
    _check_attached(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise UnreadableError(
            path, "format", f"expected a readable header, got {_last_line(error)}"
        ) from error
    if reader.GetNumberOfComponents() != 1:
        raise UnreadableError(path, "format", "expected one number for each voxel, got several")
    shape = tuple(int(n) for n in reader.GetSize())
    # float64 is the widest.
    _check_allowed(path, math.prod(shape) * 8, max_bytes, f"{shape}")
    # The data may be deflated.
    if math.prod(shape) > os.path.getsize(path) * _MOST_DEFLATED:
        raise _cut_off(path, ValueError(f"its header says {shape}"))
    return reader


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]


def _peek_simpleitk(path: str, max_bytes: int) -> Volume:
    reader = _open_simpleitk(path, max_bytes)
    axes = reader.GetDimension()
    affine = np.eye(4)
    columns = np.reshape(reader.GetDirection(), (axes, axes)) * reader.GetSpacing()
    used = min(axes, 3)
    affine[:used, :used] = columns[:used, :used]
    affine[:used, 3] = reader.GetOrigin()[:used]
    # ITK counts towards the left and the back.
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    return _hollow(path, tuple(int(n) for n in reader.GetSize()), affine)


def _read_simpleitk(path: str, max_bytes: int) -> Volume:
    hollow = _peek_simpleitk(path, max_bytes)
    try:
        image = _open_simpleitk(path, max_bytes).Execute()
    except RuntimeError as error:
        raise _cut_off(path, ValueError(_last_line(error))) from error
    array = np.ascontiguousarray(_simpleitk(path).GetArrayFromImage(image).T)
    return Volume(array.reshape(hollow.shape), hollow.affine, hollow.num_axes)


def _pages(path: str, max_bytes: int, *, whole: bool) -> list[np.ndarray]:
    """Returns the pages of an image; hollow ones that take no memory if not whole."""
    png = path.lower().endswith(".png")
    try:
        # Pillow knows some 40 formats, and starts Ghostscript for one of them.
        with PIL.Image.open(path, formats=["PNG" if png else "TIFF"]) as image:
            count = int(getattr(image, "n_frames", 1))
            if image.mode not in (*_GREY, *_COLOUR):
                raise UnreadableError(
                    path,
                    "format",
                    f"expected grey values or RGB without transparency, got mode {image.mode}",
                )
            if count > 1 and (png or image.mode in _COLOUR):
                what = "image in a PNG" if png else "page in colours"
                raise UnreadableError(path, "format", f"expected one {what}, got {count}")
            size, colours = image.size, _COLOUR.get(image.mode, ())
            shape = (image.height, image.width, *colours)
            size_in_bytes = count * math.prod(shape) * 4
            _check_allowed(path, size_in_bytes, max_bytes, f"{count} pages of {shape}")
            # A pixel takes a bit at least.
            if png and math.prod(shape) > 8 * _MOST_DEFLATED * os.path.getsize(path):
                raise _cut_off(path, ValueError(f"its header says {shape}"))
            if not whole:
                return [np.broadcast_to(np.uint8(0), shape)] * count
            pages = []
            for page in range(count):
                image.seek(page)
                if image.size != size:
                    raise UnreadableError(path, "format", "expected pages of one size")
                pages.append(np.array(image))
            return pages
    except UnreadableError:
        raise
    except PIL.UnidentifiedImageError as error:
        raise UnreadableError(path, "format", "expected a PNG or TIFF, got another file") from error
    except PIL.Image.DecompressionBombError as error:
        raise UnreadableError(path, "too_large", f"expected a smaller image: {error}") from error
    except Exception as error:
        # A damaged file fails anywhere in Pillow, by errors of many kinds.
        raise _cut_off(path, error) from error


def _read_pillow(path: str, max_bytes: int) -> Volume:
    pages = _pages(path, max_bytes, whole=True)
    if len(pages) > 1 and pages[0].ndim == 2:
        return Volume(np.stack(pages), np.eye(4), 3)
    array = pages[0].astype(np.uint8) if pages[0].dtype == bool else pages[0]
    return Volume(array.astype(array.dtype.newbyteorder("="), copy=False), np.eye(4), 2)


def _peek_pillow(path: str, max_bytes: int) -> Volume:
    pages = _pages(path, max_bytes, whole=False)
    if len(pages) > 1:
        return _hollow(path, (len(pages), *pages[0].shape[:2]), np.eye(4))
    return Volume(pages[0], np.eye(4), 2)


def _write_nifti(path: str | os.PathLike, volume: Volume) -> None:
    array = volume.array
    if array.ndim != volume.num_axes:
        raise ValueError(f"{path}: expected one number for each voxel, got colours")
    try:
        image = nib.Nifti1Image(array, volume.affine, dtype=array.dtype)
    except nib.spatialimages.HeaderDataError as error:
        raise ValueError(f"{path}: expected a dtype of NIfTI, got {array.dtype}") from error
    image.header.set_xyzt_units("mm")
    content = image.to_bytes()
    if os.fspath(path).lower().endswith(".gz"):
        # Without a time, so that the same volume is the same file.
        content = gzip.compress(content, mtime=0)
    with files.replacing(path) as unfinished:
        unfinished.write_bytes(content)


def _write_simpleitk(path: str | os.PathLike, volume: Volume) -> None:
    sitk = _simpleitk(os.fspath(path))
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array.T))
    n = volume.num_axes
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    image.SetSpacing(volume.spacing)
    image.SetOrigin(affine[:n, 3].tolist())
    image.SetDirection((affine[:n, :n] / volume.spacing).ravel().tolist())
    with files.replacing(path) as unfinished:
        sitk.WriteImage(image, str(unfinished), useCompression=True)


def _write_pillow(path: str | os.PathLike, volume: Volume) -> None:
    array = volume.array
    tiff = not os.fspath(path).lower().endswith(".png")
    allowed = ("uint8", "uint16", "float32") if tiff else ("uint8", "uint16")
    if array.dtype.name not in allowed or (volume.num_axes == 3 and not tiff):
        raise ValueError(
            f"{path}: expected {' or '.join(allowed)} of {'2 or 3' if tiff else '2'} axes, "
            f"got {array.dtype} of {volume.num_axes}"
        )
    pages = [PIL.Image.fromarray(page) for page in (array if volume.num_axes == 3 else [array])]
    stream = io.BytesIO()
    options = {"save_all": True, "append_images": pages[1:]} if tiff else {}
    pages[0].save(stream, format="TIFF" if tiff else "PNG", **options)
    with files.replacing(path) as unfinished:
        unfinished.write_bytes(stream.getvalue())


PEEKERS = {"nifti": _peek_nifti, "simpleitk": _peek_simpleitk, "pillow": _peek_pillow}
READERS = {"nifti": _read_nifti, "simpleitk": _read_simpleitk, "pillow": _read_pillow}
WRITERS = {"nifti": _write_nifti, "simpleitk": _write_simpleitk, "pillow": _write_pillow}
