"""The sides of the surface benchmarks find the same distances, each under its convention."""

import pickle

import numpy as np
import pytest

from noisyjax import metrics
from noisyjax.benchmarks import surface


@pytest.mark.parametrize("name", surface.SETUPS)
def test_every_entry_has_our_side_and_all_peers(name):
    sides = surface.SETUPS[name].sides()
    assert set(sides) == {"ours", "ours, deepmind", "surface-distance", "MedPy", "MONAI"}
    pickle.dumps(sides)


# surface-distance reads names that SciPy deprecates; MONAI warns of its own arguments.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("shape", [(40, 44), (20, 22, 21)])
@pytest.mark.parametrize(
    ("module", "side", "convention"),
    [
        ("surface_distance", "surface-distance", "deepmind"),
        ("medpy.metric.binary", "MedPy", "medpy"),
        ("monai.metrics", "MONAI", "monai"),
    ],
)
def test_sides_find_the_same_distances(shape, module, side, convention):
    pytest.importorskip(module)
    setup = surface.Setup(shape)
    theirs = setup.sides()[side](1)
    result = np.array(theirs.step(), np.float64)
    ours = surface.ours(setup, 1, convention=convention)
    assert ours.params == theirs.params == np.prod(shape)
    values = ours.step()
    assert isinstance(values, metrics.surface.Surface)
    given = ~np.isnan(result)
    assert given.sum() >= 5
    np.testing.assert_allclose(result[given], np.array(values)[given], rtol=2e-6)


def test_the_masks_are_an_organ_and_a_fair_prediction():
    pred, truth = surface.Setup((48, 48)).masks()
    dice = 2 * (pred & truth).sum() / (pred.sum() + truth.sum())
    assert 0.8 < dice < 1.0
