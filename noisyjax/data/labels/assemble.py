"""From a source's examples to those of a run: each with the labels that it carries.

    source -> labels (the raters' own or simulated, held back, replaced, fused) -> batch

What an example carries is made when the example is asked for, and depends on the seed and its id
alone. What was made last is kept, up to a number of bytes: a small data set is labelled once, and a
large one does not fill the memory.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Integer

from noisyjax.core import checks
from noisyjax.data import source
from noisyjax.data.labels import cache, frozen, fuse, replace

# What is kept of a run's examples, in bytes.
MEMORY = 2**30
# Examples that are labelled at once, of about so many voxels and labels of voxels at most.
_LARGEST, _VOXELS, _LABELS = 64, 2**23, 2**25


class _Steps(NamedTuple):
    """What is done to a chunk of stacked examples, one after the other; None is left out."""

    draw: Callable[[cache.Arrays], cache.Arrays]
    raters: np.ndarray | None
    gold: Callable[..., Any] | None
    noise: replace.Noise | None
    target: Callable[..., Any] | None

    def __call__(self, chunk: cache.Arrays, count: int) -> cache.Arrays:
        """Makes what the first `count` examples carry; the others fill up the chunk."""
        if self.raters is not None:
            chunk = {**chunk, **{n: chunk[n][:, self.raters] for n in ("labels", "rater_mask")}}
        given = {"labels": chunk["labels"]} if self.raters is not None else {}
        made = given | self.draw(chunk)
        if self.gold is not None:
            fused = np.asarray(self.gold(made["labels"], made["available_raters"]))
            made["truth"] = fused.argmax(axis=-1).astype(np.uint8)
        if self.noise is not None:
            if made["labels"].shape[1] != 1:
                raise ValueError(
                    f"examples: expected the truth as one label, got {made['labels'].shape[1]}"
                )
            own = replace.apply(self.noise, chunk["id"][:count], made["labels"][:count, 0])
            labels = made["labels"].copy()
            labels[:count, 0] = own.pop("labels")
            made |= {"labels": labels, **own}
        if self.target is not None:
            made["target"] = np.asarray(self.target(made["labels"], made["rater_mask"]))
        return {name: array[:count] for name, array in made.items()}


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Examples with the labels they carry, as `source.Examples`.

    Attributes:
      data: the source.
      ids: ids of the examples, ``[N]``; example i of this object is example ``ids[i]`` of the
        source.
      has_truth: whether examples carry the truth, where it is known (`truth_mask`).
      every_label: whether they carry the label of everyone who labelled them, also where only a few
        labels of each image are kept.
      replacement: which labels have been replaced, or None where none was to be.
    """

    data: source.Source
    ids: Int[np.ndarray, "N"]
    has_truth: bool
    every_label: bool
    replacement: replace.Replacement | None
    _steps: _Steps
    _chunk: int
    _kept: cache.Cache

    def __len__(self) -> int:
        """Returns the number of examples."""
        return len(self.ids)

    def __getitem__(self, index: int) -> source.Example:
        """Returns one example as `source.Examples` describes, with labels and rater mask."""
        return {key: value[0] for key, value in self.take(np.array([index])).items()}

    def take(self, indices: Integer[np.ndarray, "B"]) -> source.Example:
        """Returns several examples at once, stacked; see `source.take`.

        Beside what a source's examples hold, ``index`` ``[B]`` int32 is the row in this object, and
        ``target`` ``[B, *S, L]`` the fused labels, where a method asks for some.
        """
        ids, made = self.ids[indices], self._made(indices)
        batch = {
            "labels": np.stack([_of_all(case) for case in made]),
            "rater_mask": np.stack([case[self._carried_raters] for case in made]),
            "id": ids,
            "index": np.asarray(indices, np.int32),
        }
        for name in ("image", "target", *(["truth"] if self.has_truth else [])):
            if name in made[0]:
                batch[name] = np.stack([case[name] for case in made])
        missing = {"image", *(["truth"] if self.has_truth else [])} - batch.keys()
        if missing:
            read = source.read_several(self.data, ids)
            batch |= {name: read[name] for name in missing}
        return batch

    @functools.cached_property
    def rater_masks(self) -> Bool[np.ndarray, "N R"]:
        """Whose labels the examples carry."""
        whose, rows = self._carried_raters, np.arange(len(self))
        parts = (self._made(rows[i : i + self._chunk]) for i in range(0, len(self), self._chunk))
        return np.stack([case[whose] for part in parts for case in part])

    @property
    def truth_mask(self) -> Bool[np.ndarray, "N"]:
        """Whose truth is known."""
        if self._steps.gold is not None:
            return np.ones(len(self), bool)
        return self.data.truth_is_known(self.ids)

    @property
    def truth_is_known(self) -> bool:
        """Whether `truths` returns some."""
        return bool(self.truth_mask.all())

    @property
    def _carried_raters(self) -> str:
        return "available_raters" if self.every_label else "rater_mask"

    def truths(self, indices: Integer[np.ndarray, "B"]) -> Integer[np.ndarray, "B *S"] | None:
        """Returns the truth of examples, carried or not, or None where it is not known."""
        if self._steps.gold is not None:
            return np.stack([case["truth"] for case in self._made(indices)])
        if not self.truth_is_known:
            return None
        return source.read_several(self.data, self.ids[indices])["truth"]

    def _made(self, indices: Integer[np.ndarray, "B"]) -> list[cache.Arrays]:
        """Returns what was made of examples, and makes what is not kept."""
        cases = {int(i): self._kept.get((id(self.ids), int(i))) for i in indices}
        missing = [row for row, case in cases.items() if case is None]
        for start in range(0, len(missing), self._chunk):
            rows = missing[start : start + self._chunk]
            examples = [_read(self.data, int(self.ids[row]), None) for row in rows]
            cases |= dict(zip(rows, self._keep(rows, examples), strict=True))
        return [cases[int(i)] for i in indices]

    def _keep(self, rows: Sequence[int], examples: list[source.Example]) -> list[cache.Arrays]:
        """Makes what some examples carry, at most a chunk of them."""
        full = examples + examples[-1:] * (self._chunk - len(rows))
        stacked = {name: np.stack([e[name] for e in full]) for name in examples[0]}
        made = self._steps(stacked, len(rows))
        # Copies, or what is dropped would stay with what is kept.
        cases = [
            {n: a[i].copy() for n, a in made.items() if a is not None} for i in range(len(rows))
        ]
        for row, case in zip(rows, cases, strict=True):
            # Of many raters a few may have labelled an image.
            case["labels"] = case["labels"][case["available_raters"]]
            self._kept.put((id(self.ids), row), case)
        return cases

    def _first_pass(self) -> "Labelled":
        """Checks every example, keeps what there is room for, and records what was replaced."""
        shape, record = None, []
        for start in range(0, len(self), self._chunk):
            rows = range(start, min(start + self._chunk, len(self)))
            examples = []
            for row in rows:
                examples.append(_read(self.data, int(self.ids[row]), shape))
                shape = examples[0]["image"].shape
            if self._steps.noise is not None:
                names = replace.Replacement._fields
                cases = self._keep(rows, examples)
                record += [[case[name] for name in names] for case in cases]
            elif not self._kept.overflowed:
                self._keep(rows, examples)
        if not record:
            return self
        columns = (np.stack(column) for column in zip(*record, strict=True))
        return dataclasses.replace(self, replacement=replace.Replacement(*columns))


