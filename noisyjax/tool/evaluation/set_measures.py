"""What a prediction is worth beside all raters at once, as functions of a `judged.Case`."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from noisyjax.metrics import calibration, curvas, distribution
from noisyjax.tool import folder
from noisyjax.tool.evaluation import judged

OfClasses = Callable[[judged.Case], Float[np.ndarray, "K"]]


def _one_class(case: judged.Case, ids: tuple[int, ...]) -> UInt8[np.ndarray, "R V"]:
    """The raters' labels of one class against the rest, as ids."""
    labels = case.flat_labels
    known = labels < case.settings.num_classes
    return np.where(known, judged.member(labels, ids), folder.NO_LABEL).astype(np.uint8)


def _each_class(measure: Callable[..., Any]) -> OfClasses:
    """Measures one class against the rest: of segmentation, probability and labels."""
    run = jax.jit(measure)

    def compute(case: judged.Case) -> Float[np.ndarray, "K"]:
        values = []
        for ids in case.settings.classes.values():
            mask = case.flat(judged.member(case.prediction.segmentation, ids))
            p = np.zeros(case.size, np.float32)
            if "probabilities" in case.has:
                p = case.probability(ids)
            values.append(run(mask, p, _one_class(case, ids), case.rater_mask))
        return np.array(jax.device_get(values), float)

    return compute


@_each_class
def consensus_dice(mask, p, labels, raters):
    """`curvas.consensus_dice` of each class."""
    del p
    return curvas.consensus_dice(mask.astype(jnp.uint8), labels, 2, rater_mask=raters)[0]


@_each_class
def consensus_confidence(mask, p, labels, raters):
    """`curvas.consensus_confidence` of each class."""
    del mask
    probs = jnp.stack([1 - p, p], axis=-1)
    return curvas.consensus_confidence(probs, labels, rater_mask=raters)[0]


def soft_dice(thresholds: tuple[float, ...]) -> OfClasses:
    """Returns `distribution.soft_threshold_dice` of each class."""

    def measure(mask, p, labels, raters):
        del mask
        return distribution.soft_threshold_dice(p, labels, thresholds=thresholds, rater_mask=raters)

    return _each_class(measure)


def crps(form: str) -> OfClasses:
    """Returns `curvas.volume_crps` of each class, in mm^3."""

    def compute(case: judged.Case) -> Float[np.ndarray, "K"]:
        voxel, values = float(np.prod(case.spacing)), []
        there = (case.flat_labels < case.settings.num_classes)[case.rater_mask].all(axis=0)
        for ids in case.settings.classes.values():
            p = case.flat_probs[:, list(ids)].sum(axis=-1, dtype=np.float64)
            given = judged.member(case.flat_labels, ids)[case.rater_mask] & there
            volumes = jnp.asarray(given.sum(axis=1) * voxel, jnp.float32)
            score = curvas.volume_crps(float(p[there].sum()) * voxel, volumes, form=form)
            values.append(float(score))
        return np.array(values)

    return compute


def of_samples(measure: Callable[..., Any]) -> Callable[[judged.Case], Any]:
    """Measures the samples and the raters' labels, all classes at once."""

    def compute(case: judged.Case) -> Any:
        count = case.settings.num_classes
        return measure(
            case.samples, case.flat_labels, num_classes=count, rater_mask=case.rater_mask
        )

    return compute


_jit = functools.partial(jax.jit, static_argnames=("num_classes",))


@_jit
def ged(samples, labels, *, num_classes, rater_mask):
    """`distribution.ged_squared`."""
    return distribution.ged_squared(samples, labels, num_classes=num_classes, rater_mask=rater_mask)


@_jit
def unbiased_ged(samples, labels, *, num_classes, rater_mask):
    """`distribution.ged_squared` over pairs of different masks."""
    return distribution.ged_squared(
        samples, labels, num_classes=num_classes, rater_mask=rater_mask, estimator="unbiased"
    )


@_jit
def sample_diversity(samples, labels, *, num_classes, rater_mask):
    """`distribution.diversity` of the samples, where all raters gave a label."""
    given = (labels < num_classes) | ~rater_mask[:, None]
    return distribution.diversity(samples, num_classes=num_classes, where=given.all(axis=0))


@_jit
def rater_diversity(samples, labels, *, num_classes, rater_mask):
    """`distribution.diversity` of the labels."""
    del samples
    return distribution.diversity(labels, num_classes=num_classes, mask=rater_mask)


@_jit
def _insight(samples, labels, *, num_classes, rater_mask):
    del num_classes
    return distribution.collective_insight(samples, labels, rater_mask=rater_mask)


collective_insight = of_samples(_insight)


def of_family(*fields: str) -> Callable[[judged.Case], float]:
    """Returns the mean of some fields of `distribution.DiceFamily`."""

    def compute(case: judged.Case) -> float:
        return float(np.mean([getattr(case.dice_family, field) for field in fields]))

    return compute


@jax.jit
def _ncc(sample_probs, labels, rater_mask):
    return distribution.ncc(sample_probs, labels, rater_mask=rater_mask)


def ncc(case: judged.Case) -> Any:
    """`distribution.ncc` of the samples' probabilities."""
    probs = case.flat(case.prediction.sample_probs, before=1, after=1)
    return _ncc(probs, case.flat_labels, case.rater_mask)


@jax.jit
def _ncc_variance(probs, labels, rater_mask):
    return distribution.ncc_variance(probs[None], labels, rater_mask=rater_mask)


def ncc_variance(case: judged.Case) -> Any:
    """`distribution.ncc_variance` of the probabilities."""
    return _ncc_variance(case.flat_probs, case.flat_labels, case.rater_mask)


@jax.jit
def _multirater_ece(probs, labels, rater_mask):
    return calibration.multirater_ece(probs, labels, rater_mask=rater_mask)


def multirater_ece(case: judged.Case) -> Any:
    """`calibration.multirater_ece` of the probabilities."""
    return _multirater_ece(case.flat_probs, case.flat_labels, case.rater_mask)


def confidence(case: judged.Case) -> float:
    """The mean largest probability of the predicted foreground; without one, of the image."""
    largest = case.prediction.probs.max(axis=-1)
    predicted = case.prediction.segmentation > 0
    return float(np.mean(largest[predicted] if predicted.any() else largest, dtype=np.float64))
