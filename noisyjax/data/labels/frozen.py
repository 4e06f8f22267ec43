"""Gives a source's examples their rater labels, rater masks and input noise.

Label noise is frozen: it is drawn once per example and kept, so that a wrong label stays wrong in
every epoch. `resample_labels` is the other experiment, a fresh draw in each epoch. Both draw by the
same function of (seed, example id, epoch), so the batch, the chunk and the device play no part.

The true confusion matrices are not kept: they follow from truth and labels.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer, Key, UInt8

from noisyjax.core import checks, rng
from noisyjax.data import source

# (key, truth [*S]) -> labels [R, *S]
Panel = Callable[[Array, Array], Array]


@dataclasses.dataclass(frozen=True)
class Annotated:
    """Examples with the labels they have been given, ready for the pipeline.

    Attributes:
      data: the source.
      ids: ids of the examples, ``[N]``; example i of this object is example ``ids[i]`` of the
        source.
      labels: ``[N, R, *S]`` uint8.
      rater_masks: whose labels the examples carry, ``[N, R]``.
      labelled: who labelled each image, ``[N, R]``: more than that where only a few labels of each
        image are kept.
      images: ``[N, *S, K]`` float32 where input noise was added, or None: read from the source.
      include_truth: whether examples carry the truth.
      truths: ``[N, *S]`` uint8, a gold standard in place of the source's truth, or None.
      targets: ``[N, *S, L]`` float32, fused labels that the examples are to carry, or None.
      replaced: whose label was replaced by a noisy one, ``[N]``, or None where nothing was to be;
        see `noisyjax.data.labels.replace`.
      kinds: by which noise, ``[N]`` int32, a number in `replaced.NAMES` or -1, or None.
      overlaps: Dice of the label to the truth, ``[N]`` float32, or None.
      voxels: of the foreground in label and truth, in the label only and in the truth only,
        ``[N, 3]``, or None.
    """

    data: source.Source
    ids: Int[np.ndarray, "N"]
    labels: Integer[np.ndarray, "N R *S"]
    rater_masks: Bool[np.ndarray, "N R"]
    labelled: Bool[np.ndarray, "N R"]
    images: Float[np.ndarray, "N *S K"] | None
    include_truth: bool
    truths: UInt8[np.ndarray, "N *S"] | None = None
    targets: Float[np.ndarray, "N *S L"] | None = None
    replaced: Bool[np.ndarray, "N"] | None = None
    kinds: Int[np.ndarray, "N"] | None = None
    overlaps: Float[np.ndarray, "N"] | None = None
    voxels: Int[np.ndarray, "N 3"] | None = None

    @property
    def num_raters(self) -> int:
        """R."""
        return self.labels.shape[1]

    def __len__(self) -> int:
        """Returns the number of examples."""
        return len(self.ids)

    def __getitem__(self, index: int) -> source.Example:
        """Returns one example as `source.Examples` describes, with labels and rater mask."""
        return {key: value[0] for key, value in self.take(np.array([index])).items()}

    def take(self, indices: Integer[np.ndarray, "B"]) -> source.Example:
        """Returns several examples at once, stacked; see `source.take`.

        Beside what a source's examples hold, ``index`` ``[B]`` int32 is the row in this object.
        """
        ids = self.ids[indices]
        batch = {
            "labels": self.labels[indices],
            "rater_mask": self.rater_masks[indices],
            "id": ids,
            "index": np.asarray(indices, np.int32),
        }
        own = {"image": self.images, "target": self.targets}
        if self.include_truth:
            own["truth"] = self.truths
        batch |= {name: kept[indices] for name, kept in own.items() if kept is not None}
        missing = {"image", *(["truth"] if self.include_truth else [])} - batch.keys()
        if missing:
            read = source.read_several(self.data, ids)
            batch |= {name: read[name] for name in missing}
        return batch

    def part(self, place: slice, *, every_label: bool, include_truth: bool) -> "Annotated":
        """Returns some of the examples.

        Args:
          place: which.
          every_label: whether they carry the label of everyone who labelled them.
          include_truth: whether they carry the truth.
        """
        cut = {
            name: None if array is None else array[place]
            for name, array in vars(self).items()
            if name not in ("data", "include_truth")
        }
        if every_label:
            cut["rater_masks"] = cut["labelled"]
        return Annotated(data=self.data, include_truth=include_truth, **cut)


def choose_raters(
    key: Array, available: Bool[Array, "R"], *, labels_per_image: int
) -> Bool[Array, "R"]:
    """Keeps a few of the raters who labelled an image, at random.

    Args:
      key: the example's key of purpose "rater_mask".
      available: who labelled the image, ``[R]``.
      labels_per_image: how many to keep; 0 keeps all, as does a number beyond those available.

    Returns:
      bool ``[R]``.
    """
    if labels_per_image == 0:
        return available
    score = jnp.where(available, jax.random.uniform(key, available.shape), 2.0)
    rank = jnp.argsort(jnp.argsort(score))
    return available & (rank < labels_per_image)


def _draw_labels(
    key: Array, example_id: Array, truth: Array, *, panel: Panel, epoch: int | Array
) -> Array:
    """The one draw of labels, frozen (epoch 0) or fresh: ``[R, *S]`` uint8."""
    return panel(rng.example_key(key, example_id, epoch=epoch), truth).astype(jnp.uint8)


def resample_labels(
    batch: dict[str, Array], *, panel: Panel, seed: rng.Index | Key[Array, ""]
) -> dict[str, Array]:
    """Replaces a batch's labels by a fresh draw for its epoch; for use inside the jitted step.

    Epoch -1 gives the frozen labels. The rater masks stay.

    Args:
      batch: with ``truth``, ``id`` and ``epoch``.
      panel: the annotators.
      seed: the run's seed or root key.

    Returns:
      The batch with new ``labels``, uint8.
    """
    epochs = jnp.broadcast_to(batch["epoch"], batch["id"].shape) + 1
    draw = functools.partial(_draw_labels, rng.purpose_key(seed, "noise"), panel=panel)
    labels = jax.vmap(lambda i, truth, epoch: draw(i, truth, epoch=epoch))(
        batch["id"], batch["truth"], epochs
    )
    return {**batch, "labels": labels}


# Kept, so that the training, validation and test examples of a run share one compilation.
@functools.lru_cache(maxsize=8)
def _drawing(panel: Panel | None, labels_per_image: int, input_noise: float):
    """Returns the jitted ``(purpose keys, chunk of examples) -> what is drawn for them``."""

    def one(keys, example):
        drawn = {}
        example_id = example["id"]
        if panel is not None:
            drawn["labels"] = _draw_labels(
                keys["noise"], example_id, example["truth"], panel=panel, epoch=0
            )
            available = jnp.ones(drawn["labels"].shape[0], bool)
        else:
            available = example["rater_mask"]
        drawn["labelled"] = available
        key = rng.example_key(keys["rater_mask"], example_id)
        drawn["rater_mask"] = choose_raters(key, available, labels_per_image=labels_per_image)
        if input_noise:
            key = rng.example_key(keys["input_noise"], example_id)
            noise = jax.random.normal(key, example["image"].shape)
            drawn["image"] = example["image"] + input_noise * noise
        return drawn

    return jax.jit(jax.vmap(one, in_axes=(None, 0)))


def _read(data: source.Source, example_id: int, shape: tuple | None) -> source.Example:
    """Reads one example and checks its image, once for the whole run."""
    example = source.read(data, example_id)
    image = example["image"]
    if not np.isfinite(image).all():
        raise ValueError(
            f"{data.case_name(example_id)}: image: expected finite intensities, got NaN or inf"
        )
    if shape is not None and image.shape != shape:
        raise ValueError(
            f"{data.case_name(example_id)}: image: expected shape {shape} like the first example, "
            f"got {image.shape}"
        )
    _check_ids(data, example, data.case_name(example_id))
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


def _chunks(
    data: source.Source, ids: np.ndarray, chunk: int
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Yields (number of examples, stacked examples), the last chunk padded by repetition.

    One shape of chunk is one compilation.
    """
    shape = None
    for start in range(0, len(ids), chunk):
        examples = []
        for example_id in ids[start : start + chunk]:
            examples.append(_read(data, int(example_id), shape))
            shape = examples[0]["image"].shape
        count = len(examples)
        examples += examples[-1:] * (min(chunk, len(ids)) - count)
        yield count, {key: np.stack([e[key] for e in examples]) for key in examples[0]}


