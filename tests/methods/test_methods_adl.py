"""Adaptive denoising learning: the schedule, the record, and what is left out."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from noisyjax import methods, models
from noisyjax.core import rng
from noisyjax.methods import adl, base
from noisyjax.train import step, train_state
from noisyjax.train.devices import parallelism

KEY = rng.root_key(0)
EXAMPLES, BATCH = 10, 4
PER_EPOCH = 3


def test_schedule_equals_the_golden_file(golden):
    with np.load(golden / "adl.npz") as file:
        for row, epochs in enumerate(file["epochs"]):
            given = {name: float(file[name][row]) for name in ("alpha", "beta")}
            given |= {"epochs": int(epochs), "masks": int(file["n_masks"][row])}
            result = [adl.num_removed(t, **given) for t in range(1, epochs + 1)]
            np.testing.assert_array_equal(result, file["N_floor"][row, 1 : epochs + 1])
            assert adl.num_removed(0, **given) == 0
            noise = jnp.float32((1 - given["alpha"]) * given["beta"])
            sizes = {"epochs": given["epochs"], "masks": given["masks"]}
            ours = functools.partial(adl.removal_schedule, noise=noise, **sizes)
            whole = jax.jit(jax.vmap(ours))(jnp.arange(1.0, epochs + 1))
            expected = file["N"][row, 1 : epochs + 1]
            np.testing.assert_allclose(whole, expected, rtol=1e-5, atol=1e-4)
            between = jax.vmap(ours)(jnp.asarray(file["t_frac"] * epochs, jnp.float32))
            expected = file["N_continuous"][row]
            np.testing.assert_allclose(between, expected, rtol=1e-4, atol=1e-3)


def test_schedule_by_hand():
    numbers = {"alpha": 0.5, "beta": 1.0, "epochs": 10, "masks": 40}
    # Half of 20, then 12 - 4 t, then a tenth of 20.
    assert [adl.num_removed(t, **numbers) for t in range(5)] == [0, 8, 4, 2, 2]
    assert adl.num_removed(3, **{**numbers, "alpha": 1}) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("alpha", 1.1), ("beta", -0.1), ("epochs", 0), ("epoch", 11), ("masks", -1)],
)
def test_numbers_out_of_range_are_refused(name, value):
    given = {"epoch": 1, "alpha": 0.5, "beta": 0.5, "epochs": 10, "masks": 5, name: value}
    with pytest.raises(ValueError, match=f"{name}: expected"):
        adl.num_removed(given.pop("epoch"), **given)


def test_the_highest_known_losses_are_marked_the_earlier_of_equal_ones_first():
    losses = jnp.array([0.5, jnp.nan, 0.9, 0.5, 0.1])
    for count, expected in ((0, []), (1, [2]), (2, [0, 2]), (3, [0, 2, 3]), (5, [0, 2, 3, 4])):
        marked = adl.highest(losses, jnp.int32(count))
        assert np.flatnonzero(marked).tolist() == expected


def linear(loss_of=None):
    """One weight; the loss of an example is its own number plus what the weight adds."""

    def init(key, batch):
        del key, batch
        return {"params": {"segmenter": jnp.zeros(())}}

    def loss_fn(variables, batch, key, step):
        del key
        number = batch["image"] if loss_of is None else loss_of(batch, step)
        losses = number + variables["params"]["segmenter"] * batch["id"]
        return base.weighted(losses, batch["weight"], {}, {})

    return base.Method(init, loss_fn, lambda variables, image: image, base.label_params)


def batches(epochs, numbers):
    """Every row once an epoch, in another order each time; the last batch is padded."""
    for epoch in range(epochs):
        order = np.random.default_rng(epoch).permutation(EXAMPLES)
        for index in range(PER_EPOCH):
            rows = np.arange(index * BATCH, (index + 1) * BATCH)
            weight = (rows < EXAMPLES).astype(np.float32)
            rows = order[rows % EXAMPLES].astype(np.int32)
            yield {
                "image": numbers[rows], "index": rows, "id": 100 + rows, "weight": weight,
                "epoch": np.full(BATCH, epoch, np.int32),
            }  # fmt: skip


def run(method, given, spread=None, rate=0.0):
    spread = spread or parallelism.build("pmap", jax.devices()[:1])
    optimiser = optax.sgd(rate)
    example = {name: jnp.asarray(array[:1]) for name, array in given[0].items()}
    state = train_state.create(method.init(KEY, example), optimiser, ema=False)
    update = functools.partial(
        step.train_step, method=method, optimiser=optimiser,
        transform=lambda batch, key: batch, ema=0.0, axis_name=spread.axis_name,
    )  # fmt: skip
    compiled, state, key = spread.step(update), spread.replicate(state), spread.replicate(KEY)
    seen = []
    for batch in given:
        state, report = compiled(state, spread.put(batch), key)
        seen.append(jax.device_get((state, report)))
    return seen


NUMBERS = np.linspace(0, 1, EXAMPLES, dtype=np.float32)[::-1].copy()
# N(1) = 4, N(2) = 3, N(3) = 2, N(4) = 1 of ten.
OPTIONS = {"num_examples": EXAMPLES, "steps_per_epoch": PER_EPOCH, "epochs": 10}
NOISE = {"alpha": 0.0, "beta": 0.9}


def test_losses_are_recorded_and_the_highest_left_out_of_the_next_epoch():
    seen = run(adl.wrap(linear(), **OPTIONS, **NOISE), list(batches(5, NUMBERS)))
    first = seen[0][0].model_state["adl"]
    assert np.isfinite(first["losses"]).sum() == BATCH
    for epoch, number in enumerate((0, 4, 3, 2, 1)):
        assert adl.num_removed(epoch, epochs=10, masks=EXAMPLES, **NOISE) == number
        reports = [seen[epoch * PER_EPOCH + index][1] for index in range(PER_EPOCH)]
        count = sum(report.metrics["loss"][1] for report in reports)
        assert float(count) == EXAMPLES - number
        left_out = [report.metrics["removed"] for report in reports]
        assert float(sum(total for total, _ in left_out)) == number
        state = seen[epoch * PER_EPOCH + PER_EPOCH - 1][0]
        kept = state.model_state["adl"]
        np.testing.assert_array_equal(kept["losses"], NUMBERS)
        coming = adl.num_removed(epoch + 1, epochs=10, masks=EXAMPLES, **NOISE)
        assert np.flatnonzero(kept["removed"]).tolist() == list(range(coming))


def test_what_is_left_out_takes_no_part_in_the_update():
    given = list(batches(2, NUMBERS))
    seen = run(adl.wrap(linear(), **OPTIONS, **NOISE), given, rate=1e-3)
    before, batch = seen[PER_EPOCH - 1][0], given[PER_EPOCH]
    after = seen[PER_EPOCH][0]
    kept = ~before.model_state["adl"]["removed"][batch["index"]] & (batch["weight"] > 0)
    assert 0 < kept.sum() < BATCH
    step_taken = before.params["segmenter"] - after.params["segmenter"]
    np.testing.assert_allclose(step_taken, 1e-3 * batch["id"][kept].mean(), rtol=1e-4)


def test_an_example_comes_back_when_its_loss_has_fallen():
    def number(batch, step):
        return jnp.where((batch["index"] == 3) & (step < PER_EPOCH), 9.0, batch["image"])

    method = adl.wrap(linear(number), **OPTIONS, **NOISE)
    seen = run(method, list(batches(2, NUMBERS[::-1].copy())))
    removed = [seen[end][0].model_state["adl"]["removed"] for end in (2, 5)]
    assert removed[0][3]
    # Its record is renewed although it was left out.
    assert not removed[1][3]


@pytest.mark.parametrize("kind", parallelism.KINDS)
def test_devices_and_their_number_change_nothing(kind):
    method = adl.wrap(linear(), **OPTIONS, **NOISE)
    given = list(batches(2, NUMBERS))
    expected = run(method, given, rate=1e-3)[-1][0]
    result = run(method, given, parallelism.build(kind), rate=1e-3)[-1][0]
    np.testing.assert_allclose(result.params["segmenter"], expected.params["segmenter"], rtol=1e-5)
    for name, kept in expected.model_state["adl"].items():
        np.testing.assert_allclose(result.model_state["adl"][name], kept, rtol=1e-5)


def test_a_share_that_is_estimated_leaves_out_the_upper_group():
    numbers = np.where(np.arange(EXAMPLES) < 4, 0.9, 0.1) + 0.01 * NUMBERS
    method = adl.wrap(linear(), **{**OPTIONS, "epochs": 100}, estimate=True)
    seen = run(method, list(batches(1, numbers.astype(np.float32))))
    kept = seen[-1][0].model_state["adl"]
    # Half of 0.8 of four, rounded down.
    assert np.flatnonzero(kept["removed"]).tolist() == [0]
    method = adl.wrap(linear(), **{**OPTIONS, "epochs": 100}, estimate=True)
    seen = run(method, list(batches(1, np.full(EXAMPLES, 0.3, np.float32))))
    assert not seen[-1][0].model_state["adl"]["removed"].any()


@pytest.mark.parametrize("name", ["majority", "separate", "forward_correction", "co_teaching"])
def test_it_goes_around_any_method(name):
    network = models.build("unet", 2, widths=(2,), convs_per_level=1, norm="batch")
    inner = methods.build(name, network, num_raters=1, num_classes=2)
    method = adl.wrap(inner, num_examples=5, steps_per_epoch=1, epochs=4, alpha=0, beta=1)
    draw = np.random.default_rng(0)
    batch = {
        "image": jnp.asarray(draw.normal(size=(4, 6, 6, 1)), jnp.float32),
        "labels": jnp.asarray(draw.integers(0, 2, (4, 1, 6, 6)), jnp.uint8),
        "rater_mask": jnp.ones((4, 1), bool),
        "weight": jnp.array([1.0, 1, 1, 0]),
        "id": jnp.arange(4, dtype=jnp.int32),
        "index": jnp.array([4, 2, 0, 1], jnp.int32),
    }
    variables = jax.jit(method.init)(KEY, batch)
    left_out = {**variables, "adl": {**variables["adl"], "removed": jnp.arange(5) == 2}}

    def update(state, batch):
        return step.train_step(
            state, batch, KEY, method=method, optimiser=optax.sgd(0.1),
            transform=lambda batch, key: batch, ema=0.0, axis_name=None,
        )  # fmt: skip

    update = jax.jit(update)
    state = train_state.create(left_out, optax.sgd(0.1), ema=False)
    after, report = update(state, batch)
    other, _ = update(state, {**batch, "labels": batch["labels"].at[1].set(0)})
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, after.params, other.params)
    losses = after.model_state["adl"]["losses"]
    assert np.isfinite(losses).tolist() == [True, False, True, False, True]
    assert float(losses[2]) != float(other.model_state["adl"]["losses"][2])
    assert float(report.metrics["removed"][0] / report.metrics["removed"][1]) == pytest.approx(
        1 / 3
    )
    assert set(after.model_state) == set(state.model_state)
    probs = jax.eval_shape(method.predict, {"params": after.params, **after.model_state},
                           batch["image"]).probs  # fmt: skip
    assert probs.shape == (4, 6, 6, 2)


def test_a_batch_that_is_left_out_entirely_leaves_the_batch_statistics():
    network = models.build("unet", 2, widths=(2,), convs_per_level=1, norm="batch")
    method = methods.build("mean", network, num_raters=1, num_classes=2)
    batch = {
        "image": jnp.ones((2, 4, 4, 1)), "labels": jnp.ones((2, 1, 4, 4), jnp.uint8),
        "rater_mask": jnp.ones((2, 1), bool), "weight": jnp.zeros(2),
        "id": jnp.arange(2, dtype=jnp.int32),
    }  # fmt: skip
    state = train_state.create(jax.jit(method.init)(KEY, batch), optax.sgd(0.1), ema=False)
    update = functools.partial(
        step.gradients, key=KEY, method=method, axis_name=None,
    )  # fmt: skip
    _, model_state, _ = jax.jit(update)(state, batch)
    jax.tree.map(np.testing.assert_array_equal, model_state, state.model_state)


def test_a_method_without_losses_is_refused():
    def silent(variables, batch, key, step):
        total, (count, aux) = linear().loss_fn(variables, batch, key, step)
        return total, (count, aux._replace(losses=None))

    method = adl.wrap(dataclasses.replace(linear(), loss_fn=silent), **OPTIONS)
    batch = jax.tree.map(jnp.asarray, next(batches(1, NUMBERS)))
    with pytest.raises(ValueError, match="reports the examples' losses"):
        method.loss_fn(method.init(KEY, batch), batch, KEY, 0)
