"""Cases kept on the disk under the hash of what they were made from.

A case is a folder: its large arrays in chunks, and ``case.json``, which holds the small ones, what
the large ones are, and a digest of itself.
"""

import base64
import hashlib
import json
import os
import pathlib
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Shaped

from noisyjax.core import files
from noisyjax.data.store import chunked

# An array of a case, in memory or on the disk.
Arrays = dict[str, Shaped[np.ndarray, "..."] | chunked.Chunked]

RECORD = "case.json"
# Arrays of so many bytes stand in the record.
_SMALL = 2**12


def of_file(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of a file's content, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(contents: Iterable[str], options: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of digests of `of_file`, in order, and of options that JSON can hold.

    32 hexadecimal digits: others if any byte or option is another.
    """
    total = hashlib.sha256(json.dumps(dict(options), sort_keys=True).encode())
    for content in contents:
        total.update(bytes.fromhex(content))
    return total.hexdigest()[:32]


def stored(
    folder: str | os.PathLike,
    name: str,
    cut: Mapping[str, tuple[int, ...]],
    make: Callable[[], Mapping[str, np.ndarray]],
) -> Arrays:
    """Returns the arrays of a case from a folder; makes and keeps them if it is not there.

    Processes may make the same case at once: it is there completely or not at all.

    Args:
      name: a `digest`.
      cut: axes that are cut to chunks by key, the first one of others.
      make: returns the arrays by key.

    Returns:
      Small arrays in memory, large ones on the disk; `numpy.asarray` reads them.

    Raises:
      OSError: if the folder cannot be read or written to.
    """
    path = pathlib.Path(folder) / name
    kept = read(path)
    return write(path, make(), cut) if kept is None else kept


def read(path: pathlib.Path) -> Arrays | None:
    """Returns the arrays of a case, or None where it is absent or its record is damaged.

    A damaged chunk is found when it is read. What cannot be read for outer reasons, as by its
    permissions, raises OSError.
    """
    try:
        record = files.read_json(path / RECORD)
        if record.pop("digest") != _digest(record) or record["name"] != path.name:
            return None
        facts = record["large"]
        if any(_size(path / key) != each["bytes"] for key, each in facts.items()):
            return None
        large = {key: chunked.of_json(path / key, each) for key, each in facts.items()}
        return large | {key: _of_json(each) for key, each in record["small"].items()}
    except FileNotFoundError:
        return None
    except (OSError, MemoryError):
        raise
    # Whatever is wrong with a text that is no record.
    except Exception:
        return None


def write(
    path: pathlib.Path, arrays: Mapping[str, np.ndarray], cut: Mapping[str, tuple[int, ...]]
) -> Arrays:
    """Writes a case and returns its arrays; one that is there and damaged is replaced."""
    with files.replacing_folder(path, stays=lambda found: read(found) is not None) as unfinished:
        large, small = {}, {}
        for key, array in arrays.items():
            if array.nbytes > _SMALL:
                made = chunked.write(unfinished / key, array, cut=cut.get(key, (0,)))
                large[key] = {**made.to_json(), "bytes": _size(unfinished / key)}
            else:
                small[key] = {
                    "shape": array.shape,
                    "dtype": str(array.dtype),
                    "values": _packed(array),
                }
        record = files.plain({"name": path.name, "large": large, "small": small})
        files.write_json(unfinished / RECORD, {**record, "digest": _digest(record)})
    kept = read(path)
    if kept is None:
        raise ValueError(f"{path}: expected the case that was written, got another")
    return kept


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _packed(array: np.ndarray) -> str:
    """Returns the values of an array as a text; JSON takes much longer for a list of numbers."""
    return base64.b64encode(zlib.compress(array.tobytes(), 1)).decode()


def _of_json(facts: Mapping[str, Any]) -> np.ndarray:
    dtype, content = np.dtype(facts["dtype"]), base64.b64decode(facts["values"], validate=True)
    values = zlib.decompressobj().decompress(content, _SMALL + 1)
    return np.frombuffer(bytearray(values), dtype).reshape(facts["shape"])


def _size(folder: pathlib.Path) -> int:
    return sum(
        os.path.getsize(os.path.join(where, name))
        for where, _, names in os.walk(folder)
        for name in names
    )
