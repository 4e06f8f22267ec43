"""Segmentations of a folder of images: their voxels, their headers, and images that are damaged."""

import dataclasses
import errno
import gzip
import json
import os
import pathlib
import runpy
import shutil
import subprocess
import sys
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import noisyjax
from noisyjax.data.folder import case_files
from noisyjax.data.volumes import read_write
from noisyjax.methods import base
from noisyjax.train import config_fields, predict, runs, saved_runs, train_state
from noisyjax.train.workdir import checkpoints, config_and_summary, data_facts

ROOT = pathlib.Path(__file__).parents[2]
SHAPE = (8, 7, 6)


def _affine(degrees, *spacing):
    """Turned about the third axis, to the left and downwards, of unequal spacing, moved."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[-c, -s, 0], [-s, c, 0], [0, 0, -1]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * spacing, (10, -20, 30)
    return affine


def _ball(shape, spacing):
    """A bright ball, as wide as the volume along its shortest side."""
    sides = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    far = np.sqrt(sum(np.square(x) for x in np.meshgrid(*sides, indexing="ij")))
    radius = 0.5 * min(n * s for n, s in zip(shape, spacing, strict=True))
    draw = np.random.default_rng(int(far.sum()))
    return (100 * (far < radius) + draw.integers(0, 40, shape)).astype(np.int16)


def _save(path, array, affine):
    read_write.write(path, read_write.Volume(array, affine, array.ndim))


@pytest.fixture(scope="module")
def away(tmp_path_factory):
    """A run that was set up and never trained, so that its network is random, away from its data.

    Returns its folder, an image that it was to learn from, and what it says of it.
    """
    root = tmp_path_factory.mktemp("predict")
    spacing = (1.0, 1.5, 2.0)
    for i in range(3):
        affine, image = _affine(25, *spacing), _ball(SHAPE, spacing)
        _save(root / f"data/imagesTr/c{i}_0000.nii.gz", image + np.int16(i), affine)
        _save(root / f"data/labelsTr/c{i}.nii.gz", (image > 50).astype(np.uint8), affine)
    description = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "ball": 1},
        "file_ending": ".nii.gz",
    }
    (root / "data/dataset.json").write_text(json.dumps(description))
    config = runpy.run_path(str(ROOT / "configs/folder.py"))["get_config"]("smoke")
    config.data.options.root = str(root / "data")
    config.model.widths = (4,)
    config = config_fields.resolve(config)
    folder = config_and_summary.prepare(config, root / "run")
    run = runs.set_up(config, folder, devices=jax.devices()[:1])
    state, examples = run.init(), run.experiment.data.examples
    probs = jax.jit(run.experiment.method.predict)(
        train_state.evaluation_variables(state), examples[1]["image"][np.newaxis]
    ).probs[0]
    segmentation = np.asarray(probs.argmax(-1), np.uint8)
    assert 0 < segmentation.mean() < 1
    examples.write(1, segmentation, root / "segmentation.nii.gz")
    shutil.copy(root / "data/imagesTr/c1_0000.nii.gz", root / "image.nii.gz")
    with checkpoints.Checkpoints(folder / checkpoints.FOLDER, keep=1) as store:
        store.save(0, state, wait=True)
    data_facts.write(folder, run.facts)
    shutil.rmtree(root / "data")
    return folder, root / "image.nii.gz", root / "segmentation.nii.gz"


@pytest.fixture(scope="module")
def workdir(away):
    return away[0]


@pytest.fixture
def thresholded(workdir, monkeypatch):
    """Lets the run's network find what is brighter than the mean of its image, in the middle."""
    trained = saved_runs.restore_without_data(workdir)

    def predict_bright(variables, image):
        bright = jax.nn.sigmoid(50 * image[..., 0])
        return base.Prediction(jnp.stack([1 - bright, bright], axis=-1))

    method = dataclasses.replace(trained.method, predict=predict_bright)
    trained = trained._replace(method=method)
    monkeypatch.setattr(saved_runs, "restore_without_data", lambda *_, **__: trained)
    return trained


def _same_place(path, like):
    written, image = read_write.read(path), read_write.read(like)
    assert written.shape == image.shape
    np.testing.assert_array_equal(written.affine, image.affine)
    assert written.spacing == image.spacing
    return written.array


