"""What is drawn for an example once and for all: labels of simulated raters, who is kept, noise.

Label noise is frozen: it is drawn once per example, so that a wrong label stays wrong in every
epoch. `resample_labels` is the other experiment, a fresh draw in each epoch. Both draw by the same
function of (seed, example id, epoch), so the batch, the chunk and the device play no part.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Key

from noisyjax.core import checks, rng
from noisyjax.noise import annotators

# (key, truth [*S]) -> labels [R, *S]
Panel = Callable[[Array, Array], Array]

# Of `panel`.
NAMES = tuple(annotators.ANNOTATORS)


def panel(
    names: Sequence[str], *, num_classes: int, spacing: Sequence[float], **options: Any
) -> Panel | None:
    """Returns the panel that is named, or None if nobody is: the source has raters of its own.

    Args:
      names: keys of `noisyjax.noise.annotators.ANNOTATORS`, R of them, in the order of the labels.
      spacing: size of a voxel along each axis in mm, for strengths that are given in mm.
      **options: strengths, see `noisyjax.noise.annotators.panel`.

    >>> panel((), num_classes=2, spacing=(1.0, 1.0)) is None
    True
    """
    if not names:
        return None
    strengths = tuple(dict(options.pop("strengths", None) or {}).items())
    # Strengths may be lists, one of each class.
    options = {n: tuple(one) if isinstance(one, list) else one for n, one in options.items()}
    return _panel(tuple(names), num_classes, tuple(spacing), strengths, **options)


# Kept, so that runs with the same panel in one process share what `_drawing` compiles.
@functools.lru_cache(maxsize=8)
def _panel(
    names: tuple[str, ...],
    num_classes: int,
    spacing: tuple[float, ...],
    strengths: tuple[tuple[str, float | int], ...],
    **options: Any,
) -> Panel:
    sizes = {"num_classes": num_classes, "spacing": spacing}
    return annotators.panel(names, strengths=dict(strengths), **sizes, **options)


def choose_raters(
    key: Array, available: Bool[Array, "R"], *, labels_per_image: int
) -> Bool[Array, "R"]:
    """Keeps a few of the raters who labelled an image, drawn at random; returns bool ``[R]``.

    The key is the example's key of purpose "rater_mask". `labels_per_image` is how many to keep;
    0 keeps all, as does a number beyond those available.
    """
    checks.masks(available=available)
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

    The batch has ``truth``, ``id`` and ``epoch``; epoch -1 gives the frozen labels. Its new
    ``labels`` are uint8, and the rater masks stay.
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
        drawn["available_raters"] = available
        key = rng.example_key(keys["rater_mask"], example_id)
        drawn["rater_mask"] = choose_raters(key, available, labels_per_image=labels_per_image)
        if input_noise:
            key = rng.example_key(keys["input_noise"], example_id)
            noise = jax.random.normal(key, example["image"].shape)
            drawn["image"] = example["image"] + input_noise * noise
        return drawn

    return jax.jit(jax.vmap(one, in_axes=(None, 0)))


def drawing(
    *, panel: Panel | None, seed: int, labels_per_image: int = 0, input_noise: float = 0.0
) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """Returns what draws for a chunk of examples; the options are those of `assemble.label`.

    Returns:
      ``f(chunk) -> drawn``: of stacked examples ``available_raters`` and ``rater_mask`` ``[B, R]``,
      with a panel ``labels`` ``[B, R, *S]`` uint8, with input noise ``image`` ``[B, *S, K]``.
    """
    draw = _drawing(panel, labels_per_image, input_noise)
    purposes = ("noise", "rater_mask", "input_noise")
    keys = {purpose: rng.purpose_key(int(seed), purpose) for purpose in purposes}
    read = ["id", "rater_mask" if panel is None else "truth", *(["image"] if input_noise else [])]
    return lambda chunk: jax.device_get(draw(keys, {name: chunk[name] for name in read}))
