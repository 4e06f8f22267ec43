"""Noisy labels in place of the truth for a share of the training examples, once for a run."""

import functools
import math
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer

from noisyjax.core import arrays, files, ignored, rng
from noisyjax.data import source
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


class Replacement(NamedTuple):
    """Which labels have been replaced, by what, and how much they still overlap.

    Attributes:
      replaced: whose label was replaced by a noisy one, ``[N]``.
      kinds: by which noise, a number in `NAMES`, or `KEPT`, ``[N]``.
      overlaps: Dice of the label to the truth, 1 where both are empty, ``[N]``.
      voxels: of the foreground in label and truth, in the label only and in the truth only,
        ``[N, 3]``.
    """

    replaced: Bool[np.ndarray, "N"]
    kinds: Int[np.ndarray, "N"]
    overlaps: Float[np.ndarray, "N"]
    voxels: Int[np.ndarray, "N 3"]


class Noise(NamedTuple):
    """Replaces labels of chosen examples.

    Attributes:
      chosen: ids of the examples whose label is replaced.
      draw: of one of them, ``id -> (label [*S], kind)``.
    """

    chosen: frozenset[int]
    draw: Callable[[int], tuple[np.ndarray, np.integer]]


def noise(
    ids: Int[np.ndarray, "N"],
    *,
    seed: int,
    num_classes: int,
    truths: Callable[[np.ndarray], np.ndarray],
    share: float | int,
    overlap: float | int,
    kinds: Sequence[str],
    nested: bool = True,
    label_seed: int = -1,
    own_sizes: bool = False,
) -> Noise:
    """Chooses the examples whose labels are replaced, and how (RAR-U-Net, section 2.4).

    Which examples, and what an example receives, depends on the seeds and its id alone.

    Args:
      ids: of the examples, whose only label is the truth.
      truths: ``ids [B] -> truths [B, *S]`` uint8.
      share: of the examples to replace, in [0, 1]: exactly ``round(share * N)``; the paper's beta.
      overlap: the wanted Dice of a noisy label to the truth, the paper's alpha; see
        `replacement.replace`.
      kinds: names in `replacement.KINDS`, or `POOL` alone, with two classes.
      nested: whether a larger share replaces the same examples and more; else the examples of
        every share are drawn anew.
      label_seed: of what an example receives, so that it can be the same in runs with different
        seeds; -1 for the run's seed.
      own_sizes: whether the examples have different sizes, so that each is drawn by itself.
    """
    _check(overlap=overlap, kinds=kinds, num_classes=num_classes)
    cases_key = rng.purpose_key(seed, "replaced_cases")
    if not nested:
        cases_key = jax.random.fold_in(cases_key, round(share * len(ids)))
    choose = jax.jit(functools.partial(replacement.choose_cases, share=share))
    chosen = np.asarray(choose(cases_key, ids))
    key = rng.purpose_key(seed if label_seed < 0 else label_seed, "replacement")
    kinds = tuple(kinds)
    run = functools.partial(_noisy(overlap=overlap, kinds=kinds, num_classes=num_classes), key)
    draw = _in_groups(run, ids[chosen], truths, 1 if own_sizes else 0)
    return Noise(frozenset(ids[chosen].tolist()), draw)


def _in_groups(
    run: Callable[[np.ndarray, np.ndarray], tuple[Array, Array]],
    chosen: Int[np.ndarray, "N"],
    truths: Callable[[np.ndarray], np.ndarray],
    together: int,
) -> Callable[[int], tuple[np.ndarray, np.integer]]:
    """Returns `Noise.draw`: always the same examples are drawn together, in one shape.

    `together` is how many, 0 for what their size allows.
    """
    rows = {int(i): row for row, i in enumerate(chosen)}

    @functools.lru_cache(maxsize=1)
    def size() -> int:
        fit = together or _CHUNK // math.prod(truths(chosen[:1]).shape)
        return max(1, min(len(chosen), fit))

    @functools.lru_cache(maxsize=2)
    def group(number: int) -> tuple[np.ndarray, np.ndarray]:
        # The last group is filled up with examples from the beginning.
        ids = chosen[np.arange(number * size(), (number + 1) * size()) % len(chosen)]
        return jax.device_get(run(ids, truths(ids)))

    def draw(example_id: int) -> tuple[np.ndarray, np.integer]:
        number, row = divmod(rows[example_id], size())
        labels, kinds = group(number)
        return labels[row], kinds[row]

    return draw


