"""Risk and coverage against the golden file and values worked out by hand."""

import jaxtyping
import numpy as np
import pytest

from noisyjax.metrics import risk

_RISKS = np.array([0.1, 0.4, 0.2])
_CONFIDENCES = np.array([0.9, 0.2, 0.5])
_AREAS = {name: getattr(risk, name) for name in ("aurc", "augrc", "e_aurc", "ause")}


@pytest.mark.parametrize("case", ["22", "23"])
def test_golden(golden, case):
    with np.load(golden / "multirater.npz") as file:
        risks, confidences = file[f"{case}.risks"], file[f"{case}.confidences"]
        expected = {name: file[f"{case}.{name}"] for name in _AREAS}
        best = file[f"{case}.aurc_oracle"]
    for name, area in _AREAS.items():
        assert area(risks, confidences) == pytest.approx(expected[name], rel=1e-12), name
    assert risk.aurc(risks, -risks) == pytest.approx(best, rel=1e-12)


def test_by_hand():
    curve = risk.risk_coverage(_RISKS, _CONFIDENCES)
    np.testing.assert_allclose(curve.coverage, [0, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(curve.selective, [0.1, 0.1, 0.15, 0.7 / 3])
    np.testing.assert_allclose(curve.generalised, [0, 0.1 / 3, 0.1, 0.7 / 3])
    expected = {"aurc": 0.1389, "augrc": 0.0833, "e_aurc": 0.0, "ause": 0.0}
    reversed_ = {"aurc": 0.3389, "augrc": 0.15, "e_aurc": 0.2, "ause": 0.857}
    for name, area in _AREAS.items():
        assert area(_RISKS, _CONFIDENCES) == pytest.approx(expected[name], abs=5e-5), name
        assert area(_RISKS, -_CONFIDENCES) == pytest.approx(reversed_[name], abs=2e-4), name


def test_ties_leave_together():
    risks, tied = np.array([0.0, 1.0, 0.5, 0.5]), np.array([2.0, 2.0, 1.0, 1.0])
    curve = risk.risk_coverage(risks, tied)
    np.testing.assert_allclose(curve.coverage, [0, 0.5, 1])
    np.testing.assert_allclose(curve.selective, [0.5, 0.5, 0.5])
    # In any order of the results.
    order = np.array([1, 0, 3, 2])
    for area in _AREAS.values():
        assert area(risks, tied) == area(risks[order], tied[order])
    # A confidence that says nothing: the mean risk, and half of it.
    nothing = np.zeros(4)
    assert risk.aurc(risks, nothing) == pytest.approx(0.5)
    assert risk.augrc(risks, nothing) == pytest.approx(0.25)


def test_only_the_order_of_confidences_counts():
    draw = np.random.default_rng(0)
    risks, confidences = draw.random(30), draw.normal(size=30)
    for area in _AREAS.values():
        assert area(risks, np.exp(confidences)) == area(risks, confidences)
    assert risk.ause(3 * risks, confidences) == pytest.approx(risk.ause(risks, confidences))
    assert risk.e_aurc(risks, confidences) > 0
    best = risk.oracle(risks)
    assert (np.diff(best.selective) >= 0).all()


def test_errors_of_pixels_and_results_without_risk():
    errors = np.array([True, False, False, False])
    assert risk.aurc(errors, np.array([0.1, 0.9, 0.8, 0.7])) == pytest.approx(0.25 / 8)
    right = np.zeros(3)
    assert risk.aurc(right, _CONFIDENCES) == 0
    assert np.isnan(risk.ause(right, _CONFIDENCES))
    assert risk.aurc(_RISKS[:1], _CONFIDENCES[:1]) == pytest.approx(0.1)


@pytest.mark.parametrize("area", _AREAS.values(), ids=_AREAS)
def test_what_is_undefined_is_refused(area):
    with pytest.raises(ValueError, match="risks: expected finite numbers, got nan at 1"):
        area(np.array([0.1, np.nan, 0.2]), _CONFIDENCES)
    with pytest.raises(ValueError, match="confidences: expected numbers, got nan at 2"):
        area(_RISKS, np.array([0.1, 0.2, np.nan]))
    with pytest.raises((ValueError, jaxtyping.TypeCheckError), match="confidences"):
        area(_RISKS, _CONFIDENCES[:2])
    with pytest.raises(ValueError, match="risks: expected at least 1, got 0"):
        area(_RISKS[:0], _CONFIDENCES[:0])
