"""Data that are elsewhere when a run goes on or is looked at again."""

import json
import shutil

import folder_fakes
import pytest
import train_fakes

from noisyjax import train
from noisyjax.data import sources
from noisyjax.train import loop, saved_runs
from noisyjax.train.workdir import checkpoint_digests, config_and_summary


def _config(root, **options):
    return train_fakes.config(
        options={"root": str(root), **options},
        **{"data.name": "folder", "data.splits": (), "train.epochs": 1, "train.warmup_steps": 0},
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory, fakes):
    """(the folder of the data, that of a finished run)."""
    base = tmp_path_factory.mktemp("moved")
    root = folder_fakes.make(base / "here", 6, end=".png", shape=(8, 9), tests=1)
    train.train_and_evaluate(_config(root), base / "run")
    return root, base / "run"


@pytest.fixture
def moved(finished, tmp_path, fakes):
    """(where the data were, where they are now, a copy of the run)."""
    root, run = finished
    there = shutil.copytree(root, tmp_path / "there")
    config = json.loads((run / "config.json").read_text())
    copy = shutil.copytree(run, tmp_path / "run")
    # Where nothing is now.
    config["data"]["options"]["root"] = str(tmp_path / "gone")
    (copy / "config.json").write_text(json.dumps(config))
    return tmp_path / "gone", there, copy


def test_moved_data_are_found_by_a_new_root(moved, monkeypatch):
    gone, there, run = moved
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    with pytest.raises(ValueError, match="there is no folder"):
        saved_runs.evaluate_run(run)
    result = saved_runs.evaluate_run(run, options={"root": str(there)})
    summary = config_and_summary.read_summary(run)
    assert result.scalars["dice"] == pytest.approx(summary["test_dice"])
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
    with pytest.raises(ValueError, match="options: expected one of 'data.options.root'"):
        saved_runs.evaluate_run(run, options={"spacing": (2, 2)})
    # Nothing is trained again, and where the data are is remembered.
    monkeypatch.setattr(loop, "train", None)
    _, again = train.train_and_evaluate(_config(there), run)
    assert again["test_dice"] == summary["test_dice"]
    assert json.loads((run / "config.json").read_text())["data"]["options"]["root"] == str(there)


def test_a_config_that_is_not_the_checkpoints_is_not_acted_on(moved, monkeypatch):
    _, there, run = moved
    config = json.loads((run / "config.json").read_text())
    config["data"]["options"] |= {"root": str(there), "size": [40_000, 40_000]}
    (run / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(sources, "load", None)
    for look in (
        lambda: saved_runs.evaluate_run(run),
        lambda: saved_runs.restore_without_data(run),
    ):
        with pytest.raises(checkpoint_digests.OtherRun, match=r"whose config.json lies beside it"):
            look()


@pytest.mark.parametrize("folder", ["labelsTr", "imagesTs"])
def test_other_data_at_the_new_root_are_named(moved, folder):
    gone, there, run = moved
    for number, path in enumerate(sorted((there / folder).iterdir())):
        make = folder_fakes.label if folder == "labelsTr" else folder_fakes.image
        folder_fakes.save(path, (make(number + 9, (8, 9)) % 200).astype("uint8"))
    what = "labels of case_00, case_01" if folder == "labelsTr" else "images of case_06"
    with pytest.raises(ValueError, match=f"got other {what}"):
        train.train_and_evaluate(_config(there), run)
    # The wrong folder is not remembered.
    config = json.loads((run / "config.json").read_text())
    assert config["data"]["options"]["root"] == str(gone)


def test_a_case_that_was_renamed_is_told(moved):
    _, there, run = moved
    for name in ("imagesTr/case_00_0000.png", "labelsTr/case_00.png"):
        (there / name).rename(there / name.replace("case_00", "case_055"))
    for go_on in (
        lambda: train.train_and_evaluate(_config(there), run),
        lambda: saved_runs.evaluate_run(run, options={"root": str(there)}),
    ):
        with pytest.raises(ValueError, match=r"got 7 \(1 renamed: case_00 is case_055\)"):
            go_on()


def test_a_mistyped_root_refuses_no_mended_command(tmp_path, finished, fakes):
    root, _ = finished
    for wrong, message in (
        ({"root": str(root) + "x"}, "there is no folder"),
        ({"normalise": "zscore"}, "normalise: expected"),
        ({"size": (4,)}, "size: expected"),
    ):
        with pytest.raises(ValueError, match=message):
            train.train_and_evaluate(_config(**{"root": root, **wrong}), tmp_path / "run")
    config = _config(root)
    train.train_and_evaluate(config, tmp_path / "run")
    saved = json.loads((tmp_path / "run/config.json").read_text())
    assert saved["data"]["options"]["normalise"] == "z_score"
