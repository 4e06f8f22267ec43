"""The files of a run of folds: where they lie, and how they are read."""

import os
import pathlib

from noisyjax.core import files
from noisyjax.train.workdir import config_and_summary

# What `record` calls the command that makes a run.
COMMAND = "train"
PLAN = "plan.json"
SPLITS = "splits.json"
# Fitted to a time.
EPOCHS = "epochs.json"
CALIBRATION = "calibration.json"
SUMMARY = "summary.json"
PAGE = "summary.html"
OUT_OF_FOLD = "out_of_fold"
PROBABILITIES = "probabilities"
CASES = "out_of_fold.csv"
CURVES = "curves.png"
WORST = "worst.png"
# The folder as it was decided on, where decisions were given.
DECIDED = "decided"


def is_run_of_folds(run: str | os.PathLike) -> bool:
    """Whether a folder is one of `noisyjax train`, and not the workdir of a single network."""
    return (pathlib.Path(run) / f"{COMMAND}.json").is_file()


def fold(run: pathlib.Path, number: int) -> pathlib.Path:
    """Returns the workdir of a fold's network."""
    return run / f"fold_{number}"


def is_finished(run: pathlib.Path, number: int) -> bool:
    """Whether a fold's network has been trained to its end."""
    return config_and_summary.read_summary(fold(run, number)) is not None


def read_splits(run: pathlib.Path) -> list[dict[str, list[str]]]:
    """Returns the names of the cases of each fold by their part.

    Raises `ValueError`, which names the file, if it holds something else.
    """
    path = run / SPLITS
    try:
        content = files.read_json(path, lists=True)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    parts = {"train", "val", "test"}
    if not isinstance(content, list) or not content or not all(
        isinstance(one, dict)
        and one.keys() == parts
        and all(isinstance(own, list) for own in one.values())
        and all(isinstance(name, str) for own in one.values() for name in own)
        for one in content
    ):  # fmt: skip
        raise ValueError(
            f'{path}: expected a list of {{"train": [names of cases], "val": [...], "test": '
            f"[...]}} for each fold, got {content!r:.80}"
        )
    return content
