"""Digests by which a checkpoint is known: whose it is, and whether it is what was written."""

import hashlib
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from noisyjax.core import files


class OtherRun(ValueError):
    """A checkpoint is of a run with another config."""


def form(leaf: Any) -> str:
    """Returns how the digest of an array of this dtype and shape begins, in `of_arrays`."""
    return f"{leaf.dtype} {list(leaf.shape)} "


def of_arrays(leaves: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Returns name to "dtype shape SHA-256" for each array."""
    return {
        name: form(leaf) + hashlib.sha256(leaf.tobytes()).hexdigest()
        for name, leaf in leaves.items()
    }


def of_files(folder: str | os.PathLike) -> str:
    """Returns the SHA-256 of all files of a folder, of their names and contents; "" if absent."""
    folder, known = pathlib.Path(folder), hashlib.sha256()
    if not folder.is_dir():
        return ""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        known.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return known.hexdigest()


def read(path: pathlib.Path) -> tuple[str | None, dict[str, str]]:
    """Returns the digests in a checkpoint: of the run's config, and `of_arrays`.

    Of a damaged one raises whatever it fails by.
    """
    about = files.read_json(path / "digest" / "metadata")
    return about["config"], dict(about["arrays"])


def check_config(path: pathlib.Path, config: str | None, expected: str | None) -> None:
    """Raises `OtherRun` if a checkpoint's digest of the config is another; None is not known."""
    if None not in (config, expected) and config != expected:
        raise OtherRun(
            f"{path}: expected a checkpoint of the run whose config.json lies beside it, got one "
            "of a run with another config; put the run's own back"
        )


def check_newest(folder: str | os.PathLike, config: str) -> None:
    """Raises `OtherRun` if the newest checkpoint of a folder is of a run with another config.

    Nothing is read but its digests, so that a config that was changed is not acted on. Of
    checkpoints that cannot be read nothing is said.
    """
    steps = [path for path in pathlib.Path(folder).iterdir() if path.name.isdecimal()]
    for path in sorted(steps, key=lambda path: -int(path.name)):
        try:
            own, _ = read(path)
        except (OSError, ValueError, KeyError, TypeError):
            continue
        check_config(path, own, config)
        return
