"""Examples with the labels that they carry, made when an example is asked for.

What was made last is kept, up to a number of bytes: a small data set is labelled once, and a large
one does not fill the memory.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Integer

from noisyjax.core import checks, ignored
from noisyjax.data import patches, source
from noisyjax.data.labels import cache, fuse, replace
from noisyjax.data.store import kept

# Voxels of a class that are kept of an example, for patches around them.
_POSITIONS = 4096


class Steps(NamedTuple):
    """What is done to a chunk of stacked examples, one after the other; None is left out.

    The gold standard are class ids, the target probabilities; with `soft` it is the mean of labels
    that are such.
    """

    draw: Callable[[cache.Arrays], cache.Arrays]
    raters: np.ndarray | None
    gold: Callable[..., Any] | None
    noise: replace.Noise | None
    target: Callable[..., Any] | None
    soft: bool = False

    def __call__(self, chunk: cache.Arrays, count: int) -> cache.Arrays:
        """Makes what the first `count` examples carry; the others fill up the chunk."""
        if self.raters is not None:
            names = [name for name in ("labels", "rater_mask", "soft") if name in chunk]
            chunk = {**chunk, **{name: chunk[name][:, self.raters] for name in names}}
        given = {"labels": chunk["labels"]} if self.raters is not None else {}
        made = given | self.draw(chunk)
        if self.gold is not None:
            made["truth"] = self.gold(made["labels"], made["available_raters"])
        if self.noise is not None:
            if made["labels"].shape[1] != 1:
                raise ValueError(
                    f"examples: expected the truth as one label, got {made['labels'].shape[1]}"
                )
            own = replace.apply(self.noise, chunk["id"][:count], made["labels"][:count, 0])
            labels = made["labels"].copy()
            labels[:count, 0] = own.pop("labels")
            made |= {"labels": labels, **own}
        if self.soft:
            made["target"] = fuse.mean_of_soft(chunk["soft"], made["rater_mask"])
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
      parts: whether parts of the examples are read, see `part`; then ``truth`` is kept as well, and
        ``positions`` of the foreground ``[P, 1 + n]``: class and voxel.
    """

    data: source.Source
    ids: Int[np.ndarray, "N"]
    has_truth: bool
    every_label: bool
    replacement: replace.Replacement | None
    parts: bool
    _steps: Steps
    _chunk: int
    _kept: cache.Cache | cache.OnDisk
    _key: Callable[[int], Any]

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
        ids = self.ids[indices]
        made = [{n: np.asarray(a) for n, a in case.items()} for case in self._made(indices)]
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

    def part(self, index: int, corner: Sequence[int], size: Sequence[int]) -> source.Example:
        """Returns the part of an example that begins at a corner, as `__getitem__` the whole.

        What lies outside of the example is background, and as dark as its darkest voxel. Of cases
        that are on the disk no more is read than this.
        """
        (case,), example_id = self._made(np.array([index])), int(self.ids[index])
        image, darkest = self._image(case, example_id)
        cut = functools.partial(patches.cut, corner=corner, size=size)
        given = cut(case["labels"], leading=1)
        whose = np.asarray(case["available_raters"])
        part = {
            "image": cut(image, fill=darkest).astype(np.float32, copy=False),
            "labels": source.of_all(given, whose, shape=size),
            "rater_mask": np.asarray(case[self._carried_raters]),
            "id": self.ids[index],
            "index": np.int32(index),
        }
        if "target" in case:
            # Of what is outside the background is certain.
            background = np.eye(case["target"].shape[-1], dtype=np.float32)[0]
            part["target"] = cut(case["target"], fill=background)
        if self.has_truth:
            part["truth"] = cut(case["truth"])
        return part

    def extent(self, index: int) -> tuple[int, ...]:
        """Returns the size of an example."""
        return tuple(self._made(np.array([index]))[0]["labels"].shape[1:])

    def positions(self, index: int) -> Int[np.ndarray, "P columns"]:
        """Returns voxels of the foreground of an example, each with its class before it."""
        return np.asarray(self._made(np.array([index]))[0]["positions"])

    def _image(self, case: kept.Arrays, example_id: int) -> tuple[Any, np.ndarray]:
        """Returns the image of an example and its darkest values."""
        if "image" in case:
            return case["image"], case["darkest"]
        if self.data.own_sizes:
            return self.data.examples.image(example_id), case["darkest"]
        return source.read(self.data, example_id)["image"], case["darkest"]

    @functools.cached_property
    def rater_masks(self) -> Bool[np.ndarray, "N R"]:
        """Whose labels the examples carry."""
        whose, rows = self._carried_raters, np.arange(len(self))
        parts = (self._made(rows[i : i + self._chunk]) for i in range(0, len(self), self._chunk))
        return np.stack([case[whose] for part in parts for case in part])

    @property
    def own_raters(self) -> Int[np.ndarray, "R"] | None:
        """The numbers of the source's raters whose labels they are, unchanged, or None."""
        return None if self._steps.noise is not None else self._steps.raters

    @property
    def has_gold(self) -> bool:
        """Whether the truth is fused labels."""
        return self._steps.gold is not None

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

    def _made(self, indices: Integer[np.ndarray, "B"]) -> list[kept.Arrays]:
        """Returns what was made of examples, and makes what is not kept."""
        cases = {int(i): self._kept.get(self._key(int(i))) for i in indices}
        missing = [row for row, case in cases.items() if case is None]
        for start in range(0, len(missing), self._chunk):
            rows = missing[start : start + self._chunk]
            examples = [_read(self.data, int(self.ids[row]), None) for row in rows]
            cases |= dict(zip(rows, self._keep(rows, examples), strict=True))
        return [cases[int(i)] for i in indices]

    def _keep(self, rows: Sequence[int], examples: list[source.Example]) -> list[cache.Arrays]:
        """Makes what some examples carry, at most a chunk of them."""
        full = examples + examples[-1:] * (self._chunk - len(rows))
        stacked = {name: fuse.stack([e[name] for e in full]) for name in examples[0]}
        made = self._steps(stacked, len(rows))
        made = {name: array for name, array in made.items() if array is not None}
        cases = [{name: array[i] for name, array in made.items()} for i in range(len(rows))]
        if len(full) > 1:
            # Copies, or what is dropped would stay with what is kept.
            cases = [{name: array.copy() for name, array in case.items()} for case in cases]
        for place, (row, case) in enumerate(zip(rows, cases, strict=True)):
            # Of many raters a few may have labelled an image.
            case["labels"] = case["labels"][case["available_raters"]]
            if self.parts:
                cases[place] = case = self._for_parts(case, examples[place])
            self._kept.put(self._key(row), case)
        return cases

    def _for_parts(self, case: cache.Arrays, example: source.Example) -> cache.Arrays:
        """Returns what reading parts of an example takes beside what was made of it."""
        image = example["image"]
        options = {"most": _POSITIONS}
        more = {
            "darkest": image.min(axis=tuple(range(image.ndim - 1))),
            "positions": patches.sample_positions(case["labels"], self.data.num_classes, **options),
        }
        if self.has_truth and "truth" not in case:
            more["truth"] = example["truth"]
        return case | more

    def first_pass(self) -> "Labelled":
        """Checks every example, keeps what there is room for, and records what was replaced."""
        shape, record = None, []
        names = () if self._steps.noise is None else replace.Replacement._fields
        for start in range(0, len(self), self._chunk):
            rows = range(start, min(start + self._chunk, len(self)))
            # What other runs have left on the disk, and checked.
            cases = [self._kept.get(self._key(row)) for row in rows]
            if any(case is None for case in cases):
                examples = []
                for row in rows:
                    examples.append(_read(self.data, int(self.ids[row]), shape))
                    shape = examples[0]["image"].shape
                if names or not self._kept.overflowed:
                    cases = self._keep(rows, examples)
            record += [[case[name] for name in names] for case in cases if names]
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
    if shape is not None and data.own_sizes:
        shape = (*[None] * (len(shape) - 1), shape[-1])
    if shape is not None:
        checks.shape(f"{case}: image", image, shape, like="the first example")
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
        ids = np.where(ignored.known(example[name]), example[name], 0)
        ends = np.stack([ids.min(axis=voxels), ids.max(axis=voxels)])
        ends = ends[:, present] if axes else ends
        wrong = ends[(ends < 0) | (ends >= data.num_classes)]
        if wrong.size:
            raise ValueError(
                f"{case}: {name}: expected classes in 0..{data.num_classes - 1}, got {wrong[0]}"
            )
