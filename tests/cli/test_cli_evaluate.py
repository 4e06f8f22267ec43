import pathlib
import runpy

import pytest

from noisyjax import train
from noisyjax.train import saved_runs

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "cm_trace.py"


@pytest.fixture(scope="module")
def get_config():
    return runpy.run_path(str(CONFIG))["get_config"]


@pytest.mark.parametrize("variant", ["digits", "mnist", "example", "smoke"])
def test_variants_are_locked_and_of_one_shape(get_config, variant):
    config, default = get_config(variant), get_config()
    assert config.is_locked
    assert set(config) == set(default)
    assert set(config.train) == set(default.train)
    with pytest.raises(AttributeError):
        config.train.epoch = 3


def test_unknown_variant_is_named(get_config):
    with pytest.raises(ValueError, match="expected one of digits, .*got 'mnits'"):
        get_config("mnits")


@pytest.mark.slow
def test_real_pieces_train_and_are_evaluated(get_config, tmp_path):
    config = get_config("smoke")
    config.method = "mean"
    _, summary = train.train_and_evaluate(config, tmp_path)
    result = saved_runs.evaluate_run(tmp_path)
    assert result.scalars["dice"] == pytest.approx(summary["test_dice"], abs=1e-6)
    assert (tmp_path / "evaluations" / "test-latest" / "test_cases.csv").exists()
    other = saved_runs.evaluate_run(
        tmp_path, decisions=("argmax", "dice"), output=tmp_path / "both"
    )
    assert other.scalars["dice"] == pytest.approx(result.scalars["dice"], abs=1e-6)
    assert 0 <= other.scalars["label_dice@dice"] <= 1
    assert (tmp_path / "both" / "test_cases.csv").exists()
