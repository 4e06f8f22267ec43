"""The commands ``noisyjax train`` and ``noisyjax predict``."""

import functools
import json
import shutil

import click.testing
import fold_fakes
import folder_fakes
import numpy as np
import pytest

import noisyjax
from noisyjax.cli import main
from noisyjax.data.volumes import read_write
from noisyjax.tool.plan import compiled_step, plan, planner
from noisyjax.tool.training import components, networks
from noisyjax.train.workdir import lock

_OPTIONS = ("--folds=2", "--epochs=1", "--set=progress=False", "--set=log_every_steps=1")


def _run(*arguments):
    return click.testing.CliRunner().invoke(main.main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    fold_fakes.make(root / "in", 4)
    (root / "new").mkdir()
    for i in range(2):
        shape = (13 + i, 9, 8)
        folder_fakes.save(root / "new" / f"new_{i}.nii.gz", folder_fakes.image(i, shape))
    return root


@pytest.fixture(scope="module")
def run(folder):
    """From images and labels to networks, as the README has it; the plan is edited."""
    assert _run("check", folder / "in").exit_code == 0
    compiled = compiled_step.Compiled(2**28, 1000, lambda: 0.25)
    quick = functools.partial(planner.plan, measure=lambda *given: compiled)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "plan", quick)
        done = _run("plan", folder / "in", "--out", folder / "plan.json")
    assert done.exit_code == 0, done.output
    tiny = fold_fakes.tiny_plan()
    names = ("patch", "strides", "kernels", "widths", "mirror_axes")
    changes = {name: getattr(tiny, name) for name in names}
    plan.save(folder / "plan.json", plan.load(folder / "plan.json")._replace(**changes))
    out = folder / "run"
    done = _run("train", folder / "in", "--plan", folder / "plan.json", "--out", out, *_OPTIONS)
    assert done.exit_code == 0, done.output
    assert "Dice of 4 cases out of fold, to truth: organ 0." in done.output
    assert done.output.endswith(f"{out}: 2 folds, done\n")
    return out


def test_new_images_are_segmented(run, folder, tmp_path):
    out = tmp_path / "out"
    done = _run("predict", run, folder / "new", "--out", out, "-p")
    assert done.exit_code == 0, done.output
    assert done.output == f"{out}: 2 cases, done\n"
    loaded = noisyjax.load_run(run)
    for i in range(2):
        name = f"new_{i}.nii.gz"
        image = read_write.to_ras(read_write.read(folder / "new" / name))
        expected = loaded.predict(image.array, spacing=image.spacing)
        written = read_write.to_ras(read_write.read(out / name))
        np.testing.assert_array_equal(written.array, expected.mask)
        np.testing.assert_allclose(written.affine, image.affine)
        for label in (1, 2):
            probs = read_write.to_ras(read_write.read(out / "probabilities" / str(label) / name))
            np.testing.assert_allclose(probs.array, expected.probs[..., label], atol=1e-6)
    judged = _run("evaluate", out, folder / "in", "--out", tmp_path / "scores", "--metric=dice")
    # Of new images there are no labels.
    assert (judged.exit_code, "expected predictions as case_00" in judged.output) == (1, True)
    again = _run("predict", run, folder / "new", "--out", out, "-p")
    assert again.output == f"{out}: 2 cases, was done already\n"
    (out / "new_1.nii.gz").unlink()
    assert _run("predict", run, folder / "new", "--out", out, "-p").exit_code == 0
    assert (out / "new_1.nii.gz").exists()
    other = _run("predict", run, folder / "new", "--out", out, "--decision=dice")
    assert (other.exit_code, "expected another folder, or overwrite" in other.output) == (2, True)
    options = ("--out", out, "--decision=dice", "--overwrite")
    assert _run("predict", run, folder / "new", *options).exit_code == 0
    assert not (out / "probabilities").exists()
    content = json.loads((out / "predict.json").read_text())
    assert (content["finished"], content["options"]["decision"]) == (True, "dice")


def test_mirror_images_are_those_of_the_plan(run, folder, tmp_path):
    done = _run("predict", run, folder / "new", "--out", tmp_path, "--mirror", "-p")
    assert done.exit_code == 0, done.output
    loaded = networks.load(run)
    image = np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype(np.float32)
    plain, mirrored = loaded.predictor(), loaded.predictor(mirror_axes=(1, 2))
    axes = ((), (1,), (2,), (1, 2))
    each = []
    for own in loaded.trained:
        one = loaded._replace(trained=(own,)).predictor()
        each += [np.flip(one(np.flip(image, a)).probs, a) for a in axes]
    got = mirrored(image)
    np.testing.assert_allclose(got.probs, np.mean(each, axis=0), atol=1e-6)
    assert got.spread is None
    assert np.abs(got.probs - plain(image).probs).max() > 1e-5
    # Each image of each network counts as much as the others.
    got = loaded.predictor(mirror_axes=(1, 2), spread=True)(image).spread
    np.testing.assert_allclose(got, np.std([1 - p[..., 0] for p in each], axis=0), atol=1e-6)


