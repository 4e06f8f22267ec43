import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from noisyjax import methods, models
from noisyjax.core import rng
from noisyjax.methods import co_teaching
from noisyjax.train import step, train_state
from noisyjax.train.devices import parallelism

KEY = rng.root_key(0)


def _batch(size=6):
    draw = np.random.default_rng(0)
    return {
        "image": draw.normal(size=(size, 6, 6, 1)).astype(np.float32),
        "labels": draw.integers(0, 2, (size, 1, 6, 6)).astype(np.uint8),
        "rater_mask": np.ones((size, 1), bool),
        "weight": np.ones(size, np.float32),
        "id": np.arange(size, dtype=np.int32),
    }


def _build(axis_name=None, **options):
    network = models.build("unet", 2, widths=(2,), convs_per_level=1, axis_name=axis_name)
    options = {"forget_rate": 0.5, "ramp_steps": 10, **options}
    return methods.build("co_teaching", network, num_raters=1, num_classes=2, **options)


def test_smallest_marks_the_share_and_rounds_up():
    losses, everyone = jnp.array([0.3, 0.1, 0.5, 0.1, 0.2]), jnp.ones(5, bool)
    for share, expected in ((0.2, [1]), (0.4, [1, 3]), (0.5, [1, 3, 4]), (1.0, range(5))):
        marked = co_teaching.smallest(losses, everyone, jnp.float32(share))
        assert np.flatnonzero(marked).tolist() == list(expected)
    present = jnp.array([True, False, True, True, True])
    marked = co_teaching.smallest(losses, present, jnp.float32(0.5))
    assert np.flatnonzero(marked).tolist() == [3, 4]


def test_smallest_ranks_over_all_devices():
    losses = jax.random.uniform(KEY, (8,))
    present = jnp.arange(8) != jnp.argmin(losses)
    whole = jax.jit(co_teaching.smallest)(losses, present, jnp.float32(0.5))
    on_devices = jax.vmap(
        functools.partial(co_teaching.smallest, axis_name="devices"), (0, 0, None),
        axis_name="devices",
    )  # fmt: skip
    parted = jax.jit(on_devices)(losses.reshape(4, 2), present.reshape(4, 2), jnp.float32(0.5))
    np.testing.assert_array_equal(parted.reshape(8), whole)
    assert int(whole.sum()) == 4


def _losses_of_each(variables, batch):
    """The losses [B] of the two networks, by a method that is both times the same network."""
    network = models.build("unet", 2, widths=(2,), convs_per_level=1)
    single = methods.build("mean", network, num_raters=1, num_classes=2, loss="soft_dice")
    result, loss = [], jax.jit(single.loss_fn)
    for name in ("first", "second"):
        own = {"params": {"segmenter": variables["params"][name]}}
        result.append(np.asarray(loss(own, batch, KEY, jnp.int32(0))[1][1].losses))
    return result


def test_each_network_learns_from_what_the_other_finds_easy():
    method, batch = _build(), jax.tree.map(jnp.asarray, _batch())
    variables = jax.jit(method.init)(KEY, batch)
    one, other = _losses_of_each(variables, batch)
    assert not np.allclose(one, other)
    loss = jax.jit(method.loss_fn)
    total, (count, aux) = loss(variables, batch, KEY, jnp.int32(50))
    easy = np.argsort(one)[:3], np.argsort(other)[:3]
    np.testing.assert_allclose(total, one[easy[1]].sum() + other[easy[0]].sum(), rtol=1e-4)
    assert float(count) == 3
    assert float(aux.metrics["agreed"][0]) == len(set(easy[0]) & set(easy[1]))
    np.testing.assert_allclose(aux.losses, one + other, rtol=1e-4)
    # All at first, then fewer: 6 (1 - 0.5 step / 10), rounded up.
    counts = [float(loss(variables, batch, KEY, jnp.int32(s))[1][0]) for s in (0, 5, 10)]
    assert counts == [6, 5, 3]


def test_the_prediction_is_the_mean_of_two_that_differ():
    method, batch = _build(), jax.tree.map(jnp.asarray, _batch(2))
    variables = jax.jit(method.init)(KEY, batch)
    network = models.build("unet", 2, widths=(2,), convs_per_level=1)
    apply = jax.jit(network.apply)
    probs = [
        jax.nn.softmax(apply({"params": variables["params"][name]}, batch["image"]).logits)
        for name in ("first", "second")
    ]
    assert float(jnp.abs(probs[0] - probs[1]).max()) > 1e-3
    result = jax.jit(method.predict)(variables, batch["image"]).probs
    np.testing.assert_allclose(result, (probs[0] + probs[1]) / 2, rtol=1e-5, atol=1e-6)


def test_the_number_of_devices_changes_nothing():
    def update(spread):
        method = _build(spread.axis_name, ramp_steps=1)
        batch = _batch(7) | {"weight": np.array([1, 1, 1, 1, 1, 0, 0], np.float32)}
        variables = jax.jit(method.init)(KEY, jax.tree.map(jnp.asarray, batch))
        state = train_state.create(variables, optax.sgd(1.0), ema=False)
        train = functools.partial(
            step.train_step, method=method, optimiser=optax.sgd(1.0),
            transform=lambda batch, key: batch, ema=0.0, axis_name=spread.axis_name,
        )  # fmt: skip
        compiled, key = spread.step(train), spread.replicate(KEY)
        state = spread.replicate(state)
        for _ in range(2):
            state, report = compiled(state, spread.put(batch), key)
        return jax.device_get((state.params, report.metrics))

    expected = update(parallelism.build("pmap", jax.devices()[:1]))
    close = functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-5)
    for kind in ("pmap", "vmap"):
        result = update(parallelism.build(kind, jax.devices()[:4]))
        jax.tree.map(close, result, expected)
        # Half of five, rounded up.
        assert float(result[1]["loss"][1]) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"forget_rate": 1.0}, "forget_rate: expected"),
        ({"ramp_steps": 0}, "ramp_steps: expected"),
        ({"target": "staple"}, "target: expected one of 'mean'"),
        ({"loss": "magic"}, "loss: expected"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        _build(**options)
