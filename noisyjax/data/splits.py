"""Division of a data set into training, validation and test examples."""

import hashlib
import itertools
import json
import os
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int, Integer

from noisyjax.core import files
from noisyjax.data import order, source

NAMES = ("train", "val", "test")

Splits = dict[str, Int[np.ndarray, "..."]]


def check_fractions(fractions: Sequence[float]) -> None:
    """Raises unless the fractions are three, none negative, that add up to one."""
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(
            "fractions: expected three that add up to 1 (training, validation, test), "
            f"got {tuple(fractions)}"
        )


def _shuffled(groups: np.ndarray, seed: int) -> tuple[Int[np.ndarray, "N"], np.ndarray]:
    """Returns ids with whole groups in a random order, and the position of each id's group."""
    names, members = np.unique(groups, return_inverse=True)
    position = np.empty(len(names), int)
    position[order.permutation(len(names), seed=seed)] = np.arange(len(names))
    ids = np.argsort(position[members], kind="stable").astype(np.int32)
    return ids, position[members][ids]


def split(
    num_examples: int,
    *,
    seed: int,
    fractions: Sequence[float],
    groups: Integer[np.ndarray, "N"] | None = None,
) -> Splits:
    """Divides examples at random, whole groups at a time.

    Groups are put into a random order and laid end to end; a group belongs to the part that its
    middle falls into. Without groups the sizes are the fractions, rounded.

    Args:
      fractions: of training, validation and test; they add up to one.
      groups: ``[N]``, the patient of each example; a patient is in one part only.

    Returns:
      Part to ids, int32, in random order, so that the first n are a random sample. The same seed
      gives the same division everywhere.

    Raises:
      ValueError: for other fractions, or if a part that should hold examples is empty.

    >>> {name: len(ids) for name, ids in split(10, seed=0, fractions=(0.7, 0.1, 0.2)).items()}
    {'train': 7, 'val': 1, 'test': 2}
    """
    check_fractions(fractions)
    shares = np.asarray(fractions, float)
    groups = np.arange(num_examples) if groups is None else groups
    _, sizes = np.unique(groups, return_counts=True)
    shuffled = order.permutation(len(sizes), seed=seed)
    ends = np.cumsum(sizes[shuffled])
    # The small shift keeps a bound such as 0.7 + 0.1 from falling on the wrong side by rounding.
    bounds = np.cumsum(shares)[:2] * num_examples + 1e-6
    part_of_position = np.searchsorted(bounds, ends - sizes[shuffled] / 2)
    ids, positions = _shuffled(groups, seed)
    parts = {name: ids[part_of_position[positions] == i] for i, name in enumerate(NAMES)}
    for share, (name, part) in zip(shares, parts.items(), strict=True):
        if share > 0 and not len(part):
            raise ValueError(
                f"{name}: expected a fraction of {share:g}, got no example at all "
                f"({num_examples} examples in {len(sizes)} groups)"
            )
    return parts


def cross_validation(
    num_examples: int,
    *,
    seed: int,
    folds: int,
    fold: int,
    fractions: Sequence[float] = (1.0, 0.0, 0.0),
    groups: Integer[np.ndarray, "N"] | None = None,
) -> Splits:
    """Divides examples for one fold of a cross-validation, whole groups at a time, like `split`.

    Every example tests in exactly one of the folds, whose sizes differ by a group at most. The seed
    is the same for all folds.

    Args:
      fold: the one that tests, from 0.
      fractions: how the rest is divided into training and validation; no share is for testing.

    Raises:
      ValueError: if there is no such fold, a share of the rest tests, or a part is empty that
        should not be.

    >>> parts = [cross_validation(9, seed=0, folds=3, fold=fold) for fold in range(3)]
    >>> sorted(np.concatenate([part["test"] for part in parts]).tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8]
    """
    groups = np.arange(num_examples) if groups is None else groups
    num_groups = len(np.unique(groups))
    if not (1 < folds <= num_groups and 0 <= fold < folds):
        raise ValueError(
            f"fold: expected 0 <= fold < folds and 2 to {num_groups} folds, got {fold} of {folds}"
        )
    if len(fractions) != 3 or fractions[2]:
        raise ValueError(
            f"fractions: expected those of training and validation and a zero, got {fractions}"
        )
    ids, positions = _shuffled(groups, seed)
    tests = positions % folds == fold
    rest = ids[~tests]
    parts = split(len(rest), seed=seed, fractions=fractions, groups=groups[rest])
    return {name: rest[part] for name, part in parts.items()} | {"test": ids[tests]}


