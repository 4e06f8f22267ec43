"""Distances between the labels a model would draw and those the raters gave."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer

from noisyjax.core import checks

_DISTANCES = ("iou", "dice")


def _similarities(
    maps: Integer[Array, "M *S"], classes: Integer[Array, "C"], distance: str
) -> Float[Array, "M M"]:
    """Returns IoU or Dice of all pairs of label maps, averaged over classes; both empty: 1."""
    checks.one_of("distance", distance, _DISTANCES)
    flat = maps.reshape(maps.shape[0], -1).astype(jnp.int32)

    def one_class(index: Integer[Array, ""]) -> Float[Array, "M M"]:
        masks = (flat == index).astype(jnp.float32)
        both = masks @ masks.T
        volume = jnp.diagonal(both)
        total = volume[:, None] + volume[None, :]
        above, below = (2.0 * both, total) if distance == "dice" else (both, total - both)
        return jnp.where(below > 0, above / jnp.where(below > 0, below, 1.0), 1.0)

    # One class at a time: the masks of all classes of a volume would not fit beside the network.
    return jnp.mean(jax.lax.map(one_class, classes), axis=0)


def _check(samples: Array, labels: Array, num_classes: int) -> None:
    checks.ids("samples", samples)
    checks.ids("labels", labels)
    checks.shape("samples", samples, (None, *labels.shape[1:]), like="labels")
    checks.at_least("num_classes", num_classes, 2)


def ged_squared(
    samples: Integer[Array, "N *S"],
    labels: Integer[Array, "R *S"],
    *,
    distance: str = "iou",
    num_classes: int = 2,
    include_background: bool = False,
    rater_mask: Bool[Array, "R"] | None = None,
) -> Float[Array, ""]:
    r"""Returns the squared generalised energy distance of samples to labels, in ``[0, 2]``.

    .. math:: 2 E[d(S, Y)] - E[d(S, S')] - E[d(Y, Y')]

    The expectations run over all ordered pairs, a map paired with itself included. The distance is
    ``1 - IoU`` or ``1 - Dice``, averaged over classes; two empty masks have distance 0. It is NaN
    if nobody labelled the image.

    Args:
      samples: class ids drawn from the model, ``[N, *S]``.
      labels: raters' class ids, ``[R, *S]``.
      distance: "iou" or "dice".
      include_background: whether class 0 is part of the mean over classes.
      rater_mask: who labelled this image, ``[R]``; the others are left out.

    References:
      Kohl et al., A Probabilistic U-Net, NeurIPS 2018 (Eq. 4).

    >>> samples, labels = jnp.array([[1, 1, 0]]), jnp.array([[1, 0, 0]])
    >>> float(ged_squared(samples, labels))
    1.0
    """
    _check(samples, labels, num_classes)
    if rater_mask is not None:
        checks.shape("rater_mask", rater_mask, labels.shape[:1], like="labels")
    maps = jnp.concatenate([samples.astype(jnp.int32), labels.astype(jnp.int32)])
    classes = jnp.arange(0 if include_background else 1, num_classes)
    distances = 1.0 - _similarities(maps, classes, distance)
    present = jnp.ones(labels.shape[0], bool) if rater_mask is None else rater_mask
    raters = jnp.sum(present, dtype=jnp.float32)
    # With weights that sum to 1 on the samples and to -1 on the labels, the three terms are one.
    count = samples.shape[0]
    weights = jnp.concatenate(
        [jnp.full(count, 1.0 / count), jnp.where(present, -1.0 / raters, 0.0)]
    )
    # A sum of products and no matrix product, whose precision is lower on some accelerators. Both
    # similarities are positive definite kernels, so only rounding can fall below 0.
    squared = -jnp.sum(weights[:, None] * distances * weights[None, :])
    return jnp.where(raters > 0, jnp.maximum(squared, 0.0), jnp.nan)


def agreement(
    labels: Integer[Array, "R *S"], *, rater_mask: Bool[Array, "R"] | None = None
) -> Float[Array, ""]:
    """Returns the mean IoU of the foreground over all pairs of different raters.

    All classes of the foreground count as one, and two empty masks agree. Raters who did not label
    the image (``rater_mask [R]``) are left out; NaN with fewer than two.

    >>> float(agreement(jnp.array([[1, 1, 0], [1, 0, 0]])))
    0.5
    """
    foreground = (labels > 0).astype(jnp.int32)
    similar = _similarities(foreground, jnp.arange(1, 2), "iou")
    present = jnp.ones(len(labels), bool) if rater_mask is None else rater_mask
    pairs = present[:, None] & present[None, :] & ~jnp.eye(len(labels), dtype=bool)
    return jnp.mean(similar, where=pairs)


def rater_samples(rater_probs: Float[Array, "R *S L"]) -> Int[Array, "R *S"]:
    """Returns the label map each modelled rater would most likely give, int32 ``[R, *S]``.

    The maps of ``rater_probs [R, *S, L]`` are the samples of a model with confusion matrices:
    compare them with the raters' labels by `ged_squared`. The first class wins a tie.
    """
    return jnp.argmax(rater_probs, axis=-1).astype(jnp.int32)
