"""What a run knows of its data, kept in its folder: it can predict where they are not."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
from absl import logging

from noisyjax.core import files
from noisyjax.train.devices import distributed

FILE = "source.json"


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """What of the data says which arrays a run trains, and how further images are read.

    Attributes:
      class_names: L, the background first.
      rater_names: R.
      spacing: of all examples, in mm.
      num_examples: those that are trained on.
      batch: name to shape and dtype of a training batch of one.
      about: as in `noisyjax.data.source.Source`.
    """

    class_names: tuple[str, ...]
    rater_names: tuple[str, ...]
    spacing: tuple[float, ...]
    num_examples: int
    batch: dict[str, jax.ShapeDtypeStruct]
    about: Mapping[str, Any]


@distributed.writer_only
def write(folder: str | os.PathLike, facts: DataFacts) -> None:
    """Writes the facts into a working directory, at once or not at all."""
    shapes = {
        name: {"shape": leaf.shape, "dtype": str(leaf.dtype)} for name, leaf in facts.batch.items()
    }
    files.write_json(pathlib.Path(folder) / FILE, {**vars(facts), "batch": shapes})


def check_same(folder: str | os.PathLike, facts: DataFacts) -> None:
    """Checks that a run goes on with the data it began with; a damaged file is written anew.

    Raises `ValueError`, which names what differs, if the facts in the folder are others.
    """
    try:
        kept = read(folder)
    except ValueError as error:
        logging.warning("%s; written anew", error)
        write(folder, facts)
        return
    # What else is known of the data decides on nothing that is trained.
    names = ("class_names", "rater_names", "spacing", "num_examples", "batch")
    differ = [name for name in names if getattr(kept, name) != getattr(facts, name)]
    if differ:
        listed = ", ".join(
            f"{name} was {getattr(kept, name)}, now {getattr(facts, name)}" for name in differ
        )
        raise ValueError(
            f"{folder}: expected the data that the run began with, got others ({listed}); "
            "put them back, or choose another workdir"
        )


def read(folder: str | os.PathLike) -> DataFacts:
    """Reads the facts of a working directory; lists in ``about`` where the source had tuples.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if the file is no such file.
    """
    path = pathlib.Path(folder) / FILE
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: not there; give the command that trained it once more where its training "
            "data are: it writes the file, and what is trained stays"
        )
    try:
        content = files.read_json(path)
        batch = {
            name: jax.ShapeDtypeStruct(tuple(leaf["shape"]), leaf["dtype"])
            for name, leaf in content["batch"].items()
        }
        return DataFacts(
            class_names=tuple(content["class_names"]),
            rater_names=tuple(content["rater_names"]),
            spacing=tuple(content["spacing"]),
            num_examples=content["num_examples"],
            batch=batch,
            about=content["about"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: expected the facts of a run's data, got {error!r}") from error
