"""Whether what can be known without a label tells which predictions can be kept.

A case's risk is what its Dice lacks, 1 - Dice, and two confidences are judged by it: the mean
probability of the predicted foreground, and how alike its samples are (1 - their diversity).
"""

from typing import NamedTuple

import numpy as np

from noisyjax.metrics import risk
from noisyjax.tool.evaluation import evaluate

# Name of a confidence to the metric that it follows from, and whether that falls with it.
_CONFIDENCES = {"confidence": ("confidence", False), "alike samples": ("sample_diversity", True)}


class CaseRisk(NamedTuple):
    """How well a confidence ranks the cases; see `metrics.risk`.

    Attributes:
      label: the class, and `rater` the label, of the Dice; see `evaluate.Key`.
      confidence: "confidence" or "alike samples".
      cases: how many have both numbers.
      mean: of the risk: `aurc` of a confidence that tells nothing.
    """

    label: str
    rater: str
    confidence: str
    cases: int
    mean: float
    aurc: float
    e_aurc: float
    augrc: float
    ause: float


def of_cases(report: evaluate.Report) -> list[CaseRisk]:
    """Returns what each confidence is worth, for each Dice of the report's table."""
    rows = []
    for key in report.keys:
        if key.metric != "dice" or not evaluate.is_main(key, report):
            continue
        risks = 1 - report.values[:, report.keys.index(key)]
        for name, (metric, falls) in _CONFIDENCES.items():
            known = evaluate.Key(metric, "", "")
            if known not in report.keys:
                continue
            surest = report.values[:, report.keys.index(known)] * (-1 if falls else 1)
            both = ~(np.isnan(risks) | np.isnan(surest))
            if both.sum() < 2:
                continue
            given = risks[both], surest[both]
            areas = (f(*given) for f in (risk.aurc, risk.e_aurc, risk.augrc, risk.ause))
            count, mean = int(both.sum()), float(given[0].mean())
            rows.append(CaseRisk(key.label, key.rater, name, count, mean, *areas))
    return rows
