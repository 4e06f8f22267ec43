"""Judging a trained method on a split: numbers per case first, means after.

A segmentation is made from the probabilities by each of the run's decisions. What needs the truth
is left out where there is none.
"""

import functools
import math
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jaxtyping import Array, Bool, Float, Integer

from noisyjax.core import files
from noisyjax.methods import base
from noisyjax.metrics import confusion, distribution, overlap, tabulate
from noisyjax.train import experiments
from noisyjax.train.devices import distributed, parallelism
from noisyjax.train.evaluation import map_examples, surfaces

# What a checkpoint can be chosen by, and whether smaller is better.
CRITERIA = {"nll": True, "ged2": True, "cm_rmse": True, "dice": False, "jaccard": False}

# Of every foreground class. The first false positives are a share of all that is not the class, and
# fall with the size of the image; the second a share of what was predicted.
FALSE_POSITIVES = ("false_positive_rate", "false_discovery_rate")
OVERLAPS = {
    "dice": overlap.dice,
    "jaccard": overlap.jaccard,
    "false_positive_rate": overlap.false_positive_rate,
    "false_discovery_rate": overlap.false_discovery_rate,
}

Values = dict[str, Array]


class Evaluation(NamedTuple):
    """What an evaluation found.

    Attributes:
      scalars: name to mean over the cases.
      rows: one per case, class and metric.
      mean_cms: each rater's mean confusion matrix, ``[R, L, L]``, or None.
    """

    scalars: dict[str, float]
    rows: list[tabulate.Row]
    mean_cms: Float[np.ndarray, "R L L"] | None


def label_nll(
    probs: Float[Array, "#R *S L"], labels: Integer[Array, "R *S"], rater_mask: Bool[Array, "R"]
) -> Float[Array, ""]:
    """Returns the mean negative log-likelihood of the labels that the raters gave to one image.

    It needs no truth. With ``probs = A p`` it is the data term of Zhang et al. 2020, Eq. 3.

    Args:
      probs: what each rater would say, ``[R, *S, L]``, R may be 1.
      labels: what they said, ``[R, *S]``.
      rater_mask: who labelled the image, ``[R]``.

    Returns:
      ``[]``, over pixels and raters; NaN if nobody labelled the image.
    """
    probs = jnp.broadcast_to(probs, (*labels.shape, probs.shape[-1]))
    given = jnp.take_along_axis(probs, labels.astype(jnp.int32)[..., None], axis=-1)[..., 0]
    nll = -jnp.log(jnp.maximum(given, jnp.finfo(probs.dtype).tiny))
    return jnp.mean(nll, where=rater_mask.reshape(-1, *[1] * (labels.ndim - 1)))


def measured_names(decisions: Sequence[str]) -> dict[str, str]:
    """Returns what is put behind a metric's name for each decision: nothing for the first.

    >>> measured_names(("accuracy", "dice"))
    {'accuracy': '', 'dice': '@dice'}
    """
    return {name: f"@{name}" if place else "" for place, name in enumerate(decisions)}


def _against_own_labels(
    probs: Float[Array, "#R *S L"], batch: Values, num_classes: int
) -> Float[Array, "R"]:
    """Returns the Dice of what each rater would say to what he said, a mean over classes."""
    said = batch["labels"]
    would_say = jnp.broadcast_to(distribution.rater_samples(probs), said.shape)
    counts = jax.vmap(lambda one, other: overlap.counts(one, other, num_classes))(would_say, said)
    dice = overlap.dice(counts)[:, 1:].mean(axis=-1)
    return jnp.where(batch["rater_mask"], dice, jnp.nan)


