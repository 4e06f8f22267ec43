"""Voxels that are left out: nnU-Net's class "ignore" in arrays.

They count in no loss, fusion, metric or statistic. Among class ids they are `IGNORE`: in a rater's
label left out for that rater, in the truth left out of what is judged by it. Among probabilities
and soft targets ``[*S, L]`` they are zeros.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from noisyjax.core import checks

# Labels are uint8: of classes there are 255 at most.
IGNORE = 255


def known(ids: Shaped[Array | np.ndarray, "..."]) -> Bool[Array | np.ndarray, "..."]:
    """Returns where class ids say something, of NumPy as well; a mask (bool) does everywhere.

    >>> known(jnp.array([0, 255, 1])).tolist()
    [True, False, True]
    """
    return ids != IGNORE


def counting(
    ids: Shaped[Array | np.ndarray, "..."], where: Bool[Array | np.ndarray, "..."] | None = None
) -> Bool[Array | np.ndarray, "..."]:
    """Returns which voxels count: those of `where`, where the ids say something."""
    checks.masks(where=where)
    return known(ids) if where is None else known(ids) & where


def counting_targets(
    targets: Float[Array | np.ndarray, "*S L"], where: Bool[Array | np.ndarray, "*S"] | None = None
) -> Bool[Array | np.ndarray, "*S"]:
    """Returns which voxels count, ``[*S]``: those of `where` with a target that is not all zeros.

    With a single channel zeros are the background.

    >>> counting_targets(jnp.array([[0.5, 0.5], [0.0, 0.0]])).tolist()
    [True, False]
    """
    checks.masks(where=where)
    if targets.shape[-1] == 1:
        return jnp.ones(targets.shape[:-1], bool) if where is None else where
    given = jnp.any(targets != 0, axis=-1)
    return given if where is None else given & where


def argmax(probs: Float[Array | np.ndarray, "*S L"]) -> Int[Array | np.ndarray, "*S"]:
    """Returns the most probable class, `IGNORE` where all probabilities are zeros, int32.

    >>> argmax(jnp.array([[0.25, 0.75], [0.0, 0.0]])).tolist()
    [1, 255]
    """
    host = np if isinstance(probs, np.ndarray) else jnp
    ids = host.where((probs != 0).any(axis=-1), probs.argmax(axis=-1), IGNORE)
    return ids.astype(np.int32)


def given(
    labels: Shaped[Array | np.ndarray, "R *S"], rater_mask: Bool[Array | np.ndarray, "R"]
) -> Bool[Array | np.ndarray, "R *S"]:
    """Returns where each rater gave a label: who labelled the image, and where they did."""
    checks.masks(rater_mask=rater_mask)
    return known(labels) & rater_mask.reshape(-1, *(1,) * (labels.ndim - 1))


def scale(
    where: Bool[Array, "..."], axis: int | tuple[int, ...] | None = None
) -> Float[Array, "..."]:
    """Returns what makes a mean over all voxels one over those that count; 0 if none does.

    It is exactly 1 if all count, where a quotient of sums would be rounded another way than a mean.

    >>> scale(jnp.array([True, False])), scale(jnp.array([False, False]))
    (Array(2., dtype=float32), Array(0., dtype=float32))
    """
    checks.masks(where=where)
    count = jnp.sum(where, axis=axis, dtype=jnp.int32)
    size = where.size // max(count.size, 1)
    return jnp.where(count > 0, size / jnp.maximum(count, 1), 0.0).astype(jnp.float32)


def mean(
    values: Float[Array, "..."],
    where: Bool[Array, "..."],
    axis: int | tuple[int, ...] | None = None,
) -> Float[Array, "..."]:
    """Returns the mean of the values that count; 0, and no gradient, if none does.

    What does not count may be anything.

    >>> mean(jnp.array([1.0, jnp.nan, 3.0]), jnp.array([True, False, True]))
    Array(2., dtype=float32)
    """
    kept = jnp.mean(jnp.where(where, values, 0.0), axis=axis)
    return kept * scale(where, axis).astype(kept.dtype)
