"""Arrays kept on disk under the hash of what they were made from."""

import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

from noisyjax.core import files


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


def _kept(
    paths: Mapping[str, pathlib.Path], record: pathlib.Path
) -> dict[str, Shaped[np.ndarray, "..."]] | None:
    """Maps arrays, or returns None where one is absent or is not what was written.

    What cannot be read for other reasons, as by its permissions, raises OSError.
    """
    try:
        written = files.read_json(record)
        # First of all, so that no header is believed that was not written.
        if written != _record(record.stem, paths):
            return None
        return {
            key: np.load(path, mmap_mode="r", allow_pickle=False) for key, path in paths.items()
        }
    except FileNotFoundError:
        return None
    except (OSError, MemoryError):
        raise
    # Whatever NumPy has to say of a header.
    except Exception:
        return None


def _record(name: str, paths: Mapping[str, pathlib.Path]) -> dict[str, Any]:
    return {"name": name, "sha256": {key: of_file(path) for key, path in paths.items()}}


def stored(
    folder: str | os.PathLike,
    name: str,
    keys: Sequence[str],
    make: Callable[[], Mapping[str, np.ndarray]],
) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Returns arrays from a folder, memory-mapped; makes and keeps them if one is not there.

    Their files are ``NAME.KEY.npy``, with a `digest` as the name; `make` returns them by key. The
    SHA-256 of each file stands in ``NAME.json``: one that has changed is made again.
    """
    paths = {key: pathlib.Path(folder) / f"{name}.{key}.npy" for key in keys}
    record = pathlib.Path(folder) / f"{name}.json"
    kept = _kept(paths, record)
    if kept is not None:
        return kept
    made = make()
    for key, path in paths.items():
        with files.replacing(path) as unfinished:
            np.save(unfinished, made[key], allow_pickle=False)
    files.write_json(record, _record(name, paths))
    return {key: np.load(path, mmap_mode="r", allow_pickle=False) for key, path in paths.items()}
