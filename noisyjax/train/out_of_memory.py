"""Running out of memory or of disk space, said so that something can be done about it."""

import contextlib
import errno
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import ml_collections

from noisyjax import models
from noisyjax.core import unreadable
from noisyjax.train import config_fields

# What takes less memory.
REMEDIES = {
    "train.accumulate": "more microbatches of each batch, one after the other",
    "remat": "True: activations are computed twice",
    "parallel": "'spatial', with several devices and spatial_shards: a part of each image on each",
    "evaluate.batch_size": "smaller, if it is the evaluation",
    "evaluate.window": "the size of windows to predict large images by",
    "dtype": "'bfloat16': half of the activations",
    "train.batch_size": "smaller",
    "data.patches": "a size of patches to train on, in place of whole images",
    "model.widths": "a narrower network",
}

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_TEXTS = ("No space left on device", "Disk quota exceeded", "File too large")
_MEMORY_TEXTS = ("RESOURCE_EXHAUSTED", "out of memory")


@contextlib.contextmanager
def explain(config: ml_collections.ConfigDict, folder: str | os.PathLike) -> Iterator[None]:
    """Says of memory and disks that run out within the ``with`` what helps, and what is kept.

    Raises:
      MemoryError: in place of what XLA and NumPy raise.
      OSError: in place of what Python and Orbax raise when a disk is full.
    """
    try:
        yield
    except Exception as error:
        chain = list(unreadable.chain(error))
        for cause in chain:
            # First, for Orbax calls a full disk RESOURCE_EXHAUSTED as well.
            if _is_full(cause):
                raise OSError(
                    getattr(cause, "errno", None) or errno.ENOSPC,
                    f"{os.path.dirname(folder)}: the disk is full ({_line(cause)}). "
                    f"{_kept(folder)} Make room and give the same command again.",
                ) from error
        for cause in chain:
            if _is_memory(cause):
                raise MemoryError(
                    f"{os.path.dirname(folder)}: out of memory ({_line(cause)}). What takes less:\n"
                    f"{remedies(config)}\n{_kept(folder)}"
                ) from error
        raise


def remedies(config: ml_collections.ConfigDict) -> str:
    """Returns the fields of a config that decide on memory, with their values, a line each."""
    lines = []
    for name, remedy in REMEDIES.items():
        value = _value(config, name)
        if value is not None:
            where = "" if name in config_fields.RESUMABLE else "; in another workdir"
            lines.append(f"  {name} (now {value!r}): {remedy}{where}")
    return "\n".join(lines)


def _value(config: ml_collections.ConfigDict, name: str) -> Any:
    """Returns a field's value, or None where there is no such field or the network has no use."""
    if name == "remat" and not models.has_option(config.model.name, "remat"):
        return None
    value = config_fields.value(config, name)
    return value.to_dict() if isinstance(value, ml_collections.ConfigDict) else value


def _is_full(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in _FULL
    return any(text in str(error) for text in _FULL_TEXTS)


def _is_memory(error: BaseException) -> bool:
    if isinstance(error, jax.errors.JaxRuntimeError):
        return any(text in str(error) for text in _MEMORY_TEXTS)
    return isinstance(error, MemoryError)


def _line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _kept(folder: str | os.PathLike) -> str:
    folder = pathlib.Path(folder)
    paths = folder.iterdir() if folder.is_dir() else ()
    steps = sorted(int(path.name) for path in paths if path.name.isdecimal())
    if not steps:
        return "There is no checkpoint yet."
    return f"The latest checkpoint is {folder / str(steps[-1])}; the run goes on from there."
