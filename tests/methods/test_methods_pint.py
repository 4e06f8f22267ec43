"""PINT: noise of pixels, weights of images, and what they make of the loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import methods, models
from noisyjax.core import rng
from noisyjax.losses import entropy
from noisyjax.methods import pint

KEY = rng.root_key(0)
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def _batch(size=4):
    draw = np.random.default_rng(0)
    return {
        "image": jnp.asarray(draw.normal(size=(size, 6, 6, 1)), jnp.float32),
        "labels": jnp.asarray(draw.integers(0, 2, (size, 3, 6, 6)), jnp.uint8),
        "rater_mask": jnp.ones((size, 3), bool),
        "weight": jnp.ones(size),
        "id": jnp.arange(size, dtype=jnp.int32),
    }


def _build(name="pint", *, dropout=0.0, **options):
    network = models.build("unet", 2, widths=(3,), convs_per_level=1, dropout=dropout)
    return methods.build(name, network, num_raters=3, num_classes=2, **options)


def _gradient(method):
    """Compiled ``(variables, batch, step) -> ((loss, aux), gradient)``."""

    def step(variables, batch, number):
        def loss(params):
            total, (_, aux) = method.loss_fn({"params": params}, batch, KEY, number)
            return total, aux

        return jax.value_and_grad(loss, has_aux=True)(variables["params"])

    return jax.jit(step, compiler_options=QUICK)


@pytest.fixture(scope="module")
def variables():
    return jax.jit(_build().init, compiler_options=QUICK)(KEY, _batch())


@pytest.fixture(scope="module")
def plain():
    return _gradient(_build("majority"))


@pytest.fixture(scope="module")
def steered():
    """Labels are all but kept, images weighed."""
    options = {"pixel_scale": 1e-3, "image_scale": 1e4, "input_noise": 0.3}
    return _gradient(_build(warmup_steps=8, **options))


def test_noise_is_the_variance_of_the_passes_by_hand():
    foreground = jnp.array([[0.2, 0.5, 0.0], [0.6, 0.5, 1.0]])
    passes = jnp.stack([1 - foreground, foreground], -1)[:, None]
    # Standard deviations of 0.2, 0 and 0.5.
    np.testing.assert_allclose(pint.label_noise(passes), [[0.16, 0, 1]], rtol=1e-5)
    np.testing.assert_allclose(pint.label_noise(passes, scale=2), [[0.32, 0, 1]], rtol=1e-5)
    # Of several classes the one that varies most.
    passes = jnp.array([[[[0.5, 0.3, 0.2]]], [[[0.1, 0.5, 0.4]]]])
    np.testing.assert_allclose(pint.label_noise(passes), [[0.16]], rtol=1e-5)


def test_image_weights_by_hand():
    noise = jnp.array([[0.5, 0.25, 0.0, 0.0], [0.5, 0.25, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    foreground = jnp.array([[1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    pseudo = jnp.array([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    given = [jnp.stack([1 - mask, mask], -1) for mask in (foreground, pseudo)]
    # A foreground of 2 voxels, none at all, which counts as 1, and nothing uncertain.
    expected = np.exp([-0.75 / 2, -0.75, 0])
    np.testing.assert_allclose(pint.image_weight(noise, *given), expected, rtol=1e-5)
    squared = pint.image_weight(noise, *given, scale=2)
    np.testing.assert_allclose(squared, expected**2, rtol=1e-5)
    np.testing.assert_array_equal(pint.image_weight(noise, *given, scale=0), 1)


def test_at_first_it_is_the_plain_network(variables, plain, steered):
    batch = _batch()
    expected = plain(variables, batch, jnp.int32(7))[0][0]
    np.testing.assert_allclose(steered(variables, batch, jnp.int32(7))[0][0], expected, rtol=1e-5)
    later, aux = steered(variables, batch, jnp.int32(8))[0]
    assert float(later) < 0.95 * float(expected)
    assert float(aux.metrics["label_noise"][0]) > 0
    assert 0 < float(aux.metrics["image_weight"][0]) < 3.8


def test_no_gradient_flows_through_the_passes(variables, plain, steered):
    batch = _batch(1)
    (_, aux), result = steered(variables, batch, jnp.int32(8))
    weight = aux.metrics["image_weight"][0]
    assert 0.01 < float(weight) < 0.95
    expected = plain(variables, batch, jnp.int32(8))[1]
    # The little that is left comes from the labels, which are not kept altogether.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, weight * b, rtol=1e-2, atol=1e-4),
        result, expected,
    )  # fmt: skip


def test_an_examples_loss_depends_on_no_other_example(variables, steered):
    batch, order = _batch(), jnp.array([2, 0, 3, 1])
    losses = steered(variables, batch, jnp.int32(8))[0][1].losses
    turned = {name: value[order] for name, value in batch.items()}
    turned = steered(variables, turned, jnp.int32(8))[0][1].losses
    np.testing.assert_allclose(turned, losses[order], rtol=1e-4)
    # The passes are drawn anew in each step.
    assert (
        float(jnp.abs(steered(variables, batch, jnp.int32(9))[0][1].losses - losses).max()) > 1e-4
    )


def test_the_loss_by_hand(variables, monkeypatch):
    batch = _batch()
    foreground = jax.random.uniform(jax.random.key(1), (2, 4, 6, 6))
    passes = jnp.stack([1 - foreground, foreground], -1)
    monkeypatch.setattr(pint, "_noisy_predictions", lambda *_: passes)
    method = _build(target="mean", warmup_steps=0, pixel_scale=1.0, image_scale=0.5)
    loss = jax.jit(method.loss_fn, compiler_options=QUICK)
    _, (count, aux) = loss(variables, batch, KEY, jnp.int32(0))
    own = {"params": variables["params"]["segmenter"]}
    network = models.build("unet", 2, widths=(3,), convs_per_level=1)
    logits = jax.jit(network.apply, compiler_options=QUICK)(own, batch["image"]).logits
    share = (batch["labels"] == 1).mean(1)
    labels, pseudo = jnp.stack([1 - share, share], -1), passes.mean(0)
    noise = pint.label_noise(passes)
    mixed = (1 - noise)[..., None] * labels + noise[..., None] * pseudo
    trust = pint.image_weight(noise, labels, pseudo, scale=0.5)
    expected = trust * entropy.soft_cross_entropy(logits, mixed).mean((1, 2))
    np.testing.assert_allclose(aux.losses, expected, rtol=1e-5)
    np.testing.assert_allclose(aux.metrics["label_noise"][0] / count, noise.mean(), rtol=1e-5)
    assert float(trust.min()) < 0.95


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"passes": 1}, "passes: expected at least 2"),
        ({"input_noise": 0.0}, "input_noise: expected a number > 0 for"),
        ({"pixel_scale": -1.0}, "pixel_scale: expected"),
        ({"image_scale": -1.0}, "image_scale: expected"),
        ({"warmup_steps": -1}, "warmup_steps: expected"),
        ({"target": "staple"}, "target: expected one of 'mean'"),
        ({"loss": "magic"}, "loss: expected"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        _build(**options)


def test_two_passes_are_enough():
    assert _build(passes=2).predict is not None


def test_dropout_alone_makes_the_passes_differ(variables):
    method, batch = _build(dropout=0.5, input_noise=0, warmup_steps=0), _batch(2)
    loss = jax.jit(method.loss_fn, compiler_options=QUICK)
    aux = loss(variables, batch, KEY, jnp.int32(0))[1][1]
    assert float(aux.metrics["label_noise"][0]) > 1e-3
