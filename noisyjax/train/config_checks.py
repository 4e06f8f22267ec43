"""Whether the fields of a config can mean something, before data are read or anything is written.

What depends on the data, or on how fields go together, is checked where they are used.
"""

import math
from collections.abc import Callable
from typing import Any

import ml_collections

from noisyjax import methods, models
from noisyjax.core import checks
from noisyjax.data import sources
from noisyjax.data.labels import fuse, panels
from noisyjax.methods import base
from noisyjax.train import optimiser
from noisyjax.train.devices import parallelism

# What can stand around a method while it is trained.
STRATEGIES = ("none", "adl")

# field -> (least, whether that itself is allowed, largest, whether that itself is)
_RANGES = {
    "data.labels_per_image": (0, True, math.inf, False),
    "data.input_noise": (0, True, math.inf, False),
    "data.replacement.share": (0, True, 1, True),
    "data.replacement.overlap": (0, False, 1, True),
    "data.max_train": (0, True, math.inf, False),
    "data.max_val": (0, True, math.inf, False),
    "data.folds": (0, True, math.inf, False),
    "data.fold": (0, True, math.inf, False),
    "data.patches.count": (1, True, math.inf, False),
    "data.patches.foreground_share": (0, True, 1, True),
    "train.epochs": (1, True, math.inf, False),
    "train.batch_size": (1, True, math.inf, False),
    "train.accumulate": (1, True, math.inf, False),
    "train.learning_rate": (0, False, math.inf, False),
    "train.warmup_steps": (0, True, math.inf, False),
    "train.decay_rate": (0, False, 1, True),
    "train.weight_decay": (0, True, math.inf, False),
    "train.momentum": (0, True, 1, False),
    "train.gradient_clip": (0, True, math.inf, False),
    "train.head_learning_rate": (0, True, math.inf, False),
    "train.ema": (0, True, 1, False),
    "evaluate.every_epochs": (1, True, math.inf, False),
    "evaluate.batch_size": (1, True, math.inf, False),
    "evaluate.tolerance": (0, True, math.inf, False),
    "evaluate.overlap": (0, True, 1, False),
    "checkpoint.every_epochs": (1, True, math.inf, False),
    "checkpoint.keep": (1, True, math.inf, False),
    "slabs": (1, True, math.inf, False),
    "log_every_steps": (1, True, math.inf, False),
}
_NAMES = {
    "method": methods.METHODS,
    "parallel": parallelism.KINDS,
    "dtype": ("float32", "bfloat16"),
    "data.name": sources.SOURCES,
    "data.gold": ("", *fuse.NAMES),
    "model.name": models.MODELS,
    "train.optimizer": optimiser.OPTIMISERS,
    "train.schedule": optimiser.SCHEDULES,
    "train.strategy": STRATEGIES,
    "evaluate.checkpoint": ("latest", "best"),
}
# Of several names each.
_LISTS = {"data.panel": panels.NAMES, "evaluate.decisions": base.DECISIONS}
# Of several whole numbers, each at least 1.
_SIZES = ("model.widths", "data.patches.size", "evaluate.window")


def _value(config: ml_collections.ConfigDict, name: str) -> Any:
    """Returns a field, or None where it is absent: runs from before it have none."""
    for part in name.split("."):
        config = None if config is None else config.get(part)
    return config


def _each(config: ml_collections.ConfigDict, names: Any, check: Callable[[str, Any], None]) -> None:
    for name in names:
        value = _value(config, name)
        if value is not None:
            check(name, value)


def _in_range(name: str, value: float | int) -> None:
    low, with_low, high, with_high = _RANGES[name]
    if not (low < value < high or (with_low and value == low) or (with_high and value == high)):
        ends = f"{'[' if with_low else '('}{low}, {high}{']' if with_high else ')'}"
        raise ValueError(f"{name}: expected a number in {ends}, got {value}")


def _several(name: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, str | int | float):
        raise ValueError(f"{name}: expected several in brackets, got {value!r}")
    return tuple(value)


def _names(name: str, value: Any) -> None:
    for one in _several(name, value):
        checks.one_of(name, one, _LISTS[name])


def _sizes(name: str, value: Any) -> None:
    sizes = _several(name, value)
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ValueError(f"{name}: expected whole numbers > 0, got {sizes}")


def check(config: ml_collections.ConfigDict) -> None:
    """Raises unless every field by itself can mean something.

    Args:
      config: the config of a run.

    Raises:
      ValueError: naming the field, what was expected and what came.

    >>> config = ml_collections.ConfigDict({"train": {"epochs": 0}})
    >>> check(config)
    Traceback (most recent call last):
    ...
    ValueError: train.epochs: expected a number in [1, inf), got 0
    """
    _each(config, _NAMES, lambda name, value: checks.one_of(name, value, _NAMES[name]))
    _each(config, _LISTS, _names)
    _each(config, _SIZES, _sizes)
    _each(config, _RANGES, _in_range)
    _each(config, ["data.splits"], _splits)
    if not config.get("data", {}).get("folds", 0) and _value(config, "data.fold"):
        raise ValueError(
            f"data.fold: expected 0 where data.folds is 0, got {_value(config, 'data.fold')}"
        )


def _splits(name: str, value: Any) -> None:
    shares = _several(name, value)
    fits = len(shares) == 3 and min(shares) >= 0 and abs(sum(shares) - 1) <= 1e-6
    if shares and not (fits and shares[0] > 0):
        raise ValueError(
            f"{name}: expected three that add up to 1 (training, validation, test), the first "
            f"above 0, got {shares}"
        )
