"""Networks that are trained as one run, each of which holds out a part of the cases."""

import csv
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import fold_fakes
import jax
import numpy as np
import pytest

import noisyjax
from noisyjax.core import class_regions
from noisyjax.data.volumes import read_write
from noisyjax.tool import folder, record
from noisyjax.tool.plan import plan
from noisyjax.tool.training import calibration, networks, out_of_fold, run_files, temperature
from noisyjax.train import ensemble, saved_runs

_HERE = pathlib.Path(__file__).parents[2]
_OPTIONS = {"folds": 3, "epochs": 1, "changes": fold_fakes.CHANGES}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return fold_fakes.make(tmp_path_factory.mktemp("data") / "in")


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    begun = []
    made = noisyjax.train_folds(
        data, out, plan=fold_fakes.tiny_plan(), begun=begun.append, **_OPTIONS
    )
    assert begun == [0, 1, 2]
    assert (made.trained, made.folds, made.problems, made.finished) == ((0, 1, 2), 3, (), False)
    return out


def _variables(out, number):
    return saved_runs.restore_without_data(run_files.fold(out, number)).variables


def _assert_same(out, other, count=3):
    for number in range(count):
        one, two = _variables(out, number), _variables(other, number)
        jax.tree.map(np.testing.assert_array_equal, one, two)


def test_a_run_holds_everything(run):
    assert sorted(path.name for path in run.iterdir()) == [
        "calibration.json", "curves.png", "fold_0", "fold_1", "fold_2", "out_of_fold",
        "out_of_fold.csv", "plan.json", "run.lock", "splits.json", "summary.html", "summary.json",
        "train.json", "worst.png",
    ]  # fmt: skip
    page = (run / "summary.html").read_text()
    assert "3 networks were trained on in by the method majority" in page
    assert page.count('<script type="application/json" class="case">{"name":"case_') == 6
    assert page.count('<img src="data:image/png;base64,') == 1
    summary = json.loads((run / "summary.json").read_text())
    assert [fold["cases"] for fold in summary["folds"]] == [2, 2, 2]
    assert summary["overall"]["cases"] == 6
    assert set(summary["overall"]["dice"]["truth"]) == {"organ", "lesion", "mean of classes"}
    # The mean over all cases is that of the folds, which are alike in size.
    of_folds = [fold["dice"]["truth"]["organ"] for fold in summary["folds"]]
    np.testing.assert_allclose(summary["overall"]["dice"]["truth"]["organ"], np.mean(of_folds))
    assert summary["overall"]["hd95"]["truth"]["organ"] > 0
    assert summary["seconds"] > 0
    assert summary["versions"]["noisyjax"] == noisyjax.__version__
    assert plan.load(run / "plan.json") == fold_fakes.tiny_plan()


def test_the_table_has_a_row_for_each_case_and_class(run):
    with open(run / "out_of_fold.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 * 2
    splits = run_files.read_splits(run)
    for row in rows:
        assert row["case"] in splits[int(row["fold"])]["val"]
        assert 0 <= float(row["dice"]) <= 1


def test_cases_of_images_ts_never_train(run):
    for number, fold in enumerate(run_files.read_splits(run)):
        assert fold["test"] == ["case_06"]
        facts = saved_runs.restore_without_data(run_files.fold(run, number)).facts
        assert set(facts.cases["train"]) == set(fold["train"])
        assert set(facts.cases["val"]) == set(fold["val"])
        assert facts.cases["test"] == ("case_06",)
        assert "case_06" not in facts.cases["train"]


def test_each_case_is_predicted_by_the_network_that_has_not_seen_it(run, data):
    opened = folder.open_folder(data)
    for number, fold in enumerate(run_files.read_splits(run)):
        trained = noisyjax.load_run(run_files.fold(run, number))
        for name in fold["val"]:
            volume = read_write.to_ras(read_write.read(opened.cases[name].images[0]))
            expected = trained.predict(volume.array, spacing=volume.spacing)
            label, packed = out_of_fold.paths(run, name, ".nii.gz")
            got = read_write.to_ras(read_write.read(label))
            np.testing.assert_array_equal(got.array, expected.mask)
            assert got.shape == volume.shape
            probs = out_of_fold.unpack(packed, 3, None, 3)
            np.testing.assert_allclose(probs, expected.probs, atol=3e-4)
    assert len(list((run / "out_of_fold").glob("*.nii.gz"))) == 6


def test_an_ensemble_is_the_mean_of_its_networks_at_their_temperature(run, data):
    loaded = networks.load(run)
    assert len(loaded.trained) == 3
    image = np.random.default_rng(0).normal(size=(11, 9, 8, 1)).astype(np.float32)
    each = [ensemble.predictor(own)(image).probs for own in loaded.trained]
    t = json.loads((run / "calibration.json").read_text())["temperature"]
    expected = np.mean([temperature.scaled(own, t) for own in each], axis=0)
    np.testing.assert_allclose(loaded.predictor()(image).probs, expected, atol=1e-6)
    # Other networks give other probabilities.
    assert np.abs(each[0] - each[1]).max() > 1e-4
    out = noisyjax.load_run(run).predict(image[..., 0], spacing=(1.0, 1.5, 2.0))
    np.testing.assert_allclose(out.probs.sum(-1), 1, atol=1e-5)


def test_running_again_says_that_it_is_done(run, data):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    made = noisyjax.train_folds(data, run, **_OPTIONS)
    assert made.finished
    assert made.summary["overall"]["cases"] == 6
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}


