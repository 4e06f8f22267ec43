"""Overlap metrics from counts of voxels, one class against the rest.

Counts come first and can be added over patches or cases before the quotient is taken::

    counts = overlap.counts(pred, truth, num_classes)
    scores = overlap.dice(counts)                                   # [L]
    pooled = overlap.dice(jax.tree.map(jnp.add, counts, others))    # + would join the tuples

A quotient 0/0 is undefined, and the switch `empty` says what becomes of it: "one", "nan" or "zero".
Libraries differ there, and in what their means do with NaN: `convention_dice` and `mean_dice` give
what one of `CONVENTIONS` gives.

Probabilities have counts too (`soft_counts`), so that every quotient has a soft form.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from noisyjax.core import checks, class_regions, ignored, slabs

EMPTY = {"one": 1.0, "nan": float("nan"), "zero": 0.0}


class Counts(NamedTuple):
    """Numbers of voxels per class, ``[..., L]`` int32 each, or their float32 sums of probabilities.

    Attributes:
      tp: the class in both.
      fp: the class in the prediction only.
      fn: the class in the truth only.
      tn: the class in neither.
    """

    tp: Integer[Array, "*B L"] | Float[Array, "*B L"]
    fp: Integer[Array, "*B L"] | Float[Array, "*B L"]
    fn: Integer[Array, "*B L"] | Float[Array, "*B L"]
    tn: Integer[Array, "*B L"] | Float[Array, "*B L"]


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
      truth: class ids or a binary mask, ``[*S]``. A value that is no class is a voxel outside of
        all classes, in either; but `ignored.IGNORE` (255) is one that does not count.
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
    checks.masks(where=where)
    if where is not None:
        checks.shape("where", where, pred.shape, like="pred")
    classes = jnp.arange(num_classes, dtype=jnp.int32).reshape((-1,) + (1,) * pred.ndim)
    space = tuple(range(1, pred.ndim + 1))

    def sums(pred: Array, truth: Array, where: Array | None = None) -> tuple[Array, ...]:
        # Classes lead, so that each is one contiguous pass over the voxels.
        in_pred = pred.astype(jnp.int32)[None] == classes
        in_truth = truth.astype(jnp.int32)[None] == classes
        where = ignored.counting(truth, ignored.counting(pred, where))
        in_pred &= where[None]
        in_truth &= where[None]
        masks = (in_pred & in_truth, in_pred, in_truth)
        each = (jnp.sum(mask, axis=space, dtype=jnp.int32) for mask in masks)
        return *each, jnp.sum(where, dtype=jnp.int32)

    given = (pred, truth) if where is None else (pred, truth, where)
    tp, predicted, true, total = slabs.summed(sums, *given)
    fp, fn = predicted - tp, true - tp
    return Counts(tp, fp, fn, total - tp - fp - fn)


def region_counts(
    pred: Integer[Array, "*S"], truth: Integer[Array, "*S"], regions: class_regions.Regions
) -> Counts:
    """Counts, for each region in place of a class, as `counts`; Counts of ``[G]``.

    >>> regions = class_regions.Regions(("whole", "core"), ((1, 2), (2,)), (1, 2))
    >>> region_counts(jnp.array([1, 1, 0]), jnp.array([2, 1, 0]), regions).tp
    Array([2, 0], dtype=int32)
    """
    judged = ignored.counting(truth, ignored.known(pred))
    masks = [class_regions.in_regions(ids, regions) for ids in (pred, truth)]
    each = jax.vmap(lambda one, other: counts(one, other, 2, where=judged))(*masks)
    return jax.tree.map(lambda count: count[:, 1], each)


def soft_counts(
    probs: Float[Array, "*S L"],
    targets: Float[Array, "*S L"],
    *,
    where: Bool[Array, "*S"] | None = None,
) -> Counts:
    """Sums, for each class, the probabilities that prediction and target agree and differ.

    A voxel adds ``p t`` to TP, ``p (1 - t)`` to FP and so on. With masks of 0 and 1 these are
    `counts`. Between soft labels no quotient of them is 1 for ``p = t``.

    Args:
      probs: of each class, ``[*S, L]``.
      targets: one-hot labels or soft ones, ``[*S, L]``; zeros are a voxel that does not count.
      where: the voxels that count, ``[*S]``.

    >>> soft_counts(jnp.array([[0.25, 0.75]]), jnp.array([[0.0, 1.0]])).fp
    Array([0.25, 0.  ], dtype=float32)
    """
    checks.shape("targets", targets, probs.shape, like="probs")
    checks.masks(where=where)
    if where is not None:
        checks.shape("where", where, probs.shape[:-1], like="probs")
    inside = ignored.counting_targets(targets, where)
    pairs = ((probs, targets), (probs, 1 - targets), (1 - probs, targets), (1 - probs, 1 - targets))
    space = tuple(range(probs.ndim - 1))
    # What does not count may be anything, NaN too.
    return Counts(*(jnp.sum(jnp.where(inside[..., None], p * t, 0), axis=space) for p, t in pairs))


def _ratio(above: Array, below: Array, empty: str) -> Float[Array, "..."]:
    value = checks.lookup("empty", empty, EMPTY)
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


def tversky(
    counts: Counts, *, alpha: float | int = 0.5, beta: float | int = 0.5, empty: str = "one"
) -> Float[Array, "..."]:
    """Returns ``TP / (TP + alpha FP + beta FN)`` per class (Tversky 1977; Salehi et al. 2017).

    Alpha and beta 1/2 give `dice`, 1 `jaccard`; a larger beta counts misses for more.

    Args:
      counts: ``[..., L]``, also of probabilities.
      alpha: weight of false positives.
      beta: weight of false negatives.
      empty: the value of 0/0, where both masks are empty.
    """
    checks.positive("alpha", alpha, or_zero=True)
    checks.positive("beta", beta, or_zero=True)
    tp, fp, fn, _ = _floats(counts)
    return _ratio(tp, tp + alpha * fp + beta * fn, empty)


def focal_tversky(
    counts: Counts,
    *,
    alpha: float | int = 0.3,
    beta: float | int = 0.7,
    gamma: float | int = 4 / 3,
) -> Float[Array, "..."]:
    """Returns ``(1 - tversky) ** (1 / gamma)`` per class: 0 is best, 1 is worst.

    With gamma above 1 a class that is nearly right still counts (Abraham & Khan 2019, whose alpha
    is our beta). Alpha and beta 1/2 give the focal Dice. It is 0 where both masks are empty.

    Args:
      counts: ``[..., L]``, also of probabilities; the gradient is finite.
      alpha: see `tversky`.
      beta: likewise.
      gamma: the focus; 1 is none.
    """
    checks.positive("gamma", gamma)
    miss = 1.0 - tversky(counts, alpha=alpha, beta=beta)
    # The slope of a root is infinite at 0.
    missed = miss > 0
    return jnp.where(missed, jnp.where(missed, miss, 1.0) ** (1.0 / gamma), 0.0)


_VOLUME_WEIGHTS: dict[str, Callable[[Array], Array]] = {
    "square": lambda volume: 1.0 / (volume * volume),
    "simple": lambda volume: 1.0 / volume,
    "uniform": jnp.ones_like,
}


def generalised_dice(
    counts: Counts,
    *,
    weights: str = "square",
    include_background: bool = False,
    empty: str = "one",
) -> Float[Array, "..."]:
    r"""Returns one Dice over all classes, each weighted by its volume in the truth, ``[...]``.

    .. math:: \frac{2 \sum_l w_l TP_l}{\sum_l w_l (2 TP_l + FP_l + FN_l)}

    A class that is in the prediction only has the largest weight of the others, as in MONAI. If the
    truth has no class at all it is 0, and `empty` where the prediction has none either.

    Args:
      counts: ``[..., L]``, also of probabilities.
      weights: "square" for ``1 / V**2`` (Sudre et al. 2017), "simple" for ``1 / V`` (Crum et al.
        2006) or "uniform".
      include_background: whether class 0 is one of the classes.
      empty: the value where no class is in either mask.
    """
    weigh = checks.lookup("weights", weights, _VOLUME_WEIGHTS)
    first = 0 if include_background else 1
    tp, fp, fn, _ = (part[..., first:] for part in _floats(counts))
    volume = tp + fn
    there = volume > 0
    weight = jnp.where(there, weigh(jnp.where(there, volume, 1.0)), 0.0)
    largest = jnp.max(weight, axis=-1, keepdims=True)
    # Any weight does where the truth is empty: all of the prediction is wrong.
    largest = jnp.where(largest > 0, largest, 1.0)
    weight = jnp.where(there, weight, jnp.broadcast_to(largest, weight.shape))
    above = jnp.sum(weight * 2.0 * tp, axis=-1)
    return _ratio(above, jnp.sum(weight * (2.0 * tp + fp + fn), axis=-1), empty)


def _cases_first(dice: Float[Array, "B C"]) -> Float[Array, ""]:
    return jnp.nanmean(jnp.nanmean(dice, axis=1))


def _classes_first(dice: Float[Array, "B C"]) -> Float[Array, ""]:
    return jnp.mean(jnp.nanmean(dice, axis=0))


class Convention(NamedTuple):
    """What a library's Dice is for empty masks. In all it is 0 if the prediction alone is empty.

    Attributes:
      both: if truth and prediction are empty.
      truth: if the truth alone is.
      mean: of the Dice ``[B, C]`` of cases and classes.
    """

    both: float
    truth: float
    mean: Callable[[Array], Array]


# From the sources of MONAI 1.6 (`DiceMetric` with ``ignore_empty=True`` and the mean of no value
# being 0), MedPy 0.5 (it means 1, and returns NaN with newer NumPy; it has no mean of its own),
# nnU-Net 2 (`compute_metrics_on_folder`) and torchmetrics 1.8 (`DiceScore`, "macro", samplewise).
CONVENTIONS: dict[str, Convention] = {
    "monai": Convention(jnp.nan, jnp.nan, lambda dice: jnp.nan_to_num(_cases_first(dice))),
    "medpy": Convention(1.0, 0.0, jnp.mean),
    "nnunet": Convention(jnp.nan, 0.0, _classes_first),
    "torchmetrics": Convention(jnp.nan, 0.0, _cases_first),
}


class MeanDice(NamedTuple):
    """A mean and how many of the values of cases and classes it is of.

    Attributes:
      mean: by a library's convention, ``[]``.
      count: of the values that are not NaN, ``[]`` int32.
    """

    mean: Float[Array, ""]
    count: Integer[Array, ""]


def convention_dice(counts: Counts, *, convention: str) -> Float[Array, "..."]:
    """Returns Dice per class as a library gives it where masks are empty.

    Args:
      counts: ``[..., L]``.
      convention: "monai" (NaN wherever the truth is empty, false positives or not), "medpy" (1 if
        both are empty), "nnunet" or "torchmetrics" (NaN if both are, 0 if one is).

    >>> only_predicted = Counts(*(jnp.array([n]) for n in (0, 3, 0, 6)))
    >>> [float(convention_dice(only_predicted, convention=name)[0]) for name in CONVENTIONS]
    [nan, 0.0, 0.0, 0.0]
    """
    rule = checks.lookup("convention", convention, CONVENTIONS)
    tp, fp, fn, _ = _floats(counts)
    values = jnp.where(fp > 0, rule.truth, rule.both)
    return jnp.where(tp + fn > 0, dice(counts), values)


def mean_dice(counts: Counts, *, convention: str, include_background: bool = False) -> MeanDice:
    """Returns the mean Dice of cases and classes as a library gives it, and what it is a mean of.

    * "monai" and "torchmetrics" take the mean over the classes of each case that are not NaN, then
      over the cases with any. With none at all MONAI gives 0, torchmetrics NaN.
    * "nnunet" takes the mean over the cases of each class that are not NaN, then over all classes:
      NaN if a class has none.
    * "medpy" has no NaN: the mean over all.

    Args:
      counts: of B cases, ``[B, L]``.
      convention: a key of `CONVENTIONS`.
      include_background: whether class 0 is one of the classes.
    """
    checks.rank("counts", counts.tp, 2)
    values = convention_dice(counts, convention=convention)[:, 0 if include_background else 1 :]
    mean = CONVENTIONS[convention].mean(values)
    return MeanDice(mean, jnp.sum(~jnp.isnan(values), dtype=jnp.int32))


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
    "tversky": tversky,
}
