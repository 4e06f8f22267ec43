"""Evaluating a trained method on a split: numbers per case first, means after.

A segmentation is made from the probabilities by each of the run's decisions. What needs the truth
is left out where there is none. The metrics are those of `case_metrics`.
"""

import functools
import math
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from jaxtyping import Float

from noisyjax.core import files
from noisyjax.data import source
from noisyjax.methods import base
from noisyjax.metrics import confusion, tabulate
from noisyjax.train import experiments
from noisyjax.train.devices import distributed, parallelism
from noisyjax.train.evaluation import (
    case_metrics,
    known_truth,
    map_examples,
    own_voxels,
    surfaces,
)


class Evaluation(NamedTuple):
    """The result of an evaluation.

    Attributes:
      scalars: name to mean over the cases.
      rows: one per case, class and metric.
      mean_cms: each rater's mean confusion matrix, ``[R, L, L]``, or None.
    """

    scalars: dict[str, float]
    rows: list[tabulate.Row]
    mean_cms: Float[np.ndarray, "R L L"] | None


# Kept, so that it is traced once for all splits and runs whose batches are alike. The metrics tell
# tables apart, to which others can be added.
@functools.lru_cache(maxsize=8)
def _measuring(
    metrics: tuple[tuple[str, case_metrics.Metric], ...], **options: Any
) -> Callable[[base.Prediction, case_metrics.Values], case_metrics.Values]:
    del metrics
    return jax.jit(jax.vmap(functools.partial(case_metrics.case_values, **options)))


def _compiled(
    method: base.Method, parallel: parallelism.Parallel, **options: Any
) -> Callable[[Any, Mapping[str, Any]], case_metrics.Values]:
    """Returns `case_metrics.case_values` of a batch's predictions, with these options."""
    of_predictions = _measuring(tuple(case_metrics.METRICS.items()), **options)

    def measure(variables: Any, batch: case_metrics.Values) -> case_metrics.Values:
        prediction = method.predict(variables, batch["image"])
        rest = {name: batch[name] for name in ("labels", "rater_mask", "truth") if name in batch}
        return of_predictions(prediction, rest)

    return parallel.map(measure)


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
    raters: bool = False,
    tolerance: float | int = 1.0,
    overlap: float | int = 0.5,
) -> Callable[[Any, str], Evaluation]:
    """Returns ``f(variables, split) -> Evaluation``, compiled once for all splits.

    Args:
      batch_size: the largest number of images at once.
      decisions: see `case_metrics.case_values`.
      surface: whether the test split is also measured by the metrics with
        `case_metrics.Metric.surface`; not the others, which are evaluated again and again.
      raters: likewise of those with `case_metrics.Metric.raters`.
      tolerance: the distance that NSD allows, in mm.
      overlap: of windows, where cases are judged on the voxels of their files.
    """
    data, names = experiment.data, experiment.rater_names
    options = {"num_classes": data.num_classes, "decisions": tuple(decisions)}
    options["regions"] = data.regions
    regions = () if data.regions is None else data.regions.names
    measure = _compiled(experiment.method, parallel, **options)
    measure_surfaces = _compiled(
        experiment.method, parallel, surface=True, raters=raters, **options
    )
    measure_raters = _compiled(experiment.method, parallel, raters=True, **options)
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
        if source.judged_on_files(data):
            how = {"overlap": overlap, "batch_size": batch_size, "tolerance": tolerance}
            how["surface"] = surface and split == "test"
            how["raters"] = raters and split == "test"
            values = own_voxels.collect(experiment, parallel, variables, split, **how, **options)
        elif surface and split == "test" and examples.has_truth:
            how = {"batch_size": size, "finish": finish}
            values = map_examples.collect(measure_surfaces, variables, examples, **how)
        else:
            chosen = measure_raters if raters and split == "test" else measure
            values = map_examples.collect(chosen, variables, examples, batch_size=size)
        values = known_truth.of_known(values, examples.truth_mask)
        cases = [data.case_name(int(i)) for i in examples.ids]
        rows = case_metrics.rows(values, cases, data.class_names[1:], names, regions)
        scalars = case_metrics.scalars(values, names)
        if experiment.skipped is not None:
            scalars["skipped_cases"] = float(experiment.skipped[split])
        return Evaluation(scalars, rows, _mean_cms(values))

    return evaluate


def warn(evaluation: Evaluation, rater_names: Sequence[str], split: str) -> list[str]:
    """Warns of exchanged classes, collapse and lock-in, as far as the mean matrices show them.

    Returns the sentences that were logged; the split's name is for the message.
    """
    if evaluation.mean_cms is None:
        return []
    sentences = confusion.orientation_warnings(evaluation.mean_cms, rater_names)
    for sentence in sentences:
        logging.warning("%s: %s", split, sentence)
    return sentences


@distributed.writer_only
def write(
    evaluation: Evaluation, folder: str | os.PathLike, split: str, rater_names: Sequence[str]
) -> None:
    """Writes ``<split>_cases.csv`` and ``<split>_report.json``, and warns of what looks wrong."""
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
    """Returns the number to minimise of a validation, NaN where it was not measured.

    Args:
      select: "val_" and a key of `case_metrics.METRICS` that says what is better; `ValueError` if
        there is no such criterion.
    """
    name = check_criterion(select)
    value = evaluation.scalars.get(name, math.nan)
    return value if case_metrics.METRICS[name].better == "low" else -value


def check_criterion(select: str) -> str:
    """Returns the metric's name in "val_<metric>", or raises `ValueError` for an unknown one."""
    name = select.removeprefix("val_")
    criteria = [name for name, metric in case_metrics.METRICS.items() if metric.better]
    if name not in criteria or name == select:
        known = ", ".join(f"val_{name}" for name in criteria)
        raise ValueError(f"evaluate.select: expected one of {known}, got {select!r}")
    return name
