"""What a working directory holds beside checkpoints and metrics, and whose it is."""

import hashlib
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import ml_collections
from absl import logging

import noisyjax
from noisyjax.core import files
from noisyjax.train import config_fields
from noisyjax.train.devices import distributed
from noisyjax.train.workdir import checkpoint_digests, checkpoints, data_facts, lock, metrics_log

CONFIG_FILE = "config.json"
VERSIONS_FILE = "versions.json"
SUMMARY_FILE = "summary.json"

# In the summary's file, beside the numbers: whose they are, and the digest of all that.
_CHECKPOINT, _DIGEST = "checkpoint", "sha256"

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "scipy")


class Last(NamedTuple):
    """The checkpoints of a finished run.

    Attributes:
      latest: the step of the last one.
      best: that of the best one, None without validation.
      files: `checkpoint_digests.of_files` of the last one.
    """

    latest: int
    best: int | None
    files: str


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
    return {
        "noisyjax": noisyjax.__version__,
        "commit": commit(pathlib.Path(noisyjax.__file__)),
        "python": sys.version.split()[0],
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "devices": [str(device) for device in jax.devices()],
    }


def commit(file: pathlib.Path) -> str | None:
    """Returns the commit of the repository that a file belongs to, None if it lies in none.

    A package that is installed within some repository does not belong to it.
    """
    git = ["git", "-C", os.fspath(file.parent)]
    try:
        for command in (["ls-files", "--error-unmatch", file.name], ["rev-parse", "HEAD"]):
            done = subprocess.run([*git, *command], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def read_versions(folder: str | os.PathLike) -> list[dict[str, Any]]:
    """Returns the `versions` by which a run was trained, in turn; none if they cannot be read."""
    path = pathlib.Path(folder) / VERSIONS_FILE
    if not path.exists():
        return []
    try:
        return [dict(each) for each in files.read_json(path)["versions"]]
    except (ValueError, KeyError, TypeError) as error:
        logging.warning("%s: %r; it begins anew", path, error)
        return []


@distributed.writer_only
def _add_versions(folder: pathlib.Path) -> None:
    """Adds those of this start, unless they are those of the start before."""
    known, now = read_versions(folder), files.plain(versions())
    if known[-1:] != [now]:
        files.write_json(folder / VERSIONS_FILE, {"versions": [*known, now]})


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
            f"{folder / CONFIG_FILE}: the folder holds a run with another config ({listed}); "
            "restore these fields to go on with it, or choose another workdir"
        )


def _begun(folder: pathlib.Path) -> bool:
    """Tells whether a run has come so far that its config may not change."""
    kept = (
        data_facts.FILE, metrics_log.METRICS_FILE, SUMMARY_FILE, checkpoints.DAMAGED_FOLDER,
    )  # fmt: skip
    saved = folder / checkpoints.FOLDER
    return any((folder / name).exists() for name in kept) or (
        saved.is_dir() and any(saved.iterdir())
    )


def absolute(workdir: str | os.PathLike) -> pathlib.Path:
    """Returns the absolute path of a working directory; raises `ValueError` for an empty name."""
    return files.named("workdir", workdir).absolute()


def prepare(config: ml_collections.ConfigDict, folder: str | os.PathLike) -> pathlib.Path:
    """Makes a working directory, or checks that it is one of the same run.

    The config of a run that has not come to its first step, for example because its data were not
    found, is replaced. Returns the absolute path. Raises `ValueError`, which names the fields, if
    the directory holds a run with another config.
    """
    folder = absolute(folder)
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
    _add_versions(folder)
    return folder


@distributed.writer_only
def keep_locations(config: ml_collections.ConfigDict, folder: str | os.PathLike) -> None:
    """Writes where the data of a run are now, if they were elsewhere when it began."""
    path = pathlib.Path(folder) / CONFIG_FILE
    saved, given = _read_json(path), _plain(config)
    now = saved | {"data": saved["data"] | {"options": given["data"]["options"]}}
    if now != saved:
        files.write_json(path, now)


