"""What a run knows of its data, kept in its folder: it can predict where they are not."""

import dataclasses
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
from absl import logging

from noisyjax.core import checks, files
from noisyjax.train.devices import distributed

FILE = "source.json"

# Of 1290 voxels along each axis, and more than a device can train on.
_MOST_VALUES = 2**31


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
      cases: split to the names of its cases.
      contents: split to a digest of what they hold.
    """

    class_names: tuple[str, ...]
    rater_names: tuple[str, ...]
    spacing: tuple[float, ...]
    num_examples: int
    batch: dict[str, jax.ShapeDtypeStruct]
    about: Mapping[str, Any]
    cases: Mapping[str, tuple[str, ...]]
    contents: Mapping[str, str]


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
    # What else is known of the data decides on nothing that is trained, but for regions.
    names = ("class_names", "rater_names", "spacing", "num_examples", "batch", "cases", "contents")
    differ = [name for name in names if getattr(kept, name) != getattr(facts, name)]
    was, now = ({n: getattr(f, n) for n in differ} for f in (kept, facts))
    regions = [facts.about.get("regions") for facts in (kept, facts)]
    if regions[0] != regions[1]:
        differ.append("regions")
        was["regions"], now["regions"] = regions
    if differ:
        listed = ", ".join(
            f"{name} was {was[name]!s:.200}, now {now[name]!s:.200}" for name in differ
        )
        raise ValueError(
            f"{pathlib.Path(folder) / FILE}: expected the data that the run began with, got others "
            f"({listed}); "
            "put them back, or choose another workdir"
        )


def _texts(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{name}: expected a list of texts, got {value!r:.80}")
    return tuple(value)


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name}: expected an object, got {value!r:.80}")
    return value


def _count(name: str, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{name}: expected a whole number > 0, got {value!r:.80}")
    return value


def _leaf(name: str, value: Any) -> jax.ShapeDtypeStruct:
    """Reads the shape and dtype of an array of a batch."""
    fields = _mapping(f"batch.{name}", value)
    shape = fields["shape"]
    if not isinstance(shape, list):
        raise ValueError(f"batch.{name}.shape: expected a list, got {shape!r:.80}")
    size = tuple(_count(f"batch.{name}.shape", extent) for extent in shape)
    if math.prod(size) > _MOST_VALUES:
        raise ValueError(
            f"batch.{name}.shape: expected at most {_MOST_VALUES} values in an example, got {size}"
        )
    if not isinstance(fields["dtype"], str):
        raise ValueError(f"batch.{name}.dtype: expected a text, got {fields['dtype']!r:.80}")
    return jax.ShapeDtypeStruct(size, fields["dtype"])


def _facts(content: Mapping[str, Any]) -> DataFacts:
    """Returns the facts that a file holds; raises `ValueError` that names the field otherwise."""
    absent = [field.name for field in dataclasses.fields(DataFacts) if field.name not in content]
    if absent:
        raise ValueError(f"expected the fields {', '.join(absent)}, got none")
    spacing = content["spacing"]
    if not isinstance(spacing, list) or not all(
        type(extent) in (int, float) and extent > 0 for extent in spacing
    ):
        raise ValueError(f"spacing: expected a list of numbers > 0, got {spacing!r:.80}")
    batch = _mapping("batch", content["batch"])
    contents = _mapping("contents", content["contents"])
    _texts("contents", list(contents.values()))
    facts = DataFacts(
        class_names=_texts("class_names", content["class_names"]),
        rater_names=_texts("rater_names", content["rater_names"]),
        spacing=tuple(float(extent) for extent in spacing),
        num_examples=_count("num_examples", content["num_examples"]),
        batch={name: _leaf(name, leaf) for name, leaf in batch.items()},
        about=_mapping("about", content["about"]),
        cases={
            part: _texts(f"cases.{part}", names)
            for part, names in _mapping("cases", content["cases"]).items()
        },
        contents=contents,
    )
    _check_together(facts)
    return facts


def _check_together(facts: DataFacts) -> None:
    """Raises unless the shapes are those of as many axes, raters and classes as there are."""
    for name in ("image", "labels"):
        if name not in facts.batch:
            raise ValueError(f"batch: expected {name}, got {', '.join(facts.batch)}")
    image, labels = facts.batch["image"].shape, facts.batch["labels"].shape
    axes = len(facts.spacing)
    if len(image) != axes + 2 or image[0] != 1:
        raise ValueError(f"batch.image.shape: expected one image of {axes} axes, got {image}")
    # Patches are drawn later: in a batch, labels lie on their image.
    expected = (1, len(facts.rater_names), *image[1:-1])
    if labels != expected:
        raise ValueError(f"batch.labels.shape: expected {expected}, got {labels}")
    checks.at_least("class_names", len(facts.class_names), 2)


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
        return _facts(files.read_json(path))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: expected the facts of a run's data, got {error!r}") from error
