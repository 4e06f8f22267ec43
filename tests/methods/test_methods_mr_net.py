"""MR-Net: shares of raters, attention, the loss, and raters who draw alike each for himself."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from noisyjax import methods, models
from noisyjax.core import rng
from noisyjax.methods import mr_net

KEY = rng.root_key(0)
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def _build(**options):
    network = models.build("unet", 2, widths=(4,), convs_per_level=1)
    return methods.build("mr_net", network, num_raters=2, num_classes=2, **options)


def _batch() -> dict:
    """A bright square at varying positions; the second rater draws its left half alone."""
    draw = np.random.default_rng(0)
    whole = np.zeros((6, 8, 8), np.uint8)
    for mask in whole:
        y, x = draw.integers(0, 4, 2)
        mask[y : y + 4, x : x + 4] = 1
    shade = np.cumsum(whole, -1)
    return {
        "image": jnp.asarray(shade[..., None] + draw.normal(0, 0.1, shade.shape)[..., None])
        .astype(jnp.float32),
        "labels": jnp.asarray(np.stack([whole, whole * (shade <= 2)], 1)),
        "rater_mask": jnp.ones((6, 2), bool),
        "weight": jnp.ones(6),
        "id": jnp.arange(6, dtype=jnp.int32),
    }  # fmt: skip


@pytest.fixture(scope="module")
def fresh():
    return jax.jit(_build().init, compiler_options=QUICK)(KEY, _batch())


@pytest.fixture(scope="module")
def loss():
    """Compiled ``(variables, batch) -> (loss, {name: sum})``."""

    def run(variables, batch):
        total, (_, aux) = _build().loss_fn(variables, batch, KEY, jnp.int32(3))
        return total, {name: value for name, (value, _) in aux.metrics.items()}

    return jax.jit(run, compiler_options=QUICK)


def _drawn(mask, ids, steps):
    draw = jax.vmap(lambda s: mr_net.sample_expertness(KEY, ids, mask, s))
    draw = jax.jit(draw, compiler_options=QUICK)
    return np.asarray(draw(jnp.arange(steps, dtype=jnp.int32)))


def test_shares_are_of_one_rater_random_or_equal():
    mask = jnp.array([[True, False, True], [False] * 3, [False, True, False]])
    ids = jnp.array([5, 6, 7], jnp.int32)
    drawn = _drawn(mask, ids, 3000)
    np.testing.assert_allclose(drawn.sum(-1), np.tile([1.0, 0.0, 1.0], (3000, 1)), rtol=1e-6)
    assert (drawn[:, ~np.asarray(mask)] == 0).all()
    share = drawn[:, 0, 0]
    # The standard deviation of a share of one third is 0.0086.
    assert abs((share == 0.5).mean() - 1 / 3) < 0.035
    assert abs((share == 1).mean() - 1 / 6) < 0.035
    assert abs((share == 0).mean() - 1 / 6) < 0.035
    between = share[(share > 0) & (share < 1) & (share != 0.5)]
    # Uniform numbers.
    np.testing.assert_allclose(
        np.quantile(between, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.07
    )
    alone = mr_net.sample_expertness(KEY, ids[:1], mask[:1], jnp.int32(9))
    np.testing.assert_allclose(alone[0], drawn[9, 0], rtol=1e-6)


def test_attention_by_hand():
    foreground = jnp.zeros((1, 2, 7, 7)).at[0, 0, 3, 3].set(1.0).at[0, :, 1, 1].set(0.7)
    probs = jnp.stack([1 - foreground, foreground], -1)
    sharp = np.zeros((1, 7, 7))
    sharp[0, 3, 3] = 1
    np.testing.assert_allclose(mr_net.attention(probs, blur_sigma=0), sharp, atol=1e-6)
    blurred = mr_net.attention(probs, blur_sigma=1.0)
    # In the middle the spread itself is larger; beside it the kernel, with a sum of 1.
    one = np.exp(-0.5 * np.arange(-4, 5) ** 2.0)
    one /= one.sum()
    assert float(blurred[0, 3, 3]) == 1
    np.testing.assert_allclose(blurred[0, 3, 4], one[4] * one[5], rtol=1e-4)
    assert float(mr_net.attention(probs[:, :1], blur_sigma=1.0).max()) == 0


def test_the_loss_is_the_parts_by_their_shares(fresh, loss):
    total, parts = loss(fresh, _batch())
    stages = (parts["nll"] + parts["coarse"]) / 2
    np.testing.assert_allclose(total, 0.7 * stages + 0.3 * parts["reconstruction"], rtol=1e-5)
    assert abs(float(parts["nll"] - parts["coarse"])) > 1e-3


@pytest.fixture(scope="module")
def trained(fresh):
    method, batch, optimiser = _build(), _batch(), optax.adam(2e-2)

    def body(step, carry):
        def loss(params):
            return method.loss_fn({"params": params}, batch, KEY, step)[0] / 6

        updates, state = optimiser.update(jax.grad(loss)(carry[0]), carry[1])
        return optax.apply_updates(carry[0], updates), state

    @jax.jit
    def train(params):
        return jax.lax.fori_loop(0, 300, body, (params, optimiser.init(params)))[0]

    return {"params": train(fresh["params"])}


def test_each_rater_is_told_from_the_other(fresh, trained):
    batch, predict = _batch(), jax.jit(_build().predict, compiler_options=QUICK)
    result = predict(trained, batch["image"])
    before = predict(fresh, batch["image"])
    wrong = [
        float((prediction.rater_probs.argmax(-1) != batch["labels"]).mean())
        for prediction in (result, before)
    ]
    assert wrong[0] < 0.05 < wrong[1]
    # Where they differ, equal shares leave it open; where they agree they are certain.
    differ = batch["labels"][:, 0] != batch["labels"][:, 1]
    foreground = result.probs[..., 1]
    assert 0.3 < float(foreground[differ].mean()) < 0.7
    both = batch["labels"][:, 1] == 1
    assert float(foreground[both].mean()) > 0.85


def test_both_stages_give_the_rater_that_is_asked_for(trained, loss):
    """If only one has labelled, the share is theirs alone: the other's label must not fit."""
    batch = _batch()
    for rater in range(2):
        only = {**batch, "rater_mask": batch["rater_mask"].at[:, 1 - rater].set(False)}
        result = loss(trained, only)[1]
        turned = loss(trained, {**only, "labels": batch["labels"][:, ::-1]})[1]
        for stage in ("coarse", "nll", "reconstruction"):
            assert float(result[stage]) < 0.5 * float(turned[stage])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reconstruction_weight": 1.5}, "reconstruction_weight: expected"),
        ({"blur_sigma": -1.0}, "blur_sigma: expected"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        _build(**options)


def test_a_single_rater_is_predicted_as_it_was_trained():
    network = models.build("unet", 2, widths=(4,), convs_per_level=1)
    method = methods.build("mr_net", network, num_raters=1, num_classes=2)
    batch = _batch()
    batch |= {"labels": batch["labels"][:, :1], "rater_mask": batch["rater_mask"][:, :1]}
    variables = jax.jit(method.init, compiler_options=QUICK)(KEY, batch)
    # At first the shares have no say.
    variables = jax.tree.map(lambda leaf: leaf + 0.1, variables)

    def run(variables):
        probs = method.predict(variables, batch["image"]).probs
        return probs, method.loss_fn(variables, batch, KEY, jnp.int32(3))[1][1].metrics["nll"]

    probs, (nll, count) = jax.jit(run, compiler_options=QUICK)(variables)
    given = np.take_along_axis(np.asarray(probs), np.asarray(batch["labels"][:, 0, ..., None]), -1)
    np.testing.assert_allclose(nll / count, -np.log(given).mean(), rtol=1e-4)
