import dataclasses
import functools
import json
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import train_fakes

from noisyjax.methods import base
from noisyjax.metrics import boundary, confusion, surface, tabulate
from noisyjax.train import experiments
from noisyjax.train.devices import parallelism
from noisyjax.train.evaluation import evaluate, surfaces


@pytest.fixture(scope="module")
def experiment():
    train_fakes.install()
    return experiments.build(train_fakes.config())


@pytest.fixture(scope="module")
def variables(experiment):
    return experiment.method.init(jax.random.key(0), experiment.example_batch())


def prediction_of(probs, cms=None):
    raters = None if cms is None else jnp.einsum("rhwij,hwj->rhwi", cms, probs)
    return base.Prediction(probs, cms, raters)


def test_label_nll_by_hand():
    probs = jnp.array([[[0.9, 0.1], [0.2, 0.8]], [[0.5, 0.5], [1.0, 0.0]]])
    labels = jnp.array([[0, 1], [0, 1]])
    both = evaluate.label_nll(probs, labels, jnp.array([True, True]))
    expected = -np.log([0.9, 0.8, 0.5, np.finfo(np.float32).tiny]).mean()
    np.testing.assert_allclose(both, expected, rtol=1e-6)
    first = evaluate.label_nll(probs, labels, jnp.array([True, False]))
    np.testing.assert_allclose(first, -np.log([0.9, 0.8]).mean(), rtol=1e-6)
    shared = evaluate.label_nll(probs[:1], labels, jnp.array([True, True]))
    np.testing.assert_allclose(shared, -np.log([0.9, 0.8, 0.9, 0.8]).mean(), rtol=1e-6)
    assert np.isnan(evaluate.label_nll(probs, labels, jnp.array([False, False])))


def test_case_values_of_a_perfect_method():
    truth = jnp.array([[0, 1], [1, 0]], jnp.uint8)
    labels = jnp.stack([truth, 1 - truth])
    right, wrong = jnp.eye(2), 1 - jnp.eye(2)
    cms = jnp.broadcast_to(jnp.stack([right, wrong])[:, None, None], (2, 2, 2, 2, 2))
    prediction = prediction_of(jax.nn.one_hot(truth, 2), cms)
    batch = {"labels": labels, "rater_mask": jnp.array([True, True]), "truth": truth}
    values = evaluate.case_values(prediction, batch, num_classes=2)
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
    values = evaluate.case_values(prediction_of(probs), batch, num_classes=2)
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
    values = evaluate.case_values(prediction, batch, num_classes=2)
    assert set(values) == {
        *("nll", "ged2", "rater_iou", "own_dice", "label_dice"),
        *("label_false_positive_rate", "label_false_discovery_rate"),
    }
    np.testing.assert_allclose(values["nll"], np.log(2), rtol=1e-6)


def test_what_a_rater_would_say_is_compared_with_what_he_said():
    labels = jnp.array([[[1, 1, 0]], [[1, 0, 0]], [[0, 0, 1]]], jnp.uint8)
    probs = jax.nn.one_hot(labels[0], 2)
    would_say = jax.nn.one_hot(jnp.stack([labels[0], labels[0], labels[2]]), 2)
    batch = {"labels": labels, "rater_mask": jnp.array([True, True, False])}
    values = evaluate.case_values(base.Prediction(probs, None, would_say), batch, num_classes=2)
    np.testing.assert_allclose(values["own_dice"], [1, 2 / 3, np.nan], rtol=1e-6)
    np.testing.assert_allclose(values["rater_iou"], 1 / 2, rtol=1e-6)
    # Who does not model raters would say the same for each.
    alone = evaluate.case_values(prediction_of(probs), batch, num_classes=2)
    np.testing.assert_allclose(alone["own_dice"], [1, 2 / 3, np.nan], rtol=1e-6)


def test_samples_are_what_the_energy_distance_compares():
    labels = jnp.array([[[1, 1, 0]], [[1, 0, 0]]], jnp.uint8)
    batch = {"labels": labels, "rater_mask": jnp.array([True, True])}
    samples = jax.nn.one_hot(labels, 2)
    prediction = base.Prediction(samples.mean(0), samples=samples)
    values = evaluate.case_values(prediction, batch, num_classes=2)
    np.testing.assert_allclose(values["ged2"], 0, atol=1e-6)


