"""What a working directory holds beside checkpoints and metrics, and whose it is."""

import importlib.metadata
import json
import math
import os
import pathlib
import platform
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import jax
import ml_collections
from absl import logging

import noisyjax
from noisyjax.core import files
from noisyjax.train import config_fields
from noisyjax.train.devices import distributed
from noisyjax.train.workdir import checkpoints, data_facts, metrics_log

CONFIG_FILE = "config.json"
VERSIONS_FILE = "versions.json"
SUMMARY_FILE = "summary.json"

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "scipy")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in tree.items():
        inner = isinstance(value, Mapping) and value
        flat |= _flat(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
    return flat


def differences(saved: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Compares two configs, nested dicts: name to (saved, given) of each field that differs.

    Those that may differ (`config_fields.Field.resumable`) are left out; None stands for a field
    that is absent.

    >>> differences({"train": {"epochs": 3}, "seed": 0}, {"train": {"epochs": 4}, "seed": 0})
    {'train.epochs': (3, 4)}
    """
    one, other = _flat(saved), _flat(given)
    names = [name for name in one | other if name not in config_fields.RESUMABLE]
    return {n: (one.get(n), other.get(n)) for n in names if one.get(n) != other.get(n)}


def _plain(config: ml_collections.ConfigDict) -> dict[str, Any]:
    # Through JSON, so that a tuple equals the list it is read back as.
    return json.loads(config.to_json(sort_keys=False))


def _tuples(tree: Any) -> Any:
    # JSON has no tuples, and modules take nothing that can change.
    if isinstance(tree, Mapping):
        return {name: _tuples(value) for name, value in tree.items()}
    return tuple(_tuples(value) for value in tree) if isinstance(tree, list) else tree


def versions() -> dict[str, Any]:
    """Returns what made a run: versions, platform, devices and, from a checkout, the commit."""
    try:
        root = pathlib.Path(noisyjax.__file__).parent
        command = ["git", "-C", os.fspath(root), "rev-parse", "HEAD"]
        commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = None
    return {
        "noisyjax": noisyjax.__version__,
        "commit": commit,
        "python": sys.version.split()[0],
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "devices": [str(device) for device in jax.devices()],
    }


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        return files.read_json(path)
    except ValueError as error:
        raise ValueError(
            f"{path}: expected the fields that the run has written there, got a damaged file "
            f"({error}); put back what was there, or choose another workdir"
        ) from error


def _check_same(folder: pathlib.Path, plain: Mapping[str, Any]) -> None:
    wrong = differences(_read_json(folder / CONFIG_FILE), plain)
    if wrong:
        listed = ", ".join(f"{n} was {a!r}, now {b!r}" for n, (a, b) in wrong.items())
        raise ValueError(
            f"{folder}: holds a run with another config ({listed}); "
            "restore these fields to go on with it, or choose another workdir"
        )


def _begun(folder: pathlib.Path) -> bool:
    """Tells whether a run has come so far that its config may not change."""
    kept = (data_facts.FILE, metrics_log.METRICS_FILE, SUMMARY_FILE)
    saved = folder / checkpoints.FOLDER
    return any((folder / name).exists() for name in kept) or (
        saved.is_dir() and any(saved.iterdir())
    )


def prepare(config: ml_collections.ConfigDict, folder: str | os.PathLike) -> pathlib.Path:
    """Makes a working directory, or checks that it is one of the same run.

    The config of a run that has not come to its first step, for example because its data were not
    found, is replaced. Returns the absolute path. Raises `ValueError`, which names the fields, if
    the directory holds a run with another config.
    """
    folder = pathlib.Path(folder).absolute()
    plain = _plain(config)

    def check() -> None:
        there = (folder / CONFIG_FILE).exists()
        if there and (_begun(folder) or not distributed.is_writer()):
            _check_same(folder, plain)
        elif distributed.is_writer():
            files.write_json(folder / CONFIG_FILE, plain)
        else:
            raise FileNotFoundError(
                f"{folder / CONFIG_FILE}: process 0 has written it, and it is not here; expected a "
                "workdir on a file system that all hosts share"
            )

    distributed.writer_first(check, CONFIG_FILE)
    if distributed.is_writer():
        files.write_json(folder / VERSIONS_FILE, versions())
    return folder


@distributed.writer_only
def keep_locations(config: ml_collections.ConfigDict, folder: str | os.PathLike) -> None:
    """Writes where the data of a run are now, if they were elsewhere when it began."""
    path = pathlib.Path(folder) / CONFIG_FILE
    saved, given = _read_json(path), _plain(config)
    now = saved | {"data": saved["data"] | {"options": given["data"]["options"]}}
    if now != saved:
        files.write_json(path, now)


def finished(
    config: ml_collections.ConfigDict, folder: str | os.PathLike
) -> dict[str, float] | None:
    """Returns the summary of a finished run, or None if it has still to be trained.

    The folder need not be there. Raises `ValueError` if it holds a run with another config.
    """
    summary = read_summary(folder)
    if summary is not None:
        _check_same(pathlib.Path(folder), _plain(config_fields.resolve(config)))
    return summary


def load_config(folder: str | os.PathLike) -> ml_collections.ConfigDict:
    """Reads the config of a working directory, locked.

    Raises:
      FileNotFoundError: if there is no config.
      ValueError: if it is damaged, or from a version of noisyjax with other fields; it names them.
    """
    path = pathlib.Path(folder) / CONFIG_FILE
    if not path.exists():
        raise FileNotFoundError(f"{path}: not there, so {folder} is no working directory of a run")
    saved = _tuples(_read_json(path))
    try:
        config = config_fields.resolve(ml_collections.ConfigDict(saved))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: {error}{_made_by(folder)}") from error
    absent = sorted(_flat(config.to_dict()).keys() - _flat(saved).keys())
    if absent:
        raise ValueError(f"{path}: expected the fields {', '.join(absent)}{_made_by(folder)}")
    return config


def _made_by(folder: str | os.PathLike) -> str:
    """Says which version a run is of, where it is not this one."""
    try:
        version = files.read_json(pathlib.Path(folder) / VERSIONS_FILE).get("noisyjax")
    except (ValueError, OSError, AttributeError):
        return ""
    if version == noisyjax.__version__:
        return ""
    return f" (the run is of noisyjax {version}, this is {noisyjax.__version__})"


def read_summary(folder: str | os.PathLike) -> dict[str, float] | None:
    """Returns the summary of a finished run, or None; also where it is damaged, with a warning."""
    path = pathlib.Path(folder) / SUMMARY_FILE
    if not path.exists():
        return None
    try:
        numbers = _read_json(path)
        return {name: math.nan if n is None else float(n) for name, n in numbers.items()}
    except (ValueError, TypeError) as error:
        logging.warning("%s; the run counts as not finished", error)
        return None


@distributed.writer_only
def write_summary(folder: str | os.PathLike, summary: Mapping[str, float]) -> None:
    """Writes the summary, which marks a run as finished."""
    files.write_json(pathlib.Path(folder) / SUMMARY_FILE, dict(summary))