def test_the_command_writes_what_the_network_says_and_names_what_is_damaged(away, tmp_path):
    workdir, image, expected = away
    images, output = tmp_path / "images", tmp_path / "output"
    images.mkdir()
    like = images / "good.nii.gz"
    like.write_bytes(image.read_bytes())
    (images / "cut_0000.nii.gz").write_bytes(like.read_bytes()[:300])
    done = subprocess.run(
        [
            *(sys.executable, "-m", "noisyjax.cli.predict", f"--workdir={workdir}"),
            *(f"--images={images}", f"--output={output}"),
        ],
        cwd=ROOT,
        env={"JAX_COMPILATION_CACHE_DIR": ".jax_cache", **os.environ},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "cut: images/cut_0000.nii.gz" in done.stdout
    assert "cut off" in done.stdout
    assert "1 segmentation: " in done.stdout
    assert [path.name for path in output.iterdir()] == ["good.nii.gz"]
    segmentation = _same_place(output / "good.nii.gz", like)
    assert segmentation.dtype == np.uint8
    np.testing.assert_array_equal(segmentation, read_write.read(expected).array)


def test_an_array_is_segmented_as_its_file(away):
    workdir, path, expected = away
    run = noisyjax.load_run(workdir)
    image = read_write.to_ras(read_write.read(path))
    output = run.predict(image.array, image.spacing)
    np.testing.assert_array_equal(output.mask, read_write.to_ras(read_write.read(expected)).array)
    np.testing.assert_allclose(output.probs.sum(-1), 1, rtol=1e-5)
    assert 0 < output.entropy.min() < output.entropy.max() <= np.log(2) + 1e-6
    assert (run.class_names, output.raters, output.samples) == (("background", "ball"), None, None)
    with pytest.raises(ValueError, match="raters: expected a method that models them"):
        run.predict(image.array, image.spacing, raters=True)


@pytest.mark.parametrize(
    ("image", "spacing", "text"),
    [
        (np.zeros((8, 7)), (1, 1), r"image: expected shape \[\*, \*, \*, 1\] like in training"),
        (np.zeros((8, 7, 6)), None, "spacing: expected 3 numbers in mm, got None"),
        (np.zeros((8, 7, 6)), (1, 1), r"spacing: expected 3 numbers in mm, got \(1, 1\)"),
    ],
)
def test_an_array_unlike_the_training_is_refused(workdir, image, spacing, text):
    with pytest.raises(ValueError, match=text):
        noisyjax.load_run(workdir).predict(image, spacing)


@pytest.mark.parametrize("window", [(), (5, 6, 4)])
def test_images_of_any_size_are_segmented_whole(thresholded, workdir, tmp_path, window):
    thresholded.config.evaluate.window = window
    # The second lies on its side, so that its first axis is the run's second.
    cases = {
        "small": ((5, 7, 5), 190, (1, 1.5, 2)),
        "large": ((11, 9, 13), 100, (1.5, 1, 2)),
        "fine": ((17, 12, 9), -15, (0.6, 1.2, 2.3)),
    }
    images = {name: _ball(shape, spacing) for name, (shape, _, spacing) in cases.items()}
    for name, (_, degrees, spacing) in cases.items():
        path = tmp_path / f"in/{name}_0000.nii.gz"
        _save(path, images[name], _affine(degrees, *spacing))
    options = {"probabilities": True}
    outcomes = predict.predict_folder(workdir, tmp_path / "in", tmp_path / "out", **options)
    assert [outcome.case for outcome in outcomes] == ["fine", "large", "small"]
    for name, image in images.items():
        like = tmp_path / f"in/{name}_0000.nii.gz"
        segmentation = _same_place(tmp_path / f"out/{name}.nii.gz", like)
        probs = _same_place(tmp_path / f"out/probabilities/1/{name}.nii.gz", like)
        assert (segmentation.dtype, probs.dtype) == (np.uint8, np.float32)
        for mask in (segmentation > 0, probs > 0.5):
            # What is interpolated differs at the border of the ball.
            least = 0.85 if name == "fine" else 1
            assert (mask == (image > image.mean())).mean() >= least, name


@pytest.mark.parametrize("decision", ["argmax", "accuracy", "dice"])
def test_images_of_many_sizes_share_few_compilations(monkeypatch, decision):
    shapes, segment = set(), base.segment

    def noted(probs, *, decision):
        shapes.add(probs.shape)
        return segment(probs, decision=decision)

    monkeypatch.setattr(base, "segment", noted)
    draw = np.random.default_rng(0)
    for side in range(90, 101):
        probs = draw.dirichlet(np.ones(3), size=(side, side + 3)).astype(np.float32)
        segmented = predict.segmented(probs, decision=decision)
        assert segmented.dtype == np.uint8
        if side == 90:
            np.testing.assert_array_equal(segmented, segment(jnp.asarray(probs), decision=decision))
    assert shapes == {(12288, 3)}


@pytest.mark.parametrize("decision", ["argmax", "accuracy", "dice"])
def test_a_large_image_is_decided_as_a_whole(monkeypatch, decision):
    probs = np.random.default_rng(0).dirichlet(np.ones(3), size=(90, 93)).astype(np.float32)
    whole = predict.segmented(probs, decision=decision)
    monkeypatch.setattr(predict, "_AT_ONCE", 4000)
    np.testing.assert_array_equal(predict.segmented(probs, decision=decision), whole)


def test_what_does_not_fit_the_run_is_named_and_the_others_go_on(thresholded, workdir, tmp_path):
    images, affine = tmp_path / "in", _affine(0, 1, 1.5, 2)
    _save(images / "a_0000.nii.gz", _ball(SHAPE, (1, 1, 1)), affine)
    _save(images / "flat.nii.gz", _ball(SHAPE, (1, 1, 1))[..., 3], affine)
    _save(images / "twice_0000.nii.gz", _ball(SHAPE, (1, 1, 1)), affine)
    _save(images / "twice.nii.gz", _ball(SHAPE, (1, 1, 1)), affine)
    _save(images / "more_0000.nii.gz", _ball(SHAPE, (1, 1, 1)), affine)
    _save(images / "more_0001.nii.gz", _ball(SHAPE, (1, 1, 1)), affine)
    _save(images / "other.nii", _ball(SHAPE, (1, 1, 1)), affine)
    (images / "notes.txt").write_text("")
    outcomes = predict.predict_folder(workdir, images, tmp_path / "out")
    faults = {outcome.case: outcome.fault for outcome in outcomes}
    assert faults.pop("a") == ""
    for name, words in {
        "flat": "expected (axes, channels) as in training, (3, 1), got (2, 1)",
        "twice": "what is in it is in twice.nii.gz too",
        "more": "has a channel 1, dataset.json names 1",
        "in/other.nii": "not named like an image",
    }.items():
        assert words in faults.pop(name)
    assert not faults
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.nii.gz"]


def test_names_that_are_long_and_headers_at_the_ends_of_their_range(thresholded, workdir, tmp_path):
    images, long = tmp_path / "in", "a" * 248
    _save(images / f"{long}.nii.gz", _ball(SHAPE, (1, 1, 1)), np.eye(4))
    _save(images / "ends.nii.gz", _ball(SHAPE, (1, 1, 1)), np.eye(4))
    content = bytearray(gzip.decompress((images / "ends.nii.gz").read_bytes()))
    content[280:328] = np.full(12, 3e38, "<f4").tobytes()
    (images / "ends.nii.gz").write_bytes(gzip.compress(bytes(content)))
    (images / "loop.nii.gz").symlink_to("loop.nii.gz")
    outcomes = predict.predict_folder(workdir, images, tmp_path / "out")
    faults = {outcome.case: outcome.fault for outcome in outcomes}
    assert faults.pop(long) == ""
    assert "expected an affine" in faults.pop("ends")
    assert "expected a file, there is none" in faults.pop("loop")
    assert not faults


def test_an_output_that_takes_no_file_is_named(thresholded, workdir, tmp_path, monkeypatch):
    for name in ("a", "b"):
        _save(tmp_path / f"in/{name}.nii.gz", _ball(SHAPE, (1, 1, 1)), np.eye(4))
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"expected a folder that can be written to.*file"):
        predict.predict_folder(workdir, tmp_path / "in", tmp_path / "file")
    for loop in ("images", "output"):
        (tmp_path / loop).symlink_to(loop)
    with pytest.raises(OSError, match=r"expected a folder that can be written to.*output"):
        predict.predict_folder(workdir, tmp_path / "in", tmp_path / "output")
    with pytest.raises(ValueError, match=r"there is no folder .*images"):
        predict.predict_folder(workdir, tmp_path / "images", tmp_path / "out")

    def write(path, *_, **__):
        if path.name == "a.nii.gz":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        path.write_text("")

    monkeypatch.setattr(case_files, "write", write)
    outcomes = predict.predict_folder(workdir, tmp_path / "in", tmp_path / "out")
    assert [bool(outcome.fault) for outcome in outcomes] == [True, False]
    assert "No space left on device: " in outcomes[0].fault
    assert "a.nii.gz" in outcomes[0].fault


