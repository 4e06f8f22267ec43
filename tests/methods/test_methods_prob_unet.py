"""The probabilistic U-Net: its loss, its samples, and raters who disagree in two ways."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from noisyjax import methods, models
from noisyjax.core import rng

KEY = rng.root_key(0)


def _method(beta=1.0, *, norm="none", segmenter_options=None, num_raters=2):
    options = {"widths": (4,), "convs_per_level": 1, **(segmenter_options or {})}
    segmenter = models.build("unet", 2, **options)
    return methods.build(
        "prob_unet", segmenter, num_raters=num_raters, num_classes=2, beta=beta, norm=norm,
        latent_size=2, widths=(4, 4), convs_per_level=1, num_samples=8,
    )  # fmt: skip


def _batch() -> dict:
    """A bright disk at varying positions; one rater outlines it, the other finds nothing."""
    draw = np.random.default_rng(0)
    truth = np.zeros((8, 8, 8), np.uint8)
    for mask in truth:
        y, x = draw.integers(0, 4, 2)
        mask[y : y + 4, x : x + 4] = 1
    return {
        "image": jnp.asarray((truth + draw.normal(0, 0.1, truth.shape))[..., None], jnp.float32),
        "labels": jnp.asarray(np.stack([truth, 0 * truth], 1)),
        "rater_mask": jnp.ones((8, 2), bool),
        "weight": jnp.ones(8),
        "id": jnp.arange(8, dtype=jnp.int32),
    }


def _gradient(method, variables, batch, step):
    def total(params):
        loss, (_, aux) = method.loss_fn({**variables, "params": params}, batch, KEY, step)
        return loss, aux

    return jax.value_and_grad(total, has_aux=True)(variables["params"])


@pytest.fixture(scope="module")
def trained():
    """(method, batch, variables before, variables after)."""
    method, batch = _method(), _batch()
    variables = jax.jit(method.init)(KEY, batch)
    optimiser = optax.adam(1e-2)

    @jax.jit
    def train(params):
        def body(step, carry):
            grads = _gradient(method, {"params": carry[0]}, batch, step)[1]
            updates, state = optimiser.update(grads, carry[1])
            return optax.apply_updates(carry[0], updates), state

        return jax.lax.fori_loop(0, 600, body, (params, optimiser.init(params)))[0]

    return method, batch, variables, {"params": train(variables["params"])}


def test_samples_are_as_different_as_the_raters(trained):
    method, batch, _, variables = trained
    prediction = jax.jit(method.predict)(variables, batch["image"])
    assert prediction.samples.shape == (8, 8, 8, 8, 2)
    np.testing.assert_allclose(prediction.samples.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(prediction.probs, prediction.samples.mean(1), rtol=1e-5, atol=1e-6)
    # Each sample is one rater's answer or the other's, and both occur.
    foreground = prediction.samples[..., 1]
    disk = batch["labels"][:, :1].astype(jnp.float32)
    inside = (foreground * disk).sum((2, 3)) / disk.sum((2, 3))
    assert float(((inside > 0.8) | (inside < 0.2)).mean()) > 0.7
    assert 0.2 < float((inside > 0.5).mean()) < 0.8
    assert float((foreground * (1 - disk)).max()) < 0.5


def test_a_prediction_depends_on_nothing_but_its_image(trained):
    method, batch, _, variables = trained
    predict = jax.jit(method.predict)
    whole = predict(variables, batch["image"])
    alone = predict(variables, batch["image"].at[:3].set(5.0).at[4:].set(0.0))
    np.testing.assert_allclose(whole.samples[3], alone.samples[3], atol=1e-5)


def test_the_loss_is_cross_entropy_and_divergence_per_pixel(trained):
    method, batch, variables, _ = trained
    loss_fn = jax.jit(method.loss_fn)
    loss, (count, aux) = loss_fn(variables, batch, KEY, jnp.int32(1))
    assert float(count) == 8
    expected = aux.metrics["nll"][0] + aux.metrics["kl"][0] / 64
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    stronger = jax.jit(_method(beta=10.0).loss_fn)(variables, batch, KEY, jnp.int32(1))[0]
    np.testing.assert_allclose(stronger - loss, 9 * aux.metrics["kl"][0] / 64, rtol=1e-3)
    assert float(aux.metrics["kl"][0]) > 0
    # What is ignored in one image is nothing to the others.
    half = {**batch, "labels": batch["labels"].at[1, :, :4].set(255)}
    _, (_, less) = loss_fn(variables, half, KEY, jnp.int32(1))
    np.testing.assert_allclose(np.delete(less.losses, 1), np.delete(aux.losses, 1), rtol=1e-5)


def test_each_step_sees_one_present_rater(trained):
    method, batch, variables, _ = trained
    steps = jnp.arange(20, dtype=jnp.int32)
    mask = batch["rater_mask"].at[:, 1].set(False)

    def losses(batch):
        one = jax.vmap(lambda s: method.loss_fn(variables, batch, KEY, s)[1][1].metrics["nll"][0])
        return jax.jit(one)(steps)

    only_first = losses({**batch, "rater_mask": mask})
    # A label that nobody gave is not read, and nothing but the draw of latents differs.
    other = batch["labels"].at[:, 1].set(255)
    np.testing.assert_array_equal(
        only_first, losses({**batch, "rater_mask": mask, "labels": other})
    )
    assert float(jnp.std(losses(batch))) > float(jnp.std(only_first))


def test_batch_statistics_of_all_networks_are_kept():
    method, batch = _method(norm="batch", segmenter_options={"norm": "batch"}), _batch()
    variables = jax.jit(method.init)(KEY, batch)
    batch["weight"] = batch["weight"].at[-1].set(0.0)
    loss = jax.jit(lambda b: method.loss_fn(variables, b, KEY, jnp.int32(0)))
    total, (_, aux) = loss(batch)
    like = {name: jax.tree.structure(tree) for name, tree in variables.items() if name != "params"}
    assert {name: jax.tree.structure(t) for name, t in aux.model_state.items()} == like
    assert set(aux.model_state["batch_stats"]) == {"segmenter", "prior", "posterior"}
    again, (_, other) = loss({**batch, "image": batch["image"].at[-1].set(9.0)})
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        (total, aux.model_state),
        (again, other.model_state),
    )


def test_numbers_that_make_no_sense_are_refused():
    segmenter = models.build("unet", 2, widths=(4,))
    for options in ({"beta": -1.0}, {"latent_size": 0}, {"num_samples": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            methods.prob_unet.build(segmenter, num_raters=1, num_classes=2, **options)
