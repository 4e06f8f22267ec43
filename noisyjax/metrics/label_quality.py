"""Which labels to doubt, from predictions of networks that have not seen them.

The predictions must be out of fold: networks of a cross-validation by patient, each asked about the
images that it was not trained on. The quality of a pixel's label is the probability that it was
given, ``p[label]``. Several raters by `vmap` over their labels.

References:
  Lad and Mueller, Estimating label quality and errors in semantic segmentation data via any model,
  2023. Northcutt et al., Confident learning: estimating uncertainty in dataset labels, JAIR 2021.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from noisyjax.core import checks

# Means of a constant round to either side of it.
_SLACK = 1e-6


def softmin(
    quality: Float[Array, "*S"],
    *,
    temperature: float | int = 0.1,
    where: Bool[Array, "*S"] | None = None,
) -> Float[Array, ""]:
    """Returns the soft minimum of an image, ``sum(q w) / sum(w)`` with ``w = exp(-q / T)``, ``[]``.

    Of a large image it is the least of millions of numbers: state T. NaN if no pixel counts.

    Args:
      quality: q, of the pixels, ``[*S]``.
      temperature: T; towards 0 the result is the minimum, towards infinity the mean.
      where: the pixels that count, ``[*S]``.

    >>> round(float(softmin(jnp.array([0.9, 0.1]), temperature=0.5)), 4)
    0.2344
    """
    checks.positive("temperature", temperature)
    checks.masks(where=where)
    quality = quality.astype(jnp.promote_types(quality.dtype, jnp.float32))
    if where is None:
        where = jnp.ones(quality.shape, bool)
    checks.shape("where", where, quality.shape, like="quality")
    least = jnp.min(quality, where=where, initial=jnp.inf)
    above = jnp.where(where, quality - least, 0.0)
    weights = jnp.where(where, jnp.exp(-above / temperature), 0.0)
    return least + jnp.sum(above * weights) / jnp.sum(weights)


def confident_thresholds(
    probs: Float[Array, "*S L"], labels: Integer[Array, "*S"]
) -> Float[Array, "L"]:
    """Returns how sure predictions are of each class where it is the label, ``[L]``.

    Threshold l is the mean of ``p[l]`` over the pixels with label l, of all images together; NaN
    for a class without any.

    Args:
      probs: ``[*S, L]``, or ``[n, L]`` for the pixels of many images.
      labels: class ids, ``[*S]``; an id that is no class (255) does not count.

    >>> probs = jnp.array([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5]])
    >>> confident_thresholds(probs, jnp.array([0, 0, 1]))
    Array([0.5, 0.5], dtype=float32)
    """
    probs, labels = _rows(probs, labels)

    def mean(p: Array, name: Array) -> Array:
        given = labels == name
        number = jnp.sum(given, dtype=jnp.int32)
        total = jnp.sum(jnp.where(given, p, 0.0))
        return jnp.where(number > 0, total / jnp.maximum(number, 1).astype(p.dtype), jnp.nan)

    classes = jnp.arange(probs.shape[-1], dtype=jnp.int32)
    return jax.vmap(mean, in_axes=(-1, 0))(probs, classes)


def confident_issues(
    probs: Float[Array, "*S L"], labels: Integer[Array, "*S"]
) -> Bool[Array, "*S"]:
    """Returns which labels are probably wrong, by confident learning, ``[*S]``.

    As many pixels of the lowest quality are flagged as there are pixels where another class than
    the label is the most probable, and reaches its threshold of `confident_thresholds`; those whose
    label is the most probable class are taken out again. The arguments are the same: all images at
    once, for the number is that of all of them.

    >>> probs = jnp.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.4, 0.6]])
    >>> confident_issues(probs, jnp.array([0, 0, 0, 1]))
    Array([False, False,  True, False], dtype=bool)
    """
    shape = labels.shape
    thresholds = confident_thresholds(probs, labels)
    probs, labels = _rows(probs, labels)
    known = (labels >= 0) & (labels < probs.shape[-1])
    best = jnp.argmax(probs, axis=-1).astype(jnp.int32)
    other = known & (best != labels)
    # No pixel is sure of a class that is nowhere the label: comparisons with NaN are False.
    sure = jnp.max(probs, axis=-1) >= thresholds[best] - _SLACK
    number = jnp.sum(other & sure, dtype=jnp.int32)
    given = jnp.take_along_axis(probs, jnp.where(known, labels, 0)[:, None], axis=-1)[:, 0]
    order = jnp.argsort(jnp.where(known, given, jnp.inf))
    lowest = jnp.arange(labels.size, dtype=jnp.int32) < number
    flagged = jnp.zeros(labels.size, bool).at[order].set(lowest)
    return (flagged & other).reshape(shape)


def _rows(probs: Array, labels: Array) -> tuple[Float[Array, "n L"], Integer[Array, "n"]]:
    """Returns the pixels in one row, the labels as int32."""
    checks.ids("labels", labels)
    checks.shape("labels", labels, probs.shape[:-1], like="probs")
    probs = probs.astype(jnp.promote_types(probs.dtype, jnp.float32))
    return probs.reshape(-1, probs.shape[-1]), labels.reshape(-1).astype(jnp.int32)