def test_classes_are_written_as_the_ids_of_the_files(thresholded, workdir, tmp_path, monkeypatch):
    assert thresholded.facts.about["class_ids"] == [0, 1]
    about = {**thresholded.facts.about, "class_ids": [0, 300]}
    trained = thresholded._replace(facts=dataclasses.replace(thresholded.facts, about=about))
    monkeypatch.setattr(saved_runs, "restore_without_data", lambda *_, **__: trained)
    _save(tmp_path / "in/a.nii.gz", _ball(SHAPE, (1, 1, 1)), np.eye(4))
    (outcome,) = predict.predict_folder(workdir, tmp_path / "in", tmp_path / "out")
    assert np.unique(read_write.read(outcome.path).array).tolist() == [0, 300]


def test_what_cannot_be_predicted_is_refused(thresholded, workdir, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"expected images, got none(?s:.*)put images in it"):
        predict.predict_folder(workdir, tmp_path / "empty", tmp_path / "out")
    with pytest.raises(ValueError, match="output: expected another folder"):
        predict.predict_folder(workdir, tmp_path / "empty", tmp_path / "empty/../empty")
    _save(tmp_path / "in/a.nii.gz", _ball(SHAPE, (1, 1, 1)), np.eye(4))
    monkeypatch.setitem(thresholded.facts.about["preparation"], "box", "labels")
    with pytest.raises(ValueError, match=r"data.options.box: .*cut to their labels"):
        predict.predict_folder(workdir, tmp_path / "in", tmp_path / "out")
    with thresholded.config.unlocked():
        thresholded.config.data.name = "digits"
        thresholded.config.data.options = {}
    (tmp_path / "run").mkdir()
    config_and_summary.prepare(thresholded.config, tmp_path / "run")
    with pytest.raises(ValueError, match="expected a run of the source folder, got one of digits"):
        predict.predict_folder(tmp_path / "run", tmp_path / "in", tmp_path / "out")


