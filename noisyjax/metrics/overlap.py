"""Overlap metrics from counts of voxels, one class against the rest.

Counts come first and can be added over patches or cases before the quotient is taken::

    counts = overlap.counts(pred, truth, num_classes)
    scores = overlap.dice(counts)                                   # [L]
    pooled = overlap.dice(jax.tree.map(jnp.add, counts, others))    # + would join the tuples

A quotient 0/0 is undefined, and the switch `empty` says what becomes of it: "one", "nan" or "zero".
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from noisyjax.core import checks

_EMPTY = {"one": 1.0, "nan": float("nan"), "zero": 0.0}


class Counts(NamedTuple):
    """Numbers of voxels per class, ``[..., L]`` int32 each.

    Attributes:
      tp: the class in both.
      fp: the class in the prediction only.
      fn: the class in the truth only.
      tn: the class in neither.
    """

    tp: Integer[Array, "*B L"]
    fp: Integer[Array, "*B L"]
    fn: Integer[Array, "*B L"]
    tn: Integer[Array, "*B L"]


def counts(
    pred: Integer[Array, "*S"] | Bool[Array, "*S"],
    truth: Integer[Array, "*S"] | Bool[Array, "*S"],
    num_classes: int,
    *,
    where: Bool[Array, "*S"] | None = None,
) -> Counts:
    """Counts, for each class, the voxels where prediction and truth agree and differ.

    Args:
      pred: class ids or a binary mask, ``[*S]``.
      truth: class ids or a binary mask, ``[*S]``. A value that is no class (255) is a voxel outside
        of all classes; leave such voxels out with `where` if they are unknown.
      where: the voxels that count, ``[*S]``.

    Returns:
      Counts of ``[L]`` int32 (exact up to 2**31 voxels; add many volumes in int64 on the host).

    >>> counts(jnp.array([0, 1, 1]), jnp.array([0, 0, 1]), 2)
    Counts(tp=Array([1, 1], dtype=int32), fp=Array([0, 1], dtype=int32), \
fn=Array([1, 0], dtype=int32), tn=Array([1, 1], dtype=int32))
    """
    checks.ids("pred", pred, masks=True)
    checks.ids("truth", truth, masks=True)
    checks.shape("truth", truth, pred.shape, like="pred")
    checks.at_least("num_classes", num_classes, 2)
    if where is not None:
        checks.shape("where", where, pred.shape, like="pred")
    classes = jnp.arange(num_classes, dtype=jnp.int32).reshape((-1,) + (1,) * pred.ndim)
    # Classes lead, so that each is one contiguous pass over the voxels.
    in_pred = pred.astype(jnp.int32)[None] == classes
    in_truth = truth.astype(jnp.int32)[None] == classes
    total = jnp.asarray(pred.size, jnp.int32)
    if where is not None:
        in_pred &= where[None]
        in_truth &= where[None]
        total = jnp.sum(where, dtype=jnp.int32)
    space = tuple(range(1, in_pred.ndim))
    tp = jnp.sum(in_pred & in_truth, axis=space, dtype=jnp.int32)
    fp = jnp.sum(in_pred, axis=space, dtype=jnp.int32) - tp
    fn = jnp.sum(in_truth, axis=space, dtype=jnp.int32) - tp
    return Counts(tp, fp, fn, total - tp - fp - fn)


def _ratio(above: Array, below: Array, empty: str) -> Float[Array, "..."]:
    value = checks.lookup("empty", empty, _EMPTY)
    return jnp.where(below > 0, above / jnp.where(below > 0, below, 1.0), value)


def _floats(counts: Counts) -> Counts:
    # Sums such as 2 tp + fp + fn may pass the range of int32 where its parts do not.
    return Counts(*(jnp.asarray(part, jnp.float32) for part in counts))


def dice(counts: Counts, *, empty: str = "one") -> Float[Array, "..."]:
    """Returns ``2 TP / (2 TP + FP + FN)`` per class; `empty` where both masks are empty."""
    tp, fp, fn, _ = _floats(counts)
    return _ratio(2.0 * tp, 2.0 * tp + fp + fn, empty)


def jaccard(counts: Counts, *, empty: str = "one") -> Float[Array, "..."]:
    """Returns ``TP / (TP + FP + FN)`` per class; `empty` where both masks are empty."""
    tp, fp, fn, _ = _floats(counts)
    return _ratio(tp, tp + fp + fn, empty)


def accuracy(counts: Counts, *, empty: str = "nan") -> Float[Array, "..."]:
    """Returns ``(TP + TN) / all`` per class; `empty` where no voxel counts."""
    tp, fp, fn, tn = _floats(counts)
    return _ratio(tp + tn, tp + fp + fn + tn, empty)


def precision(counts: Counts, *, empty: str = "nan") -> Float[Array, "..."]:
    """Returns ``TP / (TP + FP)`` per class; `empty` where the prediction is empty."""
    tp, fp, _, _ = _floats(counts)
    return _ratio(tp, tp + fp, empty)


def recall(counts: Counts, *, empty: str = "nan") -> Float[Array, "..."]:
    """Returns ``TP / (TP + FN)``, the sensitivity, per class; `empty` where the truth is empty."""
    tp, _, fn, _ = _floats(counts)
    return _ratio(tp, tp + fn, empty)


def specificity(counts: Counts, *, empty: str = "nan") -> Float[Array, "..."]:
    """Returns ``TN / (TN + FP)`` per class; `empty` where the truth fills the image."""
    _, fp, _, tn = _floats(counts)
    return _ratio(tn, tn + fp, empty)


def false_positive_rate(counts: Counts, *, empty: str = "nan") -> Float[Array, "..."]:
    """Returns ``FP / (FP + TN)`` per class; `empty` where the truth fills the image.

    It falls with the size of the image around the object; compare `false_discovery_rate`.
    """
    _, fp, _, tn = _floats(counts)
    return _ratio(fp, fp + tn, empty)


def false_discovery_rate(counts: Counts, *, empty: str = "nan") -> Float[Array, "..."]:
    """Returns ``FP / (TP + FP)`` per class; `empty` where the prediction is empty."""
    tp, fp, _, _ = _floats(counts)
    return _ratio(fp, tp + fp, empty)


def relative_volume_difference(
    counts: Counts, *, empty: str = "zero", signed: bool = False
) -> Float[Array, "..."]:
    """Returns ``|V_pred - V_true| / V_true`` per class, ``[..., L]``.

    Args:
      empty: the value where both masks are empty. Where only the truth is, the result is inf, or
        NaN with ``empty="nan"``.
      signed: whether to leave the sign: positive for too large a prediction.
    """
    tp, fp, fn, _ = _floats(counts)
    difference = fp - fn if signed else jnp.abs(fp - fn)
    missed = jnp.nan if empty == "nan" else jnp.inf
    undefined = (tp + fn == 0) & (fp > 0)
    return jnp.where(undefined, missed, _ratio(difference, tp + fn, empty))


METRICS = {
    "dice": dice,
    "jaccard": jaccard,
    "accuracy": accuracy,
    "precision": precision,
    "recall": recall,
    "specificity": specificity,
    "false_positive_rate": false_positive_rate,
    "false_discovery_rate": false_discovery_rate,
    "relative_volume_difference": relative_volume_difference,
}
