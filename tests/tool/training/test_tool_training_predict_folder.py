"""What a run that models several raters says of images, and how sure it is."""

import dataclasses
import json
import shutil

import fold_fakes
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import noisyjax
from noisyjax import methods, models
from noisyjax.data.volumes import read_write
from noisyjax.methods import base
from noisyjax.tool import folder
from noisyjax.tool.evaluation import predictions
from noisyjax.tool.training import certainty, guarantee, networks, out_of_fold
from noisyjax.train import ensemble

_RATERS = ("anna", "ben")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    return fold_fakes.make(root / "in", 4, raters=_RATERS, truth=False)


@pytest.fixture(scope="module")
def images(data, tmp_path_factory):
    """A single case of the folder."""
    root = tmp_path_factory.mktemp("images")
    shutil.copy(data / "imagesTr" / "case_00_0000.nii.gz", root)
    return root


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """Two networks that model two raters."""
    out = tmp_path_factory.mktemp("run") / "run"
    own = fold_fakes.tiny_plan(fingerprint={"raters": dict.fromkeys(_RATERS, 4)})
    options = {"method": "cm_trace", "folds": 2, "epochs": 1, "changes": fold_fakes.CHANGES}
    assert noisyjax.train_folds(data, out, plan=own, **options).problems == ()
    return out


def test_raters_are_predicted_out_of_fold(run, data):
    opened = folder.open_folder(data)
    found = predictions.find(run / "out_of_fold", opened, partial=True)
    assert found.raters == _RATERS
    for name in found.cases:
        _, packed = out_of_fold.paths(run, name, ".nii.gz")
        raters = out_of_fold.unpack_raters(packed, 2, 3, 3)
        assert raters.shape == (2, *fold_fakes.SHAPE, 3)
        np.testing.assert_allclose(raters.sum(axis=-1), 1, atol=2e-3)
        expected = raters.argmax(axis=-1)
        # Ties of numbers in 16 bits.
        assert (found.read(name).rater_labels == expected).mean() > 0.99
    with pytest.raises(ValueError, match=r"rater_probabilities: expected float \[3, 3, X, Y, Z\]"):
        out_of_fold.unpack_raters(packed, 3, 3, 3)


def test_raters_are_averaged_over_windows_and_networks(run):
    loaded = networks.load(run)
    image = np.random.default_rng(0).normal(size=(11, 9, 8, 1)).astype(np.float32)
    got = loaded.predictor(raters=True)(image).raters
    assert got.shape == (2, 11, 9, 8, 3)
    each = [
        loaded._replace(trained=(own,)).predictor(raters=True)(image).raters
        for own in loaded.trained
    ]
    np.testing.assert_allclose(got, np.mean(each, axis=0), atol=1e-6)
    assert np.abs(each[0] - each[1]).max() > 1e-5


def _drawing(loaded, *, shared):
    """Networks whose draws are brighter one after the other, voxel by voxel."""

    def predict(variables, image):
        del variables
        steps = jnp.arange(3.0).reshape(1, 3, *[1] * (image.ndim - 1))
        bright = jax.nn.sigmoid(image[:, None] + steps)
        samples = jnp.concatenate([1 - bright, bright, 0 * bright], axis=-1)
        return base.Prediction(samples.mean(1), samples=samples)

    method = dataclasses.replace(loaded.first.method, predict=predict, shared_draws=shared)
    return loaded._replace(trained=tuple(own._replace(method=method) for own in loaded.trained))


def test_networks_draw_in_turn_over_all_windows_of_an_image(run):
    loaded = _drawing(networks.load(run), shared=True)
    assert ensemble.offer(*loaded.trained) == (0, 6)
    image = np.random.default_rng(0).normal(size=(11, 9, 8, 1)).astype(np.float32)
    got = loaded.predictor(samples=5)(image).samples
    bright = [1 / (1 + np.exp(-(image[..., 0] + step))) for step in (0, 1, 2, 0, 1)]
    np.testing.assert_allclose(got[..., 1], bright, atol=1e-5)
    assert loaded.predictor()(image).samples is None
    # Each window by itself would be another segmentation.
    alone = _drawing(networks.load(run), shared=False)
    assert alone.predictor(samples=1)(image[:8, :8, :8]).samples.shape == (1, 8, 8, 8, 3)
    with pytest.raises(ValueError, match="samples: draws of neighbouring windows do not belong"):
        alone.predictor(samples=1)(image)


def test_draws_of_the_probabilistic_unet_belong_together():
    network = models.build("unet", 2, widths=(2, 4), convs_per_level=1)
    assert methods.build("prob_unet", network, num_raters=2, num_classes=2).shared_draws
    assert not methods.build("majority", network, num_raters=2, num_classes=2).shared_draws


def test_samples_are_written_as_evaluate_reads_them(run, data, images, tmp_path, monkeypatch):
    drawing = _drawing(networks.load(run), shared=True)
    monkeypatch.setattr(networks, "load", lambda *_, **__: drawing)
    options = {"samples": 2, "probabilities": True}
    noisyjax.predict_folder(run, images, tmp_path, **options)
    found = predictions.find(tmp_path, folder.open_folder(data), partial=True)
    read = found.read("case_00")
    assert read.sample_probs.shape == (2, *fold_fakes.SHAPE, 3)
    np.testing.assert_array_equal(read.samples, read.sample_probs.argmax(axis=-1))
    noisyjax.predict_folder(run, images, tmp_path, overwrite=True)
    assert not list(tmp_path.glob("sample_*"))