def _check(*, overlap: float | int, kinds: Sequence[str], num_classes: int) -> None:
    if POOL not in kinds:
        replacement.check(overlap=overlap, kinds=kinds, num_classes=num_classes)
    elif len(kinds) > 1:
        raise ValueError(f"kinds: expected {POOL} alone, got {tuple(kinds)}")
    elif num_classes != 2:
        raise ValueError(f"kinds: {POOL} labels one organ, expected 2 classes, got {num_classes}")


# Kept, so that runs with the same noise in one process share one compilation.
@functools.lru_cache(maxsize=8)
def _noisy(
    *, overlap: float | int, kinds: tuple[str, ...], num_classes: int
) -> Callable[[Array, np.ndarray, np.ndarray], tuple[Array, Array]]:
    """Returns the jitted f, of a key, ids and truths, to noisy labels and the noises' numbers."""
    if POOL in kinds:

        def draw(key: Array, example_id: Array, truth: Array) -> tuple[Array, Array]:
            cases_key, labels_key = jax.random.split(key)
            (rater,) = rater_pool.assign(cases_key, example_id[None])
            own = rng.example_key(labels_key, example_id)
            label = rater_pool.annotate(own, truth, rater=rater)
            return label, rater + len(replacement.KINDS)

        return jax.jit(jax.vmap(draw, in_axes=(None, 0, 0)))

    def replaced(key: Array, example_id: Array, truth: Array) -> tuple[Array, Array]:
        own, options = rng.example_key(key, example_id), {"num_classes": num_classes}
        result = replacement.replace(own, truth, overlap=overlap, kinds=kinds, **options)
        return result.label, result.kind

    return jax.jit(jax.vmap(replaced, in_axes=(None, 0, 0)))


def apply(
    noise: Noise, ids: Int[np.ndarray, "B"], truths: Integer[np.ndarray, "B *S"]
) -> dict[str, np.ndarray]:
    """Replaces the labels, which are the truths, of those of several examples that are chosen.

    Returns:
      ``labels`` ``[B, *S]``, and what `Replacement` has of each: ``replaced``, ``kinds``,
      ``overlaps``, ``voxels``.
    """
    labels, kinds = truths.copy(), np.full(len(ids), KEPT, np.int32)
    replaced = np.array([int(i) in noise.chosen for i in ids])
    for row in np.flatnonzero(replaced):
        labels[row], kinds[row] = noise.draw(int(ids[row]))
    voxels = _voxels(labels, truths)
    return {
        "labels": labels,
        "replaced": replaced,
        "kinds": kinds,
        "overlaps": _dice(voxels),
        "voxels": voxels,
    }


def _voxels(
    labels: Integer[np.ndarray, "N *S"], truths: Integer[np.ndarray, "N *S"]
) -> Int[np.ndarray, "N 3"]:
    """Counts the foreground of both, of the label only, and of the truth only."""
    known = ignored.known(truths)
    label, truth = ((ids != arrays.BACKGROUND) & known for ids in (labels, truths))
    space = tuple(range(1, label.ndim))
    parts = (label & truth, label & ~truth, truth & ~label)
    return np.stack([part.sum(axis=space) for part in parts], axis=-1)


def _dice(voxels: Int[np.ndarray, "N 3"]) -> Float[np.ndarray, "N"]:
    kept, other = voxels[:, 0], voxels[:, 1:].sum(axis=1)
    dice = np.where(kept + other > 0, 2 * kept / np.maximum(2 * kept + other, 1), 1)
    return dice.astype(np.float32)


def save(
    path: str | os.PathLike,
    record: Replacement,
    *,
    data: source.Source,
    ids: Int[np.ndarray, "N"],
) -> None:
    """Writes which labels were replaced, by what, and how much they overlap; at once or not at all.

    The columns of the CSV file are id, case, replaced (0 or 1), kind (empty if not replaced),
    overlap (Dice of the label to the truth), and the voxels of the foreground: kept (of label and
    truth), deleted (of the label only, what a correction would delete) and added (of the truth
    only, what it would add).
    """
    rows = []
    for example_id, replaced, kind, overlap, voxels in zip(ids, *record, strict=True):
        case = data.case_name(int(example_id))
        name = NAMES[kind] if replaced else ""
        rows.append((example_id, case, int(replaced), name, f"{overlap:.6f}", *voxels))
    files.write_text(path, files.to_csv(_COLUMNS, rows))
