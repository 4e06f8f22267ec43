"""Noisy labels in place of the truth for a share of the training examples, once for a run."""

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Integer

from noisyjax.core import arrays, files, rng
from noisyjax.data.labels import frozen, fuse
from noisyjax.noise import rater_pool, replacement

# What an example that keeps its label has in place of the number of a noise.
KEPT = -1
# As the only kind: what a rater of `noise.rater_pool` draws, whatever the wanted overlap.
POOL = "rater_pool"
# By the number of a noise.
NAMES = (*replacement.KINDS, *(f"rater_{i}" for i in range(len(rater_pool.RATERS))))

_COLUMNS = ("id", "case", "replaced", "kind", "overlap", "kept", "deleted", "added")
# About this many voxels are made noisy at a time.
_CHUNK = 2**20


def replace(
    examples: frozen.Annotated,
    *,
    seed: int,
    share: float | int,
    overlap: float | int,
    kinds: Sequence[str],
    nested: bool = True,
    label_seed: int = -1,
) -> frozen.Annotated:
    """Replaces the labels of a share of the examples by noisy versions.

    Which examples, and what an example receives, depends on the seeds and its id alone.

    Args:
      examples: with the truth as the label of their only rater, ``labels`` ``[N, 1, *S]``.
      seed: the run's seed.
      share: of the examples to replace, in [0, 1]: exactly ``round(share * N)``.
      overlap: the wanted Dice of a noisy label to the truth; see `replacement.replace`.
      kinds: names in `replacement.KINDS`, or `POOL` alone, with two classes.
      nested: whether a larger share replaces the same examples and more; else the examples of
        every share are drawn anew.
      label_seed: of what an example receives, so that it can be the same in runs with different
        seeds; -1 for the run's seed.

    Returns:
      The examples with ``replaced``, ``kinds``, ``overlaps``, which is 1 for a label that stays,
      and ``voxels``.

    Raises:
      ValueError: if there is more than one rater, or an option is out of range.

    References:
      RAR-U-Net, section 2.4; its beta is the share and its alpha the overlap.
    """
    num_classes = examples.data.num_classes
    if examples.num_raters != 1:
        raise ValueError(f"examples: expected the truth as one label, got {examples.num_raters}")
    _check(overlap=overlap, kinds=kinds, num_classes=num_classes)
    cases_key = rng.purpose_key(seed, "replaced_cases")
    if not nested:
        cases_key = jax.random.fold_in(cases_key, round(share * len(examples)))
    chosen = np.asarray(replacement.choose_cases(cases_key, examples.ids, share=share))
    truths, labels = examples.labels[:, 0], examples.labels.copy()
    drawn = np.full(len(examples), KEPT, np.int32)
    if chosen.any():
        key = rng.purpose_key(seed if label_seed < 0 else label_seed, "replacement")
        noisy = _noisy(key, overlap=overlap, kinds=kinds, num_classes=num_classes)
        cases = {"id": examples.ids[chosen], "truth": truths[chosen]}
        chunk = max(1, _CHUNK // math.prod(labels.shape[2:]))
        labels[chosen, 0], drawn[chosen] = fuse.map_cases(noisy, cases, chunk=chunk)
    voxels = _voxels(labels[:, 0], truths)
    return dataclasses.replace(
        examples,
        labels=labels,
        replaced=chosen,
        kinds=drawn,
        overlaps=_dice(voxels),
        voxels=voxels,
    )


def _check(*, overlap: float | int, kinds: Sequence[str], num_classes: int) -> None:
    if POOL not in kinds:
        replacement.check(overlap=overlap, kinds=kinds, num_classes=num_classes)
    elif len(kinds) > 1:
        raise ValueError(f"kinds: expected {POOL} alone, got {tuple(kinds)}")
    elif num_classes != 2:
        raise ValueError(f"kinds: {POOL} labels one organ, expected 2 classes, got {num_classes}")


def _noisy(
    key: Array, *, overlap: float | int, kinds: Sequence[str], num_classes: int
) -> Callable[[dict[str, Any]], tuple[Array, Array]]:
    """Returns f, of one case, to its noisy label and the number of the noise."""
    if POOL in kinds:
        cases_key, labels_key = jax.random.split(key)

        def draw(case: dict[str, Any]) -> tuple[Array, Array]:
            (rater,) = rater_pool.assign(cases_key, case["id"][None])
            own = rng.example_key(labels_key, case["id"])
            label = rater_pool.annotate(own, case["truth"], rater=rater)
            return label, rater + len(replacement.KINDS)

        return draw

    def replaced(case: dict[str, Any]) -> tuple[Array, Array]:
        own, options = rng.example_key(key, case["id"]), {"num_classes": num_classes}
        found = replacement.replace(own, case["truth"], overlap=overlap, kinds=kinds, **options)
        return found.label, found.kind

    return replaced


def _voxels(
    labels: Integer[np.ndarray, "N *S"], truths: Integer[np.ndarray, "N *S"]
) -> Int[np.ndarray, "N 3"]:
    """Counts the foreground of both, of the label only, and of the truth only."""
    label, truth = labels != arrays.BACKGROUND, truths != arrays.BACKGROUND
    space = tuple(range(1, label.ndim))
    parts = (label & truth, label & ~truth, truth & ~label)
    return np.stack([part.sum(axis=space) for part in parts], axis=-1)


def _dice(voxels: Int[np.ndarray, "N 3"]) -> Float[np.ndarray, "N"]:
    """Returns the Dice of label and truth, 1 where both are empty."""
    kept, other = voxels[:, 0], voxels[:, 1:].sum(axis=1)
    dice = np.where(kept + other > 0, 2 * kept / np.maximum(2 * kept + other, 1), 1)
    return dice.astype(np.float32)


def save(path: str | os.PathLike, examples: frozen.Annotated) -> None:
    """Writes which labels were replaced, by what, and how much they still overlap.

    Args:
      path: the CSV file with the columns id, case, replaced (0 or 1), kind (empty if not replaced),
        overlap (Dice of the label to the truth), and the voxels of the foreground: kept (of label
        and truth), deleted (of the label only, what a correction would delete) and added (of the
        truth only, what it would add); written at once or not at all.
      examples: of `replace`.
    """
    rows = []
    columns = (examples.ids, examples.replaced, examples.kinds, examples.overlaps, examples.voxels)
    for example_id, replaced, kind, overlap, voxels in zip(*columns, strict=True):
        case = examples.data.case_name(int(example_id))
        name = NAMES[kind] if replaced else ""
        rows.append((example_id, case, int(replaced), name, f"{overlap:.6f}", *voxels))
    files.write_text(path, files.to_csv(_COLUMNS, rows))
