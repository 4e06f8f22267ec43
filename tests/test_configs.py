"""Every config loads in every variant, and its cells fit its base."""

import pytest

from configs import (
    adl,
    annotators,
    cm_trace,
    example,
    folder,
    gaussian_threshold,
    noise_ratio,
    quickstart,
    uma_net,
)
from noisyjax import methods
from noisyjax.studies import grid


@pytest.mark.parametrize(
    ("module", "variant"),
    [(module, variant) for module in (cm_trace, folder) for variant in sorted(module.VARIANTS)],
)
def test_training_configs_are_locked_and_name_a_method(module, variant):
    config = module.get_config(variant)
    assert config.is_locked
    assert config.method in methods.METHODS
    with pytest.raises(AttributeError, match="leaning_rate"):
        config.train.leaning_rate = 1.0


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (quickstart.get_config(), 12),
        (quickstart.get_config("smoke"), 8),
        (example.get_config(), 70),
        (annotators.get_config(), 60),
        (annotators.get_config("lidc"), 69),
        (annotators.get_config("bubil"), 156),
        (annotators.get_config("tumours"), 40),
        (annotators.get_config("noise"), 24),
        (annotators.get_config("lambda"), 12),
        (annotators.get_config("smoke"), 3),
        (adl.get_config(), 54),
        (adl.get_config("vertebrae"), 36),
        (adl.get_config("cord"), 36),
        (adl.get_config("lidc"), 36),
        (adl.get_config("phantoms"), 36),
        (adl.get_config("networks"), 27),
        (adl.get_config("relatives"), 24),
        (adl.get_config("paper"), 81),
        (adl.get_config("smoke"), 2),
        (gaussian_threshold.get_config(), 40),
        (gaussian_threshold.get_config("phantoms"), 120),
        (gaussian_threshold.get_config("paper"), 120),
        (gaussian_threshold.get_config("smoke"), 4),
        (uma_net.get_config(), 54),
        (uma_net.get_config("lidc_ablation"), 15),
        (uma_net.get_config("digits_annotations"), 42),
        (uma_net.get_config("readers"), 30),
        (uma_net.get_config("bubil"), 108),
        (uma_net.get_config("smoke"), 2),
        (noise_ratio.get_config(), 24),
        (noise_ratio.get_config("highres3dnet"), 12),
        (noise_ratio.get_config("mandible"), 24),
        (noise_ratio.get_config("folder"), 24),
        (noise_ratio.get_config("paper"), 48),
        (noise_ratio.get_config("smoke"), 4),
    ],
)
def test_studies_have_the_cells_that_their_pictures_want(config, count):
    cells = grid.cells(config)
    assert len({cell.folder for cell in cells}) == len(cells) == count
    assert set(config.showcases) <= {cell.folder for cell in cells}
    assert all(cell.config.method in methods.METHODS for cell in cells)


def test_unknown_variants_are_refused():
    modules = (adl, annotators, cm_trace, folder, gaussian_threshold, noise_ratio, uma_net)
    for module in modules:
        with pytest.raises(ValueError, match="variant.*nonsense"):
            module.get_config("nonsense")
