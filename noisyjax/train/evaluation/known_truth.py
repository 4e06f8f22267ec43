"""Metrics of the truth: where it is known of some cases only, and of cases of any size."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Integer

from noisyjax.core import checks
from noisyjax.metrics import overlap
from noisyjax.train.evaluation import case_metrics

# What is added up over cases to a metric of the truth.
_SUMS = ("cm_error", "cm_count")


def dice(
    labels: Integer[np.ndarray, "*S"], truth: Integer[np.ndarray, "*S"], num_classes: int
) -> Float[np.ndarray, "C"]:
    """Returns the Dice of each class of the foreground, counted on the host: any shape will do.

    >>> dice(np.array([0, 1, 1, 2]), np.array([0, 1, 1, 1]), 3).tolist()
    [0.800000011920929, 0.0]
    """
    judged = (truth < num_classes) & (labels < num_classes)
    pairs = labels[judged].astype(np.int64) * num_classes + truth[judged]
    joint = np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    both, said, true = np.diag(joint), joint.sum(axis=1), joint.sum(axis=0)
    counts = overlap.Counts(both, said - both, true - both, joint.sum() - said - true + both)
    return np.asarray(overlap.dice(counts))[1:]


def of_known(
    values: Mapping[str, np.ndarray], known: Bool[np.ndarray, "B"]
) -> dict[str, np.ndarray]:
    """Makes NaN of the metrics of the truth for those of B cases whose truth is not known.

    Sums over cases become 0 for them. The values are those of `case_metrics.case_values`, stacked.
    """
    checks.masks(known=known)
    left = dict(values)
    for name in values if not known.all() else ():
        metric = case_metrics.METRICS.get(name.partition("@")[0])
        if name in _SUMS or (metric is not None and metric.truth):
            left[name] = values[name].copy()
            left[name][~known] = 0 if name in _SUMS else np.nan
    return left
