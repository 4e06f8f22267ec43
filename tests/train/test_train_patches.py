"""A training on patches that are read from a store, stopped and taken up, and from elsewhere."""

import json
import shutil
import signal

import folder_fakes
import jax
import numpy as np
import pytest
import train_fakes

import configs.folder
from noisyjax import train
from noisyjax.data import pipeline

SHAPES = [(20, 9, 11), (9, 14, 10), (12, 10, 17), (10, 12, 9)]
# Of three cases one validates; each of the others is a step.
EPOCHS, PER_EPOCH = 3, 2


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Cases of different sizes with two raters; the last one tests."""
    root = tmp_path_factory.mktemp("patches") / "data"
    folder_fakes.describe(root)
    for i, shape in enumerate(SHAPES):
        part, name = ("Ts" if i == 3 else "Tr"), f"case_{i}.nii.gz"
        image, label = folder_fakes.image(i, shape), folder_fakes.label(i, shape)
        folder_fakes.save(root / f"images{part}" / f"case_{i}_0000.nii.gz", image)
        folder_fakes.save(root / f"labels{part}" / name, label)
        for number, rater in enumerate(("anna", "ben")):
            save_as = root / f"raters{part}" / rater / name
            folder_fakes.save(save_as, np.roll(label, number, axis=0))
    return root


def _config(root, cache, **changes):
    config = configs.folder.get_config("smoke")
    with config.unlocked():
        config.data.options.root = str(root)
        config.data.options.cache = str(cache)
        config.data.patches.size = (8, 8, 8)
        config.data.patches.foreground_share = 1 / 3
        config.data.augment.rotation = 20.0
        config.data.gold = "staple"
        config.train.epochs = EPOCHS
        config.train.batch_size = 1
        config.checkpoint.every_epochs = 1
        config.evaluate.every_epochs = EPOCHS
        config.update_from_flattened_dict(changes)
    return config


def _losses(folder):
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return {row["step"]: row["train_loss"] for row in rows if "train_loss" in row}


@pytest.fixture(scope="module")
def uninterrupted(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    state, _ = train.train_and_evaluate(_config(root, folder / "cache"), folder / "run")
    return folder, jax.device_get(state)


def _assert_same(state, folder, expected, *, like):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), expected)
    assert _losses(folder) == _losses(like)
    assert (folder / "test_cases.csv").read_text() == (like / "test_cases.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 4])
def test_what_is_stopped_goes_on_bit_for_bit(root, uninterrupted, tmp_path, monkeypatch, step):
    whole, expected = uninterrupted
    config = _config(root, whole / "cache")
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "train_batches", train_fakes.stop_at(step, signal.SIGTERM))
        with pytest.raises(SystemExit):
            train.train_and_evaluate(config, tmp_path)
    assert 0 < len(_losses(tmp_path)) < EPOCHS * PER_EPOCH
    state, _ = train.train_and_evaluate(config, tmp_path)
    _assert_same(state, tmp_path, expected, like=whole / "run")


@pytest.mark.slow
def test_a_store_that_is_gone_is_made_again(root, uninterrupted, tmp_path, monkeypatch):
    whole, expected = uninterrupted
    config = _config(root, tmp_path / "cache")
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "train_batches", train_fakes.stop_at(3, signal.SIGTERM))
        with pytest.raises(SystemExit):
            train.train_and_evaluate(config, folder)
    shutil.rmtree(tmp_path / "cache")
    state, _ = train.train_and_evaluate(config, folder)
    _assert_same(state, folder, expected, like=whole / "run")
