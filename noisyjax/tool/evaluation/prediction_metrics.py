"""By what predictions are judged: one table, and one line in it for each metric.

Everything else loops over `METRICS`: the rows of ``cases.csv``, the summary, and what two sets of
predictions are compared by.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from noisyjax.core import checks
from noisyjax.metrics import calibration, curvas, distribution, overlap
from noisyjax.tool import folder
from noisyjax.tool.evaluation import judged

EMPTY = ("one", "zero", "nan", *overlap.CONVENTIONS)


class Metric(NamedTuple):
    """One metric of predictions.

    Attributes:
      compute: of a `judged.Target` if it is `of` "targets", of a `judged.Case` if "sets", to one
        number or ``[K]`` of the classes; if "own", of a rater's own target.
      of: "targets" (the segmentation beside the truth and beside each rater), "sets" (all raters at
        once) or "own" (what is predicted for a rater beside their label).
      about: what it is, in a line.
      better: "high", "low", or "" for neither.
      needs: what a case has to have, see `judged.Case.has`.
      convention: of surfaces, without which it is not measured.
    """

    compute: Callable[[Any], Any]
    of: str
    about: str
    better: str = ""
    needs: tuple[str, ...] = ()
    convention: str = ""


def with_empty(
    values: Float[np.ndarray, "*B K"], counts: overlap.Counts, empty: str
) -> Float[np.ndarray, "*B K"]:
    """Puts in what an overlap is by a rule where masks are empty; `values` are with "one"."""
    tp, fp, fn, _ = counts
    if empty in overlap.CONVENTIONS:
        rule = np.asarray(overlap.convention_dice(counts, convention=empty), float)
        return np.where(tp + fn > 0, values, rule)
    number = checks.lookup("empty", empty, {"one": 1.0, "zero": 0.0, "nan": np.nan})
    return np.where(tp + fp + fn > 0, values, number)


def _overlap(measure: Callable[[overlap.Counts], Any], about: str, better: str = "high") -> Metric:
    def compute(target: judged.Target) -> np.ndarray:
        return np.asarray(measure(target.counts), float)

    return Metric(compute, "targets", about, better)


def _alike(
    measure: Callable[[overlap.Counts], Any],
    about: str,
    of: str = "targets",
    needs: tuple[str, ...] = (),
) -> Metric:
    def compute(target: judged.Target) -> np.ndarray:
        values = np.asarray(measure(target.counts), float)
        return with_empty(values, target.counts, target.case.settings.empty)

    return Metric(compute, of, about, "high", needs)


def _volume_difference(target: judged.Target) -> np.ndarray:
    return (target.counts.fp - target.counts.fn) * np.prod(target.case.spacing) / 1000


def _surface(field: str, convention: str, about: str) -> Metric:
    def compute(target: judged.Target) -> np.ndarray:
        return getattr(target.surfaces[convention], field)

    better = "high" if field == "nsd" else "low"
    return Metric(compute, "targets", about, better, (), convention)


def _calibration(name: str, about: str) -> Metric:
    def compute(target: judged.Target) -> np.ndarray:
        return target.calibration[name]

    return Metric(compute, "targets", about, "low", ("probabilities",))


@jax.jit
def _top_label(probs, label, where):
    return calibration.top_label_ece(probs, label, where=where)


def _top_label_ece(target: judged.Target) -> Any:
    return _top_label(target.case.flat_probs, target.flat_label, target.flat_valid)


@jax.jit
def _all_brier(probs, label, where):
    return calibration.brier(probs, label, where=where)


def _brier_of_all(target: judged.Target) -> Any:
    return _all_brier(target.case.flat_probs, target.flat_label, target.flat_valid)


def _one_class(case: judged.Case, ids: tuple[int, ...]) -> np.ndarray:
    """The raters' labels of one class against the rest, as ids."""
    labels = case.flat_labels
    known = labels < case.settings.num_classes
    return np.where(known, judged.member(labels, ids), folder.NO_LABEL).astype(np.uint8)


def _each_class(measure: Callable[..., Any], about: str, better: str, *needs: str) -> Metric:
    """A metric of one class against the rest: of segmentation, probability and labels."""
    run = jax.jit(measure)

    def compute(case: judged.Case) -> np.ndarray:
        values = []
        for ids in case.settings.classes.values():
            mask = case.flat(judged.member(case.prediction.segmentation, ids))
            p = np.zeros(case.size, np.float32)
            if "probabilities" in case.has:
                p = case.probability(ids)
            values.append(run(mask, p, _one_class(case, ids), case.rater_mask))
        return np.array(jax.device_get(values), float)

    return Metric(compute, "sets", about, better, ("raters", *needs))


