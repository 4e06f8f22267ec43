"""Soft minimum and confident learning: values by hand, golden values, pixels that do not count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.metrics import label_quality

_SOFTMIN = jax.jit(label_quality.softmin, static_argnames="temperature")
_THRESHOLDS = jax.jit(label_quality.confident_thresholds)
_ISSUES = jax.jit(label_quality.confident_issues)


@pytest.mark.parametrize(
    ("temperature", "expected"), [(0.1, 0.1003), (0.5, 0.2344), (1e-6, 0.1), (1e6, 0.5)]
)
def test_softmin_by_hand(temperature, expected):
    result = _SOFTMIN(jnp.array([0.9, 0.1]), temperature=temperature)
    np.testing.assert_allclose(result, expected, atol=5e-5)


@pytest.mark.parametrize("case", ["24", "25"])
def test_golden(golden, case):
    with np.load(golden / "multirater.npz") as file:
        values = {key[3:]: file[key] for key in file.files if key.startswith(f"{case}.")}
    foreground, labels = jnp.float32(values["probs"]), jnp.int32(values["hard"])
    probs = jnp.stack([1 - foreground, foreground], axis=-1)
    quality = jnp.where(labels == 1, foreground, 1 - foreground)
    for temperature in (0.05, 0.1, 0.5):
        result = _SOFTMIN(quality, temperature=temperature)
        np.testing.assert_allclose(result, values[f"softmin_{temperature}"], rtol=1e-5)
    thresholds = _THRESHOLDS(probs, labels)
    np.testing.assert_allclose(thresholds, values["confident_thresholds"], rtol=1e-5)
    np.testing.assert_array_equal(_ISSUES(probs, labels), values["confident_issues"])


def test_softmin_of_the_pixels_that_count():
    quality = jnp.array([0.9, jnp.nan, 0.1])
    keep = jnp.array([True, False, True])
    expected = _SOFTMIN(jnp.array([0.9, 0.1]))
    np.testing.assert_allclose(_SOFTMIN(quality, where=keep), expected, rtol=1e-6)
    assert np.isnan(_SOFTMIN(quality, where=jnp.zeros(3, bool)))
    gradient = jax.grad(lambda q: _SOFTMIN(q, where=keep))(quality)
    assert np.isfinite(gradient).all()


def test_softmin_lies_between_minimum_and_mean_and_batches():
    quality = jnp.asarray(np.random.default_rng(0).random((3, 40, 30)), jnp.float32)
    for temperature in (0.01, 0.1, 1.0):
        results = jax.vmap(lambda q, t=temperature: _SOFTMIN(q, temperature=t))(quality)
        loop = [label_quality.softmin(q, temperature=temperature) for q in quality]
        np.testing.assert_allclose(results, loop, rtol=1e-5)
        assert np.all(results > quality.min((1, 2)))
        assert np.all(results < quality.mean((1, 2)))


# Of the first class one label is wrong by all signs and one undecided, of the last there is none.
_PROBS = jnp.array(
    [[0.8, 0.2, 0], [0.9, 0.1, 0], [0.1, 0.9, 0], [0.4, 0.6, 0], [0.2, 0.8, 0], [0.3, 0, 0.7]]
)
_LABELS = jnp.array([0, 0, 0, 0, 1, 1])


def test_confident_learning_by_hand():
    expected = [2.2 / 4, 0.4, np.nan]
    np.testing.assert_allclose(_THRESHOLDS(_PROBS, _LABELS), expected, rtol=1e-6)
    # Two are sure of class 1, .9 and .6 >= .4, nobody of a class without labels. The two lowest
    # qualities are 0 and .1.
    np.testing.assert_array_equal(
        _ISSUES(_PROBS, _LABELS), [False, False, True, False, False, True]
    )


def test_labels_that_are_none_do_not_count():
    more = jnp.concatenate([_PROBS, jnp.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])])
    labels = jnp.concatenate([_LABELS, jnp.array([255, -1])])
    expected = _THRESHOLDS(_PROBS, _LABELS)
    np.testing.assert_allclose(_THRESHOLDS(more, labels), expected, rtol=1e-6)
    issues = _ISSUES(more, labels)
    np.testing.assert_array_equal(issues[:6], _ISSUES(_PROBS, _LABELS))
    assert not issues[6:].any()


def test_labels_that_are_the_most_probable_class_are_no_issues():
    probs = jax.nn.softmax(
        jnp.asarray(np.random.default_rng(0).normal(size=(3, 20, 10, 3)), jnp.float32)
    )
    best = jnp.argmax(probs, axis=-1)
    assert not _ISSUES(probs, best).any()
    labels = best.at[:, :5].set(0)
    flagged = jax.jit(jax.vmap(label_quality.confident_issues))(probs, labels)
    assert flagged.any()
    assert not (flagged & (labels == best)).any()
    loop = [_ISSUES(p, y) for p, y in zip(probs, labels, strict=True)]
    np.testing.assert_array_equal(flagged, loop)


def test_a_prediction_that_is_the_threshold_reaches_it():
    # The mean of equal numbers may be rounded up.
    probs = jnp.tile(jnp.array([0.3, 0.7], jnp.float32), (1001, 1))
    labels = jnp.ones(1001, jnp.int32).at[5].set(0)
    np.testing.assert_array_equal(_ISSUES(probs, labels), np.arange(1001) == 5)
