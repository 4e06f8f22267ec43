"""From a source's examples to those of a run: each with the labels that it carries.

    source -> labels (the raters' own or simulated, held back, replaced, fused) -> batch

What an example carries depends on the seed and its id alone.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Integer

from noisyjax.core import checks, files, ignored
from noisyjax.data import source
from noisyjax.data.labels import cache, frozen, fuse, labelled, replace
from noisyjax.data.store import kept

# The target of labels that are probabilities: their mean.
SOFT = "soft"
# What is kept of a run's examples, in bytes.
MEMORY = 2**30
# Examples that are labelled at once, of about so many voxels and labels of voxels at most.
_LARGEST, _VOXELS, _LABELS = 64, 2**23, 2**25
# Counts up when what is made of the same labels changes.
_VERSION = 2


def _select(
    data: source.Source, panel: frozen.Panel | None, raters: Sequence[str]
) -> np.ndarray | None:
    """Returns the numbers of the source's raters to use, or None with simulated ones."""
    if panel is not None:
        if raters:
            raise ValueError(f"raters: expected none beside a panel, got {tuple(raters)}")
        return None
    if not data.rater_names:
        raise ValueError(f"{data.name}: has no raters of its own, expected a panel")
    unknown = [name for name in raters if name not in data.rater_names]
    if unknown:
        raise ValueError(f"raters: {data.name} has {data.rater_names}, got {unknown}")
    return np.asarray([data.rater_names.index(name) for name in raters or data.rater_names])


def _check(data: source.Source, ids: np.ndarray, *, needs_truth: bool) -> None:
    if not len(ids):
        raise ValueError(f"{data.name}: expected ids of examples, got none: the split is empty")
    if not (ids.min() >= 0 and ids.max() < len(data.examples)):
        raise ValueError(
            f"{data.name}: expected ids in 0..{len(data.examples) - 1}, "
            f"got {ids.min()}..{ids.max()}"
        )
    known = data.truth_is_known(ids)
    if needs_truth and not known.all():
        case = f" of {data.case_name(int(ids[~known][0]))}" if data.has_truth else ""
        raise ValueError(f"{data.name}: the truth is asked for, but it is not known{case}")
    if data.num_classes > ignored.IGNORE:
        raise ValueError(f"{data.name}: labels are uint8, got {data.num_classes} classes")


def label(
    data: source.Source,
    ids: Integer[np.ndarray, "N"],
    *,
    panel: frozen.Panel | None,
    seed: int,
    raters: Sequence[str] = (),
    labels_per_image: int = 0,
    every_label: bool = False,
    input_noise: float = 0.0,
    gold: str = "",
    target: str = "",
    replacement: Mapping[str, Any] | None = None,
    include_truth: bool,
    chunk: int = 0,
    kept_in: cache.Cache | cache.OnDisk | None = None,
    parts: bool = False,
    drawn_by: Mapping[str, Any] | None = None,
) -> labelled.Labelled:
    """Labels examples; all are read and checked once.

    Args:
      ids: ids of the examples wanted, ``[N]``.
      panel: the simulated annotators, ``f(key, truth [*S]) -> labels [R, *S]``, or None for the
        source's own raters.
      raters: names of the source's own raters to use, in this order; empty for all.
      labels_per_image: how many raters label each image, drawn at random and then fixed; 0 for all.
      every_label: whether examples carry the other labels as well.
      input_noise: standard deviation of the Gaussian noise added to the image.
      gold: a key of `fusion.FUSIONS`: all labels fused stand in place of the source's truth. Who is
        judged by it is judged by what the raters agree on, as that fusion sees it: a method that
        trains on the same fusion has the advantage.
      target: a key of `fusion.FUSIONS`: examples carry the labels fused; or `SOFT`, the mean of
        labels that are probabilities.
      replacement: options of `replace.noise`, for examples with the truth as their only label.
      chunk: how many examples are labelled at once; 0 for as many as there are, 64 at most.
      kept_in: what keeps what is made, shared with other examples of the run.
      parts: whether parts of the examples will be read.
      drawn_by: what describes the panel, for cases that are kept on the disk.

    Raises:
      ValueError: if there are no ids, no raters, no truth that is needed, or an image is not finite
        or of another shape than the first, or a label no class (it names the case), or a number is
        negative.
      source.UnreadableCase: if an example cannot be read.
    """
    ids = np.asarray(ids, np.int32)
    checks.positive("labels_per_image", labels_per_image, or_zero=True)
    checks.positive("input_noise", input_noise, or_zero=True)
    checks.positive("chunk", chunk, or_zero=True)
    _check(data, ids, needs_truth=panel is not None)
    # Where some are known, those that are not are left out of what is measured.
    if include_truth and not gold and not data.truth_is_known(ids).any():
        _check(data, ids, needs_truth=True)
    sizes = {"num_classes": data.num_classes}
    drawn = {"labels_per_image": labels_per_image, "input_noise": input_noise}
    chosen = _select(data, panel, raters)
    noise = None
    if replacement is not None:

        def truths(ids: np.ndarray) -> np.ndarray:
            return source.read_several(data, ids)["truth"]

        how = {**sizes, **replacement, "own_sizes": data.own_sizes}
        noise = replace.noise(ids, seed=seed, truths=truths, **how)
    # Where each has a size of its own nothing is compiled for it.
    fuse_by = fuse.targets_on_host if data.own_sizes else fuse.targets
    steps = labelled.Steps(
        draw=frozen.drawing(panel=panel, seed=seed, **drawn),
        raters=chosen,
        gold=fuse.gold(gold, **sizes, on_host=data.own_sizes) if gold else None,
        noise=noise,
        target=fuse_by(target, **sizes) if target not in ("", SOFT) else None,
        soft=target == SOFT,
    )
    chunk = chunk or chunk_size(data, len(ids), int(ids[0]))
    kept_in = cache.Cache(MEMORY) if kept_in is None else kept_in
    key: Callable[[int], Any] = functools.partial(_in_memory, ids)
    if isinstance(kept_in, cache.OnDisk):
        chosen_by = {"seed": seed, "raters": list(raters), "gold": gold, "target": target}
        made_by = {**chosen_by, **drawn, "panel": drawn_by, "replacement": replacement}
        made_by |= {"truth": include_truth, "parts": parts, **sizes}
        key = functools.partial(_on_disk, data, ids, made_by)
    found = labelled.Labelled(
        data, ids, include_truth, every_label, None, parts, steps, chunk, kept_in, key
    )
    return found.first_pass()