def _of_all(case: cache.Arrays) -> Integer[np.ndarray, "R *S"]:
    """Returns the labels of an example that is kept, zeros of those who gave none."""
    given = case["labels"]
    return source.of_all(given, case["available_raters"], shape=given.shape[1:])


def _read(data: source.Source, example_id: int, shape: tuple | None) -> source.Example:
    """Reads one example and checks it."""
    example = source.read(data, example_id)
    image, case = example["image"], data.case_name(example_id)
    if not np.isfinite(image).all():
        raise ValueError(f"{case}: image: expected finite intensities, got NaN or inf")
    if shape is not None and image.shape != shape:
        raise ValueError(
            f"{case}: image: expected shape {shape} like the first example, got {image.shape}"
        )
    _check_ids(data, example, case)
    return example


def _check_ids(data: source.Source, example: source.Example, case: str) -> None:
    """Raises unless the truth and the labels that were given are classes of the image's voxels."""
    present = example.get("rater_mask", slice(None))
    space = example["image"].shape[:-1]
    for name, axes in (("truth", ()), ("labels", (None,))):
        if name not in example:
            continue
        checks.ids(f"{case}: {name}", example[name])
        checks.shape(f"{case}: {name}", example[name], (*axes, *space), like="image")
        voxels = tuple(range(len(axes), example[name].ndim))
        ends = np.stack([example[name].min(axis=voxels), example[name].max(axis=voxels)])
        ends = ends[:, present] if axes else ends
        wrong = ends[(ends < 0) | (ends >= data.num_classes)]
        if wrong.size:
            raise ValueError(
                f"{case}: {name}: expected classes in 0..{data.num_classes - 1}, got {wrong[0]}"
            )


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
    if data.num_classes > 256:
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
    kept: cache.Cache | None = None,
) -> Labelled:
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
      target: a key of `fusion.FUSIONS`: examples carry the labels fused.
      replacement: options of `replace.noise`, for examples with the truth as their only label.
      chunk: how many examples are labelled at once; 0 for as many as there are, 64 at most.
      kept: shared with other examples of the run.

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

        noise = replace.noise(ids, seed=seed, truths=truths, **sizes, **replacement)
    steps = _Steps(
        draw=frozen.drawing(panel=panel, seed=seed, **drawn),
        raters=chosen,
        gold=fuse.targets(gold, **sizes) if gold else None,
        noise=noise,
        target=fuse.targets(target, **sizes) if target else None,
    )
    chunk = chunk or chunk_size(data, len(ids), int(ids[0]))
    kept = cache.Cache(MEMORY) if kept is None else kept
    labelled = Labelled(data, ids, include_truth, every_label, None, steps, chunk, kept)
    return labelled._first_pass()


