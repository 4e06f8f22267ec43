"""Metrics of the truth where it is known of some cases only."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool

from noisyjax.core import checks
from noisyjax.train.evaluation import case_metrics

# What is added up over cases to a metric of the truth.
_SUMS = ("cm_error", "cm_count")


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
