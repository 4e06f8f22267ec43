"""Train a plain network on one target per image, whatever the raters' labels are made into.

Where the classes make up regions (`core.class_regions`) a region's target is the sum of those of
its classes, so that each of these targets is one of regions too.

The baselines of Zhang et al. 2020, Tables 1 and 2 (mean label, majority vote, STAPLE, Spatial
STAPLE), with the truth as target their upper bound, and label sampling: the label of another rater
in each step, whose minimum is that of the mean label, on the way there a noisier one (Jungo et al.
2018 train on raters' labels so to keep their disagreement).
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from noisyjax import fusion
from noisyjax.core import checks, class_regions, ignored, rng
from noisyjax.losses import entropy, overlap
from noisyjax.methods import base, deep_supervision, network


def _truth(example: base.Batch, key: jax.Array, num_classes: int) -> jax.Array:
    del key
    return jax.nn.one_hot(example["truth"], num_classes)


def _mean(example: base.Batch, key: jax.Array, num_classes: int) -> jax.Array:
    del key
    # Of labels that are probabilities.
    if "target" in example:
        return example["target"]
    return fusion.mean(example["labels"], num_classes, rater_mask=example["rater_mask"])


def _majority(example: base.Batch, key: jax.Array, num_classes: int) -> jax.Array:
    labels, mask = example["labels"], example["rater_mask"]
    return jax.nn.one_hot(
        fusion.majority(labels, num_classes, rater_mask=mask, key=key), num_classes
    )


def _given(example: base.Batch, key: jax.Array, num_classes: int) -> jax.Array:
    """The probabilities that the input pipeline fused."""
    del key, num_classes
    return example["target"]


def _sampled(example: base.Batch, key: jax.Array, num_classes: int) -> jax.Array:
    del key
    return fusion.mean(example["labels"], num_classes, rater_mask=example["sampled"])


def _mean_of_counting(losses: jax.Array, target: jax.Array) -> jax.Array:
    return ignored.mean(losses, ignored.counting_targets(target))


def _cross_entropy(logits: jax.Array, target: jax.Array) -> jax.Array:
    return entropy.mean_soft_cross_entropy(logits, target)


def _soft_dice(logits: jax.Array, target: jax.Array) -> jax.Array:
    return overlap.soft_dice(jax.nn.softmax(logits), target)


def _noise_robust_dice(logits: jax.Array, target: jax.Array) -> jax.Array:
    return overlap.noise_robust_dice(jax.nn.softmax(logits), target)


def _both(logits: jax.Array, target: jax.Array) -> jax.Array:
    """The sum of the two, as nnU-Net trains."""
    return _cross_entropy(logits, target) + _soft_dice(logits, target)


def _generalised(logits: jax.Array, target: jax.Array) -> jax.Array:
    return _mean_of_counting(entropy.generalised_cross_entropy(logits, target), target)


# With the weights of the labels that Reed et al. 2014 chose.
def _soft_bootstrap(logits: jax.Array, target: jax.Array) -> jax.Array:
    losses = entropy.bootstrapped_cross_entropy(logits, target, beta=0.95)
    return _mean_of_counting(losses, target)


def _hard_bootstrap(logits: jax.Array, target: jax.Array) -> jax.Array:
    losses = entropy.bootstrapped_cross_entropy(logits, target, beta=0.8, hard=True)
    return _mean_of_counting(losses, target)


TARGETS = {
    "truth": _truth,
    "mean": _mean,
    "majority": _majority,
    "staple": _given,
    "spatial_staple": _given,
    "simple": _given,
    "jaccard_median": _given,
    "sampled": _sampled,
}
LOSSES = {
    "cross_entropy": _cross_entropy,
    "soft_dice": _soft_dice,
    "noise_robust_dice": _noise_robust_dice,
    "cross_entropy_and_soft_dice": _both,
    "generalised_cross_entropy": _generalised,
    "soft_bootstrap": _soft_bootstrap,
    "hard_bootstrap": _hard_bootstrap,
}

Loss = Callable[[jax.Array, jax.Array], jax.Array]

# What a target is made of.
_FIELDS = ("labels", "rater_mask", "truth", "target")


def reader(
    target: str, num_classes: int
) -> Callable[[base.Batch, jax.Array, jax.Array], jax.Array]:
    """Returns what reads a target of `TARGETS`: ``(batch, root key, step) -> [B, *S, L]``.

    It is zeros where a voxel is left out, see `core.ignored`.
    """
    make = functools.partial(checks.lookup("target", target, TARGETS), num_classes=num_classes)

    def read(batch: base.Batch, key: jax.Array, step: jax.Array) -> jax.Array:
        ties = rng.example_keys(rng.purpose_key(key, "ties"), batch["id"])
        fields = {name: batch[name] for name in _FIELDS if name in batch}
        fields["sampled"] = base.sample_rater(key, batch["id"], batch["rater_mask"], step)
        return jax.vmap(make)(fields, ties)

    return read


def of_regions(compare: Loss, regions: class_regions.Regions | None) -> Loss:
    """Makes a loss of `LOSSES` one of the logits of regions ``[*S, G]``; without any it stays.

    The target is still one of the classes, ``[*S, L]``. Each region is two classes, itself and the
    rest, whose softmax is its sigmoid; the loss is their mean.
    """
    if regions is None:
        return compare

    def one(logits: jax.Array, inside: jax.Array, whole: jax.Array) -> jax.Array:
        pair = jnp.stack([jnp.zeros_like(logits), logits], axis=-1)
        return compare(pair, jnp.stack([whole - inside, inside], axis=-1))

    def loss(logits: jax.Array, target: jax.Array) -> jax.Array:
        inside = class_regions.of_classes(target, regions)
        # What is left out has zeros in both.
        each = jax.vmap(one, in_axes=(-1, -1, None))(logits, inside, target.sum(axis=-1))
        return each.mean()

    return loss


def needs(target: str) -> dict[str, Any]:
    """Returns the fields of `base.Method` that say what a target is made of.

    >>> needs("truth")["needs_truth"], needs("staple")["target"], needs("mean")["soft"]
    (True, 'staple', True)
    """
    fused = target if TARGETS[target] is _given else ""
    return {"needs_truth": target == "truth", "target": fused, "soft": target == "mean"}


def build(
    segmenter: Any,
    *,
    num_raters: int,
    num_classes: int,
    target: str,
    loss: str = "cross_entropy",
    regions: class_regions.Regions | None = None,
) -> base.Method:
    """Builds the method.

    Args:
      target: one of `TARGETS`. A tie of the majority vote is decided by the run's `ties` key, per
        image and pixel, the same in every epoch: a rule such as "background wins" would be wrong
        as often as right, and always in the same direction. "staple", "spatial_staple", "simple"
        and "jaccard_median" are fused before training and read from the batch. "sampled" is the
        label of one of the raters who labelled the image, drawn anew in each step.
      loss: one of `LOSSES`; of `regions` it is a mean over them, where the cross-entropy is the
        binary one. Where the network has logits at coarser levels it is the weighted mean of all
        levels (`deep_supervision.loss`).
      regions: what the network predicts, a channel each, in place of the classes.
    """
    del num_raters
    read = reader(target, num_classes)
    compare = of_regions(checks.lookup("loss", loss, LOSSES), regions)
    weighed = functools.partial(deep_supervision.loss, compare)

    def loss_fn(variables, batch, key, step):
        keys = base.dropout_keys(key, batch["id"], step)
        output, state = network.segment(segmenter, variables, batch, keys)
        every = (output.logits, *output.deep)
        losses = jax.vmap(weighed)(every, read(batch, key, step))
        return base.weighted(losses, batch["weight"], {}, state)

    init = functools.partial(network.init_segmenter, segmenter)
    predict = functools.partial(network.predict, segmenter, regions=regions)
    return base.Method(init, loss_fn, predict, regions=regions, **needs(target))
