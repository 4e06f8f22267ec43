"""Margins and thresholds with a guarantee: values by hand, SciPy's dilations, coverage by draws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from noisyjax import decisions

_COVER = jax.jit(decisions.dilations_to_cover, static_argnames="share")
_QUANTILE = jax.jit(decisions.conformal_quantile, static_argnames="alpha")
_CONTROL = jax.jit(decisions.risk_control, static_argnames="alpha")


def test_golden(golden):
    with np.load(golden / "multirater.npz") as file:
        values = {key[3:]: file[key] for key in file.files if key.startswith("28.")}
    cover = functools.partial(decisions.dilations_to_cover, share=float(values["covered_share"]))
    scores = jax.jit(jax.vmap(cover))(values["probs"] > 0.5, values["truth"])
    np.testing.assert_array_equal(scores, values["dilations"])
    alpha = float(values["alpha"])
    assert _QUANTILE(scores, alpha=alpha) == values["conformal_quantile"]
    losses, lambdas = jnp.float32(values["fnr_losses"]), jnp.float32(values["lambdas"])
    chosen = _CONTROL(losses, lambdas, alpha=alpha)
    np.testing.assert_allclose(chosen, values["crc_lambda"], rtol=1e-6)


@pytest.mark.parametrize(("alpha", "expected"), [(0.25, 3.0), (0.4, 1.0), (0.99, 0.0)])
def test_quantile_by_hand(alpha, expected):
    assert _QUANTILE(jnp.array([1, 0, 3, 1]), alpha=alpha) == expected


def test_too_few_scores_have_no_finite_quantile():
    assert _QUANTILE(jnp.array([0, 1, 1, 3]), alpha=0.1) == np.inf
    assert _QUANTILE(jnp.zeros(0), alpha=0.9) == np.inf
    # Nine scores are the least for a tenth, whatever a float makes of it.
    for n, alpha in ((9, 0.1), (99, 0.01), (999, 0.001), (99, 0.29)):
        rank = round((n + 1) * (1 - alpha))
        assert _QUANTILE(jnp.arange(1.0, n + 1), alpha=alpha) == rank


def test_new_scores_stay_within_the_quantile_as_often_as_promised():
    draws = jax.random.normal(jax.random.key(0), (4000, 20))
    quantiles = jax.vmap(lambda scores: _QUANTILE(scores[:-1], alpha=0.2))(draws)
    # 16 of 20 for scores without ties; the standard error is .006.
    assert abs(np.mean(draws[:, -1] <= quantiles) - 0.8) < 0.025


def _dilations(prediction, truth, share):
    """Counts dilations by SciPy's cross, one after the other."""
    for number in range(sum(truth.shape)):
        if (prediction & truth).sum() >= share * truth.sum():
            return number
        prediction = ndimage.binary_dilation(prediction)
    return np.inf


@pytest.mark.parametrize("shape", [(17,), (12, 15), (6, 7, 8)])
@pytest.mark.parametrize("share", [0.5, 0.9, 1])
def test_dilations_are_those_of_scipy(shape, share):
    draw = np.random.default_rng(0)
    for _ in range(5):
        truth = ndimage.binary_dilation(draw.random(shape) < 0.03, iterations=2)
        prediction = draw.random(shape) < 0.02
        expected = _dilations(prediction, truth, share)
        assert _COVER(prediction, truth, share=share) == expected


def test_a_share_that_is_met_exactly_is_enough():
    # 19 of 20, 29 of 100, 1 of 3 voxels: products of these floats lie on either side.
    for share, size in ((0.95, 20), (0.29, 100), (0.1, 30), (1 / 3, 3)):
        truth = jnp.arange(200) < size
        wanted = round(share * size)
        assert _COVER(jnp.arange(200) < wanted, truth, share=share) == 0
        less = 1 if wanted > 1 else np.inf
        assert _COVER(jnp.arange(200) < wanted - 1, truth, share=share) == less


def test_empty_masks():
    empty, corner = jnp.zeros((4, 5), bool), jnp.zeros((4, 5), bool).at[0, 0].set(True)
    assert _COVER(corner, empty, share=0.9) == _COVER(empty, empty, share=0.9) == 0
    assert _COVER(empty, corner, share=0.9) == np.inf
    # The furthest voxel is as many steps away as there are.
    assert _COVER(corner, corner[::-1, ::-1], share=1) == 3 + 4
    ids = corner.astype(jnp.uint8)
    assert _COVER(ids, ids[:, ::-1], share=1) == 4


def test_risk_control_by_hand():
    losses = jnp.array([[1.0, 0.5, 0.0], [1.0, 0.25, 0.0], [0.5, 0.0, 0.0]])
    lambdas = jnp.array([0.0, 0.5, 1.0])
    # Sums 2.5, .75, 0; with the bound of 1 over 4: .875, .4375, .25.
    for alpha, expected in ((0.9, 0.0), (0.875, 0.0), (0.45, 0.5), (0.4, 1.0), (0.25, 1.0)):
        assert _CONTROL(losses, lambdas, alpha=alpha) == expected
        assert _CONTROL(losses[:, ::-1], lambdas[::-1], alpha=alpha) == expected
    # No lambda is safe: the whole image.
    assert _CONTROL(losses[:, :2], lambdas[:2], alpha=0.25) == 1.0
    assert _CONTROL(losses, lambdas, alpha=0.2) == 1.0


def test_the_risk_of_a_new_image_is_controlled():
    key = jax.random.key(0)
    need = jax.random.uniform(key, (500, 100))
    lambdas = jnp.linspace(0.0, 1.0, 41)
    # An image loses what its need exceeds lambda by.
    losses = jnp.maximum(need[..., None] - lambdas[None, None], 0.0)
    chosen = jax.vmap(functools.partial(_CONTROL, alpha=0.15), in_axes=(0, None))(
        losses[:, :-1], lambdas
    )
    risk = np.mean(np.maximum(need[:, -1] - chosen, 0.0))
    # The guarantee, which gives away no more than 2 / (n + 1).
    assert 0.13 < risk < 0.15


@pytest.mark.parametrize("share", [0, 1.5, float("nan")])
def test_a_share_outside_of_its_range_is_refused(share):
    mask = jnp.ones(4, bool)
    with pytest.raises(ValueError, match="share: expected a number in"):
        decisions.dilations_to_cover(mask, mask, share=share)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1])
def test_an_alpha_outside_of_its_range_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha: expected a number in"):
        decisions.conformal_quantile(jnp.ones(4), alpha=alpha)
    with pytest.raises(ValueError, match="alpha: expected a number in"):
        decisions.risk_control(jnp.ones((4, 2)), jnp.ones(2), alpha=alpha)