def test_what_is_missing_is_made_again(run, data, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "summary.json").unlink()
    label, packed = out_of_fold.paths(copy, "case_02", ".nii.gz")
    label.unlink()
    assert not noisyjax.train_folds(data, copy, **_OPTIONS).finished
    for name in ("calibration.json", "out_of_fold.csv"):
        assert (copy / name).read_bytes() == (run / name).read_bytes()
    assert label.read_bytes() == out_of_fold.paths(run, "case_02", ".nii.gz")[0].read_bytes()


def test_other_options_and_plans_are_refused(run, data):
    with pytest.raises(record.OtherRun, match=r"is of folds=3"):
        noisyjax.train_folds(data, run, **_OPTIONS | {"folds": 2})
    with pytest.raises(record.OtherRun, match=r"plan: expected that of"):
        noisyjax.train_folds(data, run, plan=fold_fakes.tiny_plan(batch_size=1), **_OPTIONS)


_PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import jax
import fold_fakes
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_disable_most_optimizations", True)
import noisyjax
from noisyjax.train.workdir import checkpoints

if sys.argv[4] == "kill":
    import os, signal
    save, count = checkpoints.Checkpoints.save, [0]

    def saving(self, *args, **options):
        save(self, *args, **{**options, "wait": True})
        count[0] += 1
        if count[0] == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoints.Checkpoints.save = saving
