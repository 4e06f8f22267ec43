"""Cases that cannot be used, listed before a run begins and kept out of the whole of it.

A case is out if it cannot be read, its image is not finite, or its arrays do not fit those of most
other cases. It is decided once: what a run has left out stands in a file of its folder, and nothing
else is left out when it goes on.
"""

import collections
import csv
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from noisyjax.core import files, unreadable
from noisyjax.data import source

_COLUMNS = ("id", "case", "split", "error")

# Id of an example to what is wrong with it.
Errors = dict[int, str]


def find(data: source.Source, ids: Int[np.ndarray, "N"]) -> Errors:
    """Reads the examples of ids ``[N]`` once; returns those that cannot be used, in their order.

    Raises `source.UnreadableCase` where the system denies it: no permission, too many open files.
    """
    errors, forms = {}, {}
    for example_id in map(int, ids):
        try:
            example = source.read(data, example_id)
        except source.UnreadableCase as error:
            # What the disk or the rights deny today is not left out of the whole run.
            if unreadable.is_outer(error.__cause__):
                raise
            errors[example_id] = " ".join(str(error.__cause__).split())
            continue
        if np.isfinite(example["image"]).all():
            forms[example_id] = {n: _form(n, a, data.own_sizes) for n, a in example.items()}
        else:
            errors[example_id] = "image: expected finite intensities, got NaN or inf"
    common = collections.Counter(tuple(sorted(form.items())) for form in forms.values())
    usual = dict(common.most_common(1)[0][0]) if common else {}
    for example_id, form in forms.items():
        if form != usual:
            errors[example_id] = f"expected arrays of shapes {usual} like most cases, got {form}"
    return {example_id: errors[example_id] for example_id in map(int, ids) if example_id in errors}


def _form(name: str, array: Any, own_sizes: bool) -> tuple[int | None, ...]:
    """Returns the shape that is compared, without the sizes where each example has its own."""
    shape = np.shape(array)
    if not own_sizes or name not in ("image", "labels", "truth"):
        return shape
    leading, trailing = int(name == "labels"), int(name == "image")
    axes = len(shape) - leading - trailing
    return (*shape[:leading], *[None] * axes, *shape[len(shape) - trailing :])


def without(
    parts: Mapping[str, Int[np.ndarray, "..."]], errors: Errors
) -> dict[str, Int[np.ndarray, "..."]]:
    """Leaves the examples with errors out of a division; the others keep their order.

    Raises `ValueError` if nothing is left of a split.
    """
    left = {split: ids[~np.isin(ids, list(errors))] for split, ids in parts.items()}
    for split, ids in left.items():
        if len(parts[split]) and not len(ids):
            first = next(errors[int(i)] for i in parts[split])
            raise ValueError(
                f"{split}: expected cases that can be used, got {len(parts[split])} that cannot, "
                f"the first: {first}"
            )
    return left


def save(
    path: str | os.PathLike,
    errors: Errors,
    parts: Mapping[str, Int[np.ndarray, "..."]],
    data: source.Source,
) -> None:
    """Writes what is left out as CSV: id, case, split, error; just the heading if nothing is."""
    rows = (
        (example_id, data.case_name(int(example_id)), split, errors[int(example_id)])
        for split, ids in parts.items()
        for example_id in ids
        if int(example_id) in errors
    )
    files.write_text(path, files.to_csv(_COLUMNS, rows))


def load(path: str | os.PathLike, data: source.Source) -> Errors:
    """Reads what a run has left out, a file of `save`.

    Raises:
      ValueError: if the file is no such file, or names cases that the source does not have.
    """
    errors = {}
    with open(path, encoding="utf-8-sig", newline="") as file:
        try:
            header, *rows = csv.reader(file)
            for example_id, case, _, error in rows:
                if data.case_name(int(example_id)) != case:
                    raise ValueError(f"no case {case!r} of the id {example_id}")
                errors[int(example_id)] = error
        except (ValueError, IndexError, csv.Error) as error:
            raise ValueError(f"{path}: expected the cases left out, got {error!r}") from error
    if tuple(header) != _COLUMNS:
        raise ValueError(f"{path}: expected the columns {_COLUMNS}, got {tuple(header)}")
    return errors