def test_each_decision_has_metrics_of_its_own():
    # The threshold of [.9 .6 .4 .1] that is best for Dice is .38, so one more pixel is on.
    marginal = jnp.array([[0.9, 0.6], [0.4, 0.1]])
    truth = jnp.array([[1, 1], [1, 0]], jnp.uint8)
    labels = jnp.stack([truth, jnp.zeros_like(truth), 1 - truth])
    batch = {"labels": labels, "rater_mask": jnp.array([True, False, True]), "truth": truth}
    prediction = prediction_of(jnp.stack([1 - marginal, marginal], -1))
    values = evaluate.case_values(
        prediction, batch, num_classes=2, decisions=("accuracy", "dice", "argmax")
    )
    np.testing.assert_allclose(values["dice"], [0.8], rtol=1e-6)
    np.testing.assert_allclose(values["dice@dice"], [1.0])
    np.testing.assert_allclose(values["dice@argmax"], [0.8], rtol=1e-6)
    np.testing.assert_allclose(values["jaccard@dice"], [1.0])
    # Raters one and three labelled: (.8 + 0) / 2 and (1 + 0) / 2.
    np.testing.assert_allclose(values["label_dice"], [0.4], rtol=1e-6)
    np.testing.assert_allclose(values["label_dice@dice"], [0.5])


@pytest.mark.parametrize("kind", parallelism.KINDS)
@pytest.mark.parametrize("batch_size", [3, 100])
def test_batches_padding_and_devices_change_nothing(experiment, variables, kind, batch_size):
    spread = parallelism.build(kind)
    run = evaluate.build(experiment, spread, batch_size=batch_size)
    result = run(spread.replicate(variables), "test")
    found = []
    for example in (experiment.examples["test"][i] for i in range(4)):
        image = jnp.asarray(example["image"])[None]
        prediction = jax.tree.map(lambda x: x[0], experiment.method.predict(variables, image))
        batch = {k: jnp.asarray(v) for k, v in example.items() if k not in ("image", "id")}
        found.append(evaluate.case_values(prediction, batch, num_classes=2))
    values = jax.tree.map(lambda *parts: np.stack(parts), *found)
    close = functools.partial(pytest.approx, rel=1e-5)
    assert result.scalars["dice"] == close(values["dice"].mean())
    assert result.scalars["nll"] == close(values["nll"].mean())
    assert result.scalars["ged2"] == close(values["ged2"].mean())
    pooled = np.sqrt(values["cm_error"].sum() / values["cm_count"].sum())
    assert result.scalars["cm_rmse"] == close(pooled)
    assert result.scalars["trace_bert"] == close(values["trace"][:, 1].mean())
    dice = [row for row in result.rows if row.metric == "dice"]
    np.testing.assert_allclose([row.value for row in dice], values["dice"][:, 0], rtol=1e-6)
    assert [row.case for row in dice] == [
        experiment.data.case_name(int(i)) for i in experiment.examples["test"].ids
    ]