noisyjax.train_folds(
    sys.argv[2], sys.argv[3], plan=fold_fakes.tiny_plan(), folds=2, epochs=2,
    fold=None if sys.argv[4] == "kill" else int(sys.argv[4]), changes=fold_fakes.CHANGES,
)
"""


def _process(data, out, what):
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM, os.fspath(_HERE / "fakes"), data, out, what],
        env={**os.environ, "GLIBC_TUNABLES": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_run_that_was_killed_within_a_fold_ends_with_the_same_networks(data, tmp_path):
    process = _process(data, tmp_path / "killed", "kill")
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert run_files.is_finished(tmp_path / "killed", 0)
    assert not run_files.is_finished(tmp_path / "killed", 1)
    options = {"folds": 2, "epochs": 2, "changes": fold_fakes.CHANGES}
    begun = []
    made = noisyjax.train_folds(data, tmp_path / "killed", begun=begun.append, **options)
    assert (begun, made.trained) == ([1], (0, 1))
    # And by one fold after the other, the last first.
    whole = tmp_path / "whole"
    first = noisyjax.train_folds(data, whole, plan=fold_fakes.tiny_plan(), fold=1, **options)
    assert (first.trained, first.summary) == ((1,), None)
    last = noisyjax.train_folds(data, whole, fold=0, **options)
    assert last.trained == (0, 1)
    _assert_same(tmp_path / "killed", whole, 2)
    for name in ("calibration.json", "out_of_fold.csv", "splits.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (whole / name).read_bytes()


def test_a_single_network_learns_from_all_cases(data, tmp_path):
    made = noisyjax.train_folds(
        data, tmp_path / "run", plan=fold_fakes.tiny_plan(), **_OPTIONS | {"folds": 1}
    )
    assert made.summary["overall"] == {"cases": 0}
    assert not (tmp_path / "run" / "calibration.json").exists()
    loaded = networks.load(tmp_path / "run")
    assert loaded.adjusted == calibration.Calibration()
    assert len(loaded.first.facts.cases["train"]) == 6
    with pytest.raises(ValueError, match="fold: expected one of 0, got 1"):
        noisyjax.train_folds(data, tmp_path / "run", fold=1, **_OPTIONS | {"folds": 1})


def test_a_run_of_which_a_fold_is_missing_predicts_nothing(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(copy / "fold_1")
    with pytest.raises(ValueError, match=r"fold_1: expected a network that is trained, got none"):
        networks.load(copy)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"folds": 7}, "folds: expected at most 6, the cases of"),
        ({"folds": 0}, "folds: expected"),
        ({"fold": 3}, "fold: expected one of 0, 1, 2, got 3"),
        ({"method": "vote"}, "method: expected one of"),
        ({"changes": {"train.bach_size": 2}}, "train.bach_size: no run reads this field"),
        ({"changes": {"train.batch_size": "many"}}, "changes: .*batch_size"),
    ],
)
def test_bad_options_leave_nothing_behind(data, tmp_path, options, match):
    given = {"plan": fold_fakes.tiny_plan(), **_OPTIONS, **options}
    with pytest.raises(ValueError, match=match):
        noisyjax.train_folds(data, tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("calibration.json", "{", "calibration.json: expected what noisyjax train has written"),
        ("calibration.json", '{"temperature": 1}', "calibration.json: .*largest_component"),
        ("splits.json", "[]", "splits.json: expected a list of"),
        ("splits.json", '[{"train": [1]}]', "splits.json: expected a list of"),
    ],
)
def test_damaged_files_are_named(run, tmp_path, name, content, match):
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / name).write_text(content)
    with pytest.raises(ValueError, match=match):
        networks.load(copy)


def test_regions_are_calibrated_each_by_itself():
    regions = class_regions.Regions(("whole", "core"), ((1, 2), (2,)), (1, 2))
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, (1, 20, 20)).astype(np.uint8)
    probs = np.stack([labels[0] > 0, labels[0] > 1], axis=-1) * 0.6 + 0.2
    case = calibration.Case("a", probs.astype(np.float32), labels[0], labels)
    found = calibration.fit([case], ("background", "a", "b"), regions=regions, seed=0)
    # All are right, so that the least temperature is best.
    assert found["temperature"] < 0.1
    assert found["voxels"] == 800
    assert found["largest_component"]["a"]["before"] == 1
    assert not found["largest_component"]["a"]["applied"]


def test_epochs_are_fitted_to_a_time_once(data, tmp_path):
    options = {"folds": 2, "budget": 0.5, "changes": fold_fakes.CHANGES, "fold": 1}
    own = fold_fakes.tiny_plan()
    made = noisyjax.train_folds(data, tmp_path / "run", plan=own, **options)
    assert made.trained == (1,)
    fitted = json.loads((tmp_path / "run" / "epochs.json").read_text())
    # Half a second is gone before the first step, and an epoch is the least.
    assert fitted["epochs"] == 1
    assert fitted["measured"]["steps_per_epoch"] == 2
    assert min(fitted["measured"].values()) > 0
    config = json.loads((tmp_path / "run" / "fold_1" / "config.json").read_text())
    assert config["train"]["epochs"] == 1
    with pytest.raises(ValueError, match=r"budget: expected none beside epochs, got 0\.5 s"):
        noisyjax.train_folds(data, tmp_path / "other", plan=own, **options, epochs=1)
    with pytest.raises(ValueError, match=r"budget: expected a number > 0, got 0"):
        noisyjax.train_folds(data, tmp_path / "other", plan=own, **options | {"budget": 0})
    assert not (tmp_path / "other").exists()
