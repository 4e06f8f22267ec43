import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import train_fakes

from noisyjax import methods, models
from noisyjax.core import rng
from noisyjax.train import step, train_state
from noisyjax.train.devices import parallelism

KEY = rng.root_key(0)


def batch_of(size, padding=0):
    examples = [train_fakes.load().examples[i] for i in range(size)]
    batch = {name: np.stack([e[name] for e in examples]) for name in examples[0]}
    weight = np.ones(size, np.float32)
    weight[size - padding :] = 0
    return {**batch, "weight": weight, "epoch": np.int32(0)}


def one_step(spread, method, batch, optimiser):
    example = {name: jnp.asarray(array[:1]) for name, array in batch.items() if np.ndim(array)}
    variables = jax.jit(method.init)(rng.purpose_key(0, "init"), example)
    state = train_state.create(variables, optimiser, ema=False)
    update = functools.partial(
        step.train_step,
        method=method,
        optimiser=optimiser,
        transform=lambda batch, key: batch,
        ema=0.0,
        axis_name=spread.axis_name,
        microbatches=spread.microbatches,
    )
    compiled = spread.step(update)
    before, key = spread.replicate(state), spread.replicate(KEY)
    for _ in range(2):
        before, report = compiled(before, spread.put(batch), key)
    return jax.device_get(before), jax.device_get(report), compiled


def fake(axis_name):
    return train_fakes.method(num_raters=2, num_classes=2)


def batch_norm(axis_name):
    network = models.build("unet", 2, widths=(2,), norm="batch", axis_name=axis_name)
    return methods.build("mean", network, num_raters=2, num_classes=2)


# 13 examples, two of them padding, become 16 on eight devices. SGD with rate 1 and without
# clipping: the difference of the parameters is the gradient itself.
@functools.cache
def expected(method):
    one = parallelism.build("pmap", jax.devices()[:1])
    return one_step(one, method(None), batch_of(13, padding=2), optax.sgd(1.0))[:2]


SPREADS = [
    *[(kind, 8, {}) for kind in parallelism.KINDS],
    ("pmap", 2, {}),
    ("pmap", 4, {"microbatches": 3}),
    ("pmap", 1, {"microbatches": 4}),
    ("spatial", 8, {"spatial_shards": 2}),
    ("spatial", 6, {"spatial_shards": 6}),
]


@pytest.mark.parametrize(("kind", "devices", "options"), SPREADS)
def test_parts_and_microbatches_and_shards_give_the_gradients_of_one_device(kind, devices, options):
    spread = parallelism.build(kind, jax.devices()[:devices], **options)
    assert spread.shards == devices // options.get("spatial_shards", 1)
    method = fake(spread.axis_name)
    state, report, compiled = one_step(spread, method, batch_of(13, padding=2), optax.sgd(1.0))
    close = functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-6)
    jax.tree.map(close, (state.params, report), (expected(fake)[0].params, expected(fake)[1]))
    assert float(report.metrics["loss"][1]) == 11
    if spread.kind != "pmap":
        assert compiled._cache_size() == 1


@pytest.mark.parametrize("kind", parallelism.KINDS)
def test_batch_statistics_and_gradients_are_those_of_the_whole_batch(kind):
    spread = parallelism.build(kind)
    method = batch_norm(spread.axis_name)
    state, _, _ = one_step(spread, method, batch_of(13, padding=2), optax.sgd(1.0))
    like, _ = expected(batch_norm)
    assert state.model_state["batch_stats"]
    close = functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-5)
    jax.tree.map(close, (state.model_state, state.params), (like.model_state, like.params))


def test_a_single_device_needs_no_axis():
    one = parallelism.build("shard_map", jax.devices()[:1])
    assert (one.kind, one.axis_name, one.shards) == ("jit", None, 1)
    assert parallelism.build("vmap", jax.devices()[:1]).axis_name == "devices"


@pytest.mark.parametrize("kind", parallelism.KINDS)
@pytest.mark.parametrize("devices", [1, 8])
def test_replicated_state_may_be_used_up(kind, devices):
    spread = parallelism.build(kind, jax.devices()[:devices])
    original = {"a": jnp.arange(3.0), "b": np.arange(4.0, dtype=np.float32)}
    copy = spread.replicate(original)

    def add(tree, batch, key):
        return jax.tree.map(lambda leaf: leaf + 1, tree), key

    batch = {"id": np.arange(8, dtype=np.int32), "weight": np.ones(8, np.float32)}
    after, _ = spread.step(add)(copy, spread.put(batch), spread.replicate(KEY))
    np.testing.assert_array_equal(after["a"], [1, 2, 3])
    assert copy["a"].is_deleted()
    np.testing.assert_array_equal(original["a"], [0, 1, 2])
    np.testing.assert_array_equal(original["b"], [0, 1, 2, 3])


