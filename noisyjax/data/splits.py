"""Division of a data set into training, validation and test examples."""

import hashlib
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Integer

from noisyjax.core import files
from noisyjax.data import case_changes, named_splits, order, source

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


def digest(entry: Mapping[str, Sequence[int | str]]) -> str:
    """Returns the SHA-256 of lists by name, in their order, as 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:16]


def _entry(
    ids: Integer[np.ndarray, "N"],
    data: source.Source,
    contents: Mapping[int, source.Content] | None,
) -> dict[str, Any]:
    """Returns what stands of a part in a file."""
    numbers = ids.tolist()
    entry = {"ids": numbers, "cases": [data.case_name(i) for i in numbers]}
    if contents is not None:
        for name in source.Content._fields:
            entry[name] = [getattr(contents[i], name) for i in numbers]
    return {"size": len(ids), "sha256": digest(entry), **entry}


def save(
    path: str | os.PathLike,
    parts: Mapping,
    data: source.Source,
    *,
    contents: Mapping[int, source.Content] | None = None,
) -> None:
    """Writes a division as JSON, at once or not at all, with the names of all cases.

    Args:
      contents: of each example of the division, for `changes`.
    """
    every = np.concatenate([np.zeros(0, np.int32), *parts.values()])
    others = np.setdiff1d(np.arange(len(data.examples)), every)
    entries = {name: _entry(ids, data, contents) for name, ids in parts.items()}
    content = {
        "source": data.name,
        "num_examples": len(data.examples),
        "splits": entries,
        "sha256": digest({name: [entry["sha256"]] for name, entry in entries.items()}),
        "others": _entry(others, data, None),
    }
    files.write_text(path, json.dumps(content))


def _part(name: str, entry: dict) -> Int[np.ndarray, "..."]:
    lists = {key: value for key, value in entry.items() if key not in ("size", "sha256")}
    ids = np.asarray(entry["ids"], np.int32)
    if {len(each) for each in lists.values()} != {entry["size"]} or digest(lists) != (
        entry["sha256"]
    ):
        raise ValueError(
            f"{name}: expected {entry['size']} cases with digest {entry['sha256']}, got {len(ids)} "
            f"with {digest(lists)}: the file was changed; write it by names, or delete it to split "
            "anew"
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
            first = data.case_name(int(ids[np.isin(groups[ids], shared)][0]))
            of = "" if data.groups is None else "that of "
            raise ValueError(f"{path}: {one} and {other} share {what}, for example {of}{first}")


def _read(path: str | os.PathLike, data: source.Source) -> tuple[Any, Splits | None]:
    """Reads a file, and the ids in it if it is one of `save`."""
    try:
        content = files.read_json(path, lists=True)
        if not isinstance(content, dict) or "splits" not in content:
            return content, None
        named = (content["source"], content["num_examples"])
        parts = {name: _part(name, entry) for name, entry in content["splits"].items()}
        _part("others", content["others"])
        # Files of before the names of the parts were sealed have no digest of them.
        own = digest({name: [entry["sha256"]] for name, entry in content["splits"].items()})
        if content.get("sha256", own) != own:
            raise ValueError(
                f"expected parts with digest {content['sha256']}, got {own}: the file was changed"
            )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path}: expected a file of splits, got {error!r}") from error
    if named[0] != data.name:
        raise ValueError(f"{path}: expected splits of {data.name}, got those of {named[0]}")
    return content, parts


def load(path: str | os.PathLike, data: source.Source, *, fold: int = 0) -> Splits:
    """Reads a division, name to ids (int32), and checks that it fits the source.

    The file is one of `save`, or names cases: ``{"train": ["a", "b"], "val": ["c"], "test":
    ["d"]}``, or a list with such an object for each fold, as nnU-Net's ``splits_final.json``. Where
    that has no "test", the source's own test cases do if it names none of them.

    Args:
      fold: which of a list.

    Raises:
      ValueError: if the file is no such file, was changed, is of another source, or divides a
        group, or if cases have been added, removed or renamed since it was saved.
    """
    content, parts = _read(path, data)
    if parts is None:
        try:
            parts = named_splits.ids(content, data, parts=NAMES, fold=fold)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    elif changed := case_changes.of_names(_cases(content), data):
        raise ValueError(
            f"{path}: expected the {content['num_examples']} cases of {data.name} in the order in "
            f"which the run began with them, got {len(data.examples)} ({changed}); put them back, "
            "or choose another workdir: cases go by their numbers, and some that were trained on "
            "would test"
        )
    _check(path, parts, data)
    return parts


def changes(
    path: str | os.PathLike, data: source.Source, contents: Mapping[int, source.Content]
) -> case_changes.Changes | None:
    """Compares what cases hold with what they held when a file was saved.

    Returns None if the file does not say that: it was saved without, or written by names.
    """
    content, parts = _read(path, data)
    told = [*source.Content._fields]
    if parts is None or not all({*told} <= e.keys() for e in content["splits"].values()):
        return None
    return case_changes.of_contents(_cases(content), contents)


def _cases(content: Mapping[str, Any]) -> dict[int, case_changes.Case]:
    """Returns the cases of a file by their numbers."""
    cases = {}
    for part, entry in (*content["splits"].items(), ("", content["others"])):
        unknown = [""] * entry["size"]
        told = [entry.get(name, unknown) for name in source.Content._fields]
        for i, name, *digests in zip(entry["ids"], entry["cases"], *told, strict=True):
            cases[i] = case_changes.Case(name, part, source.Content(*digests))
    return cases
