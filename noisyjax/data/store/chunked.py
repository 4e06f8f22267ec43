"""Arrays on the disk in compressed chunks, each with a checksum, of which a part is read alone.

The format is Zarr 3, written and read by TensorStore; the chunks of an array lie in one file, of a
large one in few.
"""

import dataclasses
import functools
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorstore
from jaxtyping import Shaped

# Voxels of a chunk along each of the axes that are cut, by their number: 2^15 of them, so that a
# patch reads little beside itself.
_EDGES = {1: 2**15, 2: 2**7, 3: 2**5}
# Chunks of about so many bytes lie in one file, for a file is made in memory.
_FILE = 2**27
_BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
_CHECKSUM = {"name": "crc32c"}


@dataclasses.dataclass(frozen=True)
class Chunked:
    """An array on the disk, read when it is indexed; threads may share it.

    Attributes:
      path: its folder, absolute: TensorStore takes no other.
      shape: of the whole array.
      dtype: as NumPy names it.
      chunk: the shape of a chunk.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    chunk: tuple[int, ...]

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """What the whole array takes in memory."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def __len__(self) -> int:
        """The size of the first axis."""
        return self.shape[0]

    def __getitem__(self, where: Any) -> Shaped[np.ndarray, "..."]:
        """Reads a part, indexed as by NumPy with numbers and slices of step 1.

        Raises:
          ValueError: if a chunk is damaged or absent; it names the folder.
        """
        try:
            return _opened(self)[_counted(where, self.shape)].read().result()
        except ValueError as error:
            raise ValueError(
                f"{self.path}: expected the chunks that were written, got: {error}; remove the "
                "folder of the case, and it is made again"
            ) from error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Reads the whole array."""
        whole = self[...]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def to_json(self) -> dict[str, Any]:
        """Returns what `of_json` wants beside the path."""
        return {"shape": self.shape, "dtype": self.dtype, "chunk": self.chunk}


def _counted(where: Any, shape: tuple[int, ...]) -> Any:
    """Counts from the end where NumPy does: TensorStore has indices below 0 as well."""
    if where is Ellipsis:
        return where
    parts = where if isinstance(where, tuple) else (where,)
    counted = []
    for part, size in zip(parts, shape, strict=False):
        if isinstance(part, slice):
            start, stop, _ = slice(part.start, part.stop).indices(size)
            counted.append(slice(start, max(start, stop)))
        else:
            counted.append(part + size if part < 0 else part)
    return tuple(counted)


def of_json(path: str | os.PathLike, facts: Mapping[str, Any]) -> Chunked:
    """Reverses `Chunked.to_json`; nothing is read. Raises ValueError for what is no array."""
    shape, chunk, dtype = tuple(facts["shape"]), tuple(facts["chunk"]), np.dtype(facts["dtype"])
    sides = all(type(n) is int and n >= 0 for n in shape) and all(
        type(n) is int and n > 0 for n in chunk
    )
    if not sides or len(shape) != len(chunk) or dtype.kind not in "biuf":
        raise ValueError(f"{path}: expected an array of numbers, got {dict(facts)}")
    return Chunked(os.path.abspath(path), shape, str(dtype), chunk)


def write(
    path: str | os.PathLike, array: Shaped[np.ndarray, "..."], *, cut: Sequence[int]
) -> Chunked:
    """Writes an array ``[...]`` into a folder that is not there yet.

    Args:
      cut: the axes that are cut to chunks, one to three; chunks are whole along the others.
    """
    edge = _EDGES[len(cut)]
    chunk = tuple(
        max(1, min(edge, size)) if axis in cut else max(1, size)
        for axis, size in enumerate(array.shape)
    )
    made = Chunked(os.path.abspath(path), array.shape, str(array.dtype), chunk)
    store = tensorstore.open(_spec(made), create=True).result()
    axis, rows = _rows_of_file(made)
    for start in range(0, max(1, array.shape[axis]), rows):
        part = (slice(None),) * axis + (slice(start, min(start + rows, array.shape[axis])),)
        store[part].write(array[part]).result()
    return made


def _rows_of_file(array: Chunked) -> tuple[int, int]:
    """Returns the axis along which an array is divided into files, and how many rows one has."""
    axis = next((a for a, part in enumerate(array.chunk) if part < array.shape[a]), 0)
    part, size = array.chunk[axis], max(1, array.shape[axis])
    chunks = max(1, _FILE * size // max(1, array.nbytes) // part)
    return axis, part * min(chunks, -(-size // part))


def _spec(array: Chunked) -> dict[str, Any]:
    dtype = np.dtype(array.dtype)
    packed = {
        "cname": "zstd",
        "clevel": 1,
        "shuffle": "shuffle" if dtype.itemsize > 1 else "noshuffle",
        "typesize": dtype.itemsize,
        "blocksize": 0,
    }
    chunks = {
        "chunk_shape": list(array.chunk),
        "codecs": [_BYTES, {"name": "blosc", "configuration": packed}, _CHECKSUM],
        "index_codecs": [_BYTES, _CHECKSUM],
        "index_location": "end",
    }
    sizes = zip(array.shape, array.chunk, strict=True)
    of_file = [max(1, -(-size // part)) * part for size, part in sizes]
    axis, rows = _rows_of_file(array)
    of_file[axis] = rows
    grid = {"chunk_shape": of_file}
    return {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": os.path.join(array.path, "")},
        # A case is whole when its folder is renamed; what a crash of the system leaves is noticed.
        "context": {"file_io_sync": False},
        # What is absent is no zeros.
        "fill_missing_data_reads": False,
        "store_data_equal_to_fill_value": True,
        "metadata": {
            "shape": list(array.shape),
            "data_type": dtype.name,
            "chunk_grid": {"name": "regular", "configuration": grid},
            "codecs": [{"name": "sharding_indexed", "configuration": chunks}],
        },
    }


# Opening takes a millisecond, and what is open little memory.
@functools.lru_cache(maxsize=256)
def _opened(array: Chunked) -> tensorstore.TensorStore:
    return tensorstore.open(_spec(array), open=True).result()
