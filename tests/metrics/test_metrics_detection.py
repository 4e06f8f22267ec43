import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.metrics import detection

_FLAGGED = jnp.array([True, True, True, False, False])
_NOISY = jnp.array([True, False, False, True, False])


def test_precision_and_recall_by_hand():
    assert float(detection.precision(_FLAGGED, _NOISY)) == pytest.approx(1 / 3)
    assert float(detection.recall(_FLAGGED, _NOISY)) == pytest.approx(1 / 2)


def test_what_is_undefined_is_nan():
    nobody = jnp.zeros(5, bool)
    scores = jnp.arange(5.0)
    assert np.isnan(detection.precision(nobody, _NOISY))
    assert np.isnan(detection.recall(_FLAGGED, nobody))
    assert np.isnan(detection.auc(scores, nobody))
    assert np.isnan(detection.auc(scores, ~nobody))
    assert np.isnan(detection.auc(jnp.full(5, jnp.nan), _NOISY))


@pytest.mark.parametrize("levels", [3, 1000])
def test_auc_equals_scikit_learn_and_the_pairs_with_and_without_ties(levels):
    metrics = pytest.importorskip("sklearn.metrics")
    draw = np.random.default_rng(0)
    noisy = draw.random(60) < 0.3
    scores = draw.integers(0, levels, 60).astype(np.float32) + 2 * noisy
    result = jax.jit(detection.auc)(scores, noisy)
    np.testing.assert_allclose(result, metrics.roc_auc_score(noisy, scores), rtol=1e-6)
    pairs = np.sign(scores[noisy][:, None] - scores[~noisy][None])
    np.testing.assert_allclose(result, (0.5 + 0.5 * pairs).mean(), rtol=1e-6)


def test_auc_leaves_out_what_has_no_score_and_turns_with_the_sign():
    scores, noisy = jnp.array([0.2, 0.5, 0.5, 0.9, -0.3]), _NOISY
    value = detection.auc(scores, noisy)
    with_gaps = jnp.concatenate([scores, jnp.full(3, jnp.nan)])
    more = jnp.concatenate([noisy, jnp.array([True, False, True])])
    known = ~jnp.isnan(with_gaps)
    assert float(detection.auc(with_gaps, more, where=known)) == float(value)
    # One that counts shows, be its example noisy or clean.
    assert np.isnan(detection.auc(with_gaps, more))
    assert np.isnan(detection.auc(scores.at[0].set(jnp.nan), noisy))
    assert np.isnan(detection.auc(scores.at[1].set(jnp.nan), noisy))
    np.testing.assert_allclose(detection.auc(-scores, noisy), 1 - value, rtol=1e-6)
    assert float(detection.auc(jnp.zeros(5), noisy)) == 0.5
    each = jax.vmap(detection.auc, (0, None))(jnp.stack([scores, -scores]), noisy)
    np.testing.assert_allclose(each, [value, 1 - value], rtol=1e-6)
