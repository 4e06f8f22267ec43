"""What raters are compared with: an estimate of the truth, from a network or from their labels.

A rater who took part in an estimate has influenced it; a network's segmentation of images that it
was not trained on is free of that.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer

from noisyjax import fusion, losses, train
from noisyjax.core import checks, ignored
from noisyjax.data import pipeline, source
from noisyjax.data.labels import assemble, frozen, fuse, labelled
from noisyjax.metrics import confusion

ESTIMATES = ("network", "posterior")
FUSIONS = ("staple", "spatial_staple", "majority", "truth")


class Reference(NamedTuple):
    """An estimate of the truth, and the labels of N images that are compared with it.

    Attributes:
      title: what was looked at, for headings.
      estimate: what the estimated truth is, in words.
      truth: the estimated truth, class ids ``[N, *S]``.
      cms: the raters' estimated matrices, ``[R, L, L]``, or None: as counted.
      persistent: whether each rater is the same person in every image.
    """

    title: str
    estimate: str
    examples: labelled.Labelled
    names: tuple[str, ...]
    truth: Integer[np.ndarray, "N *S"]
    cms: Float[np.ndarray, "R L L"] | None
    persistent: bool

    def take(self, indices: Integer[np.ndarray, "B"]) -> dict[str, np.ndarray]:
        """Returns some images' ``labels``, ``rater_mask`` and estimated ``truth`` ``[B, *S]``."""
        return {**_given(self.examples, indices), "truth": self.truth[indices]}


def from_run(
    workdir: str | os.PathLike,
    *,
    split: str = "test",
    estimate: str = "network",
    checkpoint: str = "latest",
    options: Mapping[str, Any] | None = None,
) -> Reference:
    """Takes the truth from a run's trained network; nothing in the run's folder is changed.

    Args:
      split: "train", "val" or "test".
      estimate: "network", what it predicts from the image, or "posterior", the same together with
        the raters' labels of the image, each weighted by the rater's matrix.
      checkpoint: "latest" or "best".
      options: where the run's data are, if they have been moved.

    Raises:
      FileNotFoundError: if there is no such run or checkpoint.
      ValueError: if the run's method has no confusion matrices, or a name is unknown.
    """
    checks.one_of("estimate", estimate, ESTIMATES)
    run, variables = train.restore(workdir, checkpoint=checkpoint, options=options)
    experiment = run.experiment
    examples = checks.lookup("split", split, experiment.examples)
    shapes = jax.eval_shape(
        experiment.method.predict, variables, source.take(examples, np.arange(1))["image"]
    )
    if shapes.cms is None:
        raise ValueError(f"{workdir}: the method {run.config.method} has no confusion matrices")
    estimate_batch = jax.jit(
        lambda variables, batch: jax.vmap(lambda *one: _estimate(*one, estimate=estimate))(
            experiment.method.predict(variables, batch["image"])[:2], batch
        )
    )
    parts = []
    for batch in pipeline.eval_batches(examples, batch_size=run.config.evaluate.batch_size):
        batch = {name: jnp.asarray(value) for name, value in batch.items()}
        real = np.flatnonzero(batch["weight"])
        parts.append([part[real] for part in jax.device_get(estimate_batch(variables, batch))])
    truth, sums, weights = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    words = {
        "network": "the network's segmentation of the image",
        "posterior": "the network's segmentation and all labels of the image together",
    }
    total = np.maximum(weights.sum(axis=0, dtype=np.float64), np.finfo(np.float32).tiny)
    return Reference(
        title=f"{experiment.data.name}, {split}, {run.config.method}",
        estimate=words[estimate],
        examples=examples,
        names=experiment.rater_names,
        truth=truth,
        cms=(sums.sum(axis=0, dtype=np.float64) / total).astype(np.float32),
        persistent=bool(run.config.data.panel) or experiment.data.persistent_raters,
    )


