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


def digest(paths: Iterable[str | os.PathLike], options: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of the contents of files, in order, and of options that JSON can hold.

    32 hexadecimal digits: others if any byte or option is another.
    """
    total = hashlib.sha256(json.dumps(dict(options), sort_keys=True).encode())
    for path in paths:
        with open(path, "rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:32]


def _read(path: pathlib.Path) -> np.ndarray | None:
    """Maps an array, or returns None where it is absent or damaged."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, OverflowError):
        return None


def stored(
    folder: str | os.PathLike,
    name: str,
    keys: Sequence[str],
    make: Callable[[], Mapping[str, np.ndarray]],
) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Returns arrays from a folder, memory-mapped; makes and keeps them if one is not there.

    Their files are ``NAME.KEY.npy``, with a `digest` as the name; `make` returns them by key.
    """
    paths = {key: pathlib.Path(folder) / f"{name}.{key}.npy" for key in keys}
    kept = {key: _read(path) for key, path in paths.items()}
    if all(array is not None for array in kept.values()):
        return kept
    made = make()
    for key, path in paths.items():
        with files.replacing(path) as unfinished:
            np.save(unfinished, made[key], allow_pickle=False)
    return {key: np.load(path, mmap_mode="r", allow_pickle=False) for key, path in paths.items()}