def _against_labels(segmentation: Integer[Array, "*S"], batch: Values, num_classes: int) -> Values:
    """Returns the overlaps with the labels that were given, means over their raters, per class."""
    counts = jax.vmap(lambda labels: overlap.counts(segmentation, labels, num_classes))
    found, given = counts(batch["labels"]), batch["rater_mask"][:, None]
    return {
        f"label_{name}": jnp.mean(OVERLAPS[name](found)[:, 1:], axis=0, where=given)
        for name in ("dice", *FALSE_POSITIVES)
    }


def _against_truth(prediction: base.Prediction, batch: Values, num_classes: int) -> Values:
    """Returns what one example's truth is needed for, whatever the decision."""
    truth = batch["truth"]
    counts = functools.partial(overlap.counts, num_classes=num_classes)
    raters = jax.vmap(lambda labels: counts(labels, truth))(batch["labels"])
    values = {"rater_dice": overlap.dice(raters)[:, 1:].mean(axis=-1)}
    if prediction.cms is not None:
        values["cm_error"], values["cm_count"] = confusion.true_column_error(
            prediction.cms, truth, batch["labels"], rater_mask=batch["rater_mask"]
        )
    return values


def case_values(
    prediction: base.Prediction,
    batch: Values,
    *,
    num_classes: int,
    decisions: Sequence[str] = ("argmax",),
    surface: bool = False,
) -> Values:
    """Returns what is measured on one example.

    Args:
      prediction: of the example, without the batch axis.
      batch: the example: ``labels``, ``rater_mask`` and, where it is known, ``truth``.
      num_classes: L.
      decisions: keys of `decisions.DECISIONS`. The metrics of the first have plain names, those of
        another, for example, ``dice@accuracy``.
      surface: whether to add, where there is a truth, what `surfaces.case_values` returns.

    Returns:
      Name to value: ``nll``, ``ged2``, ``rater_iou`` (the raters' agreement) ``[]``; ``own_dice``
      (Dice of what a rater would say to what he said, NaN where he did not) ``[R]``; ``label_dice``
      (Dice to the labels that the raters gave), ``label_false_positive_rate``,
      ``label_false_discovery_rate`` ``[L - 1]``; with a truth the `OVERLAPS` ``[L - 1]`` and
      ``rater_dice`` ``[R]``; with matrices ``trace`` ``[R]``, ``cm_sum``
      ``[R, L, L]``, ``cm_weight`` ``[L]``; with both ``cm_error``, ``cm_count`` ``[R]``.
    """
    probs, cms, rater_probs, samples = prediction
    probs_of_raters = probs[None] if rater_probs is None else rater_probs
    drawn = distribution.rater_samples(probs_of_raters if samples is None else samples)
    to_raters = {"num_classes": num_classes, "rater_mask": batch["rater_mask"]}
    values = {
        "nll": label_nll(probs_of_raters, batch["labels"], batch["rater_mask"]),
        "ged2": distribution.ged_squared(drawn, batch["labels"], **to_raters),
        "rater_iou": distribution.agreement(batch["labels"], rater_mask=batch["rater_mask"]),
        "own_dice": _against_own_labels(probs_of_raters, batch, num_classes),
    }
    if cms is not None:
        values["trace"] = confusion.mean_trace(cms)
        # A column is looked at where its class is believed to be; elsewhere no label shapes it.
        values["cm_sum"], values["cm_weight"] = confusion.cm_sums(cms, probs=probs)
    for decision, suffix in measured_names(decisions).items():
        segmentation = base.segment(probs, decision=decision)
        found = _against_labels(segmentation, batch, num_classes)
        if "truth" in batch:
            counts = overlap.counts(segmentation, batch["truth"], num_classes)
            found |= {name: measure(counts)[1:] for name, measure in OVERLAPS.items()}
            if surface:
                sizes = {"num_classes": num_classes, "suffix": suffix}
                values |= surfaces.case_values(segmentation, batch["truth"], **sizes)
        values |= {f"{name}{suffix}": value for name, value in found.items()}
    if "truth" in batch:
        values |= _against_truth(prediction, batch, num_classes)
    return values