def _consensus_dice(mask, p, labels, raters):
    del p
    return curvas.consensus_dice(mask.astype(jnp.uint8), labels, 2, rater_mask=raters)[0]


def _confidence(mask, p, labels, raters):
    del mask
    probs = jnp.stack([1 - p, p], axis=-1)
    return curvas.consensus_confidence(probs, labels, rater_mask=raters)[0]


def _soft_dice(thresholds: tuple[float, ...]) -> Callable[..., Any]:
    def measure(mask, p, labels, raters):
        del mask
        return distribution.soft_threshold_dice(p, labels, thresholds=thresholds, rater_mask=raters)

    return measure


def _crps(form: str, about: str) -> Metric:
    def compute(case: judged.Case) -> np.ndarray:
        voxel, values = float(np.prod(case.spacing)), []
        there = (case.flat_labels < case.settings.num_classes)[case.rater_mask].all(axis=0)
        for ids in case.settings.classes.values():
            p = case.flat_probs[:, list(ids)].sum(axis=-1, dtype=np.float64)
            given = judged.member(case.flat_labels, ids)[case.rater_mask] & there
            volumes = jnp.asarray(given.sum(axis=1) * voxel, jnp.float32)
            score = curvas.volume_crps(float(p[there].sum()) * voxel, volumes, form=form)
            values.append(float(score))
        return np.array(values)

    return Metric(compute, "sets", about, "low", ("raters", "probabilities"))


def _of_samples(measure: Callable[..., Any], about: str, better: str, *needs: str) -> Metric:
    """A metric of the samples and the raters' labels, all classes at once."""

    def compute(case: judged.Case) -> Any:
        count = case.settings.num_classes
        return measure(
            case.samples, case.flat_labels, num_classes=count, rater_mask=case.rater_mask
        )

    return Metric(compute, "sets", about, better, ("raters", "samples", *needs))


_jit_sets = functools.partial(jax.jit, static_argnames=("num_classes",))


@_jit_sets
def _ged(samples, labels, *, num_classes, rater_mask):
    return distribution.ged_squared(samples, labels, num_classes=num_classes, rater_mask=rater_mask)


@_jit_sets
def _unbiased_ged(samples, labels, *, num_classes, rater_mask):
    return distribution.ged_squared(
        samples, labels, num_classes=num_classes, rater_mask=rater_mask, estimator="unbiased"
    )


@_jit_sets
def _sample_diversity(samples, labels, *, num_classes, rater_mask):
    given = (labels < num_classes) | ~rater_mask[:, None]
    return distribution.diversity(samples, num_classes=num_classes, where=given.all(axis=0))


@_jit_sets
def _rater_diversity(samples, labels, *, num_classes, rater_mask):
    del samples
    return distribution.diversity(labels, num_classes=num_classes, mask=rater_mask)


def _of_family(field: str, about: str) -> Metric:
    def compute(case: judged.Case) -> float:
        return getattr(case.dice_family, field)

    return Metric(compute, "sets", about, "high", ("raters", "samples"))


@jax.jit
def _jit_ncc(sample_probs, labels, rater_mask):
    return distribution.ncc(sample_probs, labels, rater_mask=rater_mask)


def _ncc(case: judged.Case) -> Any:
    probs = case.flat(case.prediction.sample_probs, before=1, after=1)
    return _jit_ncc(probs, case.flat_labels, case.rater_mask)


@jax.jit
def _jit_multirater_ece(probs, labels, rater_mask):
    return calibration.multirater_ece(probs, labels, rater_mask=rater_mask)


def _multirater_ece(case: judged.Case) -> Any:
    return _jit_multirater_ece(case.flat_probs, case.flat_labels, case.rater_mask)


_PROBABILITIES = ("raters", "probabilities")

