"""A run with a strategy: its files, what they say, and that it goes on bit for bit."""

import csv
import dataclasses
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import train_fakes

from noisyjax import train
from noisyjax.data import pipeline
from noisyjax.data.labels import replace
from noisyjax.metrics import detection
from noisyjax.train import experiments
from noisyjax.train.evaluation import noise_detection
from noisyjax.train.workdir import metrics_log

pytestmark = pytest.mark.usefixtures("fakes")

PER_EPOCH, EPOCHS = 4, 3


def config(**changes):
    """Of 16, N(1) = 4, N(2) = 1, N(3) = 1: (0.6 - t / 3) 16, between 16 / 10 and 16 / 2."""
    strategy = {"train.strategy": "adl", "adl.alpha": 0.0, "adl.beta": 1.0}
    return train_fakes.config(**{**strategy, **changes})


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def known(monkeypatch):
    """Says of every third training example that its label was replaced."""
    label = experiments._label

    def replaced(*arguments):
        examples = label(*arguments)
        size = len(examples["train"])
        examples["train"] = dataclasses.replace(
            examples["train"],
            replacement=replace.Replacement(
                replaced=np.arange(size) % 3 == 0,
                kinds=np.where(np.arange(size) % 3 == 0, 1, -1).astype(np.int32),
                overlaps=np.where(np.arange(size) % 3 == 0, 0.7, 1.0).astype(np.float32),
                voxels=np.zeros((size, 3), np.int32),
            ),
        )
        return examples

    monkeypatch.setattr(experiments, "_label", replaced)


def test_a_run_reports_what_it_takes_for_noisy(known, tmp_path):
    state, summary = train.train_and_evaluate(config(), tmp_path)
    kept = jax.device_get(state.model_state["adl"])
    rows = [
        row for row in metrics_log.read_metrics(tmp_path / "metrics.jsonl") if "noise_auc" in row
    ]
    assert [row["step"] for row in rows] == [4, 8, 12]
    table = read(tmp_path / "detection.csv")
    assert [row["epoch"] for row in table] == ["1", "2", "3"]
    assert [float(row["removed"]) for row in table] == [row["noise_removed"] for row in rows]
    # What the coming epoch leaves out: N(1), N(2), N(3).
    assert [float(row["removed"]) for row in table] == [4, 1, 1]
    noisy = np.arange(16) % 3 == 0
    assert float(table[-1]["auc"]) == pytest.approx(
        float(detection.auc(jnp.asarray(kept["losses"]), jnp.asarray(noisy))), rel=1e-6
    )
    assert summary["noise_auc"] == pytest.approx(float(table[-1]["auc"]), rel=1e-6)
    suspects = read(tmp_path / "suspects.csv")
    losses = [float(row["loss"]) for row in suspects]
    assert losses == sorted(losses, reverse=True)
    np.testing.assert_allclose(sorted(losses), sorted(kept["losses"]), rtol=1e-6)
    run, _ = train.restore(tmp_path)
    ids = run.experiment.examples["train"].ids.tolist()
    for row in suspects:
        position = ids.index(int(row["id"]))
        assert row["case"] == f"fake[{row['id']}]"
        assert float(row["loss"]) == pytest.approx(kept["losses"][position], rel=1e-6)
        assert bool(int(row["replaced"])) == noisy[position]
        assert float(row["overlap"]) == pytest.approx(0.7 if noisy[position] else 1.0)
        assert bool(int(row["removed"])) == kept["removed"][position]


def test_without_knowledge_of_the_noise_there_are_suspects_all_the_same(tmp_path):
    _, summary = train.train_and_evaluate(config(**{"adl.estimate": True}), tmp_path)
    assert set(read(tmp_path / "detection.csv")[0]) == {"epoch", "removed", "estimated_rate"}
    columns = {"id", "case", "loss", "posterior", "removed"}
    assert set(read(tmp_path / "suspects.csv")[0]) == columns
    assert "noise_auc" not in summary


def test_a_run_without_a_strategy_has_no_such_files(tmp_path):
    state, summary = train.train_and_evaluate(train_fakes.config(), tmp_path)
    assert state.model_state == {}
    assert not any(name.startswith("noise_") for name in summary)
    assert not (tmp_path / noise_detection.SUSPECTS_FILE).exists()
    assert not (tmp_path / noise_detection.DETECTION_FILE).exists()


@pytest.mark.parametrize("step", [3, 6])
def test_a_run_that_is_stopped_goes_on_bit_for_bit(known, tmp_path, monkeypatch, step):
    expected, _ = train.train_and_evaluate(config(), tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "train_batches", train_fakes.stop_at(step, signal.SIGTERM))
        with pytest.raises(SystemExit):
            train.train_and_evaluate(config(), tmp_path / "parts")
    state, _ = train.train_and_evaluate(config(), tmp_path / "parts")
    for leaf, like in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
        assert np.asarray(leaf).tobytes() == np.asarray(like).tobytes()
    for name in (noise_detection.DETECTION_FILE, noise_detection.SUSPECTS_FILE):
        whole, parts = ((tmp_path / run / name).read_text() for run in ("whole", "parts"))
        assert whole == parts


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.strategy": "prayer"}, "train.strategy: expected one of 'none', 'adl'"),
        ({"data.resample": True, "data.panel": ("good",)}, "data.resample: the strategy adl"),
        ({"adl.beta": 1.5}, "beta: expected"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        experiments.build(config(**changes))