def test_a_window_that_no_image_fills_is_refused_before_it_is_filled(workdir, tmp_path):
    copy = shutil.copytree(workdir, tmp_path / "run")
    content = json.loads((copy / "source.json").read_text())
    # 6 GiB, all fields of one mind.
    content["batch"]["image"]["shape"] = [1, 40_000, 40_000, 1, 1]
    content["batch"]["labels"]["shape"] = [1, 1, 40_000, 40_000, 1]
    (copy / "source.json").write_text(json.dumps(content))
    _save(tmp_path / "in/a.nii.gz", _ball(SHAPE, (1, 1, 1)), np.eye(4))
    tracemalloc.start()
    (outcome,) = predict.predict_folder(copy, tmp_path / "in", tmp_path / "out")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "source.json, batch.image.shape or evaluate.window: expected" in outcome.fault
    assert most < 2**26
    assert not list((tmp_path / "out").iterdir())


def test_a_run_without_the_facts_of_its_data_says_what_to_do(workdir, tmp_path):
    copy = shutil.copytree(workdir, tmp_path / "run")
    (copy / "source.json").unlink()
    _save(tmp_path / "in/a.nii.gz", _ball(SHAPE, (1, 1, 1)), np.eye(4))
    with pytest.raises(FileNotFoundError, match=r"source.json: not there.*command that trained it"):
        predict.predict_folder(copy, tmp_path / "in", tmp_path / "out")
    (copy / "source.json").write_text("{}")
    with pytest.raises(ValueError, match=r"source.json: expected the facts of a run's data"):
        predict.predict_folder(copy, tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("ids", [[], [0, {}], [0, -1], [0, 2**70], [0, True], {"a": 1}, 3, None])
def test_ids_of_classes_that_are_none_name_their_file(ids):
    path = pathlib.Path("run/source.json")
    with pytest.raises(ValueError, match=r"run/source\.json: class_ids: expected whole numbers"):
        predict._check_ids(path, ids)


def test_ids_of_classes_may_have_gaps():
    predict._check_ids(pathlib.Path("run/source.json"), [0, 2, 2**16 - 2])