def _compiled(
    method: base.Method, parallel: parallelism.Parallel, **options: Any
) -> Callable[[Any, Mapping[str, Any]], Values]:
    """Returns `case_values` of a batch's predictions, with these options."""
    measure_one = functools.partial(case_values, **options)

    def measure(variables: Any, batch: Values) -> Values:
        prediction = method.predict(variables, batch["image"])
        rest = {name: batch[name] for name in ("labels", "rater_mask", "truth") if name in batch}
        return jax.vmap(measure_one)(prediction, rest)

    return parallel.map(measure)


def _per_class(values: Mapping[str, np.ndarray]) -> list[str]:
    """Returns the names of the values that there are of each class."""
    names = (*OVERLAPS, *surfaces.NAMES)
    return [name for name in values if name.partition("@")[0].removeprefix("label_") in names]


def _rows(
    values: Mapping[str, np.ndarray],
    cases: Sequence[str],
    classes: Sequence[str],
    raters: Sequence[str],
) -> list[tabulate.Row]:
    rows = []
    for name in _per_class(values):
        rows += tabulate.case_rows(name, values[name], cases, classes)
    for name in ("nll", "ged2", "rater_iou"):
        rows += tabulate.case_rows(name, values[name], cases)
    for name in ("trace", "rater_dice", "own_dice"):
        for index, rater in enumerate(raters):
            if name in values:
                rows += tabulate.case_rows(f"{name}_{rater}", values[name][:, index], cases)
    if "cm_error" in values:
        with np.errstate(invalid="ignore"):
            rmse = np.sqrt(values["cm_error"].sum(axis=1) / values["cm_count"].sum(axis=1))
        rows += tabulate.case_rows("cm_rmse", rmse, cases)
    return rows


def _scalars(values: Mapping[str, np.ndarray], raters: Sequence[str]) -> dict[str, float]:
    scalars = {}
    for name in _per_class(values):
        summary = tabulate.summarise(values[name].mean(axis=1).tolist())
        scalars |= {name: summary.mean, f"{name}_sd": summary.sd}
    for name in ("nll", "ged2"):
        scalars[name] = tabulate.summarise(values[name].tolist()).mean
    scalars["own_dice"] = tabulate.summarise(values["own_dice"].ravel().tolist()).mean
    if "cm_error" in values:
        # Pooled over pixels, images and raters, so this is not the mean of the cases' errors.
        pooled = values["cm_error"].sum(dtype=np.float64) / values["cm_count"].sum(dtype=np.float64)
        scalars["cm_rmse"] = math.sqrt(pooled)
    if "trace" in values:
        traces = values["trace"].mean(axis=0)
        scalars |= {f"trace_{rater}": float(t) for rater, t in zip(raters, traces, strict=True)}
        if "rater_dice" in values:
            skill = values["rater_dice"].mean(axis=0)
            scalars["rater_ranking"] = confusion.ranking_agreement(traces, skill)
    return scalars


def _mean_cms(values: Mapping[str, np.ndarray]) -> np.ndarray | None:
    if "cm_sum" not in values:
        return None
    weight = np.maximum(values["cm_weight"].sum(axis=0), np.finfo(np.float32).tiny)
    return values["cm_sum"].sum(axis=0) / weight


