"""How the parts of a method's network are made and run."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from noisyjax.core import class_regions
from noisyjax.methods import base
from noisyjax.models import segmentation

_STATE = "batch_stats"


def init(name: str, module: Any, key: jax.Array, *arguments) -> dict[str, dict]:
    """Initialises one named module, ``{collection: {name: tree}}``."""
    return {kind: {name: tree} for kind, tree in module.init(key, *arguments).items()}


def init_segmenter(segmenter: Any, key: jax.Array, batch: base.Batch) -> dict[str, dict]:
    """Initialises a segmenter, as `base.Method.init` does where there is nothing else."""
    return init("segmenter", segmenter, key, batch["image"])


def init_heads(
    modules: Mapping[str, Any], key: jax.Array, inputs: Mapping[str, tuple]
) -> dict[str, dict]:
    """Initialises the modules that `inputs` names, with the key that the segmenter had."""
    keys = jax.random.split(jax.random.fold_in(key, 1), len(inputs))
    named = zip(inputs, keys, strict=True)
    return merge(*(init(name, modules[name], own, *inputs[name]) for name, own in named))


def merge(*parts: Mapping[str, Mapping]) -> dict[str, dict]:
    """Joins the variables of several modules."""
    kinds = {kind: None for part in parts for kind in part}
    return {
        kind: {name: tree for part in parts for name, tree in part.get(kind, {}).items()}
        for kind in kinds
    }


def run(name: str, module: Any, variables: Mapping[str, Any], *arguments, **options) -> tuple:
    """Runs one named module: its output, and new statistics as ``{collection: {name: tree}}``."""
    own = {kind: tree[name] for kind, tree in variables.items() if name in tree}
    output, changed = module.apply(own, *arguments, mutable=[_STATE], **options)
    return output, {_STATE: {name: changed[_STATE]}} if _STATE in changed else {}


def segment(
    segmenter: Any,
    variables: Mapping[str, Any],
    batch: base.Batch,
    keys: Key[Array, "B"],
    *,
    name: str = "segmenter",
) -> tuple[segmentation.Segmentation, dict[str, dict]]:
    """Runs a segmenter on ``batch["image"]`` in training; returns its output and what `run` does.

    Examples of ``weight`` 0 stay out of the batch statistics; `keys` are those of
    `base.dropout_keys`.
    """
    options = {"train": True, "keys": keys, "weight": batch["weight"]}
    return run(name, segmenter, variables, batch["image"], **options)


def evaluate(
    segmenter: Any,
    variables: Mapping[str, Any],
    image: Float[Array, "B *S K"],
    *,
    name: str = "segmenter",
) -> segmentation.Segmentation:
    """Runs a segmenter in evaluation mode; the counterpart of `segment`."""
    return run(name, segmenter, variables, image, train=False)[0]


def predict(
    segmenter: Any,
    variables: Mapping[str, Any],
    image: Float[Array, "B *S K"],
    *,
    name: str = "segmenter",
    regions: class_regions.Regions | None = None,
) -> base.Prediction:
    """Predicts the segmenter's probabilities and nothing else, as `base.Method.predict`."""
    return prediction(evaluate(segmenter, variables, image, name=name).logits, regions)


def prediction(
    logits: Float[Array, "B *S C"], regions: class_regions.Regions | None
) -> base.Prediction:
    """Returns the prediction of logits: of the classes, or of regions, each of which is a sigmoid.

    >>> regions = class_regions.Regions(("whole", "core"), ((1, 2), (2,)), (1, 2))
    >>> probs = prediction(jnp.array([[2.0, -1.0], [-1.0, -2.0]]), regions).probs
    >>> probs.argmax(-1), probs.sum(-1).round(6)
    (Array([1, 0], dtype=int32), Array([1., 1.], dtype=float32))
    """
    if regions is None:
        return base.Prediction(jax.nn.softmax(logits))
    of_regions = jax.nn.sigmoid(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)))
    probs = class_regions.class_probs(of_regions, regions)
    return base.Prediction(probs, region_probs=of_regions)


def axis_name(segmenter: Any) -> str | None:
    """The mapped axis of the devices that a segmenter was built for, or None."""
    return getattr(segmenter, "axis_name", None)
