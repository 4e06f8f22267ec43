"""Estimate the truth and each rater's reliability in turn (Self-Calib, Wu et al. 2022).

Learning self-calibrated optic disc and cup segmentation from multi-rater annotations, MICCAI 2022.

The paper's: a converging network segments the image, given maps of how much each rater is to be
trusted where, at first equally; a diverging one makes of its estimate each rater's label and the
next maps; the raters' labels weighted by them are the calibrated label, from which the converging
network learns; that recurs three times, and the maps carry no gradient from one time to the next;
the loss is structural similarity and 0.3 times the cross-entropy.

Ours: the segmenter converges, and what diverges is two small heads on its last features and its
estimate, so that a recurrence costs one segmenter and not two; the weights learn to bring the
calibrated label near the converging network's estimate, from which no gradient flows back, as
weights of a mixture would be fitted; all recurrences count alike in the loss; background is a class
like others in the cross-entropy, and is left out of the similarity.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from noisyjax.core import checks, ignored
from noisyjax.losses import ssim
from noisyjax.methods import base, network
from noisyjax.models import multi_rater

# Least probability of a class in a calibrated label that is compared with an estimate: a class that
# no rater chose would otherwise cost without bound.
_FLOOR = 1e-3


class _Turn(NamedTuple):
    """What one recurrence predicts: logits ``[B, *S, L]`` and ``[B, R, *S, L]``, ``[B, R, *S]``."""

    estimate: Array
    raters: Array
    scores: Array


def build(
    segmenter: Any,
    *,
    num_raters: int,
    num_classes: int,
    recurrences: int = 3,
    cross_entropy_weight: float | int = 0.3,
    window: int = 11,
    norm: str = "instance",
) -> base.Method:
    """Builds the method: the last estimate is the truth, raters are given by the diverging head.

    The segmenter sees the image and, for each rater and foreground class, the map that the last
    recurrence made of the rater, times the rater's weight; in the first one 1/R everywhere. A
    training step is `recurrences` passes of it forward and backward, a prediction as many forward.
    The published training is Adam with learning rate 1e-4 on batches of 16 images.

    Args:
      num_raters: R. At prediction all count; in training those who labelled an image make its
        calibrated label.
      recurrences: how often the estimate and the weights are made in turn.
      cross_entropy_weight: weight of the cross-entropy beside the structural similarity; the
        paper's is 0.3.
      window: side of the window of the similarity in voxels, odd.
      norm: normalisation of the heads, "instance", "group" or "none".
    """
    checks.positive("recurrences", recurrences)
    checks.positive("cross_entropy_weight", cross_entropy_weight, or_zero=True)
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window: expected an odd number > 0, got {window}")
    modules = {
        "segmenter": segmenter,
        "raters": multi_rater.RaterHead(num_raters, num_classes, norm=norm),
        "weights": multi_rater.WeightHead(num_raters, norm=norm),
    }
    recur = functools.partial(_recur, modules, recurrences)
    distance = functools.partial(_distance, window=window, weight=cross_entropy_weight)

    def init(key: jax.Array, batch: base.Batch) -> base.Variables:
        maps = _first_maps(batch["image"], num_raters, num_classes)
        inputs = {"image": jnp.concatenate([batch["image"], maps], -1)}
        variables = network.init_segmenter(segmenter, key, inputs)
        output = network.evaluate(segmenter, variables, inputs["image"])
        maps = (output.features, output.logits)
        heads = network.init_heads(modules, key, {"raters": (maps,), "weights": (maps,)})
        return network.merge(variables, heads)

    def loss_fn(variables, batch, key, step):
        present = batch["rater_mask"]
        labels = jax.nn.one_hot(batch["labels"].astype(jnp.int32), num_classes)
        keys = base.dropout_keys(key, batch["id"], step)
        options = {"train": True, "weight": batch["weight"]}
        turns, state = recur(variables, batch["image"], keys=keys, **options)
        loss_of_turn = jax.vmap(functools.partial(_loss_of_turn, distance))
        losses = [loss_of_turn(turn, labels, present) for turn in turns]
        converging, diverging, weighing = (
            sum(parts) / recurrences for parts in zip(*losses, strict=True)
        )
        # An image without any label teaches nothing.
        total = (converging + diverging + weighing) * present.any(1)
        metrics = {"converging": converging, "diverging": diverging, "weighing": weighing}
        return base.weighted(total, batch["weight"], metrics, state)

    def predict(variables: base.Variables, image: jax.Array) -> base.Prediction:
        *_, last = recur(variables, image)[0]
        return base.Prediction(
            jax.nn.softmax(last.estimate), rater_probs=jax.nn.softmax(last.raters)
        )

    return base.Method(init, loss_fn, predict)


def _distance(
    log_probs: Array,
    targets: Array,
    where: Array | None = None,
    *,
    window: int,
    weight: float | int,
) -> Array:
    """Similarity and cross-entropy of one pair of maps ``[*S, L]``, of the voxels that count."""
    where = ignored.counting_targets(targets, where)
    similarity = ssim.ssim_loss(jnp.exp(log_probs), targets, window=window, where=where)
    return similarity - weight * ignored.mean((targets * log_probs).sum(-1), where)


def _loss_of_turn(
    distance: Callable[..., Array], turn: _Turn, labels: Array, present: Array
) -> tuple[Array, Array, Array]:
    """Losses of one example's estimate, raters and weights."""
    estimate = jax.nn.log_softmax(turn.estimate)
    calibrated = calibrated_label(turn.scores, labels, present)
    converging = distance(estimate, jax.lax.stop_gradient(calibrated))
    each = jax.vmap(distance)(jax.nn.log_softmax(turn.raters), labels)
    diverging = (each * present).sum() / jnp.maximum(present.sum(), 1)
    fused = jnp.log(jnp.maximum(calibrated, _FLOOR))
    counting = ignored.counting_targets(calibrated)
    weighing = distance(fused, jax.lax.stop_gradient(jnp.exp(estimate)), counting)
    return converging, diverging, weighing


