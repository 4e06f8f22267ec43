"""Prediction of an image together with its mirror images, as a wrapper around a method."""

import dataclasses
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from noisyjax.core import class_regions
from noisyjax.methods import base

# Axes before the spatial ones, of what can be averaged over mirror images.
_LEADING = {"probs": 1, "region_probs": 1, "cms": 2, "rater_probs": 2}


def wrap(method: base.Method, *, axes: Sequence[int]) -> base.Method:
    """Returns a method that predicts the mean over all mirror images, and learns as before.

    Along n axes there are 2^n of them, each predicted, mirrored back and added up one after the
    other by one compiled network. Draws of segmentations are left out, for those of two mirror
    images do not belong together.

    Args:
      axes: spatial ones, from 0; along them mirroring must exchange no classes.

    Raises:
      ValueError: if an axis comes twice or is negative, and if an image has fewer, when it is
        predicted.
    """
    axes = tuple(axes)
    if len(set(axes)) != len(axes) or any(axis < 0 for axis in axes):
        raise ValueError(f"axes: expected different spatial axes from 0 on, got {axes}")
    if not axes:
        return method
    # Which of the axes each image is mirrored along.
    flips = np.array([*itertools.product((False, True), repeat=len(axes))])

    def averaged(variables: base.Variables, image: Array, flip: Array) -> dict[str, Array]:
        found = method.predict(variables, _mirror(image, flip, axes, 1))._asdict()
        return {
            name: _mirror(found[name], flip, axes, leading)
            for name, leading in _LEADING.items()
            if found[name] is not None
        }

    def predict(variables: base.Variables, image: Array) -> base.Prediction:
        if max(axes) >= image.ndim - 2:
            raise ValueError(
                f"axes: expected spatial axes of an image of the shape {list(image.shape[1:-1])}, "
                f"got {axes}"
            )
        shapes = jax.eval_shape(averaged, variables, image, flips[0])
        zeros = {name: jnp.zeros(one.shape, one.dtype) for name, one in shapes.items()}

        def add(sums: dict[str, Array], flip: Array) -> tuple[dict[str, Array], None]:
            return jax.tree.map(jnp.add, sums, averaged(variables, image, flip)), None

        sums, _ = jax.lax.scan(add, zeros, flips)
        found = {name: total / len(flips) for name, total in sums.items()}
        if method.regions is not None:
            found["probs"] = class_regions.class_probs(found["region_probs"], method.regions)
        return base.Prediction(**found)

    return dataclasses.replace(method, predict=predict)


def _mirror(array: Array, flip: Array, axes: Sequence[int], leading: int) -> Array:
    """Mirrors an array along those axes that are chosen; one of size 1 stays as it is."""
    for number, axis in enumerate(axes):
        array = jnp.where(flip[number], jnp.flip(array, axis + leading), array)
    return array
