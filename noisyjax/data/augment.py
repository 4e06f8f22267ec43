"""Random changes of training examples that keep image and labels in step.

Everything that moves voxels moves the image, every rater's labels and the truth alike; intensities
change in the image only. Written for one example of any number of spatial axes.
"""

import functools
import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Num

from noisyjax.core import ignored, rng
from noisyjax.data import change_draws, intensity_changes, spatial_changes

Transform = Callable[[Array, dict[str, Array]], dict[str, Array]]


def _options(function: Callable) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(function).parameters
    return {name: p for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}


_SPATIAL, _INTENSITY = _options(spatial_changes.change), _options(intensity_changes.change)


def augment(
    key: Key[Array, ""],
    image: Float[Array, "*S K"],
    labels: Num[Array, "R *S"],
    *,
    margin: Sequence[int] = (),
    probability: float = 1.0,
    **options: Any,
) -> tuple[Float[Array, "*T K"], Num[Array, "R *T"]]:
    """Changes an image and its label maps at random; with every option at its default, nothing.

    Dtypes stay, and shapes but for the margin.

    Args:
      image: ``[*S, K]`` float32.
      labels: label maps, ``[R, *S]``: the raters', and the truth as one more if it is to follow.
      margin: voxels at each end of an axis that are there only to move in, and are cut off.
      probability: with which an example is changed at all.
      options: of `spatial_changes.change`, and of `intensity_changes.change`, which comes after it.

    Raises:
      ValueError: if an option is unknown or out of range.
    """
    unknown = sorted(set(options) - set(PARAMETERS))
    if unknown:
        raise ValueError(f"augment: expected options among {tuple(PARAMETERS)}, got {unknown}")
    if not 0 <= probability <= 1:
        raise ValueError(f"probability: expected a number in [0, 1], got {probability}")
    spatial = {name: options[name] for name in _SPATIAL if name in options}
    intensity = {name: options[name] for name in _INTENSITY if name in options}

    def changed(image, labels):
        image, labels = spatial_changes.change(key, image, labels, margin=margin, **spatial)
        return intensity_changes.change(key, image, **intensity), labels

    if probability == 1:
        return changed(image, labels)
    chosen = jax.random.bernoulli(change_draws.streams(key)["chosen"], probability)
    # Without any option this is nothing but the cut.
    kept = functools.partial(spatial_changes.change, key, margin=margin)
    return jax.lax.cond(chosen, changed, kept, image, labels)


# Every option with its default.
PARAMETERS = {"probability": _options(augment)["probability"], **_SPATIAL, **_INTENSITY}
# Those that change something; the others say how.
_CHANGES = tuple(
    name
    for name in PARAMETERS
    if name not in ("margin", "spacing", "image_fill") and not name.endswith("probability")
)


def build(options: Mapping[str, Any]) -> Transform | None:
    """Returns the augmentation of one example that a config describes, by options of `augment`.

    ``f(key, example) -> example`` changes ``image``, ``labels`` and, where present, ``truth`` and
    ``target``, and cuts their margin off; None if no option that changes anything is on.

    Raises:
      ValueError: if an option is unknown.
    """
    unknown = sorted(set(options) - set(PARAMETERS))
    if unknown:
        raise ValueError(f"augment: expected options among {tuple(PARAMETERS)}, got {unknown}")
    changes = {name: options.get(name) for name in _CHANGES}
    changes["shift"] = spatial_changes.largest(options.get("shift", 0.0))
    if not any(changes.values()):
        return None
    settings = {k: tuple(v) if isinstance(v, Sequence) else v for k, v in options.items()}

    def transform(key, example):
        maps = _to_maps(example)
        stacked = jnp.concatenate(list(maps.values()))
        image, stacked = augment(key, example["image"], stacked, **settings)
        ends = itertools.accumulate(len(part) for part in maps.values())
        moved = dict(zip(maps, jnp.split(stacked, list(ends)[:-1]), strict=True))
        return {**example, "image": image, **_from_maps(moved, example)}

    return transform


def _to_maps(example: dict[str, Array]) -> dict[str, Array]:
    """Returns everything that moves with the labels as maps ``[M, *S]`` of one dtype.

    Of a fused target the probabilities of the foreground: what comes in from outside has none, and
    what is left out has -1.
    """
    maps = {"labels": example["labels"]}
    if "truth" in example:
        maps["truth"] = example["truth"][None].astype(maps["labels"].dtype)
    if "target" in example:
        maps = {name: array.astype(jnp.float32) for name, array in maps.items()}
        target = example["target"]
        known = ignored.counting_targets(target)[..., None]
        maps["target"] = jnp.moveaxis(jnp.where(known, target[..., 1:], -1.0), -1, 0)
    return maps


def _from_maps(maps: dict[str, Array], example: dict[str, Array]) -> dict[str, Array]:
    fields = {"labels": maps["labels"].astype(example["labels"].dtype)}
    if "truth" in maps:
        fields["truth"] = maps["truth"][0].astype(example["truth"].dtype)
    if "target" in maps:
        foreground = maps["target"]
        target = jnp.concatenate([1 - foreground.sum(axis=0, keepdims=True), foreground])
        target = jnp.where(foreground[:1] < 0, 0.0, target)
        fields["target"] = jnp.moveaxis(target, 0, -1)
    return fields


def augment_batch(
    batch: dict[str, Array], *, transform: Transform, seed: rng.Index | Key[Array, ""]
) -> dict[str, Array]:
    """Augments a batch, for use inside the jitted step; each example is changed anew each epoch.

    The batch has ``image``, ``labels``, ``id``, ``epoch`` and possibly ``truth``, ``target``. What
    an example becomes depends on (seed, id, epoch) alone, and on the number of the patch where it
    has a ``draw``, which is left out of what is returned.
    """
    names = [name for name in ("image", "labels", "truth", "target") if name in batch]
    rest = {name: array for name, array in batch.items() if name != "draw"}
    epochs = jnp.broadcast_to(batch["epoch"], batch["id"].shape) + 1
    key = rng.purpose_key(seed, "augment")

    def one(arguments):
        example_id, epoch, draw, example = arguments
        own = rng.example_key(key, example_id, epoch=epoch)
        return transform(own if draw is None else jax.random.fold_in(own, draw), example)

    # One after the other, what is not chosen costs nothing; side by side it is computed as well.
    changed = jax.lax.platform_dependent(
        (batch["id"], epochs, batch.get("draw"), {name: batch[name] for name in names}),
        cpu=functools.partial(jax.lax.map, one),
        default=jax.vmap(one),
    )
    return {**rest, **changed}
