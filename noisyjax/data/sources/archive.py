"""Reading the arrays of an ``.npz`` file, with errors that name the file and the array."""

import contextlib
import lzma
import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping

import numpy as np

Arrays = dict[str, np.ndarray]

# Of all arrays of a file together, unpacked.
MAX_BYTES = 2**33

_KINDS = {"integer": "iu", "float": "f", "text": "U"}
# What a damaged or forged archive fails by.
_FAULTS = (
    ValueError,
    RuntimeError,
    OSError,
    EOFError,
    KeyError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


@contextlib.contextmanager
def _opened(path: str, content: str) -> Iterator[np.lib.npyio.NpzFile]:
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: expected an .npz file with {content}")
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError(
                f"{path}: expected an .npz archive; the file is cut off or another one"
            )
        file.seek(0)
        try:
            archive = np.load(file, allow_pickle=False)
        except _FAULTS as error:
            raise ValueError(f"{path}: expected an .npz archive, got {error}") from error
        with archive:
            yield archive


def _size(archive: np.lib.npyio.NpzFile, name: str) -> int:
    """Returns the bytes of an array by its header, which is all that is read of it."""
    info = archive.zip.getinfo(f"{name}.npy")
    with archive.zip.open(info) as member:
        major, _ = np.lib.format.read_magic(member)
        read = "read_array_header_1_0" if major == 1 else "read_array_header_2_0"
        try:
            shape, _, dtype = getattr(np.lib.format, read)(member)
        except (SyntaxError, TypeError, MemoryError, tokenize.TokenError) as error:
            raise ValueError(f"{name}: a header that is none ({error})") from error
    # True is an integer to NumPy's check of the header.
    if any(type(extent) is not int for extent in shape):
        raise ValueError(f"{name}: the shape {shape} by its header")
    if dtype.hasobject:
        raise ValueError(f"{name}: objects; Object arrays cannot be loaded when allow_pickle=False")
    # Python's integers do not overflow.
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or size > info.file_size:
        raise ValueError(
            f"{name}: {size} bytes {list(shape)} by its header, {info.file_size} in the archive"
        )
    return size


def names(path: str, *, content: str) -> tuple[str, ...]:
    """Returns the names of the arrays of a file, in its order, without reading them.

    `content`, here and below, is what the file should hold, for the message; errors as in `read`.
    """
    with _opened(path, content) as archive:
        return tuple(archive.files)


def read(
    path: str, layout: Mapping[str, str], *, content: str, max_bytes: int = MAX_BYTES
) -> Arrays:
    """Reads arrays and checks their dtypes and shapes against each other.

    Args:
      path: the file.
      layout: name of an array to ``"dtype axis axis ..."``, as in ``{"image": "uint8 N H W",
        "shape": "integer N 2"}``. The dtype is a NumPy dtype or ``integer``, ``float`` or
        ``text``; a number is a size, and a name one that is the same everywhere; none is zero.
      content: what the file should hold, for the message.
      max_bytes: the most that is unpacked; the headers are asked before anything is.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is not an ``.npz`` archive, if an array is missing, if they are too large,
        or if one has another dtype or shape.
    """
    with _opened(path, content) as archive:
        missing = [name for name in layout if name not in archive.files]
        if missing:
            raise ValueError(f"{path}: expected arrays {tuple(layout)}, missing {missing}")
        try:
            size = sum(_size(archive, name) for name in layout)
            if size > max_bytes:
                raise ValueError(f"{size} bytes, more than the {max_bytes} allowed")
            arrays = {name: archive[name] for name in layout}
        except _FAULTS as error:
            raise ValueError(f"{path}: expected plain arrays, got {error}") from error
    sizes: dict[str, int] = {}
    for name, array in arrays.items():
        dtype, *axes = layout[name].split()
        if not _fits(array, dtype, [int(a) if a.isdigit() else sizes.get(a) for a in axes]):
            given = "".join(f", {axis} = {sizes[axis]}" for axis in axes if axis in sizes)
            raise ValueError(
                f"{path}: {name}: expected {dtype} [{', '.join(axes)}]{given}, "
                f"got {array.dtype} {list(array.shape)}"
            )
        sizes.update(zip(axes, array.shape, strict=True))
    return arrays


def _fits(array: np.ndarray, dtype: str, shape: list[int | None]) -> bool:
    # None stands for any size.
    same_dtype = array.dtype.kind in _KINDS[dtype] if dtype in _KINDS else array.dtype == dtype
    return (
        same_dtype
        and array.size > 0
        and array.ndim == len(shape)
        and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    )


def check_range(path: str, name: str, values: np.ndarray, low: int, high: int) -> None:
    """Raises a `ValueError` unless every value of an array of a file lies in ``low..high``."""
    if values.size and (values.min() < low or values.max() > high):
        raise ValueError(
            f"{path}: {name}: expected values in {low}..{high}, got {values.min()}..{values.max()}"
        )


def unpack(path: str, name: str, packed: np.ndarray, width: int) -> np.ndarray:
    """Returns masks ``[..., W]`` uint8 of 0 and 1 from bits packed along the last axis.

    If the number of bytes is not that of the width W, a ValueError names file and array.
    """
    if packed.shape[-1] != -(-width // 8):
        raise ValueError(
            f"{path}: {name}: expected {-(-width // 8)} bytes for a width of {width}, "
            f"got {packed.shape[-1]}"
        )
    return np.unpackbits(packed, axis=-1, count=width)