def chunk_size(data: source.Source, count: int, example_id: int) -> int:
    """Returns how many examples are labelled at once."""
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
) -> dict[str, Labelled]:
    """Labels the examples of a run's splits, name to ids; empty splits are left out.

    What concerns training alone stays there: labels are replaced and fused to targets for "train"
    only, the test split carries the labels that were held back, and the truth goes to training if
    `train_truth` asks for it and to the others wherever it is known. The other arguments and what
    is raised are those of `label`.
    """
    parts = {split: ids for split, ids in splits.items() if len(ids)}
    every = [int(i) for ids in parts.values() for i in ids]
    kept = cache.Cache(MEMORY)
    chunk = chunk_size(data, len(every), every[0]) if every else 1
    common = {
        "panel": panel,
        "seed": seed,
        "raters": raters,
        "labels_per_image": labels_per_image,
        "input_noise": input_noise,
        "gold": gold,
        "chunk": chunk,
        "kept": kept,
    }
    examples = {}
    for split, ids in parts.items():
        known = bool(gold) or bool(data.truth_is_known(ids).any())
        own = {"include_truth": known, "every_label": split == "test"}
        if split == "train":
            _check(data, np.asarray(ids), needs_truth=train_truth and not gold)
            own = {"include_truth": train_truth, "target": target, "replacement": replacement}
        examples[split] = label(data, ids, **common, **own)
    return examples