def of_source(
    data: source.Source,
    *,
    seed: int,
    fractions: Sequence[float] = (),
    folds: int = 0,
    fold: int = 0,
) -> Splits:
    """Returns a source's own division, or a new one of `split` or `cross_validation`.

    Without fractions and folds it is the source's own; 0 folds are a single division.

    Raises:
      ValueError: if the source has no division and no fractions are given.
    """
    if folds:
        fractions = tuple(fractions) or (1.0, 0.0, 0.0)
        options = {"folds": folds, "fold": fold, "fractions": fractions, "groups": data.groups}
        return cross_validation(len(data.examples), seed=seed, **options)
    if len(fractions):
        return split(len(data.examples), seed=seed, fractions=fractions, groups=data.groups)
    if data.splits is None:
        raise ValueError(f"{data.name}: has no splits of its own, expected fractions")
    return dict(data.splits)


def digest(ids: Integer[np.ndarray, "..."]) -> str:
    """Returns the SHA-256 of ids in their order, as 16 hexadecimal digits."""
    return hashlib.sha256(ids.astype("<i8").tobytes()).hexdigest()[:16]


def save(path: str | os.PathLike, parts: Mapping, data: source.Source) -> None:
    """Writes a division as JSON, at once or not at all."""
    content = {
        "source": data.name,
        "num_examples": len(data.examples),
        "splits": {
            name: {"size": len(ids), "sha256": digest(ids), "ids": ids.tolist()}
            for name, ids in parts.items()
        },
    }
    files.write_text(path, json.dumps(content))


def _part(name: str, entry: dict) -> Int[np.ndarray, "..."]:
    ids = np.asarray(entry["ids"], np.int32)
    if ids.shape != (entry["size"],) or digest(ids) != entry["sha256"]:
        raise ValueError(
            f"{name}: expected {entry['size']} ids with digest {entry['sha256']}, "
            f"got {len(ids)} with {digest(ids)}: the file was changed; delete it to split anew"
        )
    return ids


def _check(path: str | os.PathLike, parts: Splits, data: source.Source) -> None:
    for name, ids in parts.items():
        if len(ids) and not (ids.min() >= 0 and ids.max() < len(data.examples)):
            raise ValueError(
                f"{path}: {name}: expected ids in 0..{len(data.examples) - 1} of {data.name}, "
                f"got {ids.min()}..{ids.max()}"
            )
        if len(np.unique(ids)) != len(ids):
            raise ValueError(f"{path}: {name}: expected distinct ids, some come twice")
    groups = np.arange(len(data.examples)) if data.groups is None else data.groups
    for (one, ids), (other, more) in itertools.combinations(parts.items(), 2):
        shared = np.intersect1d(groups[ids], groups[more])
        if len(shared):
            what = "examples" if data.groups is None else "groups"
            raise ValueError(f"{path}: {one} and {other} share {what}, for example {shared[0]}")


def load(path: str | os.PathLike, data: source.Source) -> Splits:
    """Reads a division of `save`, name to ids (int32), and checks that it fits the source.

    Raises:
      ValueError: if the file is no such file, was changed, is of another source, or divides a
        group.
    """
    try:
        content = files.read_json(path)
        named = (content["source"], content["num_examples"])
        parts = {name: _part(name, entry) for name, entry in content["splits"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path}: expected a file of splits, got {error!r}") from error
    if named != (data.name, len(data.examples)):
        raise ValueError(
            f"{path}: expected splits of {data.name} with {len(data.examples)} examples, "
            f"got those of {named[0]} with {named[1]}"
        )
    _check(path, parts, data)
    return parts