def _estimate(prediction: Sequence[Array], example: dict[str, Array], *, estimate: str):
    """Returns one image's estimated truth, and what the mean matrices are made from."""
    probs, cms = prediction
    scores = jnp.log(jnp.maximum(probs, jnp.finfo(probs.dtype).tiny))
    if estimate == "posterior":
        safe = jnp.maximum(cms, jnp.finfo(cms.dtype).tiny)
        given = {"labels": example["labels"], "rater_mask": example["rater_mask"]}
        scores += losses.confusion.log_likelihood(safe, **given)
    posterior = jax.nn.softmax(scores)
    mask = example["rater_mask"]
    labelled = ignored.given(example["labels"], mask).any(0) | ~mask.any()
    sums = confusion.cm_sums(cms, probs=posterior, where=labelled)
    return posterior.argmax(axis=-1).astype(jnp.uint8), *sums


def from_source(
    data: source.Source,
    *,
    ids: Sequence[int] | None = None,
    by: str = "staple",
    panel: Sequence[str] = (),
    seed: int = 0,
) -> Reference:
    """Estimates the truth from the labels alone, or takes the known one.

    Args:
      ids: the images to use, by default all.
      by: "staple" (one matrix per rater over all images), "spatial_staple" (each image for itself),
        "majority" (ties go to the lower class), or "truth", the source's own.
      panel: simulated annotators by name, drawn with `seed`; if none, the source's own raters.

    Raises:
      ValueError: if a name is unknown, or raters or a truth are asked for and not there.
    """
    checks.one_of("by", by, FUSIONS)
    names = tuple(panel) or data.rater_names
    if len(set(names)) < len(names):
        names = tuple(f"{name}_{index}" for index, name in enumerate(names))
    build = frozen.panel(panel, num_classes=data.num_classes, spacing=data.spacing)
    ids = np.arange(len(data.examples)) if ids is None else np.asarray(ids)
    examples = assemble.label(data, ids, panel=build, seed=seed, include_truth=by == "truth")
    words = {
        "staple": "STAPLE over all images",
        "spatial_staple": "Spatial STAPLE of each image",
        "majority": "the majority vote",
        "truth": "the known truth",
    }
    truth, cms = _FUSED[by](examples, data.num_classes)
    whose = f"{data.name}, simulated" if panel else data.name
    persistent = bool(panel) or data.persistent_raters
    return Reference(whose, words[by], examples, names, truth, cms, persistent)


def _known(examples: labelled.Labelled, num_classes: int):
    del num_classes
    return source.take(examples, np.arange(len(examples)))["truth"], None


def _majority(examples: labelled.Labelled, num_classes: int):
    def one(case: dict[str, Array]) -> Array:
        return fusion.majority(case["labels"], num_classes, rater_mask=case["rater_mask"])

    return _map_cases(one, examples), None


def _staple(examples: labelled.Labelled, num_classes: int):
    given = _given(examples, np.arange(len(examples)))
    labels, mask = jnp.asarray(given["labels"]), jnp.asarray(given["rater_mask"])
    fused = fusion.pooled_staple(labels, num_classes, rater_mask=mask)
    return ignored.argmax(np.asarray(fused.probs)), np.asarray(fused.cms)


def _spatial_staple(examples: labelled.Labelled, num_classes: int):
    def one(case: dict[str, Array]):
        mask = case["rater_mask"]
        fused = fusion.spatial_staple(case["labels"], num_classes, rater_mask=mask)
        sums, counts = confusion.cm_sums(fused.cms, probs=fused.probs)
        # The matrix of a rater who did not label the image does not count.
        counts = mask[:, None] * counts[None]
        return ignored.argmax(fused.probs), sums * mask[:, None, None], counts

    truth, sums, counts = _map_cases(one, examples)
    counts = np.maximum(counts.sum(axis=0), np.finfo(np.float32).tiny)
    return truth, sums.sum(axis=0) / counts[:, None]


_FUSED: dict[str, Callable[..., Any]] = {
    "staple": _staple,
    "spatial_staple": _spatial_staple,
    "majority": _majority,
    "truth": _known,
}


def _given(examples: labelled.Labelled, indices: np.ndarray) -> dict[str, np.ndarray]:
    batch = examples.take(indices)
    return {name: batch[name] for name in ("labels", "rater_mask")}


def _map_cases(f: Callable[[dict[str, Array]], Any], examples: labelled.Labelled) -> Any:
    return fuse.map_cases(f, lambda indices: _given(examples, indices), len(examples))