def _select(data: source.Source, panel: Panel | None, raters: Sequence[str]) -> np.ndarray | None:
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
    if needs_truth and "truth" not in source.read(data, int(ids[0])):
        raise ValueError(f"{data.name}: the truth is asked for, but it is not known")
    if data.num_classes > 256:
        raise ValueError(f"{data.name}: labels are uint8, got {data.num_classes} classes")


def annotate(
    data: source.Source,
    ids: Integer[np.ndarray, "N"],
    *,
    panel: Panel | None,
    seed: int,
    raters: Sequence[str] = (),
    labels_per_image: int = 0,
    input_noise: float = 0.0,
    chunk: int = 64,
    include_truth: bool,
) -> Annotated:
    """Draws what is frozen for a run, once, and keeps it.

    Labels stay in memory as uint8; images stay in the source unless input noise is asked for, then
    they stay in memory as float32. An example's draws depend on the seed and its id alone.

    Args:
      data: the source.
      ids: ids of the examples wanted, ``[N]``.
      panel: the simulated annotators, ``f(key, truth [*S]) -> labels [R, *S]``, or None for the
        source's own raters.
      seed: the run's seed.
      raters: names of the source's own raters to use, in this order; empty for all.
      labels_per_image: how many raters label each image, drawn at random and then fixed; 0 for all.
      input_noise: standard deviation of the Gaussian noise added to the image.
      chunk: how many examples are drawn at once; sets of at least this size share a compilation if
        they are drawn by the same panel object.
      include_truth: whether the examples are to carry the truth.

    Returns:
      The examples.

    Raises:
      ValueError: if there are no ids, no raters, no truth that is needed, or an image is not finite
        or of another shape than the first, or a label no class (it names the case), or a number is
        negative.
      source.UnreadableCase: if an example cannot be read.
    """
    ids = np.asarray(ids, np.int32)
    checks.positive("labels_per_image", labels_per_image, or_zero=True)
    checks.positive("input_noise", input_noise, or_zero=True)
    checks.positive("chunk", chunk)
    _check(data, ids, needs_truth=include_truth or panel is not None)
    selected = _select(data, panel, raters)
    draw = _drawing(panel, labels_per_image, input_noise)
    purposes = ("noise", "rater_mask", "input_noise")
    keys = {purpose: rng.purpose_key(int(seed), purpose) for purpose in purposes}
    read = ["id", "rater_mask" if panel is None else "truth", *(["image"] if input_noise else [])]
    parts = []
    for count, stacked in _chunks(data, ids, chunk):
        if selected is not None:
            for key in ("labels", "rater_mask"):
                stacked[key] = stacked[key][:, selected]
        drawn = jax.device_get(draw(keys, {key: stacked[key] for key in read}))
        kept = {"labels": stacked.get("labels"), **drawn}
        parts.append({key: value[:count] for key, value in kept.items()})
    whole = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return Annotated(
        data=data,
        ids=ids,
        labels=whole["labels"],
        rater_masks=whole["rater_mask"],
        labelled=whole["labelled"],
        images=whole.get("image"),
        include_truth=include_truth,
    )
