import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import methods, models
from noisyjax.core import rng
from noisyjax.losses import entropy
from noisyjax.methods import forward

KEY = rng.root_key(0)
# p(label | true): columns are distributions.
NOISE = ((0.9, 0.3), (0.1, 0.7))


def _batch(size=4):
    draw = np.random.default_rng(0)
    return {
        "image": jnp.asarray(draw.normal(size=(size, 6, 6, 1)), jnp.float32),
        "labels": jnp.asarray(draw.integers(0, 2, (size, 1, 6, 6)), jnp.uint8),
        "rater_mask": jnp.ones((size, 1), bool),
        "weight": jnp.ones(size),
        "id": jnp.arange(size, dtype=jnp.int32),
    }


def _build(**options):
    network = models.build("unet", 2, widths=(2,), convs_per_level=1)
    return methods.build("forward_correction", network, num_raters=1, num_classes=2, **options)


def test_corrected_loss_by_hand():
    logits = jnp.log(jnp.array([[0.8, 0.2]]))
    result = forward.corrected_cross_entropy(logits, jnp.array([[0.0, 1.0]]), jnp.array(NOISE))
    np.testing.assert_allclose(result, [-np.log(0.1 * 0.8 + 0.7 * 0.2)], rtol=1e-5)


def test_corrected_loss_is_least_where_the_noise_explains_the_labels():
    # Labels of a pixel whose true class is 1 are 0.3 and 0.7: certainty is then right.
    targets, matrix = jnp.array([[0.3, 0.7]]), jnp.array(NOISE)
    losses = [
        float(forward.corrected_cross_entropy(jnp.array([[-x, x]]), targets, matrix)[0])
        for x in (0.0, 1.0, 3.0, 9.0)
    ]
    assert losses == sorted(losses, reverse=True)
    plain = [
        float(entropy.soft_cross_entropy(jnp.array([[-x, x]]), targets)[0]) for x in (1.0, 9.0)
    ]
    assert plain[0] < plain[1]


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 2)])
def test_the_identity_gives_the_cross_entropy(shape):
    logits = 4 * jax.random.normal(KEY, (*shape, 3))
    targets = jax.nn.softmax(jax.random.normal(jax.random.key(1), (*shape, 3)))
    result = jax.jit(forward.corrected_cross_entropy)(logits, targets, jnp.eye(3))
    np.testing.assert_allclose(result, entropy.soft_cross_entropy(logits, targets), rtol=1e-5)


def test_gradients_are_finite_where_a_label_is_impossible():
    def loss(logits):
        return forward.corrected_cross_entropy(logits, jnp.array([[0.0, 1.0]]), jnp.eye(2)).sum()

    value, gradient = jax.value_and_grad(loss)(jnp.array([[500.0, 0.0]]))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_anchors_are_the_pixels_of_the_quantile_of_each_class():
    confident = np.linspace(0.52, 0.99, 48)
    first = np.stack([confident, 1 - confident], -1)
    probs = np.random.default_rng(0).permutation(np.concatenate([first, [[0.2, 0.8]]]))
    probs = jnp.asarray(probs.reshape(7, 7, 2), jnp.float32)
    result = forward._anchors(probs, jnp.ones((7, 7), bool), 0.5)
    # The upper median of the 48 pixels of the first class; the only one of the second.
    np.testing.assert_allclose(result[0], [confident[24], 1 - confident[24], 1], rtol=1e-5)
    np.testing.assert_allclose(result[1], [0.2, 0.8, 1], rtol=1e-5)
    first = jnp.asarray(first, jnp.float32)
    nobody = forward._anchors(first, jnp.ones(48, bool), 1.0)
    np.testing.assert_allclose(nobody, [[0.99, 0.01, 1], [0, 0, 0]], atol=1e-6)
    least = forward._anchors(first, jnp.ones(48, bool), 0.0)
    np.testing.assert_allclose(least[0], [0.52, 0.48, 1], atol=1e-6)
    for quantile in (0, 1):
        _build(quantile=quantile)
    ignored = forward._anchors(first, jnp.arange(48) < 40, 1.0)
    np.testing.assert_allclose(ignored[0], [confident[39], 1 - confident[39], 1], rtol=1e-5)
    sums = result + nobody
    np.testing.assert_allclose(forward._matrix(sums)[:, 1], [0.2, 0.8], rtol=1e-5)
    assert forward._matrix(nobody)[:, 1].tolist() == [0, 1]
    np.testing.assert_allclose(forward._matrix(sums).sum(0), 1, rtol=1e-5)


def test_the_matrix_is_read_from_the_last_steps_of_the_first_stage():
    method, batch = _build(warmup_steps=3, estimate_steps=2), _batch()
    variables = jax.jit(method.init)(KEY, batch)
    state, loss = {"forward": variables["forward"]}, jax.jit(method.loss_fn)
    matrices, numbers = [], []
    for now in range(5):
        _, (_, aux) = loss({**variables, **state}, batch, KEY, jnp.int32(now))
        state = method.record(state, aux.records, jnp.int32(now))
        matrices.append(np.asarray(state["forward"]["matrix"]))
        numbers.append(float(state["forward"]["sums"][:, -1].max()))
    assert numbers == [0, 4, 8, 8, 8]
    np.testing.assert_array_equal(matrices[1], np.eye(2))
    assert not np.array_equal(matrices[2], np.eye(2))
    np.testing.assert_allclose(matrices[2].sum(0), 1, rtol=1e-5)
    np.testing.assert_array_equal(matrices[2], matrices[4])
    # Padding is not looked at.
    half = {**batch, "weight": jnp.array([1.0, 1, 0, 0])}
    records = loss(variables, half, KEY, jnp.int32(1))[1][1].records
    assert float(records[:, -1].max()) == 2


def test_a_matrix_that_is_known_is_used_from_the_start():
    method, batch = _build(matrix=NOISE), _batch()
    variables = jax.jit(method.init)(KEY, batch)
    _, (count, aux) = jax.jit(method.loss_fn)(variables, batch, KEY, jnp.int32(180))
    assert not np.any(aux.records)
    assert float(aux.metrics["trace"][0] / count) == pytest.approx(0.8)
    after = method.record({"forward": variables["forward"]}, aux.records, jnp.int32(199))
    np.testing.assert_allclose(after["forward"]["matrix"], NOISE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "truth"}, "target: expected one of 'mean'"),
        ({"warmup_steps": 3, "estimate_steps": 4}, "warmup_steps: expected at least 4"),
        ({"quantile": 97}, "quantile: expected"),
        ({"matrix": ((1.0, 0.0),)}, "matrix: expected shape"),
        ({"matrix": ((0.9, 0.1), (0.3, 0.7))}, "matrix: expected columns"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        _build(**options)
