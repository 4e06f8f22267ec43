"""What is measured of each case: one table, and one line in it for each metric.

Everything else loops over `METRICS`: the rows of ``<split>_cases.csv``, the means of the report and
the summary, and what a checkpoint can be chosen by. A metric of your own is one more entry::

    "confidence": Metric(lambda case: case.probs.max(-1).mean(), better="high"),
"""

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer

from noisyjax.core import class_regions, ignored
from noisyjax.methods import base
from noisyjax.metrics import (
    boundary,
    calibration,
    confusion,
    distribution,
    overlap,
    surface,
    tabulate,
)
from noisyjax.train.evaluation import beside_raters, judged_case

Values = dict[str, Array]

SEGMENTATION = "segmentation"
# What `case_values` has of matrices, beside metrics.
_MATRICES = "matrices"


class Metric(NamedTuple):
    """One metric of a case.

    Attributes:
      compute: ``[]`` of a case, ``[R]`` of raters, ``[L - 1]`` of foreground classes, ``[G]`` of
        regions, or None where it is not defined; None for what `surfaces` or `derive` compute.
      axis: "case", "rater", "class" or "region".
      mean: "all" for the mean over cases (of classes and regions: and the standard deviation),
        "rater" for a mean of each rater, "" for none.
      better: "high" or "low" if a checkpoint can be chosen by it.
      by_decision: whether it depends on the decision.
      surface: whether it is measured with ``evaluate.surface`` only.
      truth: whether it is of the truth.
      raters: whether it is measured with ``evaluate.raters`` only.
      derive: makes the metric of the sums that `case_values` returns: of each case ``[B]`` with
        ``axis=1``, of all without.
      source: what `derive` needs among them.
    """

    compute: Callable[[judged_case.Case], Array | None] | None
    axis: str = "case"
    mean: str = "all"
    better: str = ""
    by_decision: bool = False
    surface: bool = False
    truth: bool = False
    raters: bool = False
    derive: Callable[..., Any] | None = None
    source: str = ""


def _nll(case: judged_case.Case) -> Array:
    return calibration.label_nll(case.rater_probs, case.batch["labels"], case.batch["rater_mask"])


def _ged2(case: judged_case.Case) -> Array:
    labels, mask = case.batch["labels"], case.batch["rater_mask"]
    return distribution.ged_squared(
        case.samples, labels, num_classes=case.num_classes, rater_mask=mask
    )


def _soft_dice_qubiq(case: judged_case.Case) -> Array:
    """Of the probability of any foreground class, which is all that the raters' votes tell."""
    return distribution.soft_threshold_dice(
        1.0 - case.probs[..., 0], case.batch["labels"], rater_mask=case.batch["rater_mask"]
    )


def _rater_iou(case: judged_case.Case) -> Array:
    return distribution.agreement(case.batch["labels"], rater_mask=case.batch["rater_mask"])


def _trace(case: judged_case.Case) -> Array | None:
    cms = case.prediction.cms
    return None if cms is None else confusion.mean_trace(cms, where=case.labelled)


def _mean_dice(counts: overlap.Counts) -> Float[Array, "R"]:
    return overlap.dice(counts)[:, 1:].mean(axis=-1)


def _rater_dice(case: judged_case.Case) -> Array | None:
    """Of each rater's label and the truth, a mean over classes."""
    if case.truth is None:
        return None
    return _mean_dice(jax.vmap(case.count, (0, None))(case.batch["labels"], case.truth))


def _own_dice(case: judged_case.Case) -> Array:
    """Of the label predicted for a rater and the one that they gave, NaN where they gave none."""
    labels = case.batch["labels"]
    predicted = jnp.broadcast_to(distribution.rater_samples(case.rater_probs), labels.shape)
    dice = _mean_dice(jax.vmap(case.count)(predicted, labels))
    return jnp.where(case.batch["rater_mask"], dice, jnp.nan)


