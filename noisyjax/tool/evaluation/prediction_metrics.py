"""By what predictions are judged: one table, and one line in it for each metric.

Everything else loops over `METRICS`: the rows of ``cases.csv``, the summary, and what two sets of
predictions are compared by.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from noisyjax.core import checks
from noisyjax.metrics import calibration, distribution, overlap
from noisyjax.tool.evaluation import judged, set_measures

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
    values: Float[np.ndarray, "*B"], counts: overlap.Counts, empty: str
) -> Float[np.ndarray, "*B"]:
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


def _tversky(target: judged.Target) -> np.ndarray:
    settings = target.case.settings
    alpha, beta = settings.tversky
    values = np.asarray(overlap.tversky(target.counts, alpha=alpha, beta=beta), float)
    return with_empty(values, target.counts, settings.empty)


def _focal_dice(target: judged.Target) -> np.ndarray:
    values = np.asarray(overlap.dice(target.counts), float)
    return (1 - with_empty(values, target.counts, target.case.settings.empty)) ** 0.75


def _generalised_dice(target: judged.Target) -> np.ndarray:
    """Of the classes alone: unions would count their voxels twice."""
    settings = target.case.settings
    counts = overlap.Counts(*(part[: settings.num_classes - 1] for part in target.counts))
    values = np.asarray(overlap.generalised_dice(counts, include_background=True), float)
    return with_empty(values, overlap.Counts(*(part.sum() for part in counts)), settings.empty)


def _volume_difference(target: judged.Target) -> np.ndarray:
    return (target.counts.fp - target.counts.fn) * np.prod(target.case.spacing) / 1000


def _surface(field: str, convention: str, about: str) -> Metric:
    def compute(target: judged.Target) -> np.ndarray:
        return getattr(target.distances[convention][0], field)

    better = "high" if field == "nsd" else "low"
    return Metric(compute, "targets", about, better, (), convention)


def _hausdorff(field: str, about: str) -> Metric:
    def compute(target: judged.Target) -> np.ndarray:
        return getattr(target.distances["monai"][1], field)

    return Metric(compute, "targets", about, "low", (), "monai")


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


def _each_class(compute: Callable[..., Any], about: str, better: str, *needs: str) -> Metric:
    """A metric of one class against the rest, of all raters at once."""
    return Metric(compute, "sets", about, better, ("raters", *needs))


def _of_samples(measure: Callable[..., Any], about: str, better: str) -> Metric:
    compute = set_measures.of_samples(measure)
    return Metric(compute, "sets", about, better, ("raters", "samples"))


def _of_family(about: str, *fields: str) -> Metric:
    return Metric(set_measures.of_family(*fields), "sets", about, "high", ("raters", "samples"))


_PROBABILITIES = ("raters", "probabilities")

METRICS: dict[str, Metric] = {
    # Overlap of the segmentation and one label; `Settings.empty` says what empty masks give.
    "dice": _alike(overlap.dice, "2 TP / (2 TP + FP + FN)"),
    "iou": _alike(overlap.jaccard, "TP / (TP + FP + FN)"),
    "generalised_dice": Metric(
        _generalised_dice, "targets", "of all classes, weighted by 1 / volume^2 (Sudre)", "high"
    ),
    "tversky": Metric(_tversky, "targets", "TP / (TP + alpha FP + beta FN)", "high"),
    "focal_dice": Metric(_focal_dice, "targets", "(1 - Dice)^(3/4), 0 is best", "low"),
    "precision": _overlap(overlap.precision, "TP / (TP + FP); undefined without prediction"),
    "recall": _overlap(overlap.recall, "TP / (TP + FN), the sensitivity; undefined without label"),
    "specificity": _overlap(overlap.specificity, "TN / (TN + FP)"),
    "volume_difference": Metric(_volume_difference, "targets", "predicted less labelled, in ml"),
    # Distances in mm; MONAI's and MedPy's surfaces are voxels, DeepMind's lie between them.
    "hd": _hausdorff("hd", "Hausdorff distance (or its percentile), larger of both directions"),
    "hd_pred": _hausdorff("hd_pred", "from the predicted surface to the label's only"),
    "hd_truth": _hausdorff("hd_truth", "from the label's surface to the predicted only"),
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
        set_measures.soft_dice(distribution.QUBIQ_9),
        "QUBIQ: Dice over thresholds .1, .2, ... .9",
        "high",
        "probabilities",
    ),
    "dice_soft": _each_class(
        set_measures.soft_dice(distribution.D_PERSONA_5),
        "D-Persona: Dice over thresholds .1, .3, ... .9",
        "high",
        "probabilities",
    ),
    "dice_pdacvi": _each_class(
        set_measures.soft_dice(distribution.CURVAS_PDACVI_6),
        "CURVAS-PDACVI: Dice over six thresholds from .1 to .8",
        "high",
        "probabilities",
    ),
    "consensus_dice": _each_class(
        set_measures.consensus_dice, "CURVAS: Dice where raters agree, whole volume", "high"
    ),
    "consensus_confidence": _each_class(
        set_measures.consensus_confidence,
        "CURVAS: how sure where raters agree",
        "high",
        "probabilities",
    ),
    "crps": _each_class(
        set_measures.crps("curvas"),
        "CURVAS: of the volume, in mm^3, as in its script (saturates)",
        "low",
        "probabilities",
    ),
    "crps_gaussian": _each_class(
        set_measures.crps("gaussian"), "likewise, in closed form", "low", "probabilities"
    ),
    "multirater_ece": Metric(
        set_measures.multirater_ece,
        "sets",
        "CURVAS: mean over raters of top_label_ece",
        "low",
        _PROBABILITIES,
    ),
    # Samples beside raters; state how many there are.
    "ged2": _of_samples(set_measures.ged, "squared generalised energy distance, 1 - IoU", "low"),
    "ged2_unbiased": _of_samples(
        set_measures.unbiased_ged, "likewise, over pairs of different masks", "low"
    ),
    "sample_diversity": _of_samples(
        set_measures.sample_diversity, "mean 1 - IoU of two samples", ""
    ),
    "rater_diversity": _of_samples(set_measures.rater_diversity, "mean 1 - IoU of two raters", ""),
    "hm_iou": _of_samples(distribution.hm_iou, "IoU of samples matched with raters", "high"),
    "dice_max_samples": _of_family(
        "Dice of each sample to the rater most like it, mean over samples", "max_samples"
    ),
    "dice_max_raters": _of_family(
        "Dice of each rater to the sample most like theirs, mean over raters", "max_raters"
    ),
    "dice_max": _of_family("half the sum of both", "max_samples", "max_raters"),
    "dice_match": _of_family("Dice of raters with a sample of their own each", "match"),
    "collective_insight": Metric(
        set_measures.collective_insight,
        "sets",
        "CIMD: sensitivity, best Dice and diversity in one",
        "high",
        ("raters", "samples"),
    ),
    "ncc": Metric(
        set_measures.ncc,
        "sets",
        "correlation of uncertainty and error",
        "high",
        ("raters", "sample probabilities"),
    ),
    "ncc_variance": Metric(
        set_measures.ncc_variance,
        "sets",
        "correlation of entropy and the raters' variance",
        "high",
        _PROBABILITIES,
    ),
    # What tells which cases can be kept, see `case_risk`.
    "confidence": Metric(
        set_measures.confidence,
        "sets",
        "mean largest probability of the predicted foreground",
        "",
        ("labels", "probabilities"),
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
