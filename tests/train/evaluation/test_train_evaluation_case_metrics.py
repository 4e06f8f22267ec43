"""The metrics of one case by hand, and that a metric is one entry of the table."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import train_fakes

from noisyjax import train
from noisyjax.core import class_regions, slabs
from noisyjax.methods import base
from noisyjax.metrics import tabulate
from noisyjax.train.evaluation import case_metrics
from noisyjax.train.workdir import metrics_log


def prediction_of(probs, cms=None):
    raters = None if cms is None else jnp.einsum("rhwij,hwj->rhwi", cms, probs)
    return base.Prediction(probs, cms, raters)


def case_values(names, prediction, batch, **options):
    """The metrics that are named, or all, which compile for longer."""
    measure = functools.partial(case_metrics.case_values, num_classes=2, names=names, **options)
    return jax.jit(measure)(prediction, batch)


def test_case_values_of_a_perfect_method():
    truth = jnp.array([[0, 1], [1, 0]], jnp.uint8)
    labels = jnp.stack([truth, 1 - truth])
    right, wrong = jnp.eye(2), 1 - jnp.eye(2)
    cms = jnp.broadcast_to(jnp.stack([right, wrong])[:, None, None], (2, 2, 2, 2, 2))
    prediction = prediction_of(jax.nn.one_hot(truth, 2), cms)
    batch = {"labels": labels, "rater_mask": jnp.array([True, True]), "truth": truth}
    values = case_values(None, prediction, batch)
    np.testing.assert_allclose(values["dice"], [1])
    np.testing.assert_allclose(values["rater_dice"], [1, 0])
    np.testing.assert_allclose(values["trace"], [1, 0])
    np.testing.assert_allclose(values["cm_error"], [0, 0])
    np.testing.assert_allclose(values["cm_count"], [8, 8])
    np.testing.assert_allclose(values["nll"], 0, atol=1e-6)
    np.testing.assert_allclose(values["ged2"], 0, atol=1e-6)
    mean = np.asarray(values["cm_sum"]) / np.asarray(values["cm_weight"])
    np.testing.assert_allclose(mean, np.stack([right, wrong]))


def test_false_positives_by_truth_and_labels_by_hand():
    # Three voxels of the class are said, two of them by the truth and one by the second label.
    probs = jax.nn.one_hot(jnp.array([1, 1, 1, 0, 0, 0]), 2)
    truth = jnp.array([1, 1, 0, 0, 0, 1], jnp.uint8)
    labels = jnp.stack([truth, jnp.array([0, 0, 1, 0, 0, 0], jnp.uint8), 1 - truth])
    batch = {"labels": labels, "rater_mask": jnp.array([True, True, False]), "truth": truth}
    rates = ["false_positive_rate", "false_discovery_rate"]
    rates += [f"label_{rate}" for rate in rates]
    values = case_values(rates, prediction_of(probs), batch)
    np.testing.assert_allclose(values["false_positive_rate"], [1 / 3], rtol=1e-6)
    np.testing.assert_allclose(values["false_discovery_rate"], [1 / 3], rtol=1e-6)
    np.testing.assert_allclose(
        values["label_false_positive_rate"], [(1 / 3 + 2 / 5) / 2], rtol=1e-6
    )
    np.testing.assert_allclose(
        values["label_false_discovery_rate"], [(1 / 3 + 2 / 3) / 2], rtol=1e-6
    )


def test_case_values_without_matrices_or_truth():
    labels = jnp.array([[[0, 1]]], jnp.uint8)
    batch = {"labels": labels, "rater_mask": jnp.array([True])}
    prediction = prediction_of(jnp.full((1, 2, 2), 0.5))
    values = case_values(None, prediction, batch)
    assert set(values) == {
        *("nll", "ged2", "rater_iou", "own_dice", "label_dice", "label_ece"),
        "soft_dice_qubiq",
        *("label_false_positive_rate", "label_false_discovery_rate"),
    }
    np.testing.assert_allclose(values["nll"], np.log(2), rtol=1e-6)


def test_slabs_of_a_large_case_change_nothing(monkeypatch):
    key = jax.random.split(jax.random.key(0), 4)
    shape, classes, raters = (7, 4, 3), 3, 2
    probs = jax.nn.softmax(jax.random.normal(key[0], (*shape, classes)))
    cms = jax.nn.softmax(jax.random.normal(key[1], (raters, *shape, classes, classes)), axis=-2)
    prediction = base.Prediction(probs, cms, jnp.einsum("rxyzij,xyzj->rxyzi", cms, probs))
    labels = jax.random.randint(key[2], (raters, *shape), 0, classes).astype(jnp.uint8)
    batch = {
        "labels": labels.at[0, 2].set(255),
        "rater_mask": jnp.array([True, True]),
        "truth": jax.random.randint(key[3], shape, 0, classes).astype(jnp.uint8).at[1, 1].set(255),
    }
    regions = class_regions.Regions(("whole", "core"), ((1, 2), (2,)), (1, 2))
    options = {"num_classes": classes, "surface": True, "regions": regions}
    measure = functools.partial(case_metrics.case_values, **options)
    whole = jax.jit(measure)(prediction, batch)
    monkeypatch.setattr(slabs, "MOST", 24)
    found = jax.jit(lambda *case: measure(*case))(prediction, batch)
    assert found.keys() == whole.keys()
    for name, value in whole.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-6, err_msg=name)


def test_what_a_rater_would_say_is_compared_with_what_he_said():
    labels = jnp.array([[[1, 1, 0]], [[1, 0, 0]], [[0, 0, 1]]], jnp.uint8)
    probs = jax.nn.one_hot(labels[0], 2)
    would_say = jax.nn.one_hot(jnp.stack([labels[0], labels[0], labels[2]]), 2)
    batch = {"labels": labels, "rater_mask": jnp.array([True, True, False])}
    values = case_values(["own_dice", "rater_iou"], base.Prediction(probs, None, would_say), batch)
    np.testing.assert_allclose(values["own_dice"], [1, 2 / 3, np.nan], rtol=1e-6)
    np.testing.assert_allclose(values["rater_iou"], 1 / 2, rtol=1e-6)
    # Who does not model raters would say the same for each.
    alone = case_values(["own_dice", "rater_iou"], prediction_of(probs), batch)
    np.testing.assert_allclose(alone["own_dice"], [1, 2 / 3, np.nan], rtol=1e-6)


def test_samples_are_what_the_energy_distance_compares():
    labels = jnp.array([[[1, 1, 0]], [[1, 0, 0]]], jnp.uint8)
    batch = {"labels": labels, "rater_mask": jnp.array([True, True])}
    samples = jax.nn.one_hot(labels, 2)
    prediction = base.Prediction(samples.mean(0), samples=samples)
    values = case_values(["ged2"], prediction, batch)
    np.testing.assert_allclose(values["ged2"], 0, atol=1e-6)


def test_thresholds_of_the_raters_votes_by_hand():
    # Shares of votes are above .1 to .4 in two pixels and above .5 to .9 in one; probabilities are
    # above .1 in three pixels, .2 to .5 in two, .6 and .7 in one, .8 and .9 in none.
    labels = jnp.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1]], jnp.uint8)
    foreground = jnp.array([0.8, 0.6, 0.2, 0.0])
    batch = {"labels": labels, "rater_mask": jnp.array([True, True, False])}
    prediction = prediction_of(jnp.stack([1 - foreground, foreground], -1))
    values = case_values(["soft_dice_qubiq"], prediction, batch)
    expected = (0.8 + 3 * 1 + 2 / 3 + 2 * 1 + 0 + 0) / 9
    np.testing.assert_allclose(values["soft_dice_qubiq"], expected, rtol=1e-5)


def test_each_decision_has_metrics_of_its_own():
    # The threshold of [.9 .6 .4 .1] that is best for Dice is .38, so one more pixel is on.
    marginal = jnp.array([[0.9, 0.6], [0.4, 0.1]])
    truth = jnp.array([[1, 1], [1, 0]], jnp.uint8)
    labels = jnp.stack([truth, jnp.zeros_like(truth), 1 - truth])
    batch = {"labels": labels, "rater_mask": jnp.array([True, False, True]), "truth": truth}
    prediction = prediction_of(jnp.stack([1 - marginal, marginal], -1))
    values = case_values(
        ["dice", "jaccard", "label_dice"],
        prediction,
        batch,
        decisions=("accuracy", "dice", "argmax"),
    )
    np.testing.assert_allclose(values["dice"], [0.8], rtol=1e-6)
    np.testing.assert_allclose(values["dice@dice"], [1.0])
    np.testing.assert_allclose(values["dice@argmax"], [0.8], rtol=1e-6)
    np.testing.assert_allclose(values["jaccard@dice"], [1.0])
    # Raters one and three labelled: (.8 + 0) / 2 and (1 + 0) / 2.
    np.testing.assert_allclose(values["label_dice"], [0.4], rtol=1e-6)
    np.testing.assert_allclose(values["label_dice@dice"], [0.5])


def test_calibration_by_hand():
    # All of .9 and .7 fall into bins of their own: |.9 - 1/2| and |.7 - 1|, two pixels each.
    marginal = jnp.array([0.9, 0.9, 0.7, 0.7])
    truth = jnp.array([1, 0, 1, 1], jnp.uint8)
    batch = {"labels": truth[None], "rater_mask": jnp.array([True]), "truth": truth}
    prediction = prediction_of(jnp.stack([1 - marginal, marginal], -1))
    values = case_values(["ece", "brier"], prediction, batch)
    np.testing.assert_allclose(values["ece"], [0.35], rtol=1e-5)
    # Of two classes, twice .01, .81, .09 and .09.
    np.testing.assert_allclose(values["brier"], 2 * 1.0 / 4, rtol=1e-5)


def test_calibration_by_the_raters_labels():
    # The first rater: |.9 - 1/2| and |.7 - 1|; the second: |.9 - 1| and |.7|; the third is absent.
    marginal = jnp.array([0.9, 0.9, 0.7, 0.7])
    labels = jnp.array([[1, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]], jnp.uint8)
    batch = {"labels": labels, "rater_mask": jnp.array([True, True, False])}
    prediction = prediction_of(jnp.stack([1 - marginal, marginal], -1))
    values = case_values(["label_ece", "brier"], prediction, batch)
    np.testing.assert_allclose(values["label_ece"], [(0.35 + 0.4) / 2], rtol=1e-5)
    assert "brier" not in values


@pytest.mark.usefixtures("fakes")
def test_a_metric_is_one_entry(tmp_path, monkeypatch):
    confidence = case_metrics.Metric(lambda case: case.probs.max(-1).mean(), better="high")
    monkeypatch.setitem(case_metrics.METRICS, "confidence", confidence)
    sizes = case_metrics.Metric(
        lambda case: (case.segmentation == 1).sum()[None], "class", by_decision=True
    )
    monkeypatch.setitem(case_metrics.METRICS, "size", sizes)
    changes = {"evaluate.select": "val_confidence", "evaluate.decisions": ("argmax", "dice")}
    changes |= {"train.epochs": 1, "evaluate.checkpoint": "best"}
    _, summary = train.train_and_evaluate(train_fakes.config(**changes), tmp_path)
    rows = tabulate.read_rows(tmp_path / "test_cases.csv")
    values = [row.value for row in rows if row.metric == "confidence"]
    assert len(values) == 4
    assert summary["test_confidence"] == pytest.approx(np.mean(values))
    assert {"test_size", "test_size_sd", "test_size@dice", "val_confidence"} <= summary.keys()
    assert "test_confidence@dice" not in summary
    report = json.loads((tmp_path / "test_report.json").read_text())
    assert report["scalars"]["confidence"] == summary["test_confidence"]
    assert report["per_class"]["confidence"]["count"] == 4
    assert "val_confidence" in metrics_log.read_metrics(tmp_path / "metrics.jsonl")[-1]


def test_the_error_of_matrices_is_pooled_over_images():
    # Two images, two raters: (4 + 0) of 8 + 8 entries, (1 + 3) of 4 + 12; the last is unknown.
    values = {
        "cm_error": np.array([[4.0, 1.0, 0.0], [0.0, 3.0, 0.0]]),
        "cm_count": np.array([[8.0, 4.0, 0.0], [8.0, 12.0, 0.0]]),
    }
    rmse = case_metrics.METRICS["cm_rmse"].derive(values, axis=0)
    np.testing.assert_allclose(rmse, [0.5, 0.5, np.nan])
    np.testing.assert_allclose(case_metrics.METRICS["cm_rmse"].derive(values), 0.5)