def build(
    experiment: experiments.Experiment,
    parallel: parallelism.Parallel,
    *,
    batch_size: int,
    decisions: Sequence[str] = ("argmax",),
    surface: bool = False,
    tolerance: float | int = 1.0,
) -> Callable[[Any, str], Evaluation]:
    """Returns the evaluation of an experiment's method, compiled once for all splits.

    Args:
      experiment: the experiment.
      parallel: how work is spread.
      batch_size: the largest number of images at once.
      decisions: the decisions, see `case_values`.
      surface: whether the test split is also measured by `surfaces.NAMES`; not the others, which
        are looked at again and again.
      tolerance: the distance that NSD allows, in mm.

    Returns:
      ``f(variables, split) -> Evaluation``.
    """
    data, raters = experiment.data, experiment.rater_names
    options = {"num_classes": data.num_classes, "decisions": tuple(decisions)}
    measure = _compiled(experiment.method, parallel, **options)
    measure_surfaces = _compiled(experiment.method, parallel, surface=True, **options)
    finish = functools.partial(
        surfaces.measure,
        num_classes=data.num_classes,
        spacing=data.spacing,
        tolerance=tolerance,
    )
    held_out = [len(e) for split, e in experiment.examples.items() if split != "train"]
    size = min(batch_size, max(held_out, default=batch_size))

    def evaluate(variables: Any, split: str) -> Evaluation:
        if split not in experiment.examples:
            known = ", ".join(experiment.examples)
            raise ValueError(f"split: expected one of {known}, got {split!r}")
        examples = experiment.examples[split]
        variables = parallel.localise(variables)
        if surface and split == "test" and "truth" in examples[0]:
            options = {"batch_size": size, "finish": finish}
            values = map_examples.collect(measure_surfaces, variables, examples, **options)
        else:
            values = map_examples.collect(measure, variables, examples, batch_size=size)
        cases = [data.case_name(int(i)) for i in examples.ids]
        rows = _rows(values, cases, data.class_names[1:], raters)
        scalars = _scalars(values, raters)
        if experiment.skipped is not None:
            scalars["skipped_cases"] = float(experiment.skipped[split])
        return Evaluation(scalars, rows, _mean_cms(values))

    return evaluate


def warn(evaluation: Evaluation, rater_names: Sequence[str], split: str) -> list[str]:
    """Warns of exchanged classes, collapse and lock-in, as far as the mean matrices show them.

    Args:
      evaluation: the evaluation.
      rater_names: R names.
      split: the split's name, for the message.

    Returns:
      The sentences that were logged.
    """
    if evaluation.mean_cms is None:
        return []
    found = confusion.orientation_warnings(evaluation.mean_cms, rater_names)
    for sentence in found:
        logging.warning("%s: %s", split, sentence)
    return found


@distributed.writes
def write(
    evaluation: Evaluation, folder: str | os.PathLike, split: str, rater_names: Sequence[str]
) -> None:
    """Writes ``<split>_cases.csv`` and ``<split>_report.json``, and warns of what looks wrong.

    Args:
      evaluation: the evaluation.
      folder: where to.
      split: the split's name.
      rater_names: R names.
    """
    folder = pathlib.Path(folder)
    cms = evaluation.mean_cms
    content = {
        "scalars": evaluation.scalars,
        "per_class": tabulate.aggregate(evaluation.rows, per_class=True),
        "mean_cms": None if cms is None else dict(zip(rater_names, cms, strict=True)),
        "warnings": warn(evaluation, rater_names, split),
    }
    tabulate.write_rows(folder / f"{split}_cases.csv", evaluation.rows)
    files.write_json(folder / f"{split}_report.json", content)


def score(evaluation: Evaluation, select: str) -> float:
    """Returns how good an evaluation is, smaller is better.

    Args:
      evaluation: of the validation split.
      select: "val_" and a key of `CRITERIA`.

    Returns:
      The number to minimise; NaN where it was not measured.

    Raises:
      ValueError: if there is no such criterion.
    """
    name = check_criterion(select)
    value = evaluation.scalars.get(name, math.nan)
    return value if CRITERIA[name] else -value


def check_criterion(select: str) -> str:
    """Returns the metric's name in "val_<metric>", or raises `ValueError` for an unknown one."""
    name = select.removeprefix("val_")
    if name not in CRITERIA or name == select:
        known = ", ".join(f"val_{name}" for name in CRITERIA)
        raise ValueError(f"evaluate.select: expected one of {known}, got {select!r}")
    return name
