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
from noisyjax.train.evaluation import case_metrics, evaluate


@pytest.fixture(scope="module")
def experiment(fakes):
    return experiments.build(train_fakes.config())


@pytest.fixture(scope="module")
def variables(experiment):
    return experiment.method.init(jax.random.key(0), experiment.example_batch())


@pytest.fixture(scope="module")
def predict(experiment, variables):
    """f(image without a batch) -> prediction."""

    @jax.jit
    def run(image):
        prediction = experiment.method.predict(variables, image[None])
        return jax.tree.map(lambda x: x[0], prediction)

    return run


@pytest.fixture(scope="module")
def one_by_one(experiment, predict):
    """The metrics of the test examples, each measured by itself."""
    measure = jax.jit(functools.partial(case_metrics.case_values, num_classes=2))
    results = []
    for example in (experiment.examples["test"][i] for i in range(4)):
        batch = {k: jnp.asarray(v) for k, v in example.items() if k not in ("image", "id")}
        results.append(measure(predict(jnp.asarray(example["image"])), batch))
    return jax.tree.map(lambda *parts: np.stack(parts), *results)


@pytest.mark.parametrize("kind", parallelism.KINDS)
@pytest.mark.parametrize("batch_size", [3, 100])
def test_batches_padding_and_devices_change_nothing(
    experiment, variables, one_by_one, kind, batch_size
):
    spread = parallelism.build(kind)
    run = evaluate.build(experiment, spread, batch_size=batch_size)
    result = run(spread.replicate(variables), "test")
    values = one_by_one
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
def test_surfaces_of_the_test_split(experiment, variables, predict, kind):
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
    extra = [name for name, metric in case_metrics.METRICS.items() if metric.surface]
    assert len(values) == len(without.rows) + 2 * len(extra) * 4
    assert values.items() >= {(row.metric, row.case): row.value for row in without.rows}.items()
    overlap_of_edges = jax.jit(functools.partial(boundary.boundary_overlap, empty="one"))
    for example in (experiment.examples["test"][i] for i in range(4)):
        case = data.case_name(int(example["id"]))
        probs = predict(jnp.asarray(example["image"])).probs
        for decision, suffix in {"argmax": "", "dice": "@dice"}.items():
            pred = np.asarray(base.segment(probs, decision=decision))
            truth = np.asarray(example["truth"])
            expected = surface.surface_metrics(pred, truth, spacing=(2.0, 3.0), tolerance=2.5)
            edges = overlap_of_edges(jnp.asarray(pred), jnp.asarray(truth))
            volume = abs(pred.sum() - truth.sum(dtype=int)) / truth.sum(dtype=int)
            wanted = expected._asdict() | edges._asdict() | {"rvd": volume}
            for name, value in wanted.items():
                results = values[f"{name}{suffix}", case]
                np.testing.assert_allclose(results, value, rtol=1e-5, err_msg=name)
    mean = np.mean([row.value for row in result.rows if row.metric == "hd95"])
    assert result.scalars["hd95"] == pytest.approx(mean)
    assert {"nsd_sd", "sbd", "rvd", "assd@dice"} <= result.scalars.keys()
    # What is validated again and again is not measured so.
    assert run(placed, "val").scalars.keys() == plain(placed, "val").scalars.keys()


@pytest.mark.parametrize("kind", ["vmap", "pmap"])
def test_all_raters_at_once_of_the_test_split(experiment, variables, kind):
    spread = parallelism.build(kind)
    placed = spread.replicate(variables)
    run = evaluate.build(experiment, spread, batch_size=3, raters=True)
    plain = evaluate.build(experiment, spread, batch_size=3)
    result, without = run(placed, "test"), plain(placed, "test")
    extra = {name for name, metric in case_metrics.METRICS.items() if metric.raters}
    assert {row.metric for row in result.rows} == {row.metric for row in without.rows} | extra
    assert {name: result.scalars[name] for name in without.scalars} == pytest.approx(
        without.scalars, nan_ok=True
    )
    matched = [row.value for row in result.rows if row.metric == "hm_iou"]
    assert result.scalars["hm_iou"] == pytest.approx(np.mean(matched))
    assert 0 < result.scalars["hm_iou"] < 1
    assert run(placed, "val").scalars.keys() == plain(placed, "val").scalars.keys()


def test_a_metric_that_is_added_later_is_measured_too(experiment, variables, monkeypatch):
    spread = parallelism.build("vmap")

    def measured():
        run = evaluate.build(experiment, spread, batch_size=3)
        return run(spread.replicate(variables), "val").scalars

    before = measured()
    confidence = case_metrics.Metric(lambda case: case.probs.max(-1).mean())
    monkeypatch.setitem(case_metrics.METRICS, "confidence", confidence)
    assert measured().keys() - before.keys() == {"confidence"}


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
    with pytest.raises(ValueError, match="expected one of val_dice.*val_nll.*got 'nll'"):
        evaluate.score(good, "nll")


def test_unknown_split_is_named(experiment, variables):
    run = evaluate.build(experiment, parallelism.build("vmap"), batch_size=3)
    with pytest.raises(ValueError, match="split: expected one of train, val, test, got 'dev'"):
        run(variables, "dev")
