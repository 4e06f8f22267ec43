"""Which cases of a source a run uses, in which part, and whether they are still those."""

import pathlib

import ml_collections
import numpy as np
from absl import logging
from jaxtyping import Int

from noisyjax.data import damaged, source, splits

Config = ml_collections.ConfigDict

SPLITS_FILE = "splits.json"
SKIPPED_FILE = "skipped.csv"


def division(
    config: Config, data: source.Source, folder: pathlib.Path | None
) -> dict[str, Int[np.ndarray, "..."]]:
    """Returns split to ids: those of the run's folder, of a file of its own, or new ones."""
    path = folder / SPLITS_FILE if folder else None
    if path and path.exists():
        parts = splits.load(path, data, fold=config.data.fold)
        if not len(parts.get("train", ())):
            raise ValueError(f"{path}: train: expected cases, got none")
        return parts
    if config.data.split_file:
        parts = splits.load(config.data.split_file, data, fold=config.data.fold)
    else:
        parts = splits.of_source(
            data,
            seed=config.seed if config.data.split_seed < 0 else config.data.split_seed,
            fractions=tuple(config.data.splits),
            folds=config.data.folds,
            fold=config.data.fold,
        )
    for name, most in (("train", config.data.max_train), ("val", config.data.max_val)):
        if most:
            parts[name] = parts[name][:most]
    return parts


def contents_of(
    data: source.Source, parts: dict[str, np.ndarray], folder: pathlib.Path | None, *, strict: bool
) -> dict[int, source.Content]:
    """Returns what the cases of a division hold, and compares it with what a run began with.

    Raises `ValueError` if they hold something else; unless strict, a warning will do where none
    that was trained on tests.
    """
    contents = {}
    for example_id in map(int, np.concatenate(list(parts.values()))):
        try:
            contents[example_id] = source.content(data, example_id)
        except source.UnreadableCase:
            # It is left out, or stops the run, when it is labelled.
            contents[example_id] = source.Content("", "")
    path = folder / SPLITS_FILE if folder else None
    changed = splits.changes(path, data, contents) if path and path.exists() else None
    if changed and any(changed):
        got = f"{path}: expected the data that the run began with, got {changed}"
        if strict or changed.trained:
            raise ValueError(f"{got}; put them back, or choose another workdir")
        logging.warning("%s: what is measured is of these", got)
    return contents


def without_damaged(
    data: source.Source,
    parts: dict[str, np.ndarray],
    folder: pathlib.Path | None,
    *,
    read_only: bool,
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Leaves out the cases that cannot be used: those of the run's folder, or those found now.

    Returns (split to the ids that are left, split to the number of those that are not).
    """
    path = folder / SKIPPED_FILE if folder else None
    if path and path.exists():
        errors = damaged.load(path, data)
    else:
        errors = damaged.find(data, np.concatenate(list(parts.values())))
        if path and not read_only:
            damaged.save(path, errors, parts, data)
    for example_id, error in errors.items():
        logging.warning("left out: %s: %s", data.case_name(example_id), error)
    left = damaged.without(parts, errors)
    return left, {split: len(ids) - len(left[split]) for split, ids in parts.items()}
