"""Risk and coverage: whether a confidence tells which results can be kept, on the host in float64.

A result is a case with its risk, for example 1 - Dice, or a pixel with its error, 0 or 1. The least
confident results are given up first; those with equal confidences go together, so that no order
among them is invented. `risk_coverage` is the curve, the others are areas below it.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Integer

from noisyjax.core import checks

Values = (
    Float[Array | np.ndarray, "n"]
    | Integer[Array | np.ndarray, "n"]
    | Bool[Array | np.ndarray, "n"]
)


class Curve(NamedTuple):
    """What is kept and what it risks, ``[m + 1]`` for m different confidences, the surest first.

    Attributes:
      coverage: share of the results that are kept, from 0 to 1.
      selective: mean risk of those; at coverage 0 that of the surest ones.
      generalised: sum of their risks as a share of all results: 0 at coverage 0.
    """

    coverage: Float[np.ndarray, "m"]
    selective: Float[np.ndarray, "m"]
    generalised: Float[np.ndarray, "m"]


def risk_coverage(risks: Values, confidences: Values) -> Curve:
    """Returns the risk of the results that are kept, for every number of them.

    Args:
      risks: of n results, ``[n]``, finite. NaN is an error: leave undefined results out, of both.
      confidences: of the same results, ``[n]``, the larger the surer; any scale, infinity too.

    >>> curve = risk_coverage(np.array([0.1, 0.4, 0.2]), np.array([0.9, 0.2, 0.5]))
    >>> curve.selective.round(4)
    array([0.1   , 0.1   , 0.15  , 0.2333])
    """
    risks, confidences = _checked(risks, confidences)
    order = np.argsort(-confidences, kind="stable")
    kept = np.arange(1, len(order) + 1)
    sums = np.cumsum(risks[order])
    # Only between different confidences can be cut.
    ranked = confidences[order]
    cuts = np.append(ranked[1:] != ranked[:-1], True)
    kept, sums = kept[cuts], sums[cuts]
    selective = sums / kept
    return Curve(
        np.concatenate([[0.0], kept / len(order)]),
        np.concatenate([selective[:1], selective]),
        np.concatenate([[0.0], sums / len(order)]),
    )


def oracle(risks: Values) -> Curve:
    """Returns the curve of the best confidence, the risk itself: the largest are given up first.

    Equal risks go together, as equal confidences do.
    """
    risks = np.asarray(risks, np.float64)
    return risk_coverage(risks, -risks)


def aurc(risks: Values, confidences: Values) -> float:
    """Returns the area under the curve of the selective risk, by trapezoids; low is good.

    It is the mean risk where the confidence says nothing (Geifman & El-Yaniv 2017; as computed by
    Jaeger et al. 2023, who show it times 1000). The mean of the risk of the k surest over all k,
    as others compute it, differs by O(1 / n).

    Args:
      risks: see `risk_coverage`.
      confidences: likewise.

    >>> round(aurc(np.array([0.1, 0.4, 0.2]), np.array([0.9, 0.2, 0.5])), 4)
    0.1389
    """
    curve = risk_coverage(risks, confidences)
    return _area(curve.coverage, curve.selective)


def augrc(risks: Values, confidences: Values) -> float:
    """Returns the area under the curve of the generalised risk, by trapezoids; low is good.

    A confident failure weighs the same wherever it is ranked among those that are kept, while
    `aurc` is ruled by the few surest (Traub et al. 2024). Half the mean risk where the confidence
    says nothing.

    Args:
      risks: see `risk_coverage`.
      confidences: likewise.
    """
    curve = risk_coverage(risks, confidences)
    return _area(curve.coverage, curve.generalised)


def e_aurc(risks: Values, confidences: Values) -> float:
    """Returns how much larger `aurc` is than that of the `oracle` (Geifman et al. 2019).

    Args:
      risks: see `risk_coverage`.
      confidences: likewise.
    """
    best = oracle(risks)
    return aurc(risks, confidences) - _area(best.coverage, best.selective)


def ause(risks: Values, confidences: Values) -> float:
    """Returns the area under the sparsification error, `e_aurc` over the mean risk.

    It compares confidences between sets of different risk (Ilg et al. 2018); NaN if the mean risk
    is 0.

    Args:
      risks: see `risk_coverage`.
      confidences: likewise.
    """
    excess = e_aurc(risks, confidences)
    mean = float(np.mean(np.asarray(risks, np.float64)))
    return excess / mean if mean else float("nan")


def _area(x: Float[np.ndarray, "m"], y: Float[np.ndarray, "m"]) -> float:
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))


def _checked(
    risks: Values, confidences: Values
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    risks, confidences = np.asarray(risks, np.float64), np.asarray(confidences, np.float64)
    checks.rank("risks", risks, 1)
    checks.shape("confidences", confidences, risks.shape, like="risks")
    checks.at_least("risks", len(risks), 1)
    wrong = np.flatnonzero(~np.isfinite(risks))
    if len(wrong):
        raise ValueError(f"risks: expected finite numbers, got {risks[wrong[0]]} at {wrong[0]}")
    wrong = np.flatnonzero(np.isnan(confidences))
    if len(wrong):
        raise ValueError(f"confidences: expected numbers, got nan at {wrong[0]}")
    return risks, confidences
