"""Noisy labels in place of the truth for a share of the training examples, once for a run."""

import dataclasses
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from noisyjax.core import files, rng
from noisyjax.data import annotate, fused
from noisyjax.noise import replacement

# What an example that keeps its label has in place of the number of a noise.
KEPT = -1

_COLUMNS = ("id", "case", "replaced", "kind", "overlap")
# About this many voxels are made noisy at a time.
_CHUNK = 2**20


def replace(
    examples: annotate.Annotated,
    *,
    seed: int,
    share: float,
    overlap: float,
    kinds: Sequence[str],
) -> annotate.Annotated:
    """Replaces the labels of a share of the examples by noisy versions.

    Which examples, and what an example receives, depends on the seed and its id alone; a larger
    share replaces the same and more.

    Args:
      examples: with the truth as the label of their only rater, ``labels`` ``[N, 1, *S]``.
      seed: the run's seed.
      share: of the examples to replace, in [0, 1]: exactly ``round(share * N)``.
      overlap: the wanted Dice of a noisy label to the truth; see `replacement.replace`.
      kinds: names in `replacement.KINDS`.

    Returns:
      The examples with ``replaced``, ``kinds`` and ``overlaps``, which is 1 for a label that stays.

    Raises:
      ValueError: if there is more than one rater, or an option is out of range.

    References:
      RAR-U-Net, section 2.4; its beta is the share and its alpha the overlap.
    """
    num_classes = examples.data.num_classes
    if examples.num_raters != 1:
        raise ValueError(f"examples: expected the truth as one label, got {examples.num_raters}")
    replacement.check(overlap=overlap, kinds=kinds, num_classes=num_classes)
    cases_key, key = (rng.purpose_key(seed, p) for p in ("replaced_cases", "replacement"))
    chosen = np.asarray(replacement.choose_cases(cases_key, examples.ids, share=share))
    labels = examples.labels.copy()
    drawn = np.full(len(examples), KEPT, np.int32)
    overlaps = np.ones(len(examples), np.float32)

    def one(case: dict[str, Any]) -> replacement.Replacement:
        return replacement.replace(
            rng.example_key(key, case["id"]),
            case["truth"],
            overlap=overlap,
            kinds=kinds,
            num_classes=num_classes,
        )

    if chosen.any():
        cases = {"id": examples.ids[chosen], "truth": labels[chosen, 0]}
        chunk = max(1, _CHUNK // math.prod(labels.shape[2:]))
        made = fused.map_cases(one, cases, chunk=chunk)
        labels[chosen, 0], drawn[chosen], overlaps[chosen] = made
    return dataclasses.replace(
        examples, labels=labels, replaced=chosen, kinds=drawn, overlaps=overlaps
    )


def save(path: str | os.PathLike, examples: annotate.Annotated) -> None:
    """Writes which labels were replaced, by what, and how much they still overlap.

    Args:
      path: the CSV file with the columns id, case, replaced (0 or 1), kind (empty if not replaced)
        and overlap; written at once or not at all.
      examples: of `replace`.
    """
    names = list(replacement.KINDS)
    rows = []
    columns = zip(examples.ids, examples.replaced, examples.kinds, examples.overlaps, strict=True)
    for example_id, replaced, kind, overlap in columns:
        case = examples.data.case_name(int(example_id))
        name = names[kind] if replaced else ""
        rows.append((example_id, case, int(replaced), name, f"{overlap:.6f}"))
    files.write_text(path, files.to_csv(_COLUMNS, rows))