def test_components_that_cost_dice_are_removed(run, folder, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    content = json.loads((copy / "calibration.json").read_text())
    for own in content["largest_component"].values():
        own["applied"] = False
    (copy / "calibration.json").write_text(json.dumps(content))
    assert _run("predict", copy, folder / "new", "--out", tmp_path / "all").exit_code == 0
    content["largest_component"]["organ"]["applied"] = True
    (copy / "calibration.json").write_text(json.dumps(content))
    assert _run("predict", copy, folder / "new", "--out", tmp_path / "largest").exit_code == 0
    options = ("--out", tmp_path / "kept", "--keep-components")
    assert _run("predict", copy, folder / "new", *options).exit_code == 0
    read = {
        name: read_write.read(tmp_path / name / "new_0.nii.gz").array
        for name in ("all", "largest", "kept")
    }
    np.testing.assert_array_equal(read["kept"], read["all"])
    np.testing.assert_array_equal(read["largest"], components.keep_largest(read["all"], [1]))


def test_the_workdir_of_one_network_predicts_as_well(run, folder, tmp_path):
    done = _run("predict", run / "fold_0", folder / "new", "--out", tmp_path / "out")
    assert done.output == f"{tmp_path / 'out'}: 2 cases, done\n"
    refused = _run("predict", run / "fold_0", folder / "new", "--out", tmp_path / "o", "--mirror")
    assert (refused.exit_code, "mirror: expected a run with a plan.json" in refused.output) == (
        2,
        True,
    )


def test_a_damaged_image_is_listed_and_can_be_mended(run, folder, tmp_path):
    images = shutil.copytree(folder / "new", tmp_path / "new")
    (images / "new_0.nii.gz").write_bytes(b"broken")
    done = _run("predict", run, images, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert f"{tmp_path / 'out'}: 1 cases, done" in done.output
    assert "Problem: " in done.output
    assert "new_0.nii.gz" in done.output
    shutil.copy(folder / "new" / "new_0.nii.gz", images)
    assert _run("predict", run, images, "--out", tmp_path / "out").exit_code == 0
    assert (tmp_path / "out" / "new_0.nii.gz").exists()


def test_the_results_of_a_finished_run_are_said_again(run, folder):
    done = _run("train", folder / "in", "--out", run, *_OPTIONS)
    assert done.exit_code == 0, done.output
    assert done.output.endswith(f"{run}: 2 folds, was done already\n")


def test_a_fold_that_another_process_trains_is_said_in_a_line(run, folder, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    for path in (copy / "summary.json", copy / "fold_1" / "summary.json"):
        path.unlink()
    with lock.held(copy / "fold_1"):
        done = _run("train", folder / "in", "--out", copy, *_OPTIONS)
    assert done.exit_code == 1
    assert done.output.splitlines()[-1].startswith(
        f"Error: {copy}/fold_1: expected no other run in this working directory"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--folds=0"], 2, "0 is not in the range x>=1"),
        (["--folds=9"], 2, "folds: expected at most 4, the cases of"),
        (["--fold=2"], 2, "fold: expected one of 0, 1, got 2"),
        (["--epochs=0"], 2, "0 is not in the range x>=1"),
        (["--budget=soon"], 2, "expected a time above 0 such as 90s, 30min or 2h, got 'soon'"),
        (["--method=vote"], 2, "method: expected one of"),
        (["--set=batch"], 2, "--set: expected NAME=VALUE, got 'batch'"),
        (["--set=train.steps=3"], 2, "train.steps: no run reads this field"),
        (["--set=model.widths=2"], 2, "model.widths: expected several in brackets, got 2"),
        (["--plan=none.json"], 1, "none.json"),
        (["--plan=bad.json"], 2, "bad.json: spacing: expected a list"),
    ],
)
def test_bad_input_of_train_is_named_in_one_line(
    folder, tmp_path, monkeypatch, arguments, code, text
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text('{"patch": [8, 8, 8]}')
    plan.save(tmp_path / "plan.json", fold_fakes.tiny_plan())
    given = ("--plan", "plan.json", *_OPTIONS, *arguments)
    done = _run("train", folder / "in", "--out", "run", *given)
    assert (done.exit_code, text in done.output) == (code, True), done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("run_name", "images", "arguments", "code", "text"),
    [
        ("none", "new", [], 1, "none/config.json: not there"),
        ("run", "none", [], 2, "none: expected images, got none"),
        ("run", "new", ["--decision=best"], 2, "'best' is not one of 'argmax'"),
        ("run", "new", ["--checkpoint=first"], 2, "'first' is not one of 'latest', 'best'"),
    ],
)
def test_bad_input_of_predict_is_named_in_one_line(
    run, folder, tmp_path, run_name, images, arguments, code, text
):
    done = _run("predict", folder / run_name, folder / images, "--out", tmp_path / "o", *arguments)
    assert (done.exit_code, text in done.output) == (code, True), done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "o").exists()
