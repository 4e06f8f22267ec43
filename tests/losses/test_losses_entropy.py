"""Cross-entropy: values, masks, extremes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from noisyjax.losses import entropy

# One compilation per shape instead of one per operation; `test_jit_equals_eager_...` runs eagerly.
_HARD = jax.jit(entropy.cross_entropy)
_SOFT = jax.jit(entropy.soft_cross_entropy)


def _example(shape=(4, 5), classes=3):
    draw = np.random.default_rng(0)
    logits = 3.0 * draw.normal(size=(*shape, classes)).astype(np.float32)
    return jnp.asarray(logits), jnp.asarray(draw.integers(0, classes, shape, dtype=np.int32))


def test_cross_entropy_by_hand():
    logits = jnp.log(jnp.array([[0.2, 0.8], [0.5, 0.5]]))
    losses = _HARD(logits, jnp.array([1, 0]))
    np.testing.assert_allclose(losses, -np.log([0.8, 0.5]), rtol=1e-6)


@pytest.mark.parametrize("shape", [(6,), (4, 5), (2, 3, 4)])
@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int32])
def test_cross_entropy_equals_scipy(shape, dtype):
    logits, labels = _example(shape)
    expected = -np.take_along_axis(
        special.log_softmax(np.asarray(logits, np.float64), -1), np.asarray(labels)[..., None], -1
    )[..., 0]
    losses = _HARD(logits, labels.astype(dtype))
    np.testing.assert_allclose(losses, expected, rtol=1e-5, atol=1e-6)


def test_ignored_labels_give_zero_and_no_gradient():
    logits, labels = _example()
    labels = labels.at[0].set(255)
    keep = jnp.ones(labels.shape, bool).at[1].set(False)
    labels = labels.at[1].set(-7)

    def total(logits):
        return jnp.sum(_HARD(logits, labels, where=keep))

    value, gradient = jax.jit(jax.value_and_grad(total))(logits)
    clean = _HARD(logits[2:], labels[2:])
    np.testing.assert_allclose(value, jnp.sum(clean), rtol=1e-6)
    assert not np.any(gradient[:2])
    assert np.all(np.any(np.asarray(gradient[2:]) != 0, axis=-1))


@pytest.mark.parametrize("wrong", [3, 254, -1])
def test_cross_entropy_is_nan_when_a_label_that_counts_is_no_class(wrong):
    logits, labels = _example()
    losses = _HARD(logits, labels.at[0, 0].set(wrong))
    assert np.isnan(losses[0, 0])
    assert np.isfinite(np.asarray(losses).ravel()[1:]).all()


def test_gradients_are_finite_at_extreme_logits():
    logits = jnp.array([[1e4, -1e4], [-1e4, 1e4], [0.0, 1e4]])
    labels = jnp.array([1, 1, 0])
    value, gradient = jax.value_and_grad(lambda x: _HARD(x, labels).sum())(logits)
    np.testing.assert_allclose(value, 3e4)
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient[0], [1.0, -1.0])


def test_soft_cross_entropy_of_one_hot_equals_hard():
    logits, labels = _example()
    soft = _SOFT(logits, jax.nn.one_hot(labels, 3))
    np.testing.assert_allclose(soft, _HARD(logits, labels), rtol=1e-5, atol=1e-6)


def test_soft_cross_entropy_is_least_at_its_targets():
    targets = jax.nn.softmax(_example()[0])
    at_targets = _SOFT(jnp.log(targets), targets)
    np.testing.assert_allclose(at_targets, -jnp.sum(targets * jnp.log(targets), -1), rtol=1e-5)
    beside = _SOFT(jnp.log(targets).at[..., 0].add(0.3), targets)
    assert np.all(beside > at_targets)


def test_soft_cross_entropy_leaves_out_pixels_of_nan_targets():
    logits, labels = _example()
    targets = jax.nn.one_hot(labels, 3).at[0].set(jnp.nan)
    keep = jnp.ones(labels.shape, bool).at[0].set(False)
    value, gradient = jax.value_and_grad(lambda x: _SOFT(x, targets, where=keep).sum())(logits)
    np.testing.assert_allclose(value, _HARD(logits, labels)[1:].sum(), rtol=1e-5)
    assert not np.any(gradient[0])
    assert np.isfinite(gradient).all()


def test_jit_equals_eager_and_vmap_equals_loop():
    logits, labels = _example((3, 4, 5), 2)
    loop = jnp.stack([entropy.cross_entropy(x, y) for x, y in zip(logits, labels, strict=True)])
    np.testing.assert_allclose(jax.jit(jax.vmap(entropy.cross_entropy))(logits, labels), loop)


_GENERALISED = jax.jit(entropy.generalised_cross_entropy, static_argnames="q")
_BOOTSTRAPPED = jax.jit(entropy.bootstrapped_cross_entropy, static_argnames=("beta", "hard"))


def test_generalised_cross_entropy_by_hand_and_at_its_ends():
    logits, labels = _example()
    probs, targets = jax.nn.softmax(logits), jax.nn.one_hot(labels, 3)
    right = (probs * targets).sum(-1)
    np.testing.assert_allclose(
        _GENERALISED(logits, targets, q=0.7), (1 - right**0.7) / 0.7, rtol=1e-4, atol=1e-6
    )
    # Half of the absolute error at one end, the cross-entropy at the other.
    absolute = jnp.abs(probs - targets).sum(-1) / 2
    np.testing.assert_allclose(_GENERALISED(logits, targets, q=1), absolute, rtol=1e-4, atol=1e-6)
    nearly = _GENERALISED(logits, targets, q=1e-4)
    np.testing.assert_allclose(nearly, _SOFT(logits, targets), rtol=2e-3, atol=1e-5)


def test_generalised_cross_entropy_hardly_moves_for_a_hopeless_label():
    def slope(loss):
        gradient = jax.grad(lambda x: loss(x, jnp.array([[0.0, 1.0]])).sum())
        return float(jnp.abs(gradient(jnp.array([[60.0, 0.0]]))).max())

    assert slope(_SOFT) == pytest.approx(1)
    assert slope(_GENERALISED) < 1e-6
    value, gradient = jax.value_and_grad(lambda x: _GENERALISED(x, jnp.eye(2)).sum())(
        jnp.array([[1e4, -1e4], [1e4, -1e4]])
    )
    np.testing.assert_allclose(value, 1 / 0.7, rtol=1e-6)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("hard", [False, True])
def test_bootstrapped_cross_entropy_mixes_the_prediction_in(hard):
    logits, labels = _example()
    probs, targets = jax.nn.softmax(logits), jax.nn.one_hot(labels, 3)
    own = jax.nn.one_hot(probs.argmax(-1), 3) if hard else probs
    expected = 0.6 * _SOFT(logits, targets) + 0.4 * _SOFT(logits, own)
    result = _BOOTSTRAPPED(logits, targets, beta=0.6, hard=hard)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-6)
    plain = _BOOTSTRAPPED(logits, targets, beta=1, hard=hard)
    np.testing.assert_allclose(plain, _SOFT(logits, targets), rtol=1e-5, atol=1e-6)


def test_soft_bootstrapping_lowers_the_entropy_of_the_prediction():
    logits, uniform = jnp.array([[0.5, 0.0, -0.5]]), jnp.full((1, 3), 1 / 3)
    gradient = jax.grad(lambda x: _BOOTSTRAPPED(x, uniform, beta=0).sum())(logits)
    # The gradient of the entropy itself: the likely class becomes likelier.
    probs = jax.nn.softmax(logits)
    entropy_of_it = -(probs * jnp.log(probs)).sum()
    np.testing.assert_allclose(
        gradient, -probs * (jnp.log(probs) + entropy_of_it), rtol=1e-4, atol=1e-6
    )
    assert gradient[0, 0] < 0


@pytest.mark.parametrize("loss", [_GENERALISED, lambda *a, **k: _BOOTSTRAPPED(*a, beta=0.8, **k)])
def test_robust_losses_leave_out_pixels_of_nan_targets(loss):
    logits, labels = _example()
    targets = jax.nn.one_hot(labels, 3).at[0].set(jnp.nan)
    keep = jnp.ones(labels.shape, bool).at[0].set(False)
    value, gradient = jax.value_and_grad(lambda x: loss(x, targets, where=keep).sum())(logits)
    np.testing.assert_allclose(value, loss(logits[1:], targets[1:]).sum(), rtol=1e-5)
    assert not np.any(gradient[0])
    assert np.isfinite(gradient).all()


def test_shares_out_of_range_are_refused():
    logits, targets = jnp.zeros((1, 2)), jnp.ones((1, 2)) / 2
    for q in (0, 1.5):
        with pytest.raises(ValueError, match=r"q: expected a number in \(0, 1\]"):
            entropy.generalised_cross_entropy(logits, targets, q=q)
    with pytest.raises(ValueError, match="beta: expected"):
        entropy.bootstrapped_cross_entropy(logits, targets, beta=1.2)