METRICS: dict[str, Metric] = {
    # Overlap of the segmentation and one label; `Settings.empty` says what empty masks give.
    "dice": _alike(overlap.dice, "2 TP / (2 TP + FP + FN)"),
    "iou": _alike(overlap.jaccard, "TP / (TP + FP + FN)"),
    "precision": _overlap(overlap.precision, "TP / (TP + FP); undefined without prediction"),
    "recall": _overlap(overlap.recall, "TP / (TP + FN), the sensitivity; undefined without label"),
    "specificity": _overlap(overlap.specificity, "TN / (TN + FP)"),
    "volume_difference": Metric(_volume_difference, "targets", "predicted less labelled, in ml"),
    # Distances in mm; MONAI's and MedPy's surfaces are voxels, DeepMind's lie between them.
    "hd": _surface("hd", "monai", "Hausdorff distance, the largest of both directions"),
    "hd95": _surface("hd95", "monai", "MONAI: larger of the two directed 95 % quantiles"),
    "hd95_medpy": _surface("hd95", "medpy", "MedPy: 95 % quantile of both directions together"),
    "hd95_deepmind": _surface("hd95", "deepmind", "surface-distance: weighted by area"),
    "assd": _surface("assd", "monai", "mean distance over both surfaces together"),
    "assd_deepmind": _surface("assd", "deepmind", "likewise, weighted by area"),
    "nsd": _surface("nsd", "monai", "share of both surfaces within the tolerance"),
    "nsd_deepmind": _surface("nsd", "deepmind", "likewise, weighted by area"),
    # Calibration, 15 bins, one class against the rest.
    "ece": _calibration("ece", "expected calibration error"),
    "mce": _calibration("mce", "largest gap of a bin"),
    "ace": _calibration("ace", "plain mean of the gaps of bins"),
    "adaptive_ece": _calibration("adaptive_ece", "expected calibration error, equal groups"),
    "brier": _calibration("brier", "mean squared difference of probability and label"),
    "brier_of_all": Metric(
        _brier_of_all, "targets", "sum over all classes, 0 to 2", "low", ("probabilities",)
    ),
    "top_label_ece": Metric(
        _top_label_ece, "targets", "of the most probable class, 50 bins", "low", ("probabilities",)
    ),
    # All raters at once. QUBIQ and D-Persona: shares of votes and probability cut at thresholds.
    "dice_qubiq": _each_class(
        _soft_dice(distribution.QUBIQ_9),
        "QUBIQ: Dice over thresholds .1, .2, ... .9",
        "high",
        "probabilities",
    ),
    "dice_soft": _each_class(
        _soft_dice(distribution.D_PERSONA_5),
        "D-Persona: Dice over thresholds .1, .3, ... .9",
        "high",
        "probabilities",
    ),
    "consensus_dice": _each_class(
        _consensus_dice, "CURVAS: Dice where raters agree, whole volume", "high"
    ),
    "consensus_confidence": _each_class(
        _confidence, "CURVAS: how sure where raters agree", "high", "probabilities"
    ),
    "crps": _crps("curvas", "CURVAS: of the volume, in mm^3, as in its script (saturates)"),
    "crps_gaussian": _crps("gaussian", "likewise, in closed form"),
    "multirater_ece": Metric(
        _multirater_ece, "sets", "CURVAS: mean over raters of top_label_ece", "low", _PROBABILITIES
    ),
    # Samples beside raters; state how many there are.
    "ged2": _of_samples(_ged, "squared generalised energy distance, 1 - IoU", "low"),
    "ged2_unbiased": _of_samples(_unbiased_ged, "likewise, over pairs of different masks", "low"),
    "sample_diversity": _of_samples(_sample_diversity, "mean 1 - IoU of two samples", ""),
    "rater_diversity": _of_samples(_rater_diversity, "mean 1 - IoU of two raters", ""),
    "hm_iou": _of_samples(distribution.hm_iou, "IoU of samples matched with raters", "high"),
    "dice_max_samples": _of_family(
        "max_samples", "Dice of each sample to the rater most like it, mean over samples"
    ),
    "dice_max_raters": _of_family(
        "max_raters", "Dice of each rater to the sample most like theirs, mean over raters"
    ),
    "dice_match": _of_family("match", "Dice of raters with a sample of their own each"),
    "ncc": Metric(
        _ncc,
        "sets",
        "correlation of uncertainty and error",
        "high",
        ("raters", "sample probabilities"),
    ),
    # What is predicted for a rater.
    "own_dice": _alike(
        overlap.dice,
        "Dice of a rater's predicted and given label",
        "own",
        ("raters", "rater masks"),
    ),
}


def chosen(case: judged.Case, names: tuple[str, ...]) -> dict[str, Metric]:
    """Returns the metrics among some that a case can be judged by."""
    return {
        name: METRICS[name]
        for name in names
        if set(METRICS[name].needs) <= case.has
        and METRICS[name].convention in ("", *case.settings.conventions)
    }
