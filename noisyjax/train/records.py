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

import noisyjax
from noisyjax.metrics import report

CONFIG_FILE = "config.json"
VERSIONS_FILE = "versions.json"
SUMMARY_FILE = "summary.json"

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "scipy")

# What may differ when a run is taken up again: it changes how a run is shown or spread, not what
# comes out.
FREE = ("progress", "parallel", "log_every_steps", "checkpoint.every_epochs", "checkpoint.keep")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in tree.items():
        inner = isinstance(value, Mapping) and value
        flat |= _flat(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
    return flat


def differences(saved: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Compares two configs.

    Args:
      saved: a config as nested dicts.
      given: another one.

    Returns:
      Name to (saved, given) of each field that differs, without those of `FREE`; None stands for a
      field that is absent.

    >>> differences({"train": {"epochs": 3}, "seed": 0}, {"train": {"epochs": 4}, "seed": 0})
    {'train.epochs': (3, 4)}
    """
    one, other = _flat(saved), _flat(given)
    names = [name for name in one | other if name not in FREE]
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


def _check_same(folder: pathlib.Path, plain: Mapping[str, Any]) -> None:
    wrong = differences(json.loads((folder / CONFIG_FILE).read_text()), plain)
    if wrong:
        listed = ", ".join(f"{n} was {a!r}, now {b!r}" for n, (a, b) in wrong.items())
        raise ValueError(
            f"{folder}: holds a run with another config ({listed}); "
            "restore these fields to go on with it, or choose another workdir"
        )


def prepare(config: ml_collections.ConfigDict, folder: str | os.PathLike) -> pathlib.Path:
    """Makes a working directory, or checks that it is one of the same run.

    Args:
      config: the run's config.
      folder: the working directory.

    Returns:
      Its absolute path.

    Raises:
      ValueError: if it holds a run with another config; it names the fields. Only the fields in
        `FREE` may change.
    """
    folder = pathlib.Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    plain = _plain(config)
    if (folder / CONFIG_FILE).exists():
        _check_same(folder, plain)
    elif jax.process_index() == 0:
        report.write_json(folder / CONFIG_FILE, plain)
    if jax.process_index() == 0:
        report.write_json(folder / VERSIONS_FILE, versions())
    return folder


def finished(
    config: ml_collections.ConfigDict, folder: str | os.PathLike
) -> dict[str, float] | None:
    """Returns the summary of a finished run, or None if it has still to be trained.

    Args:
      config: the run's config.
      folder: its working directory, which need not be there.

    Raises:
      ValueError: if the directory holds a run with another config.
    """
    summary = read_summary(folder)
    if summary is not None:
        _check_same(pathlib.Path(folder), _plain(config))
    return summary


def load_config(folder: str | os.PathLike) -> ml_collections.ConfigDict:
    """Reads the config of a working directory.

    Args:
      folder: the working directory.

    Returns:
      The config, locked.

    Raises:
      FileNotFoundError: if there is no config.
    """
    path = pathlib.Path(folder) / CONFIG_FILE
    if not path.exists():
        raise FileNotFoundError(f"{path}: not there, so {folder} is no working directory of a run")
    return ml_collections.ConfigDict(_tuples(json.loads(path.read_text()))).lock()


def read_summary(folder: str | os.PathLike) -> dict[str, float] | None:
    """Returns the summary of a finished run, or None."""
    path = pathlib.Path(folder) / SUMMARY_FILE
    if not path.exists():
        return None
    numbers = json.loads(path.read_text())
    return {name: math.nan if n is None else float(n) for name, n in numbers.items()}


def write_summary(folder: str | os.PathLike, summary: Mapping[str, float]) -> None:
    """Writes the summary, which marks a run as finished."""
    report.write_json(pathlib.Path(folder) / SUMMARY_FILE, dict(summary))