def _recur(
    modules: dict[str, Any],
    recurrences: int,
    variables: base.Variables,
    image: Array,
    *,
    keys: Array | None = None,
    **options: Any,
) -> tuple[list[_Turn], dict]:
    """The turns, and the updated statistics; options are the segmenter's."""
    num_raters, num_classes = modules["raters"].num_raters, modules["raters"].num_classes
    maps, turns, state = _first_maps(image, num_raters, num_classes), [], {}
    for number in range(recurrences):
        own = None if keys is None else jax.vmap(jax.random.fold_in, (0, None))(keys, number)
        output, state = network.run(
            "segmenter",
            modules["segmenter"],
            {**variables, **state},
            jnp.concatenate([image, maps], -1),
            keys=own,
            **options,
        )
        inputs = (output.features, jax.nn.softmax(output.logits))
        raters, _ = network.run("raters", modules["raters"], variables, inputs)
        scores, _ = network.run("weights", modules["weights"], variables, inputs)
        turns.append(_Turn(output.logits, raters, scores))
        maps = jax.lax.stop_gradient(_next_maps(raters, scores))
    return turns, state


def _first_maps(image: Array, num_raters: int, num_classes: int) -> Array:
    return jnp.full((*image.shape[:-1], num_raters * (num_classes - 1)), 1 / num_raters)


def _next_maps(raters: Array, scores: Array) -> Array:
    """The raters' foreground by their weights, one channel of ``[B, *S, R C]`` each."""
    maps = jax.nn.softmax(raters)[..., 1:] * jax.nn.softmax(scores, axis=1)[..., None]
    maps = jnp.moveaxis(maps, 1, -2)
    return maps.reshape(*maps.shape[:-2], -1)


def calibrated_label(
    scores: Float[Array, "R *S"], labels: Float[Array, "R *S L"], rater_mask: Bool[Array, "R"]
) -> Float[Array, "*S L"]:
    """Returns the mean of the labels of the raters in the mask, weighted by ``exp(scores)``.

    A rater whose label is zeros has none there; zeros where nobody has any.

    >>> labels = jnp.array([[[0.0, 1.0]], [[1.0, 0.0]], [[1.0, 0.0]]])
    >>> scores = jnp.log(jnp.array([[3.0], [1.0], [5.0]]))
    >>> calibrated_label(scores, labels, jnp.array([True, True, False])).round(4)
    Array([[0.25, 0.75]], dtype=float32)
    """
    checks.masks(rater_mask=rater_mask)
    known = rater_mask.reshape(-1, *(1,) * (scores.ndim - 1)) & ignored.counting_targets(labels)
    # A finite number, for a voxel without any rater.
    weights = jnp.where(known, jax.nn.softmax(jnp.where(known, scores, -1e9), axis=0), 0.0)
    return (weights[..., None] * labels).sum(0)
