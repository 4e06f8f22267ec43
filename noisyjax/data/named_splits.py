"""Divisions that someone has written by the names of cases, as nnU-Net's ``splits_final.json``."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from noisyjax.data import case_changes, source

_FORMS = (
    '{"train": [names of cases], "val": [...], "test": [...]}, or a list with one such object for '
    "each fold, as in nnU-Net's splits_final.json"
)


def ids(
    content: Any, data: source.Source, *, parts: Sequence[str], fold: int = 0
) -> dict[str, Int[np.ndarray, "..."]]:
    """Returns the ids, int32, of cases that go by name, in the order of the names.

    Args:
      content: as JSON has it: part to names, or a list with such an object for each fold.
      parts: which there are; the first is needed. If the last is absent, the source's own cases of
        it are taken if none of them is named, as those of nnU-Net's imagesTs, which its folds do
        not name.
      fold: which of a list.

    Raises:
      ValueError: for content of another form, for names that are no case's or several cases', or
        if nothing is left of the first part.
    """
    if isinstance(content, list):
        if not 0 <= fold < len(content):
            raise ValueError(f"expected a fold in 0..{len(content) - 1}, got fold {fold}")
        content = content[fold]
    if not isinstance(content, dict) or not {parts[0]} <= content.keys() <= set(parts):
        raise ValueError(f"expected {_FORMS}, got {content!r:.80}")
    numbers = {data.case_name(i): i for i in range(len(data.examples))}
    if len(numbers) < len(data.examples):
        raise ValueError(f"expected cases of {data.name} with names of their own, some share one")
    found = {part: _numbers(part, content.get(part, []), numbers, data.name) for part in parts}
    own = (data.splits or {}).get(parts[-1], np.zeros(0, np.int32))
    if parts[-1] not in content and not np.isin(own, np.concatenate([*found.values()])).any():
        found[parts[-1]] = np.asarray(own, np.int32)
    if not len(found[parts[0]]):
        raise ValueError(f"{parts[0]}: expected cases, got none")
    return found


def _numbers(part: str, names: Any, numbers: Mapping[str, int], of: str) -> Int[np.ndarray, "n"]:
    """Returns the numbers of names, after a check."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{part}: expected a list of the names of cases, got {names!r:.80}")
    names = [unicodedata.normalize("NFC", name) for name in names]
    unknown = [name for name in names if name not in numbers]
    if unknown:
        raise ValueError(
            f"{part}: expected names of cases of {of} ({case_changes.listed([*numbers])}), got "
            f"{case_changes.listed(unknown)}"
        )
    return np.array([numbers[name] for name in names], np.int32)