def _ece_of_class(
    label: Integer[Array, ""], probs: Float[Array, "*S"], truth: Integer[Array, "*S"]
) -> Float[Array, ""]:
    return calibration.ece(calibration.bins(probs, truth == label, where=ignored.known(truth)))


def _foreground(case: judged_case.Case) -> tuple[Integer[Array, "C"], Float[Array, "C *S"]]:
    return jnp.arange(1, case.num_classes), jnp.moveaxis(case.probs, -1, 0)[1:]


def _ece(case: judged_case.Case) -> Array | None:
    if case.truth is None:
        return None
    return jax.vmap(functools.partial(_ece_of_class, truth=case.truth))(*_foreground(case))


def _label_ece(case: judged_case.Case) -> Array:
    """With each rater's label as truth, a mean over the given ones."""
    of_raters = jax.vmap(_ece_of_class, in_axes=(None, None, 0))

    def of_class(one: tuple[Integer[Array, ""], Float[Array, "*S"]]) -> Float[Array, ""]:
        return jnp.mean(of_raters(*one, case.batch["labels"]), where=case.batch["rater_mask"])

    # One class at a time: those of all raters and classes of a volume would fill the memory.
    return jax.lax.map(of_class, _foreground(case))


def _brier(case: judged_case.Case) -> Array | None:
    return None if case.truth is None else calibration.brier(case.probs, case.truth)


def _cm_rmse(values: Mapping[str, np.ndarray], **how: Any) -> Any:
    # Of all it is pooled over pixels, images and raters: not the mean of the cases' errors.
    with np.errstate(invalid="ignore"):
        return np.sqrt(values["cm_error"].sum(**how) / values["cm_count"].sum(**how))


def of_truth(measure: Callable[[overlap.Counts], Array], **how: Any) -> Metric:
    """Returns a metric of segmentation and truth, of each foreground class (counts to ``[L]``)."""

    def compute(case: judged_case.Case) -> Array | None:
        return None if case.truth is None else measure(case.counts)[1:]

    return Metric(compute, "class", by_decision=True, truth=True, **how)


def of_labels(measure: Callable[[overlap.Counts], Array]) -> Metric:
    """Returns a metric of the segmentation and the given labels, a mean over their raters."""

    def compute(case: judged_case.Case) -> Array:
        given = case.batch["rater_mask"][:, None]
        return jnp.mean(measure(case.label_counts)[:, 1:], axis=0, where=given)

    return Metric(compute, "class", by_decision=True)


def _region_dice(case: judged_case.Case) -> Array | None:
    if case.truth is None or case.regions is None:
        return None
    return overlap.dice(overlap.region_counts(case.segmentation, case.truth, case.regions))


def _of_edges(name: str) -> Metric:
    def compute(case: judged_case.Case) -> Array | None:
        return None if case.truth is None else getattr(case.edges, name)

    return Metric(compute, "class", by_decision=True, surface=True, truth=True)


_ON_HOST = Metric(None, "class", by_decision=True, surface=True, truth=True)

