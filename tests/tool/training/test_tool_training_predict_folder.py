"""What a run that models several raters says of images, and how sure it is."""

import fold_fakes
import numpy as np
import pytest

import noisyjax
from noisyjax.tool import folder
from noisyjax.tool.evaluation import predictions
from noisyjax.tool.training import networks, out_of_fold

_RATERS = ("anna", "ben")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    return fold_fakes.make(root / "in", 4, raters=_RATERS, truth=False)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """Two networks that model two raters."""
    out = tmp_path_factory.mktemp("run") / "run"
    own = fold_fakes.tiny_plan(fingerprint={"raters": _RATERS})
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
        networks.Networks((), (own,), loaded.adjusted).predictor(raters=True)(image).raters
        for own in loaded.trained
    ]
    np.testing.assert_allclose(got, np.mean(each, axis=0), atol=1e-6)
    assert np.abs(each[0] - each[1]).max() > 1e-5
