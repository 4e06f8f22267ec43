"""The temperature of probabilities."""

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.special

from noisyjax.tool.training import temperature


def _drawn(size, classes, *, sharpness, seed=0):
    """Probabilities, and labels drawn from these at the temperature that is to be found."""
    draw = np.random.default_rng(seed)
    logits = 2 * draw.normal(size=(size, classes))
    truth = scipy.special.softmax(logits, axis=-1)
    labels = (truth.cumsum(axis=-1) < draw.random((size, 1))).sum(axis=-1)
    return scipy.special.softmax(logits * sharpness, axis=-1), np.eye(classes)[labels]


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_recovered(sharpness):
    probs, labels = _drawn(60_000, 3, sharpness=sharpness)
    assert temperature.fit(probs, labels) == pytest.approx(sharpness, rel=0.03)


def test_it_is_the_minimum_that_another_program_finds():
    probs, labels = _drawn(300, 4, sharpness=2.5, seed=1)

    def loss(t):
        logs = np.log(np.maximum(probs, temperature.LEAST)) / t
        return -(labels * scipy.special.log_softmax(logs, axis=-1)).sum(axis=-1).mean()

    best = scipy.optimize.minimize_scalar(loss, bounds=(0.1, 10), method="bounded")
    found = temperature.fit(probs, labels)
    assert found == pytest.approx(best.x, rel=1e-3)
    assert temperature.cross_entropy(probs, labels, found) == pytest.approx(best.fun, rel=1e-6)
    assert temperature.cross_entropy(probs, labels, 1.0) == pytest.approx(loss(1.0), rel=1e-6)


def test_voxels_without_a_label_do_not_count():
    probs, labels = _drawn(200, 3, sharpness=2.0)
    more = np.concatenate([probs, probs[:50]]), np.concatenate([labels, np.zeros((50, 3))])
    assert temperature.fit(*more) == pytest.approx(temperature.fit(probs, labels))
    assert temperature.fit(probs, np.zeros_like(labels)) == 1.0
    assert math.isnan(temperature.cross_entropy(probs, np.zeros_like(labels), 1.0))


def test_it_stays_in_its_range_where_there_is_no_minimum():
    right = np.array([[0.9, 0.1]] * 5)
    low, high = temperature.RANGE
    # Where the likelihood is 1 to the last digit it may end before.
    assert low <= temperature.fit(right, np.array([[1.0, 0.0]] * 5)) < 2 * low
    assert temperature.fit(right, np.array([[0.0, 1.0]] * 5)) == pytest.approx(high, rel=0.01)
    # Of probabilities that are 0 the likelihood is not 0.
    assert np.isfinite(temperature.fit(np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]])))


def test_scaling_by_hand():
    probs = np.array([[0.2, 0.8], [0.0, 1.0]], np.float32)
    half = temperature.scaled(probs, 0.5)
    np.testing.assert_allclose(half[0], [0.04 / 0.68, 0.64 / 0.68], rtol=1e-5)
    assert half.dtype == np.float32
    assert np.isfinite(half).all()
    np.testing.assert_array_equal(temperature.scaled(probs, 1.0), probs)
    two = temperature.scaled(probs, 2.0)
    np.testing.assert_allclose(two[0], np.sqrt([0.2, 0.8]) / np.sqrt([0.2, 0.8]).sum(), rtol=1e-5)
    np.testing.assert_array_equal(two.argmax(-1), probs.argmax(-1))


def test_regions_are_scaled_each_by_itself():
    probs = np.array([[0.2, 0.9]], np.float32)
    logit = scipy.special.logit(probs.astype(float))
    expected = scipy.special.expit(logit / 2)
    np.testing.assert_allclose(temperature.scaled_regions(probs, 2.0), expected, rtol=1e-5)
    np.testing.assert_array_equal(temperature.scaled_regions(probs, 1.0), probs)


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(ValueError, match="temperature: expected"):
        temperature.scaled(np.ones((1, 2), np.float32), 0.0)