@pytest.mark.parametrize(("kind", "number"), [("pmap", 4), ("shard_map", 8), ("spatial", 8)])
def test_of_two_processes_those_of_pmap_keep_a_state_each(monkeypatch, kind, number):
    spread, devices = parallelism.build(kind), jax.devices()
    monkeypatch.setattr(parallelism.Parallel, "_local_devices", devices[:4])
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    copy = spread.replicate({"a": jnp.arange(3.0)})
    assert copy["a"].sharding.device_set == set(devices[:number])
    np.testing.assert_array_equal(copy["a"], [0, 1, 2])


@pytest.mark.parametrize("kind", parallelism.KINDS)
def test_map_returns_one_value_per_example_in_order(kind):
    spread = parallelism.build(kind)
    batch = batch_of(11)
    factor = spread.replicate(jnp.asarray(2.0))
    values = spread.map(lambda tree, b: {"x": tree * b["image"].sum((1, 2, 3))})(factor, batch)
    expected = 2 * batch["image"].sum((1, 2, 3))
    np.testing.assert_allclose(np.asarray(values["x"])[:11], expected, rtol=1e-6)


def test_pad_repeats_a_real_example_with_weight_zero():
    padded = parallelism.pad(batch_of(3), 4)
    np.testing.assert_array_equal(padded["weight"], [1, 1, 1, 0])
    np.testing.assert_array_equal(padded["id"], [0, 1, 2, 2])
    np.testing.assert_array_equal(padded["image"][3], padded["image"][2])
    np.testing.assert_array_equal(padded["epoch"], [0, 0, 0, 0])
    assert parallelism.pad(batch_of(4), 4)["image"].shape[0] == 4


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("pjit", {}, "parallel: expected one of 'pmap'.*got 'pjit'"),
        ("pmap", {"spatial_shards": 2}, "spatial_shards: expected parallel to be 'spatial'"),
        ("spatial", {"spatial_shards": 3}, "spatial_shards: expected a divisor of 8 .*, got 3"),
        (
            "spatial",
            {"spatial_shards": 2, "microbatches": 2},
            "train.accumulate: expected 1 with spatial_shards, got 2",
        ),
        ("pmap", {"microbatches": 0}, "train.accumulate: expected a number > 0, got 0"),
    ],
)
def test_what_does_not_fit_is_named(kind, options, message):
    with pytest.raises(ValueError, match=message):
        parallelism.build(kind, **options)


def test_images_that_cannot_be_cut_into_spatial_shards_are_named():
    spread = parallelism.build("spatial", spatial_shards=4)
    with pytest.raises(ValueError, match="divisor of the 6 voxels along the first axis of image"):
        spread.put(batch_of(8))


def compiled_gradients(spread, size):
    method = batch_norm(spread.axis_name)
    variables = jax.eval_shape(method.init, KEY, batch_of(1))
    state = jax.eval_shape(lambda: train_state.create(variables, optax.sgd(1.0), ema=False))
    batch = {
        **batch_of(size),
        "image": np.zeros((size, 64, 64, 1), np.float32),
        "labels": np.zeros((size, 2, 64, 64), np.uint8),
        "truth": np.zeros((size, 64, 64), np.uint8),
    }

    def gradients(state, batch, key):
        options = {"axis_name": spread.axis_name, "microbatches": spread.microbatches}
        return step.gradients(state, batch, key, method=method, **options)

    return spread.step(gradients).lower(state, spread.put(batch), KEY).compile()


def temporary_memory(compiled):
    return compiled.memory_analysis().temp_size_in_bytes


# The program of an accelerator; that of a CPU folds the depth into other axes and gathers it.
def test_spatial_shards_exchange_their_borders_and_each_needs_a_part_of_the_memory(monkeypatch):
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *a, default, **kw: default(*a))
    whole, cut = (
        compiled_gradients(parallelism.build("spatial", jax.devices()[:n], spatial_shards=n), 1)
        for n in (1, 4)
    )
    assert "collective-permute" in cut.as_text()
    assert "all-gather" not in cut.as_text()
    assert temporary_memory(cut) < temporary_memory(whole) / 2


def test_microbatches_need_a_part_of_the_memory():
    one = jax.devices()[:1]
    whole, cut = (
        compiled_gradients(parallelism.build("pmap", one, microbatches=n), 8) for n in (1, 4)
    )
    assert temporary_memory(cut) < temporary_memory(whole) / 2
