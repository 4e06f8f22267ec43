"""Every shipped config passes, and what is wrong is named; more of that in tests/robustness."""

import ml_collections
import pytest

from configs import adl, annotators, cm_trace, defaults, example, folder, noise_ratio, uma_net
from noisyjax.train import config_checks

_VARIANTS = [
    (module, variant) for module in (cm_trace, folder) for variant in sorted(module.VARIANTS)
]
_STUDIES = (adl, annotators, example, noise_ratio, uma_net)


@pytest.mark.parametrize(("module", "variant"), _VARIANTS)
def test_training_configs_pass(module, variant):
    config_checks.check(module.get_config(variant))


@pytest.mark.parametrize("module", _STUDIES, ids=lambda module: module.__name__)
def test_the_bases_of_studies_pass(module):
    config_checks.check(module.get_config().base)


def test_a_config_from_before_some_fields_passes():
    config_checks.check(ml_collections.ConfigDict({"seed": 0, "train": {"epochs": 3}}))


def test_every_field_of_the_tables_is_a_field_of_the_defaults():
    config = defaults.get_config()
    tables = (config_checks._RANGES, config_checks._NAMES, config_checks._LISTS)
    for name in [*(name for table in tables for name in table), *config_checks._SIZES]:
        assert config_checks._value(config, name) is not None, name


@pytest.mark.parametrize(
    ("value", "passes"), [(0.5, True), (0.0, True), (1.0, False), (-0.1, False)]
)
def test_the_ends_of_a_range_count_as_the_table_says(value, passes):
    config = ml_collections.ConfigDict({"train": {"momentum": value}})
    if passes:
        config_checks.check(config)
    else:
        with pytest.raises(ValueError, match=r"train.momentum: expected a number in \[0, 1\)"):
            config_checks.check(config)
