import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import train_fakes

from noisyjax.core import rng
from noisyjax.methods import base
from noisyjax.train import step, train_state

METHOD = train_fakes.method(num_raters=2, num_classes=2)
KEY = rng.root_key(0)


def batch_of(size, weight=None, scale=1.0):
    examples = [train_fakes.load().examples[i] for i in range(size)]
    batch = {name: jnp.stack([jnp.asarray(e[name]) for e in examples]) for name in examples[0]}
    batch["image"] = batch["image"] * scale
    return {
        **batch,
        "weight": jnp.ones(size) if weight is None else jnp.asarray(weight, jnp.float32),
        "epoch": jnp.zeros(size, jnp.int32),
    }


def make(optimiser=None, ema=0.0, transform=lambda batch, key: batch):
    optimiser = optimiser or optax.sgd(1.0)
    variables = METHOD.init(rng.purpose_key(0, "init"), batch_of(1))
    state = train_state.create(variables, optimiser, ema=ema > 0)
    function = functools.partial(
        step.train_step,
        method=METHOD,
        optimiser=optimiser,
        transform=transform,
        ema=ema,
        axis_name=None,
    )
    return state, jax.jit(function)


def mean_loss(params, batch):
    total, (count, _) = METHOD.loss_fn({"params": params}, batch, KEY, 0)
    return total / count


def test_sgd_step_is_the_mean_gradient():
    state, update = make()
    batch = batch_of(4)
    after, report = update(state, batch, KEY)
    expected = jax.tree.map(
        lambda p, g: p - g, state.params, jax.grad(mean_loss)(state.params, batch)
    )
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-7),
                 after.params, expected)  # fmt: skip
    assert int(after.step) == 1
    total, count = report.metrics["loss"]
    assert float(total / count) == pytest.approx(float(mean_loss(state.params, batch)), rel=1e-5)
    np.testing.assert_allclose(report.metrics["double"][0], 2 * total, rtol=1e-5)


def test_padding_changes_nothing():
    state, update = make()
    whole, _ = update(state, batch_of(3), KEY)
    padded, report = update(state, batch_of(5, [1, 1, 1, 0, 0]), KEY)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-7),
                 padded.params, whole.params)  # fmt: skip
    assert float(report.metrics["loss"][1]) == 3


@pytest.mark.parametrize("microbatches", [1, 2])
def test_examples_count_by_their_weight_whatever_else_is_in_the_batch(microbatches):
    state, _ = make()
    weights = [0.5, 2.0, 1.0, 0.0]
    grads = functools.partial(
        step.gradients, state, key=KEY, method=METHOD, axis_name=None, microbatches=microbatches
    )
    got = grads(batch_of(4, weights))[0]
    ones = [{name: leaf[i : i + 1] for name, leaf in batch_of(4).items()} for i in range(3)]
    one_by_one = [jax.grad(mean_loss)(state.params, one) for one in ones]
    expected = jax.tree.map(lambda a, b, c: (0.5 * a + 2 * b + c) / 3, *one_by_one)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=1e-6),
                 got, expected)  # fmt: skip


def test_a_batch_of_padding_only_changes_nothing():
    state, update = make()
    after, report = update(state, batch_of(2, [0, 0]), KEY)
    jax.tree.map(np.testing.assert_array_equal, after.params, state.params)
    assert bool(report.healthy)


def test_a_step_that_is_not_finite_changes_nothing_and_neither_do_later_ones():
    state, update = make(optax.adam(0.1), ema=0.9)
    good, report = update(state, batch_of(4), KEY)
    assert bool(report.healthy)
    bad, report = update(good, batch_of(4, scale=3e38), KEY)
    assert not bool(report.healthy)
    later, report = update(bad, batch_of(4), KEY)
    assert not bool(report.healthy)
    jax.tree.map(np.testing.assert_array_equal, later, good._replace(healthy=later.healthy))
    assert int(later.step) == 1


def test_moving_average_lies_between_and_is_evaluated():
    state, update = make(ema=0.9)
    after, _ = update(state, batch_of(4), KEY)
    # The first decay is 1 / 10, whatever was asked for.
    expected = jax.tree.map(lambda a, b: 0.1 * a + 0.9 * b, state.params, after.params)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7),
                 after.ema, expected)  # fmt: skip
    assert train_state.evaluation_variables(after)["params"] is after.ema
    plain, _ = make()
    assert train_state.evaluation_variables(plain)["params"] is plain.params


def test_transform_is_given_the_batch_and_the_key():
    def blank(batch, key):
        noise = jax.random.uniform(rng.purpose_key(key, "augment"))
        return {**batch, "image": jnp.full_like(batch["image"], noise)}

    state, update = make(transform=blank)
    after, _ = update(state, batch_of(4), KEY)
    reference, plain = make()
    expected, _ = plain(reference, blank(batch_of(4), KEY), KEY)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5),
                 after.params, expected.params)  # fmt: skip


def _with_statistics():
    """Its statistics are the mean of the images with a weight, as of batch normalisation."""

    def loss_fn(variables, batch, key, at):
        weight, images = batch["weight"], batch["image"].mean((1, 2, 3))
        mean = (weight * images).sum() / jnp.maximum(weight.sum(), 1e-9)
        losses = variables["params"]["segmenter"] * images
        return base.weighted(losses, weight, {}, {"batch_stats": {"mean": mean}})

    return base.Method(lambda key, batch: {}, loss_fn, lambda variables, image: image)


def _statistics_after(images, weight, microbatches=1):
    variables = {"params": {"segmenter": jnp.ones(())}, "batch_stats": {"mean": jnp.array(7.0)}}
    state = train_state.create(variables, optax.sgd(1.0), ema=False)
    batch = {"image": jnp.array(images).reshape(-1, 1, 1, 1), "weight": jnp.array(weight)}
    options = {"method": _with_statistics(), "axis_name": None, "microbatches": microbatches}
    _, model_state, _ = step.gradients(state, batch, KEY, **options)
    return float(model_state["batch_stats"]["mean"])


def test_statistics_of_microbatches_count_by_their_weights():
    # Of 1, 2 and 4, and of 8 alone: 3 and 1 examples, means of 7 / 3 and 8.
    images, weight = [1.0, 2.0, 4.0, 0.0, 8.0, 0.0, 0.0, 0.0], [1.0, 1, 1, 0, 1, 0, 0, 0]
    assert _statistics_after(images, weight, microbatches=2) == pytest.approx((7 + 8) / 4)


def test_statistics_of_padding_alone_are_the_old_ones():
    assert _statistics_after([1.0, 2.0], [0.0, 0.0]) == 7.0
    assert _statistics_after([1.0, 2.0], [0.0, 1.0]) == 2.0
