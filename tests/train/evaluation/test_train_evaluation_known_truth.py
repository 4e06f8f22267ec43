"""Cases whose truth is not known among others."""

import jax
import numpy as np
import pytest

from noisyjax.methods import base
from noisyjax.train.evaluation import case_metrics, known_truth

KNOWN = np.array([True, False, True])


def test_the_table_says_which_metrics_are_of_the_truth():
    probs, labels = np.zeros((4, 5, 2), np.float32), np.zeros((2, 4, 5), np.uint8)
    cms = np.zeros((2, 4, 5, 2, 2), np.float32)
    prediction = base.Prediction(probs, cms, np.stack([probs, probs]))
    batch = {"labels": labels, "rater_mask": np.ones(2, bool)}

    def names(batch):
        def measure(prediction, batch):
            all_of_them = {"surface": True, "raters": True}
            return case_metrics.case_values(prediction, batch, num_classes=2, **all_of_them)

        return set(jax.eval_shape(measure, prediction, batch))

    of_truth = names({**batch, "truth": labels[0]}) - names(batch)
    of_truth -= {"cm_error", "cm_count", case_metrics.SEGMENTATION}
    table = case_metrics.METRICS.items()
    # Of regions only where there are some.
    of_truth.add("region_dice")
    assert of_truth == {name for name, m in table if m.truth and m.compute is not None}


def test_what_needs_no_truth_stays_and_the_rest_is_of_the_known():
    values = {
        "dice": np.array([[0.5], [0.9], [0.7]], np.float32),
        "dice@accuracy": np.array([[0.5], [0.9], [0.6]], np.float32),
        "nll": np.array([1.0, 2.0, 3.0], np.float32),
        "trace": np.array([[0.5, 0.6], [0.9, 0.0], [0.7, 0.8]], np.float32),
        "rater_dice": np.array([[0.2, 0.6], [0.9, 0.0], [0.4, 0.8]], np.float32),
        "cm_error": np.array([[4.0, 0.0], [9.0, 9.0], [0.0, 12.0]]),
        "cm_count": np.array([[1.0, 1.0], [7.0, 7.0], [1.0, 1.0]]),
    }
    left = known_truth.of_known(values, KNOWN)
    np.testing.assert_array_equal(left["nll"], values["nll"])
    np.testing.assert_array_equal(left["trace"], values["trace"])
    for name in ("dice", "dice@accuracy", "rater_dice"):
        assert np.isnan(left[name][1]).all()
        np.testing.assert_array_equal(left[name][KNOWN], values[name][KNOWN])
    means = case_metrics.scalars(left, ("anna", "bert"))
    assert means["dice"] == pytest.approx(0.6)
    assert means["nll"] == pytest.approx(2.0)
    assert means["cm_rmse"] == pytest.approx(2.0)
    # Bert is the better one by both.
    assert values["dice"][1, 0] == np.float32(0.9)
    assert np.isfinite(means["rater_ranking"])


def test_where_all_are_known_nothing_changes():
    values = {"dice": np.ones((2, 1))}
    assert known_truth.of_known(values, np.ones(2, bool)) == values
