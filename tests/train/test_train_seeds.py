"""Seeds trained as one program against seeds trained one by one."""

import math
import os

import numpy as np
import pytest
import train_fakes

from noisyjax import train
from noisyjax.train import loop
from noisyjax.train.workdir import checkpoints, metrics_log

SEEDS = (3, 4)

pytestmark = pytest.mark.usefixtures("fakes")


def _configs():
    return [train_fakes.config(seed=seed) for seed in SEEDS]


def test_seeds_side_by_side_equal_seeds_one_by_one(tmp_path):
    alone = [tmp_path / f"alone{seed}" for seed in SEEDS]
    group = [tmp_path / f"group{seed}" for seed in SEEDS]
    expected = [
        train.train_and_evaluate(config, folder)[1]
        for config, folder in zip(_configs(), alone, strict=True)
    ]
    found = train.train_seeds(_configs(), group)
    assert found[0]["test_nll"] != found[1]["test_nll"]
    for one, other, here, there in zip(found, expected, group, alone, strict=True):
        assert set(one) == set(other)
        for name in set(one) - {"seconds_compile", "seconds_train"}:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-4, err_msg=name)
        assert set(os.listdir(here)) == set(os.listdir(there))
        rows, wanted = (metrics_log.read_metrics(f / "metrics.jsonl") for f in (here, there))
        assert [row["step"] for row in rows] == [row["step"] for row in wanted]
        for row, want in zip(rows, wanted, strict=True):
            if "train_loss" in row:
                assert math.isclose(row["train_loss"], want["train_loss"], rel_tol=1e-4)
        # Either can be restored and evaluated.
        again = loop.evaluate_run(here)
        np.testing.assert_allclose(again.scalars["dice"], one["test_dice"], rtol=1e-6)


def test_a_finished_group_is_not_trained_again(tmp_path, monkeypatch):
    folders = [tmp_path / str(seed) for seed in SEEDS]
    first = train.train_seeds(_configs(), folders)
    monkeypatch.setattr(checkpoints.Checkpoints, "save", None)
    assert train.train_seeds(_configs(), folders) == first


def test_configs_that_differ_in_more_than_the_seed_are_refused(tmp_path):
    configs = [train_fakes.config(), train_fakes.config(**{"train.epochs": 4})]
    with pytest.raises(ValueError, match="train.epochs"):
        train.train_seeds(configs, [tmp_path / "a", tmp_path / "b"])
    assert not list(tmp_path.iterdir())
