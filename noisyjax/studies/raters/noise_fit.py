"""How far simulated raters are like real ones: Gaussian-field noise fitted to a data set's raters.

One strength and one smoothness are fitted to all images of a data set together. With them raters
are simulated from each image's consensus, as many as it really had, and their mean pairwise Dice is
set beside the real one.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Integer, Key

from noisyjax.core import distance, ignored, rng
from noisyjax.data import source
from noisyjax.metrics import overlap
from noisyjax.noise import gaussian_field


class Fitted(NamedTuple):
    """The noise of a data set, strength a and smoothness b in fractions of the side.

    Attributes:
      real_dice: mean Dice of two raters, mean over the images.
      simulated_dice: that of raters simulated with a and b.
      images: number of images that at least two raters labelled, with something in every label.
    """

    a: float
    b: float
    real_dice: float
    simulated_dice: float
    images: int


def pairwise_dice(labels: Integer[Array, "R *S"] | Bool[Array, "R *S"]) -> Array:
    """Returns the mean Dice of the foreground over all pairs of raters, ``[]``."""
    masks = labels > 0
    first, second = np.triu_indices(len(labels), 1)
    counts = jax.vmap(lambda one, other: overlap.counts(one, other, 2))(masks[first], masks[second])
    return overlap.dice(counts)[:, 1].mean()


def consensus(labels: Integer[Array, "R *S"] | Bool[Array, "R *S"]) -> Bool[Array, "*S"]:
    """Returns the mask whose boundary lies in the mean of the raters' boundaries.

    Where the mean of their signed distances is not negative (shape-based averaging). A majority
    vote would need a rule for ties, and cuts thin parts off.
    """
    masks = labels > 0
    inside, outside = (jax.vmap(distance.distance_transform)(m) for m in (masks, ~masks))
    return (inside - outside).mean(0) >= 0


def fit(key: Key[Array, ""], data: source.Source, ids: Sequence[int]) -> Fitted:
    """Fits Gaussian-field noise to the raters of a data set, and simulates raters by it.

    All classes of the foreground count as one; `ids` are the images to use.

    Raises:
      ValueError: if the source has no raters, or no image has two labels to compare.
    """
    if not data.rater_names:
        raise ValueError(f"{data.name}: has no raters of its own to fit")
    images = list(_labels(data, ids))
    if not images:
        raise ValueError(f"{data.name}: expected images that two raters labelled, got none")
    a, b = gaussian_field.fit([labels for _, labels in images])
    draw = jax.jit(
        lambda keys, label: jax.vmap(lambda k: gaussian_field.deform(k, label, a=a, b=b))(keys)
    )
    real, simulated = [], []
    for i, labels in images:
        keys = rng.rater_keys(rng.example_key(key, i), len(labels))
        real.append(pairwise_dice(labels))
        simulated.append(pairwise_dice(draw(keys, consensus(labels))))
    return Fitted(a, b, float(np.mean(real)), float(np.mean(simulated)), len(images))


def _labels(data: source.Source, ids: Sequence[int]) -> Iterator[tuple[int, Array]]:
    """Yields (id, labels ``[R, *S]`` of 0 and 1) where at least two raters have foreground."""
    for i in ids:
        example = data.examples[int(i)]
        labels = example["labels"][example["rater_mask"]]
        # What one of them ignored is background for all.
        masks = (labels > 0) & ignored.known(labels).all(axis=0)
        given = masks[masks.any(axis=tuple(range(1, masks.ndim)))]
        if len(given) > 1:
            yield int(i), jnp.asarray(given, jnp.uint8)
