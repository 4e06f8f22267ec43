"""Whether confidences tell which cases can be kept."""

import numpy as np
import pytest

import noisyjax
from noisyjax.tool.evaluation import case_risk, evaluation_tables, predictions


def _probs(*p):
    p = np.array(p, np.float32)
    return np.stack([1 - p, p], axis=-1)[None]


def _ids(text):
    return np.array([[int(c) for c in text]], np.uint8)


def test_confidences_are_judged_by_the_risk_of_cases(tmp_path):
    # Dice 1, 2/3 and 0; the mean probability of what is predicted is highest for the second.
    probs = [_probs(0.8, 0.8, 0.0, 0.0), _probs(0.9, 0.9, 0.1, 0.0), _probs(0.0, 0.0, 0.0, 0.6)]
    truths = [_ids("1100"), _ids("1000"), _ids("1000")]
    report = noisyjax.evaluate(
        probs,
        [np.zeros((0, 1, 4), np.uint8)] * 3,
        truths=truths,
        num_classes=2,
        metrics=("dice", "confidence"),
    )
    np.testing.assert_allclose(report.values[:, 1], [0.8, 0.9, 0.6], rtol=1e-6)
    (row,) = case_risk.of_cases(report)
    assert row[:4] == ("1", "truth", "confidence", 3)
    # Kept are one, two and three cases, of mean risk 1/3, 1/6 and 4/9.
    assert row.mean == pytest.approx(4 / 9)
    aurc = (1 / 3 + (1 / 3 + 1 / 6) / 2 + (1 / 6 + 4 / 9) / 2) / 3
    oracle = (0 + (0 + 1 / 6) / 2 + (1 / 6 + 4 / 9) / 2) / 3
    assert row.aurc == pytest.approx(aurc)
    assert row.e_aurc == pytest.approx(aurc - oracle)
    assert row.ause == pytest.approx((aurc - oracle) / row.mean)
    evaluation_tables.write_csv(report, tmp_path)
    assert (tmp_path / "risk.csv").read_text().splitlines()[0].startswith("label,rater,confidence")
    titles = [title for title, *_ in evaluation_tables.tables(report)]
    assert "Risk (1 - Dice) of the cases that are kept" in titles
    alone = noisyjax.evaluate(probs[0], _ids("1100")[None], num_classes=2, metrics=("dice",))
    assert case_risk.of_cases(alone) == []


def test_samples_that_are_alike_are_a_confidence_too():
    # Two alike, and two without a voxel in common: 1 - IoU is 0 and 1/2 over both with themselves.
    drawn = [(_ids("1100"), _ids("1100")), (_ids("1000"), _ids("0011"))]
    given = [predictions.Prediction(one, samples=np.stack([one, two])) for one, two in drawn]
    report = noisyjax.evaluate(
        given,
        [_ids("1100")[None], _ids("1110")[None]],
        num_classes=2,
        metrics=("dice", "sample_diversity"),
    )
    (row,) = case_risk.of_cases(report)
    assert row[:4] == ("1", "rater_1", "alike samples", 2)
    # The surer one has no risk, the other 1/2.
    assert row.e_aurc == 0
    assert row.mean == pytest.approx(1 / 4)
