"""What a case's probabilities and samples are worth beside all of its raters.

The same functions as those of `noisyjax evaluate`, by the names of its metrics.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer

from noisyjax.core import ignored
from noisyjax.metrics import calibration, curvas, distribution, matching, tabulate
from noisyjax.train.evaluation import judged_case

# What `similarities` returns: the raters whose labels count, tables of IoU and of Dice.
KNOWN, _IOU, _DICE = "similar_known", "similar_iou", "similar_dice"

OfCase = Callable[[judged_case.Case], Array | None]


def _raters(case: judged_case.Case) -> dict[str, Array]:
    return {"labels": case.batch["labels"], "rater_mask": case.batch["rater_mask"]}


def _of_truth(measure: Callable[..., Array]) -> OfCase:
    """An error of the probabilities of each class of the foreground, ``[L - 1]``."""

    def compute(case: judged_case.Case) -> Array | None:
        if case.truth is None:
            return None
        where = ignored.known(case.truth)

        def of_class(one: tuple[Integer[Array, ""], Float[Array, "*S"]]) -> Float[Array, ""]:
            label, probs = one
            return measure(probs, case.truth == label, where=where)

        each = jnp.arange(1, case.num_classes), jnp.moveaxis(case.probs, -1, 0)[1:]
        return jax.lax.map(of_class, each)

    return compute


def _of_bins(measure: Callable[[calibration.Bins], Array]) -> OfCase:
    return _of_truth(lambda *given, where: measure(calibration.bins(*given, where=where)))


CALIBRATION: dict[str, OfCase] = {
    "mce": _of_bins(calibration.mce),
    "ace": _of_bins(calibration.ace),
    "adaptive_ece": _of_truth(calibration.adaptive_ece),
}


def _multirater_ece(case: judged_case.Case) -> Array:
    return calibration.multirater_ece(case.probs, **_raters(case))


def _soft_dice(thresholds: tuple[float, ...]) -> OfCase:
    """Of the probability of any foreground class."""
    measure = functools.partial(distribution.soft_threshold_dice, thresholds=thresholds)
    return lambda case: measure(1.0 - case.probs[..., 0], **_raters(case))


def _of_sets(measure: Callable[..., Array], **options: Any) -> OfCase:
    return lambda case: measure(case.samples, **_raters(case), **options)


def _unbiased_ged2(case: judged_case.Case) -> Array:
    options = {"num_classes": case.num_classes, "estimator": "unbiased"}
    return distribution.ged_squared(case.samples, **_raters(case), **options)


def _sample_diversity(case: judged_case.Case) -> Array:
    labels, mask = case.batch["labels"], case.batch["rater_mask"]
    each = mask.reshape(-1, *[1] * (labels.ndim - 1))
    given = jnp.all(ignored.known(labels) | ~each, axis=0)
    return distribution.diversity(case.samples, num_classes=case.num_classes, where=given)


def _rater_diversity(case: judged_case.Case) -> Array:
    labels, mask = case.batch["labels"], case.batch["rater_mask"]
    return distribution.diversity(labels, num_classes=case.num_classes, mask=mask)


# What is computed, and what is better.
SETS: dict[str, tuple[OfCase, str]] = {
    "multirater_ece": (_multirater_ece, "low"),
    "dice_soft": (_soft_dice(distribution.D_PERSONA_5), "high"),
    "dice_pdacvi": (_soft_dice(distribution.CURVAS_PDACVI_6), "high"),
    "ged2_unbiased": (_unbiased_ged2, "low"),
    "sample_diversity": (_sample_diversity, ""),
    "rater_diversity": (_rater_diversity, ""),
    "collective_insight": (_of_sets(distribution.collective_insight), "high"),
    "ncc": (lambda case: distribution.ncc(case.sample_probs, **_raters(case)), "high"),
    "ncc_variance": (
        lambda case: distribution.ncc_variance(case.sample_probs, **_raters(case)),
        "high",
    ),
}


def _consensus_dice(case: judged_case.Case) -> Array:
    return curvas.consensus_dice(case.segmentation, num_classes=case.num_classes, **_raters(case))


def _consensus_confidence(case: judged_case.Case) -> Array:
    return curvas.consensus_confidence(case.probs, **_raters(case))


OF_CLASSES: dict[str, OfCase] = {
    "consensus_dice": _consensus_dice,
    "consensus_confidence": _consensus_confidence,
}


def similarities(case: judged_case.Case) -> dict[str, Array]:
    """Returns what the assignments of `MATCHED` are solved on, on the host."""
    labels, mask = case.batch["labels"], case.batch["rater_mask"]
    options = {"num_classes": case.num_classes}
    iou, known = matching.similarities(case.samples, labels, mask, **options)
    dice, _ = matching.similarities(case.samples, labels, mask, distance="dice")
    return {_IOU: iou, _DICE: dice, KNOWN: known}


def _matched(table: str, measure: Callable[[Float[np.ndarray, "_R N"]], float]) -> Callable:
    def derive(values: Mapping[str, np.ndarray], *, axis: int | None = None, dtype: Any = None):
        del dtype
        pairs = zip(values[table], values[KNOWN], strict=True)
        each = np.array([measure(one[known].astype(np.float64)) for one, known in pairs])
        return tabulate.summarise(each.tolist()).mean if axis is None else each

    return derive


def _of_family(*fields: str) -> Callable:
    def measure(table: Float[np.ndarray, "_R N"]) -> float:
        family = matching.dice_family_of(table)
        return float(np.mean([getattr(family, field) for field in fields]))

    return _matched(_DICE, measure)


# Functions as `case_metrics.Metric.derive`.
MATCHED: dict[str, Callable] = {
    "hm_iou": _matched(_IOU, matching.hm_iou_of),
    "dice_max_samples": _of_family("max_samples"),
    "dice_max_raters": _of_family("max_raters"),
    "dice_max": _of_family("max_samples", "max_raters"),
    "dice_match": _of_family("match"),
}