METRICS: dict[str, Metric] = {
    # Of the segmentation. False positives are once a share of all that is not the class, which
    # falls with the size of the image, and once of what was predicted.
    "dice": of_truth(overlap.dice, better="high"),
    "jaccard": of_truth(overlap.jaccard, better="high"),
    "false_positive_rate": of_truth(overlap.false_positive_rate),
    "false_discovery_rate": of_truth(overlap.false_discovery_rate),
    "region_dice": Metric(_region_dice, "region", better="high", by_decision=True, truth=True),
    "label_dice": of_labels(overlap.dice),
    "label_false_positive_rate": of_labels(overlap.false_positive_rate),
    "label_false_discovery_rate": of_labels(overlap.false_discovery_rate),
    "accuracy": of_truth(overlap.accuracy, surface=True),
    "precision": of_truth(overlap.precision, surface=True),
    "recall": of_truth(overlap.recall, surface=True),
    "specificity": of_truth(overlap.specificity, surface=True),
    "rvd": of_truth(overlap.relative_volume_difference, surface=True),
    **{name: _of_edges(name) for name in boundary.Boundary._fields},
    # Distances in mm.
    **dict.fromkeys(surface.Surface._fields, _ON_HOST),
    # Of the probabilities: the expected calibration error by the truth and by the labels.
    "ece": Metric(_ece, "class", better="low", truth=True),
    "label_ece": Metric(_label_ece, "class", better="low"),
    "brier": Metric(_brier, better="low", truth=True),
    "nll": Metric(_nll, better="low"),
    "ged2": Metric(_ged2, better="low"),
    "soft_dice_qubiq": Metric(_soft_dice_qubiq, better="high"),
    # Of the raters: their agreement, matrices, Dice to the truth, Dice of what is predicted.
    "rater_iou": Metric(_rater_iou, mean=""),
    "trace": Metric(_trace, "rater", mean="rater"),
    "rater_dice": Metric(_rater_dice, "rater", mean="", truth=True),
    "own_dice": Metric(_own_dice, "rater"),
    "cm_rmse": Metric(None, better="low", derive=_cm_rmse, source="cm_error"),
    # More of probabilities and samples beside all raters, as `noisyjax evaluate` has it.
    **{
        name: Metric(compute, "class", better="low", truth=True, raters=True)
        for name, compute in beside_raters.CALIBRATION.items()
    },
    **{
        name: Metric(compute, better=better, raters=True)
        for name, (compute, better) in beside_raters.SETS.items()
    },
    **{
        name: Metric(compute, "class", better="high", raters=True)
        for name, compute in beside_raters.OF_CLASSES.items()
    },
    **{
        name: Metric(None, better="high", raters=True, derive=derive, source=beside_raters.KNOWN)
        for name, derive in beside_raters.MATCHED.items()
    },
}


def suffixes(decisions: Sequence[str]) -> dict[str, str]:
    """Returns what is put behind a metric's name for each decision: nothing for the first.

    >>> suffixes(("accuracy", "dice"))
    {'accuracy': '', 'dice': '@dice'}
    """
    return {name: f"@{name}" if position else "" for position, name in enumerate(decisions)}


def case_values(
    prediction: base.Prediction,
    batch: Values,
    *,
    num_classes: int,
    decisions: Sequence[str] = ("argmax",),
    surface: bool = False,
    raters: bool = False,
    regions: class_regions.Regions | None = None,
    names: Collection[str] | None = None,
) -> Values:
    """Returns what is measured on one example (see `judged_case`) on the device.

    Args:
      decisions: keys of `decisions.DECISIONS`. The metrics of the first have plain names, those of
        another, for example, ``dice@accuracy``.
      surface: whether to add, where there is a truth, the metrics with `Metric.surface`, and the
        segmentation for `surfaces.measure`.
      raters: whether to add the metrics with `Metric.raters`, and what some derive from.
      regions: unions of the classes to judge too.
      names: of `groups`; None for all.

    Returns:
      Name to value: the `METRICS` that are defined; with matrices ``cm_sum`` ``[R, L, L]`` and
      ``cm_weight`` ``[L]``, with a truth too ``cm_error`` and ``cm_count`` ``[R]``.
    """
    values = {}
    for decision, suffix in suffixes(decisions).items():
        case = judged_case.Case(prediction, batch, num_classes, decision, regions)
        for name, metric in METRICS.items():
            wanted = (surface or not metric.surface) and (metric.by_decision or not suffix)
            wanted &= raters or not metric.raters
            wanted &= names is None or name in names
            value = metric.compute(case) if metric.compute and wanted else None
            if value is not None:
                values[f"{name}{suffix}"] = value
        if surface and case.truth is not None and (names is None or SEGMENTATION in names):
            values[f"{SEGMENTATION}{suffix}"] = case.segmentation.astype(jnp.uint8)
    if raters and (names is None or beside_raters.KNOWN in names):
        case = judged_case.Case(prediction, batch, num_classes)
        values |= beside_raters.similarities(case)
    if names is not None and _MATRICES not in names:
        return values
    return values | _matrix_sums(judged_case.Case(prediction, batch, num_classes))


