"""The sides of the benchmarks do the same work."""

import pickle

import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import noise
from noisyjax.benchmarks import gaussian_field

_SHAPE = (24, 28, 26)


@pytest.mark.parametrize("name", gaussian_field.SETUPS)
def test_every_entry_has_our_side_and_one_peer(name):
    setup = gaussian_field.SETUPS[name]
    sides = setup.sides()
    assert len(sides) == 2
    assert "ours" in sides
    assert setup.peer in ("", *sides)
    pickle.dumps(sides)


@pytest.mark.parametrize("peer", ["", "monai", "torchio"])
def test_draws_have_the_size_of_the_label(peer):
    if peer:
        pytest.importorskip(peer)
    setup = gaussian_field.Setup(_SHAPE, peer=peer)
    volume = setup.label().mean()
    for side in setup.sides().values():
        work = side(1)
        assert work.params == np.prod(_SHAPE)
        first, second = np.asarray(work.step()), np.asarray(work.step())
        assert first.shape == _SHAPE
        assert set(np.unique(first)) <= {0, 1}
        assert np.any(first != second)
        assert 0.5 * volume < first.mean() < 1.5 * volume


def test_marginals_are_equal():
    # Wide enough for a sampled kernel; SciPy cuts its kernel off at four standard deviations.
    setup = gaussian_field.Setup((150, 160), "marginal")
    ours, theirs = (side(1).step() for side in setup.sides().values())
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_the_listing_moves_boundaries_as_far_as_ours_in_the_middle_of_the_image():
    rng = np.random.default_rng(0)
    label = np.zeros((40, 40))
    label[:, 20:] = 1
    draws = np.stack([gaussian_field.scipy_sample(rng, label, 0.05) for _ in range(200)])
    across = draws[:, 20, :].mean(axis=0)
    expected = np.asarray(
        noise.gaussian_field.marginal(jnp.asarray(label[:1], jnp.uint8), a=(0.0, 0.05))
    )[0]
    near = slice(14, 26)
    np.testing.assert_allclose(across[near], expected[near], atol=0.15)
