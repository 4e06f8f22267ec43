"""How right the fused labels are that a network has been trained on."""

import math
from typing import Any

import jax
import numpy as np

from noisyjax.core import ignored
from noisyjax.data.labels import fuse
from noisyjax.metrics import confusion, overlap
from noisyjax.train import experiments, runs, train_state
from noisyjax.train.evaluation import known_truth

# Enough cases; a large data set is not fused a second time.
_MAX_CASES = 1024


def report(run: runs.Run, state: train_state.TrainState, variables: Any) -> dict[str, float]:
    """Returns what `measure` returns."""
    return measure(run.experiment)


def measure(experiment: experiments.Experiment) -> dict[str, float]:
    """Compares the fused labels of the training cases with their truth.

    A network's matrices are judged on images without labels; fusion has no opinion there, so it is
    judged on the labels it has fused, those of the first 1,024 cases.

    Returns:
      "fused_dice", the mean over cases and classes of the foreground, and "fused_cm_rmse" (see
      `metrics.confusion.true_column_error`), of the raters whose labels were used; empty if the
      method trains on no fused labels or the truth is not known. Of cases that differ in size the
      first alone.
    """
    name, train = experiment.method.target, experiment.examples["train"]
    if not name or not train.truth_is_known:
        return {}
    num_classes = experiment.data.num_classes
    if experiment.data.own_sizes:
        return {"fused_dice": _dice_of_targets(experiment)}
    fuse_case = fuse.by_name(name, num_classes=num_classes)

    def one(case: dict[str, jax.Array]) -> dict[str, jax.Array]:
        labels, truth, mask = case["labels"], case["truth"], case["rater_mask"]
        probs, cms, *_ = fuse_case(labels, rater_mask=mask)
        counts = overlap.counts(ignored.argmax(probs), truth, num_classes)
        space = cms.shape[1:-2] or (1,) * truth.ndim
        cms = cms.reshape(len(labels), *space, num_classes, num_classes)
        error, count = confusion.true_column_error(cms, truth, labels, rater_mask=mask)
        return {"dice": overlap.dice(counts)[1:], "error": error, "count": count}

    def take(indices: np.ndarray) -> dict[str, np.ndarray]:
        batch = train.take(indices)
        given = {name: batch[name] for name in ("labels", "rater_mask")}
        return {**given, "truth": train.truths(indices)}

    values = fuse.map_cases(one, take, min(len(train), _MAX_CASES))
    pooled = values["error"].sum(dtype=np.float64) / values["count"].sum(dtype=np.float64)
    return {"fused_dice": float(values["dice"].mean()), "fused_cm_rmse": math.sqrt(pooled)}


def _dice_of_targets(experiment: experiments.Experiment) -> float:
    train, num_classes = experiment.examples["train"], experiment.data.num_classes
    means = []
    for index in range(min(len(train), _MAX_CASES)):
        fused = ignored.argmax(train[index]["target"])
        truth = train.truths(np.array([index]))[0]
        means.append(known_truth.dice(fused, truth, num_classes).mean())
    return float(np.mean(means))
