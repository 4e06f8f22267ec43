import json
import logging
import os
import shutil
import signal

import jax
import numpy as np
import pytest
import train_fakes

from noisyjax import train
from noisyjax.data import pipeline, sources
from noisyjax.metrics import tabulate
from noisyjax.train import loop, saved_runs
from noisyjax.train.workdir import checkpoints, metrics_log

EPOCHS, PER_EPOCH = 3, 4
STEPS = EPOCHS * PER_EPOCH

pytestmark = pytest.mark.usefixtures("fakes")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, fakes):
    folder = tmp_path_factory.mktemp("whole")
    state, summary = train.train_and_evaluate(train_fakes.config(), folder)
    return folder, jax.device_get(state), summary


def assert_same(tree, other):
    assert jax.tree.structure(tree) == jax.tree.structure(other)
    for leaf, expected in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        leaf, expected = np.asarray(leaf), np.asarray(expected)
        assert (leaf.dtype, leaf.tobytes()) == (expected.dtype, expected.tobytes())


def test_a_workdir_holds_everything(uninterrupted):
    folder, state, summary = uninterrupted
    assert int(state.step) == STEPS
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "config.json", "versions.json", "splits.json", "metrics.jsonl", "events", "checkpoints",
        "summary.json", "val_cases.csv", "val_report.json", "test_cases.csv", "test_report.json",
        "source.json", "run.lock",
    }  # fmt: skip
    rows = metrics_log.read_metrics(folder / "metrics.jsonl")
    training = [row for row in rows if "train_loss" in row]
    assert [row["step"] for row in training] == list(range(1, STEPS + 1))
    assert training[-1]["train_loss"] < training[0]["train_loss"]
    assert training[0]["train_double"] == pytest.approx(2 * training[0]["train_loss"], rel=1e-5)
    assert [row["step"] for row in rows if "val_dice" in row] == [4, 8, 12]
    assert 0.5 < summary["test_dice"] < 1
    assert all(isinstance(value, float) for value in summary.values())
    expected = {
        "test_dice", "test_dice_sd", "test_cm_rmse", "test_ged2", "test_nll", "test_trace_anna",
        "test_trace_bert", "val_nll", "seconds_train", "seconds_compile", "steps", "parameters",
    }  # fmt: skip
    assert expected <= set(summary)
    cases = tabulate.read_rows(folder / "test_cases.csv")
    dice = [row.value for row in cases if row.metric == "dice"]
    assert len(dice) == 4
    assert np.mean(dice) == pytest.approx(summary["test_dice"], abs=1e-6)


def test_a_run_predicts_alike_without_its_data(uninterrupted, tmp_path, monkeypatch):
    folder = shutil.copytree(uninterrupted[0], tmp_path / "run")
    run, variables = saved_runs.restore(folder)
    batch = run.experiment.example_batch()
    monkeypatch.setattr(sources, "load", None)
    trained = saved_runs.restore_without_data(folder)
    assert trained.facts == run.facts
    assert_same(trained.variables, jax.device_get(variables))
    expected = run.experiment.method.predict(variables, batch["image"])
    assert_same(trained.method.predict(trained.variables, batch["image"]), expected)


