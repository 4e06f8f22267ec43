"""From a plan to a config: every field arrives, and fields that are none are named."""

import pytest

from noisyjax import methods
from noisyjax.tool.plan import plan
from noisyjax.tool.training import settings
from noisyjax.train import config_fields

PLAN = plan.Plan(
    spacing=(2.0, 1.0, 1.0),
    normalisation=("ct",),
    intensities=((-100.0, 300.0, 80.0, 50.0),),
    patch=(8, 16, 16),
    strides=((1, 2, 2), (2, 2, 2)),
    kernels=((1, 3, 3), (3, 3, 3), (3, 3, 3)),
    widths=(4, 8, 8),
    convs_per_level=2,
    batch_size=3,
    mirror_axes=(0, 2),
    reasons={},
    fingerprint={},
    expected={},
)


def test_what_is_planned_is_what_a_run_reads():
    config = config_fields.resolve(
        settings.of_plan("folder", PLAN, epochs=7, validate_every=2, seed=5)
    )
    assert config.data.options.root == "folder"
    assert tuple(config.data.options.spacing) == PLAN.spacing
    assert tuple(config.data.options.normalise) == PLAN.normalisation
    assert tuple(config.data.options.intensities) == PLAN.intensities
    assert tuple(config.data.patches.size) == PLAN.patch
    assert tuple(config.evaluate.window) == PLAN.patch
    assert tuple(config.model.strides) == PLAN.strides
    assert tuple(config.model.kernels) == PLAN.kernels
    assert tuple(config.model.widths) == PLAN.widths
    assert config.model.convs_per_level == PLAN.convs_per_level
    assert tuple(config.data.augment.flip_axes) == PLAN.mirror_axes
    assert (config.train.batch_size, config.train.epochs, config.seed) == (3, 7, 5)
    assert config.evaluate.every_epochs == 2


@pytest.mark.parametrize("method", methods.METHODS)
def test_every_method_is_one_word(method):
    config = config_fields.resolve(settings.of_plan("folder", PLAN, method=method))
    assert config.method == method


def test_fields_are_changed_by_their_names():
    config = settings.of_plan("folder", PLAN, changes={"train.learning_rate": 0.5, "seed": 3})
    assert (config.train.learning_rate, config.seed) == (0.5, 3)
    for name in ("train.rate", "trains.learning_rate", "seed.of"):
        with pytest.raises(ValueError, match=f"{name}: no run reads this field, got 1"):
            settings.of_plan("folder", PLAN, changes={name: 1})