def digest(folder: str | os.PathLike) -> str:
    """Returns the SHA-256 of what a run's config decides on: all but the resumable fields."""
    fields = _flat(_read_json(pathlib.Path(folder) / CONFIG_FILE))
    kept = {name: fields[name] for name in fields if name not in config_fields.RESUMABLE}
    # 1 is 1.0, as in `differences`.
    return _digest(json.loads(json.dumps(kept), parse_int=float))


def finished(
    config: ml_collections.ConfigDict, folder: str | os.PathLike
) -> dict[str, float] | None:
    """Returns the summary of a finished run whose last checkpoint is whole, or None.

    None says that it has to be trained, or looked at more closely by giving its command again. The
    folder need not be there. Raises `ValueError` if it holds a run with another config.
    """
    folder, last = pathlib.Path(folder), read_last(folder)
    if last is None:
        return None
    _check_same(folder, _plain(config_fields.resolve(config)))
    path = folder / checkpoints.FOLDER / str(last.latest)
    if checkpoint_digests.of_files(path) != last.files:
        logging.warning("%s: not as the run has left it; the run counts as not finished", path)
        return None
    return read_summary(folder)


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
        version = read_versions(folder)[-1]["noisyjax"]
    except (OSError, IndexError, KeyError):
        return ""
    if version == noisyjax.__version__:
        return ""
    return f" (the run is of noisyjax {version}, this is {noisyjax.__version__})"


def read_summary(folder: str | os.PathLike) -> dict[str, float] | None:
    """Returns the summary of a finished run, or None; also where it is damaged, with a warning."""
    content = _read_summary(pathlib.Path(folder) / SUMMARY_FILE)
    return content and content[0]


def read_last(folder: str | os.PathLike) -> Last | None:
    """Returns which checkpoints a finished run has left, or None, as `read_summary`."""
    content = _read_summary(pathlib.Path(folder) / SUMMARY_FILE)
    return content and content[1]


def check_last(folder: str | os.PathLike, last: Last | None, *, which: str, step: int) -> None:
    """Raises `checkpoints.Damaged` unless a checkpoint that was read is that of a finished run.

    Args:
      last: what the run has left, read before the checkpoint; None where it is not finished.
      which: "latest" or "best".
      step: of the checkpoint.
    """
    expected = step if last is None else getattr(last, which)
    if step != expected:
        path = pathlib.Path(folder) / SUMMARY_FILE
        raise checkpoints.Damaged(
            f"{path}: the run's {which} checkpoint is that of step {expected}, and of those that "
            f"can be read it is that of step {step}; give the command that trained it once more: "
            f"it trains what is missing. Without {path.name} the run counts as not finished, and "
            f"step {step} is used"
        )


def _read_summary(path: pathlib.Path) -> tuple[dict[str, float], Last] | None:
    if not path.exists():
        return None
    try:
        content = _read_json(path)
        expected, last = content.pop(_DIGEST), Last(**content[_CHECKPOINT])
        if _digest(content) != expected:
            raise ValueError(f"{path}: expected the numbers that the run has written, got others")
        del content[_CHECKPOINT]
        return {n: math.nan if v is None else float(v) for n, v in content.items()}, last
    except (ValueError, TypeError, KeyError) as error:
        logging.warning("%s; the run counts as not finished", error)
        return None


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@distributed.writer_only
def write_summary(folder: str | os.PathLike, summary: Mapping[str, float], last: Last) -> None:
    """Writes the summary, which marks a run as finished, and which checkpoints it is of."""
    lock.check(folder)
    content = files.plain({**summary, _CHECKPOINT: last._asdict()})
    files.write_json(pathlib.Path(folder) / SUMMARY_FILE, {**content, _DIGEST: _digest(content)})