def _read(path):
    return read_write.to_ras(read_write.read(path)).array


def test_files_say_what_the_run_says_of_an_array(run, data, images, tmp_path):
    wanted = {
        "entropy": True, "disagreement": True, "raters": True, "spread": True, "margin": 0.4,
        "share": 0.9, "risk": 0.4,
    }  # fmt: skip
    made = noisyjax.predict_folder(run, images, tmp_path, **wanted)
    assert made.problems == ()
    volume = read_write.to_ras(read_write.read(images / "case_00_0000.nii.gz"))
    said = noisyjax.load_run(run).predict(volume.array, volume.spacing, **wanted)
    name = "case_00.nii.gz"
    np.testing.assert_array_equal(_read(tmp_path / name), said.mask)
    for layer in ("entropy", "disagreement", "spread"):
        written = read_write.read(tmp_path / layer / name)
        assert written.array.dtype == np.float32
        np.testing.assert_allclose(_read(tmp_path / layer / name), getattr(said, layer), atol=1e-6)
    for number, rater in enumerate(_RATERS):
        expected = said.raters[number].argmax(axis=-1)
        np.testing.assert_array_equal(_read(tmp_path / "raters" / rater / name), expected)
    for label in (1, 2):
        np.testing.assert_array_equal(
            _read(tmp_path / f"margin/{label}" / name), said.margin[label - 1]
        )
        np.testing.assert_array_equal(
            _read(tmp_path / f"risk/{label}" / name), said.risk[label - 1]
        )
    # As evaluate reads them.
    found = predictions.find(tmp_path, folder.open_folder(data), partial=True)
    assert (found.raters, found.samples, found.unknown) == (_RATERS, (), ())
    again = noisyjax.predict_folder(run, images, tmp_path, **wanted)
    assert again.finished
    other = noisyjax.predict_folder(run, images, tmp_path, overwrite=True)
    assert not other.finished
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, "predict.json"]


def test_masks_with_a_guarantee_follow_from_the_out_of_fold_scores(run):
    image = np.random.default_rng(0).normal(size=fold_fakes.SHAPE).astype(np.float32)
    said = noisyjax.load_run(run).predict(image, (1.0, 1.5, 2.0), margin=0.4, share=0.9, risk=0.4)
    scores = guarantee.read(run, said_classes := noisyjax.load_run(run).class_names)
    assert said_classes == ("background", "organ", "lesion")
    assert scores.cases == 4
    for label in (1, 2):
        # The ceil(5 * .6)-th smallest of four, and so is the least lambda.
        count = int(scores.dilations[2, label - 1, 0])
        expected = guarantee.dilated(said.mask == label, count)
        np.testing.assert_array_equal(said.margin[label - 1], expected)
        safe = [(4 * loss + 1) / 5 <= 0.4 + 1e-6 for loss in scores.losses[label - 1]]
        least = guarantee.THRESHOLDS[safe.index(True)]
        expected = said.probs[..., label] >= np.float32(least)
        np.testing.assert_array_equal(said.risk[label - 1], expected)


@pytest.mark.parametrize(
    ("wanted", "match"),
    [
        ({"margin": 0.1}, r"margin: 0\.1 needs at least 9 cases .*, the run has 4"),
        ({"risk": 0.01}, r"risk: 0\.01 needs at least 99 cases .*, the run has 4"),
        ({"margin": 1.5}, r"margin: expected a number in \(0, 1\), got 1\.5"),
        ({"margin": 0.4, "share": 0.5}, r"share: expected one of 0\.9, "),
        ({"margin": 0.4, "decision": "dice"}, "margin: expected the decision argmax"),
        ({"samples": 2}, r"samples: expected at most 0, which is what 2 networks of cm_trace draw"),
        ({"samples": -1}, r"samples: expected a number >= 0, got -1"),
    ],
)
def test_what_the_run_cannot_say_is_refused(run, images, tmp_path, wanted, match):
    with pytest.raises(ValueError, match=match):
        noisyjax.predict_folder(run, images, tmp_path / "out", **wanted)
    assert not (tmp_path / "out").exists()


def test_a_single_network_has_no_spread_and_no_guarantee(run):
    loaded = networks.load(run / "fold_0")
    with pytest.raises(ValueError, match="spread: expected several networks, or mirror images"):
        certainty.Assessor(loaded, certainty.Wanted(spread=True))
    with pytest.raises(ValueError, match="margin, risk: expected a run of folds"):
        certainty.Assessor(loaded, certainty.Wanted(risk=0.3))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda own: own.pop("cases"), "calibration.json: expected guarantees as .* 'cases'"),
        (lambda own: own.update(thresholds=[0.5]), "thresholds: expected those of this version"),
        (
            lambda own: own["classes"]["organ"].update(missed=[2.0] * 103),
            "missed: expected 103 numbers",
        ),
        (lambda own: own["classes"].pop("lesion"), "'lesion'"),
    ],
)
def test_damaged_guarantees_are_named(run, tmp_path, change, match):
    content = json.loads((run / "calibration.json").read_text())
    change(content["guarantees"])
    (tmp_path / "calibration.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=match):
        guarantee.read(tmp_path, ("background", "organ", "lesion"))
