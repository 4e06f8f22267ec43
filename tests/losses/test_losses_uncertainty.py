"""The losses and scores of UMA-Net: golden values, least values, missing annotations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.losses import overlap, uncertainty

_CASES = range(7)
_LOSSES = {
    "w_ce": jax.jit(uncertainty.weighted_cross_entropy),
    "w_dice": jax.jit(uncertainty.weighted_dice),
}
_LOGITS = jax.jit(uncertainty.weighted_cross_entropy_of_logits)
_MAPS = jax.jit(uncertainty.calibration_maps)
_CONSISTENCY = jax.jit(uncertainty.consistency)
_CONFIDENCE = jax.jit(uncertainty.confidence_score, static_argnames="two_sided")
_AGREEMENT = jax.jit(uncertainty.agreement_score, static_argnames="normalised")


def _example(shape=(5, 4), raters=3, seed=0):
    draw = np.random.default_rng(seed)
    p, sigma = draw.uniform(0.02, 0.98, shape), draw.uniform(0, 1, (raters, *shape))
    labels = draw.integers(0, 2, (raters, *shape), dtype=np.uint8)
    return jnp.asarray(p, jnp.float32), jnp.asarray(labels), jnp.asarray(sigma, jnp.float32)


@jax.jit
def _golden(p, labels, sigma):
    """All that stands in the golden file, of stacked examples."""
    logits = jnp.log(p) - jnp.log1p(-p)
    maps = jax.vmap(_MAPS)(labels, sigma)
    return {
        **{name: jax.vmap(loss)(p, labels, sigma) for name, loss in _LOSSES.items()},
        "of logits": jax.vmap(_LOGITS)(logits, labels, sigma),
        "calib": maps,
        "l_c": jax.vmap(_CONSISTENCY)(maps),
        "u_a": jax.vmap(_CONFIDENCE)(maps),
        "u_a_binary_entropy": jax.vmap(lambda m: _CONFIDENCE(m, two_sided=True))(maps),
        "u_b": jax.vmap(_AGREEMENT)(maps),
    }


def _scores(maps, **options):
    return jnp.stack([score(maps, **options) for score in (_CONSISTENCY, _CONFIDENCE, _AGREEMENT)])


@pytest.mark.parametrize("case", _CASES)
def test_golden_values(golden, case):
    with np.load(golden / "uma.npz") as file:
        values = {k[4:]: file[k] for k in file.files if k.startswith(f"c{case:02d}_")}
    result = _golden(*(jnp.asarray(values[name]) for name in ("p", "y", "sigma")))
    for name in _LOSSES:
        np.testing.assert_allclose(result.pop(name), values[name], rtol=2e-5)
    np.testing.assert_allclose(result.pop("of logits"), values["w_ce"], rtol=2e-5)
    maps = result.pop("calib")
    if "calib" in values:
        np.testing.assert_array_equal(maps, values["calib"])
    np.testing.assert_allclose(maps.mean(1), values["calib_mean"], atol=1e-6)
    for name, value in result.items():
        # Where nothing is divided by nothing the score is 0.
        expected = np.nan_to_num(values[name])
        np.testing.assert_allclose(value, expected, rtol=2e-5, atol=1e-7, err_msg=name)


def test_losses_by_hand():
    p, labels = jnp.array([0.5, 0.25]), jnp.array([[1, 0], [1, 1]])
    sigma = jnp.log(jnp.array([[1.0, 1.0], [1.0, 2.0]]))
    half, quarter = np.log(2), np.log(4)
    expected = (half + np.log(4 / 3) + half + quarter / 2 + np.log(2) / 2) / 4
    np.testing.assert_allclose(_LOSSES["w_ce"](p, labels, sigma), expected, rtol=1e-6)
    # Sums of squares: .3125 for p, 1 and 2 for the labels.
    first, second = (0.25 + 0.0625) / 1.3125, (0.25 + 0.5625 / 2) / 2.3125
    expected = (first + second + np.log(2) / 4) / 2
    np.testing.assert_allclose(_LOSSES["w_dice"](p, labels, sigma), expected, rtol=1e-6)


def test_scores_by_hand():
    maps = jnp.array([[1.0, 0.5, 0.0], [0.0, 0.5, 0.0]])
    # The mean is .5, .5, 0; the variances are .25, 0, 0.
    np.testing.assert_allclose(_scores(maps), [0.25 / 3, np.log(2), 4 * 0.25], rtol=1e-6)
    assert float(_AGREEMENT(maps, normalised=True)) == pytest.approx(0.5)
    assert float(_CONFIDENCE(maps, two_sided=True)) == pytest.approx(2 * np.log(2))


@pytest.mark.parametrize("raters", [2, 3, 5])
def test_one_full_map_beside_empty_ones_is_the_worst_agreement(raters):
    maps = jnp.zeros((raters, 8)).at[0].set(1.0)
    assert float(_AGREEMENT(maps)) == pytest.approx(4 * (1 - 1 / raters))
    assert float(_AGREEMENT(maps, normalised=True)) == pytest.approx(1)
    maps = jax.random.uniform(jax.random.key(0), (20, raters, 6)) ** 3
    assert np.all(jax.vmap(lambda m: _AGREEMENT(m, normalised=True))(maps) < 1)


def test_without_uncertainty_it_is_the_soft_dice_with_squares():
    p, labels, sigma = _example()
    both = [jnp.stack([1 - x, x], -1) for x in (p, labels.astype(jnp.float32))]
    expected = [overlap.soft_dice(both[0], y, smooth=0.0, power=2) for y in both[1]]
    result = _LOSSES["w_dice"](p, labels, 0 * sigma)
    np.testing.assert_allclose(result, np.mean(expected), rtol=1e-5)


def test_the_least_loss_is_at_the_logarithm_of_twice_the_cross_entropy():
    probability = jnp.array([0.01, 0.2, 0.258, 0.3, 0.45, 0.6, 0.61, 0.9])
    labels = jnp.ones((1, 8), jnp.uint8)
    best = jnp.log(2 * -jnp.log(probability))
    inside = (best > 0) & (best < 1)
    assert np.asarray(inside).tolist() == [False, False, True, True, True, True, False, False]
    slope = jax.grad(lambda s: _LOSSES["w_ce"](probability, labels, s[None]))(jnp.clip(best, 0, 1))
    np.testing.assert_allclose(slope[inside], 0, atol=1e-6)
    assert np.all(slope[best >= 1] < 0)
    assert np.all(slope[best <= 0] > 0)


@pytest.mark.parametrize("name", list(_LOSSES))
def test_gradients_are_finite_at_the_ends(name):
    p = jnp.array([0.0, 0.0, 1.0, 1.0, 1e-38, 1e-45, 0.5])
    both = jax.jit(jax.value_and_grad(_LOSSES[name], argnums=(0, 2)))
    for value in (0, 1):
        labels = jnp.asarray(np.stack([np.arange(7) % 2, np.full(7, value)]), jnp.uint8)
        for sigma in (0.0, 1.0, 1e4):
            values, gradients = both(p, labels, jnp.full((2, 7), sigma))
            assert np.isfinite(values)
            assert all(np.isfinite(g).all() for g in gradients)
    empty = jnp.zeros(7)
    nothing = jnp.zeros((2, 7), jnp.uint8)
    value, gradient = jax.value_and_grad(_LOSSES["w_dice"])(empty, nothing, jnp.zeros((2, 7)))
    assert float(value) == 0
    assert np.isfinite(gradient).all()


def test_logits_of_any_size_have_their_loss_and_a_gradient():
    logits = jnp.array([[200.0, -200.0]])
    labels, sigma = jnp.array([[[0, 1]]]), jnp.zeros((1, 1, 2))
    value, gradient = jax.value_and_grad(_LOGITS)(logits, labels, sigma)
    assert float(value) == pytest.approx(200)
    np.testing.assert_allclose(gradient, [[0.5, -0.5]])


def test_scores_of_empty_maps_are_zero_with_finite_gradients():
    maps = jnp.zeros((3, 6))
    np.testing.assert_array_equal(_scores(maps), 0)
    for change in (0.0, 1.0, 1e-40):
        for score in (_CONFIDENCE, lambda m: _CONFIDENCE(m, two_sided=True), _AGREEMENT):
            assert np.isfinite(jax.grad(score)(maps + change)).all()


def test_a_missing_annotation_is_one_that_is_not_there():
    p, labels, sigma = _example(raters=4)
    present = jnp.array([True, False, True, True])
    dirty = labels.at[1].set(255), sigma.at[1].set(jnp.nan)
    kept = labels[present], sigma[present]
    for loss in _LOSSES.values():
        both = jax.jit(jax.value_and_grad(loss, argnums=(0, 2)))
        value, gradients = both(p, *dirty, rater_mask=present)
        expected, expected_gradients = both(p, *kept)
        np.testing.assert_allclose(value, expected, rtol=1e-6)
        np.testing.assert_allclose(gradients[0], expected_gradients[0], rtol=1e-5)
        np.testing.assert_allclose(gradients[1][present], expected_gradients[1], rtol=1e-5)
        assert not np.any(gradients[1][1])
        assert float(loss(p, *dirty, rater_mask=jnp.zeros(4, bool))) == 0
    maps = _MAPS(*dirty)
    np.testing.assert_allclose(_scores(maps, rater_mask=present), _scores(_MAPS(*kept)), rtol=1e-5)
    result = _AGREEMENT(maps, normalised=True, rater_mask=present)
    np.testing.assert_allclose(result, _AGREEMENT(_MAPS(*kept), normalised=True), rtol=1e-5)
    np.testing.assert_array_equal(_scores(maps, rater_mask=jnp.zeros(4, bool)), 0)


@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 2)])
def test_jit_equals_eager_and_vmap_equals_loop(shape):
    examples = [_example(shape, seed=seed) for seed in range(2)]
    present = jnp.array([[True, True, False], [True, True, True]])
    batch = [jnp.stack(parts) for parts in zip(*examples, strict=True)]
    eager = {
        "w_ce": uncertainty.weighted_cross_entropy,
        "w_dice": uncertainty.weighted_dice,
    }
    for name, loss in _LOSSES.items():
        mapped = jax.vmap(lambda p, y, s, r, f=loss: f(p, y, s, rater_mask=r))(*batch, present)
        loop = [eager[name](*e, rater_mask=r) for e, r in zip(examples, present, strict=True)]
        np.testing.assert_allclose(mapped, loop, rtol=1e-6)
    maps = jax.vmap(_MAPS)(*batch[1:])
    for jitted, function in (
        (_CONSISTENCY, uncertainty.consistency),
        (_CONFIDENCE, uncertainty.confidence_score),
        (_AGREEMENT, uncertainty.agreement_score),
    ):
        np.testing.assert_allclose(jax.vmap(jitted)(maps), [function(m) for m in maps], rtol=1e-6)