@pytest.mark.parametrize("kind", ["vmap", "shard_map"])
def test_surfaces_of_the_test_split(experiment, variables, kind):
    # Pixels of 2 mm by 3 mm.
    data = dataclasses.replace(experiment.data, spacing=(2.0, 3.0))
    experiment = dataclasses.replace(experiment, data=data)
    spread = parallelism.build(kind)
    options = {"batch_size": 3, "decisions": ("argmax", "dice")}
    run = evaluate.build(experiment, spread, surface=True, tolerance=2.5, **options)
    plain = evaluate.build(experiment, spread, **options)
    placed = spread.replicate(variables)
    result, without = run(placed, "test"), plain(placed, "test")
    values = {(row.metric, row.case): row.value for row in result.rows}
    assert len(values) == len(without.rows) + 2 * len(surfaces.NAMES) * 4
    assert values.items() >= {(row.metric, row.case): row.value for row in without.rows}.items()
    for example in (experiment.examples["test"][i] for i in range(4)):
        case = data.case_name(int(example["id"]))
        probs = experiment.method.predict(variables, jnp.asarray(example["image"])[None]).probs[0]
        for decision, suffix in {"argmax": "", "dice": "@dice"}.items():
            pred = np.asarray(base.segment(probs, decision=decision))
            truth = np.asarray(example["truth"])
            expected = surface.surface_metrics(pred, truth, spacing=(2.0, 3.0), tolerance=2.5)
            edges = boundary.boundary_overlap(jnp.asarray(pred), jnp.asarray(truth), empty="one")
            volume = abs(pred.sum() - truth.sum(dtype=int)) / truth.sum(dtype=int)
            wanted = expected._asdict() | edges._asdict() | {"rvd": volume}
            for name, value in wanted.items():
                found = values[f"{name}{suffix}", case]
                np.testing.assert_allclose(found, value, rtol=1e-5, err_msg=name)
    mean = np.mean([row.value for row in result.rows if row.metric == "hd95"])
    assert result.scalars["hd95"] == pytest.approx(mean)
    assert {"nsd_sd", "sbd", "rvd", "assd@dice"} <= result.scalars.keys()
    # What is validated again and again is not measured so.
    assert run(placed, "val").scalars.keys() == plain(placed, "val").scalars.keys()


def test_empty_masks_are_measured_as_misses():
    nothing, something = np.zeros((2, 3, 3), np.uint8)
    something[1, 1] = 1
    values = jax.vmap(functools.partial(surfaces.case_values, num_classes=3))(
        jnp.stack([nothing, something]), jnp.stack([something, something])
    )
    measured = surfaces.measure(
        jax.device_get(values),
        np.stack([something, something]),
        num_classes=3,
        spacing=(3.0, 4.0),
        tolerance=1.0,
    )
    assert measured.keys() == set(surfaces.NAMES)
    for name in ("hd", "hd95", "asd_pred", "asd_truth", "assd"):
        np.testing.assert_allclose(measured[name], [[15.0, 0.0], [0.0, 0.0]])
    for name in ("nsd", "dbd_g", "dbd_m", "sbd"):
        np.testing.assert_allclose(measured[name], [[0.0, 1.0], [1.0, 1.0]])
    np.testing.assert_allclose(measured["rvd"], [[1.0, 0.0], [0.0, 0.0]])


def test_files_and_warnings(tmp_path, caplog):
    swapped = np.array([[[0.1, 0.8], [0.9, 0.2]], [[0.3, 0.6], [0.7, 0.4]]], np.float32)
    rows = tabulate.case_rows("dice", np.array([0.0, np.nan]), ["a", "b"])
    result = evaluate.Evaluation({"dice": 0.0}, rows, swapped)
    with caplog.at_level(logging.WARNING, logger="absl"):
        evaluate.write(result, tmp_path, "val", train_fakes.RATERS)
    assert "val: classes look exchanged" in caplog.text
    content = json.loads((tmp_path / "val_report.json").read_text())
    assert content["warnings"] == confusion.orientation_warnings(swapped, train_fakes.RATERS)
    assert content["per_class"]["dice"]["undefined"] == 1
    np.testing.assert_allclose(content["mean_cms"]["bert"], swapped[1])
    assert len(tabulate.read_rows(tmp_path / "val_cases.csv")) == 2


def test_score_is_smaller_for_the_better():
    good = evaluate.Evaluation({"nll": 0.1, "dice": 0.9}, [], None)
    bad = evaluate.Evaluation({"nll": 0.2, "dice": 0.8}, [], None)
    for select in ("val_nll", "val_dice"):
        assert evaluate.score(good, select) < evaluate.score(bad, select)
    assert np.isnan(evaluate.score(good, "val_cm_rmse"))
    with pytest.raises(ValueError, match="expected one of val_nll.*got 'nll'"):
        evaluate.score(good, "nll")


def test_unknown_split_is_named(experiment, variables):
    run = evaluate.build(experiment, parallelism.build("vmap"), batch_size=3)
    with pytest.raises(ValueError, match="split: expected one of train, val, test, got 'dev'"):
        run(variables, "dev")
