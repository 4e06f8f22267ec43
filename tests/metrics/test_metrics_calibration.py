"""Calibration against scikit-learn and values worked out by hand."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from sklearn import calibration as sklearn_calibration
from sklearn import metrics as sklearn_metrics

from noisyjax.metrics import calibration

_BINS = jax.jit(calibration.bin_probabilities, static_argnames="num_bins")
_CURVE = jax.jit(calibration.reliability_curve)
_ERROR = jax.jit(calibration.expected_calibration_error)
_BRIER = jax.jit(calibration.brier_score)


def _drawn(shape=(40, 50)):
    draw = np.random.default_rng(0)
    probs = draw.random(shape).astype(np.float32)
    return jnp.asarray(probs), jnp.asarray(draw.random(shape) < probs**2)


def test_the_curve_equals_scikit_learn():
    probs, truth = _drawn()
    probs = 0.7 * probs
    mean, share = _CURVE(_BINS(probs, truth, num_bins=10))
    expected_share, expected_mean = sklearn_calibration.calibration_curve(
        np.ravel(truth), np.ravel(probs), n_bins=10
    )
    np.testing.assert_allclose(mean[:7], expected_mean, rtol=1e-5)
    np.testing.assert_allclose(share[:7], expected_share, rtol=1e-5)
    assert np.isnan(mean[7:]).all()
    assert np.isnan(share[7:]).all()


def test_the_brier_score_equals_scikit_learn():
    probs, truth = _drawn()
    expected = sklearn_metrics.brier_score_loss(np.ravel(truth), np.ravel(probs))
    np.testing.assert_allclose(_BRIER(probs, truth), expected, rtol=1e-5)


def test_by_hand():
    probs = jnp.array([0.0, 0.5, 0.6, 1.0])
    truth = jnp.array([0, 1, 0, 1])
    bins = _BINS(probs, truth, num_bins=2)
    # A probability on the edge of two bins belongs to the lower one.
    np.testing.assert_allclose(bins.count, [2, 2])
    np.testing.assert_allclose(bins.probability, [0.5, 1.6])
    np.testing.assert_allclose(bins.positive, [1, 1])
    error = _ERROR(bins)
    np.testing.assert_allclose(error, (2 * 0.25 + 2 * 0.3) / 4, rtol=1e-6)
    np.testing.assert_allclose(_BRIER(probs, truth), (0.25 + 0.36) / 4, rtol=1e-6)


def test_images_can_be_added_and_pixels_left_out():
    probs, truth = _drawn()
    whole = _BINS(probs, truth)
    parts = [_BINS(probs[rows], truth[rows]) for rows in (slice(0, 9), slice(9, None))]
    where = jnp.broadcast_to(jnp.arange(40)[:, None] < 9, probs.shape)
    left_out = _BINS(probs, truth, where=where)
    for all_of, one, other, masked in zip(whole, *parts, left_out, strict=True):
        np.testing.assert_allclose(one + other, all_of, rtol=1e-5)
        np.testing.assert_allclose(masked, one, rtol=1e-6)
    np.testing.assert_allclose(
        _BRIER(probs, truth, where=where),
        _BRIER(probs[:9], truth[:9]),
        rtol=1e-6,
    )


def test_a_calibrated_prediction_has_no_error_and_a_shift_has_its_own():
    probs = jnp.repeat(jnp.array([0.25, 0.75]), 8)
    truth = jnp.concatenate([jnp.arange(8) < 2, jnp.arange(8) < 6])
    right, shifted = (_BINS(probs + shift, truth, num_bins=4) for shift in (0.0, 0.1))
    np.testing.assert_allclose(_ERROR(right), 0.0, atol=1e-7)
    np.testing.assert_allclose(_ERROR(shifted), 0.1, rtol=1e-5)


def test_nothing_counts():
    probs, truth = _drawn((3, 4))
    nowhere = jnp.zeros((3, 4), bool)
    assert np.isnan(_ERROR(_BINS(probs, truth, where=nowhere)))
    assert np.isnan(_BRIER(probs, truth, where=nowhere))


def test_vmap_equals_loop_and_gradients_are_finite():
    probs, truth = _drawn((3, 4, 5))
    together = jax.jit(jax.vmap(calibration.bin_probabilities))(probs, truth)
    for case in range(3):
        alone = _BINS(probs[case], truth[case])
        for value, one in zip(together, alone, strict=True):
            np.testing.assert_allclose(value[case], one, rtol=1e-6)
    eager = calibration.bin_probabilities(probs[2], truth[2])
    for one, other in zip(eager, alone, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    gradient = jax.grad(_BRIER)(probs, truth)
    np.testing.assert_allclose(gradient, 2 * (probs - truth) / probs.size, rtol=1e-5, atol=1e-8)


def test_errors_name_the_argument():
    probs, truth = _drawn((3, 4))
    with pytest.raises((ValueError, jaxtyping.TypeCheckError), match="truth"):
        calibration.bin_probabilities(probs, truth[:2])
    with pytest.raises(ValueError, match="num_bins: expected a number > 0, got 0"):
        calibration.bin_probabilities(probs, truth, num_bins=0)