def groups(*, raters: bool = False) -> tuple[frozenset[str], ...]:
    """Returns names for `case_values` in groups that share their work; `raters` as there.

    Those of one group after the other take a part of the memory that all take at once.
    """
    together: dict[Any, set[str]] = {}
    chosen = {n: metric for n, metric in METRICS.items() if raters or not metric.raters}
    for name, metric in chosen.items():
        shares = metric.axis == "class" and metric.by_decision
        key = (metric.truth, metric.surface) if shares else name
        together.setdefault(key, set()).add(name)
    others = [SEGMENTATION, _MATRICES, *([beside_raters.KNOWN] if raters else [])]
    return (*map(frozenset, together.values()), *(frozenset({name}) for name in others))


def _matrix_sums(case: judged_case.Case) -> Values:
    cms, batch = case.prediction.cms, case.batch
    if cms is None:
        return {}
    # A column counts where its class is believed to be; elsewhere no label shapes it.
    total, weight = confusion.cm_sums(cms, probs=case.probs, where=case.labelled)
    sums = {"cm_sum": total, "cm_weight": weight}
    if case.truth is not None:
        sums["cm_error"], sums["cm_count"] = confusion.true_column_error(
            cms, case.truth, batch["labels"], rater_mask=batch["rater_mask"]
        )
    return sums


def _measured(values: Mapping[str, np.ndarray]) -> dict[str, Metric]:
    """Returns the metrics that there are values of: those of classes by name, then the others."""
    names = [name for name in values if name.partition("@")[0] in METRICS]
    names += [name for name, metric in METRICS.items() if metric.derive and metric.source in values]
    metrics = {name: METRICS[name.partition("@")[0]] for name in names}
    table = list(METRICS.values())

    def order(name: str) -> tuple[int, str]:
        metric = metrics[name]
        return (-1 if metric.axis == "class" else table.index(metric), name)

    return {name: metrics[name] for name in sorted(names, key=order)}


def rows(
    values: Mapping[str, np.ndarray],
    cases: Sequence[str],
    classes: Sequence[str],
    raters: Sequence[str],
    regions: Sequence[str] = (),
) -> list[tabulate.Row]:
    """Returns the table of B cases: per class (L - 1 names), region, case and rater (R names)."""
    table = []
    for name, metric in _measured(values).items():
        if metric.axis in ("class", "region"):
            names = classes if metric.axis == "class" else regions
            table += tabulate.case_rows(name, values[name], cases, names)
        elif metric.axis == "rater":
            for index, rater in enumerate(raters):
                table += tabulate.case_rows(f"{name}_{rater}", values[name][:, index], cases)
        else:
            of_cases = metric.derive(values, axis=1) if metric.derive else values[name]
            table += tabulate.case_rows(name, of_cases, cases)
    return table


def scalars(values: Mapping[str, np.ndarray], raters: Sequence[str]) -> dict[str, float]:
    """Returns name to mean over the cases; numbers of each rater come last."""
    means, of_raters = {}, {}
    for name, metric in _measured(values).items():
        if metric.mean == "rater":
            each = values[name].mean(axis=0)
            of_raters |= {f"{name}_{r}": float(x) for r, x in zip(raters, each, strict=True)}
        elif metric.mean and metric.derive:
            means[name] = float(metric.derive(values, dtype=np.float64))
        elif metric.mean and metric.axis in ("class", "region"):
            summary = tabulate.summarise(values[name].mean(axis=1).tolist())
            means |= {name: summary.mean, f"{name}_sd": summary.sd}
        elif metric.mean:
            means[name] = tabulate.summarise(values[name].ravel().tolist()).mean
    if {"trace", "rater_dice"} <= values.keys():
        # Of the cases whose truth is known.
        judged = ~np.isnan(values["rater_dice"]).all(axis=1)
        traces, skill = values["trace"].mean(axis=0), values["rater_dice"][judged].mean(axis=0)
        of_raters["rater_ranking"] = confusion.ranking_agreement(traces, skill)
    return means | of_raters