def test_looking_at_a_run_writes_nothing(uninterrupted, tmp_path):
    folder = shutil.copytree(uninterrupted[0], tmp_path / "run")
    (folder / "splits.json").unlink()
    before = sorted(path for path in folder.rglob("*"))
    run, _ = saved_runs.restore(folder)
    assert sorted(path for path in folder.rglob("*")) == before
    kept = json.loads((uninterrupted[0] / "splits.json").read_text())["splits"]["test"]["ids"]
    assert run.experiment.examples["test"].ids.tolist() == kept
    # A damaged checkpoint stays where it is as well.
    for path in (folder / "checkpoints" / str(STEPS) / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(ValueError, match=f"step {STEPS}"):
        saved_runs.restore(folder)
    assert sorted(path for path in folder.rglob("*")) == before


def test_a_finished_run_of_old_receives_the_facts_of_its_data(uninterrupted, tmp_path, monkeypatch):
    folder, _, summary = uninterrupted
    copy = shutil.copytree(folder, tmp_path / "run")
    (copy / "source.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"source.json: not there"):
        saved_runs.restore_without_data(copy)
    monkeypatch.setattr(loop, "train", None)
    assert train.train_and_evaluate(train_fakes.config(), copy)[1] == summary
    assert (copy / "source.json").read_bytes() == (folder / "source.json").read_bytes()


def test_a_finished_run_is_read_not_trained(uninterrupted, monkeypatch):
    folder, state, summary = uninterrupted
    monkeypatch.setattr(loop, "train", None)
    again, read = train.train_and_evaluate(train_fakes.config(progress=True), folder)
    assert_same(jax.device_get(again), state)
    assert read == summary


def test_another_config_is_refused(uninterrupted):
    folder, _, _ = uninterrupted
    with pytest.raises(ValueError, match="seed was 3, now 4, .*epochs was 3, now 4"):
        train.train_and_evaluate(train_fakes.config(**{"train.epochs": 4, "seed": 4}), folder)


@pytest.mark.parametrize("kind", ["shard_map", "vmap"])
def test_all_ways_to_spread_train_alike(uninterrupted, tmp_path, kind):
    _, expected, summary = uninterrupted
    state, other = train.train_and_evaluate(train_fakes.config(parallel=kind), tmp_path)
    for leaf, like in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(leaf, like, rtol=1e-3, atol=1e-5)
    assert other["test_nll"] == pytest.approx(summary["test_nll"], rel=1e-4)


@pytest.mark.parametrize("step", [1, 6, 11])
def test_sigterm_saves_and_the_run_goes_on_bit_for_bit(uninterrupted, tmp_path, monkeypatch, step):
    _, expected, summary = uninterrupted
    with monkeypatch.context() as patch:
        stopping = train_fakes.stop_at(step, signal.SIGTERM)
        patch.setattr(pipeline, "train_batches", stopping)
        with pytest.raises(SystemExit) as stopped:
            train.train_and_evaluate(train_fakes.config(), tmp_path)
    assert stopped.value.code == 143
    with checkpoints.Checkpoints(tmp_path / "checkpoints", keep=2, read_only=True) as store:
        assert store.steps()[-1] >= step
    state, other = train.train_and_evaluate(train_fakes.config(), tmp_path)
    assert_same(jax.device_get(state), expected)
    assert other["test_nll"] == summary["test_nll"]
    rows = metrics_log.read_metrics(tmp_path / "metrics.jsonl")
    steps = [row["step"] for row in rows if "train_loss" in row]
    assert steps == list(range(1, STEPS + 1))


def test_a_request_that_comes_while_a_step_is_written_waits_for_the_next(tmp_path, monkeypatch):
    write = metrics_log.MetricsWriter.write

    def asked(self, step, values):
        if step == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        write(self, step, values)

    monkeypatch.setattr(metrics_log.MetricsWriter, "write", asked)
    with pytest.raises(SystemExit):
        train.train_and_evaluate(train_fakes.config(), tmp_path)
    with checkpoints.Checkpoints(tmp_path / "checkpoints", keep=2, read_only=True) as store:
        assert store.steps() == [4, 7]


def test_a_bad_newest_checkpoint_costs_an_epoch_only(uninterrupted, tmp_path, monkeypatch, caplog):
    _, expected, _ = uninterrupted
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "train_batches", train_fakes.stop_at(9, signal.SIGTERM))
        with pytest.raises(SystemExit):
            train.train_and_evaluate(train_fakes.config(), tmp_path)
    with checkpoints.Checkpoints(tmp_path / "checkpoints", keep=2, read_only=True) as store:
        newest = store.steps()[-1]
    for path in (tmp_path / "checkpoints" / str(newest) / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with caplog.at_level(logging.WARNING, logger="absl"):
        state, _ = train.train_and_evaluate(train_fakes.config(), tmp_path)
    assert f"checkpoints/{newest} is bad" in caplog.text
    assert_same(jax.device_get(state), expected)


@pytest.mark.parametrize("log_every_steps", [1, 100])
def test_a_loss_that_is_not_finite_stops_the_run(uninterrupted, tmp_path, log_every_steps):
    splits = json.loads((uninterrupted[0] / "splits.json").read_text())["splits"]
    poison = splits["train"]["ids"][3]
    config = train_fakes.config(options={"poison": poison}, log_every_steps=log_every_steps)
    with pytest.raises(
        FloatingPointError, match=r"step (\d).*example ids \[.*\b" + str(poison)
    ) as e:
        train.train_and_evaluate(config, tmp_path)
    step = int(str(e.value).split("step ")[1].split(":")[0])
    assert f"the state after step {step - 1} is saved" in str(e.value)
    with checkpoints.Checkpoints(tmp_path / "checkpoints", keep=2, read_only=True) as store:
        assert store.steps() == [step - 1]
    assert not (tmp_path / "summary.json").exists()


def test_best_checkpoint_is_the_one_tested(tmp_path):
    changes = {"evaluate.checkpoint": "best", "evaluate.select": "val_dice", "checkpoint.keep": 1}
    _, summary = train.train_and_evaluate(train_fakes.config(**changes), tmp_path)
    rows = [r for r in metrics_log.read_metrics(tmp_path / "metrics.jsonl") if "val_dice" in r]
    best = max(rows, key=lambda row: (row["val_dice"], row["step"]))
    assert summary["val_dice"] == pytest.approx(best["val_dice"])
    result = saved_runs.evaluate_run(tmp_path, split="val", checkpoint="best")
    assert result.scalars["dice"] == pytest.approx(best["val_dice"])
    assert (tmp_path / "evaluations" / "val-best" / "val_cases.csv").exists()


def test_training_cases_are_judged_at_the_end_if_asked_for(tmp_path):
    changes = {"evaluate.train": True, "data.replacement.share": 0.5, "train.epochs": 1}
    _, summary = train.train_and_evaluate(train_fakes.config(**changes), tmp_path)
    rows = tabulate.read_rows(tmp_path / "train_cases.csv")
    for name in ("dice", "label_dice"):
        values = [row.value for row in rows if row.metric == name]
        assert len(values) == 16
        assert summary[f"train_{name}"] == pytest.approx(np.mean(values))
    assert summary["train_label_dice"] != summary["train_dice"]


def test_without_truth_there_is_no_dice_but_a_likelihood(tmp_path):
    config = train_fakes.config(options={"truth": False}, **{"train.epochs": 1})
    _, summary = train.train_and_evaluate(config, tmp_path)
    assert "test_dice" not in summary
    assert summary["test_nll"] > 0


def test_one_case_to_validate_with_is_enough(tmp_path, caplog):
    changes = {"data.splits": (0.77, 0.05, 0.18), "train.epochs": 1}
    with caplog.at_level(logging.INFO):
        train.train_and_evaluate(train_fakes.config(**changes), tmp_path)
    rows = metrics_log.read_metrics(tmp_path / "metrics.jsonl")
    assert [row["val_dice_sd"] for row in rows if "val_dice" in row] == [None]
    assert "NaN" not in caplog.text


def test_raters_who_are_not_the_same_person_are_warned_about(tmp_path, caplog):
    config = train_fakes.config(options={"persistent": False}, **{"train.epochs": 1})
    with caplog.at_level(logging.WARNING, logger="absl"):
        train.train_and_evaluate(config, tmp_path)
    assert "not the same person" in caplog.text


def test_evaluating_what_is_no_run_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no working directory of a run"):
        saved_runs.evaluate_run(tmp_path)


def test_unknown_criterion_is_refused_before_anything_is_done(tmp_path):
    with pytest.raises(ValueError, match="evaluate.select: expected one of .*val_nll"):
        train.train_and_evaluate(train_fakes.config(**{"evaluate.select": "dice"}), tmp_path)