def _in_memory(ids: np.ndarray, row: int) -> tuple[int, int]:
    return id(ids), row


def _on_disk(data: source.Source, ids: np.ndarray, made_by: Mapping[str, Any], row: int) -> str:
    """Returns the name under which an example is kept: of all that its labels are made from.

    Which examples are replaced depends on those of the run.
    """
    example_id = int(ids[row])
    of_run = source.digest({"ids": ids}) if made_by["replacement"] else ""
    facts = {
        "version": _VERSION,
        "content": source.content(data, example_id),
        "id": example_id,
        "ids": of_run,
        "about": files.plain(data.about),
        "spacing": data.spacing,
        "own_sizes": data.own_sizes,
    }
    return kept.digest((), files.plain({**made_by, **facts}))


def chunk_size(data: source.Source, count: int, example_id: int) -> int:
    """Returns how many examples are labelled at once: one where sizes differ."""
    if data.own_sizes:
        return 1
    voxels = max(math.prod(source.read(data, example_id)["image"].shape[:-1]), 1)
    labels = voxels * max(len(data.rater_names), 1)
    return max(1, min(_LARGEST, count, _VOXELS // voxels, _LABELS // labels))


def assemble(
    data: source.Source,
    splits: Mapping[str, Int[np.ndarray, "..."]],
    *,
    panel: frozen.Panel | None,
    seed: int,
    raters: Sequence[str] = (),
    labels_per_image: int = 0,
    input_noise: float = 0.0,
    gold: str = "",
    target: str = "",
    replacement: Mapping[str, Any] | None = None,
    train_truth: bool = False,
    parts: bool = False,
    kept_in: cache.OnDisk | None = None,
    drawn_by: Mapping[str, Any] | None = None,
) -> dict[str, labelled.Labelled]:
    """Labels the examples of a run's splits, name to ids; empty splits are left out.

    What concerns training alone stays there: labels are replaced and fused to targets for "train"
    only, the test split carries the labels that were held back, and the truth goes to training if
    `train_truth` asks for it and to the others wherever it is known; `parts` are those of training
    examples. The other arguments and what is raised are those of `label`.
    """
    used = {split: ids for split, ids in splits.items() if len(ids)}
    every = [int(i) for ids in used.values() for i in ids]
    chunk = chunk_size(data, len(every), every[0]) if every else 1
    common = {
        "panel": panel,
        "seed": seed,
        "raters": raters,
        "labels_per_image": labels_per_image,
        "input_noise": input_noise,
        "gold": gold,
        "chunk": chunk,
        "kept_in": cache.Cache(MEMORY) if kept_in is None else kept_in,
        "drawn_by": drawn_by,
    }
    examples = {}
    for split, ids in used.items():
        known = bool(gold) or bool(data.truth_is_known(ids).any())
        own = {"include_truth": known, "every_label": split == "test"}
        if split == "train":
            _check(data, np.asarray(ids), needs_truth=train_truth and not gold)
            own = {"include_truth": train_truth, "target": target, "replacement": replacement}
            own["parts"] = parts
        examples[split] = label(data, ids, **common, **own)
    return examples
