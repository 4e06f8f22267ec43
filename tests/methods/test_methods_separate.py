"""Separate networks: each is the network that its annotator's labels alone would train."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from noisyjax import methods, models
from noisyjax.core import rng

KEY, ZERO, RATERS = rng.root_key(0), jnp.int32(0), 3


def _network(**options):
    return models.build("unet", 2, widths=(4,), convs_per_level=1, **options)


def _method(segmenter, **options):
    return methods.build("separate", segmenter, num_raters=RATERS, num_classes=2, **options)


def _batch() -> dict:
    """Eight images, bright where the truth is; rater 1 sees the opposite, rater 2 nothing."""
    draw = np.random.default_rng(0)
    truth = (draw.random((8, 6, 6)) < 0.4).astype(np.uint8)
    return {
        "image": jnp.asarray((truth + draw.normal(0, 0.1, truth.shape))[..., None], jnp.float32),
        "labels": jnp.asarray(np.stack([truth, 1 - truth, 0 * truth], 1)),
        "rater_mask": jnp.asarray(draw.random((8, RATERS)) < 0.6).at[0].set(True),
        "weight": jnp.ones(8).at[-1].set(0.0),
        "id": jnp.arange(8, dtype=jnp.int32),
    }


def _part(tree, rater):
    return jax.tree.map(lambda leaf: leaf[rater], tree)


@pytest.mark.parametrize("loss", ["cross_entropy", "soft_dice"])
def test_each_network_learns_as_on_its_annotators_labels_alone(loss):
    segmenter, batch = _network(norm="batch"), _batch()
    together = _method(segmenter, loss=loss)
    alone = methods.build("mean", segmenter, num_raters=1, num_classes=2, loss=loss)
    variables = jax.jit(together.init)(KEY, batch)

    def gradient(method, variables, batch):
        def total(params):
            result, (_, aux) = method.loss_fn({**variables, "params": params}, batch, KEY, ZERO)
            return result, aux.model_state

        return jax.grad(total, has_aux=True)(variables["params"])

    grads, state = jax.jit(functools.partial(gradient, together))(variables, batch)
    one = jax.jit(functools.partial(gradient, alone))
    for rater in range(RATERS):
        own = {**batch, "weight": batch["weight"] * batch["rater_mask"][:, rater]}
        own |= {name: batch[name][:, rater : rater + 1] for name in ("labels", "rater_mask")}
        expected = one(_part(variables, rater), own)
        jax.tree.map(
            lambda g, e: np.testing.assert_allclose(g, e, rtol=1e-4, atol=1e-5),
            _part((grads, state), rater),
            expected,
        )


def test_networks_start_apart_and_learn_their_annotator():
    method, batch = _method(_network()), _batch()
    variables = jax.jit(method.init)(KEY, batch)
    kernels = variables["params"]["segmenter"]["encoder0_0"]["conv"]["kernel"]
    assert float(jnp.abs(kernels[0] - kernels[1]).max()) > 0.01
    optimiser = optax.adam(3e-2)

    @jax.jit
    def train(params):
        def body(step, carry):
            def mean_loss(params):
                total, (count, _) = method.loss_fn({"params": params}, batch, KEY, step)
                return total / count

            updates, state = optimiser.update(jax.grad(mean_loss)(carry[0]), carry[1])
            return optax.apply_updates(carry[0], updates), state

        return jax.lax.fori_loop(0, 60, body, (params, optimiser.init(params)))[0]

    params = train(variables["params"])
    prediction = jax.jit(method.predict)({"params": params}, batch["image"])
    predicted = prediction.rater_probs.argmax(-1)
    np.testing.assert_allclose((predicted == batch["labels"]).mean((0, 2, 3)), 1, atol=0.03)
    np.testing.assert_allclose(prediction.probs, prediction.rater_probs.mean(1), rtol=1e-6)
    assert prediction.cms is None


def test_statistics_stand_still_without_labels_and_are_those_of_all_devices():
    batch = _batch()
    # Rater 2 labelled nothing, rater 1 only what the second of two devices sees.
    mask = batch["rater_mask"].at[:, 2].set(False).at[:4, 1].set(False).at[4, 1].set(True)
    batch["rater_mask"] = mask
    whole = _method(_network(norm="batch"))
    variables = jax.jit(whole.init)(KEY, batch)
    variables["batch_stats"] = jax.tree.map(lambda leaf: leaf + 1, variables["batch_stats"])
    spread = _method(_network(norm="batch", axis_name="devices"))

    @functools.partial(jax.vmap, axis_name="devices")
    def on_devices(part):
        total, (count, aux) = spread.loss_fn(variables, part, KEY, ZERO)
        return total, count, aux.model_state

    total, (count, aux) = jax.jit(whole.loss_fn)(variables, batch, KEY, ZERO)
    halves = jax.tree.map(lambda leaf: leaf.reshape(2, 4, *leaf.shape[1:]), batch)
    totals, counts, states = jax.jit(on_devices)(halves)
    np.testing.assert_allclose(totals.sum(), total, rtol=1e-5)
    assert float(counts.sum()) == float(count) == 7
    for device in range(2):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
            _part(states, device),
            aux.model_state,
        )
    after = aux.model_state["batch_stats"]
    before = variables["batch_stats"]
    jax.tree.map(np.testing.assert_array_equal, _part(after, 2), _part(before, 2))
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), _part(after, 1), _part(before, 1))
    assert all(jax.tree.leaves(moved))


def test_dropout_is_another_one_for_each_network():
    method, batch = _method(_network(dropout=0.5)), _batch()
    one = jax.jit(method.init)(KEY, batch)
    # The same parameters and the same labels: what differs is the dropout.
    one = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape), one)
    batch["labels"] = jnp.broadcast_to(batch["labels"][:, :1], batch["labels"].shape)
    masks = jnp.broadcast_to(jnp.eye(RATERS, dtype=bool)[:, None], (RATERS, 8, RATERS))

    @jax.jit
    @jax.vmap
    def losses(mask):
        return method.loss_fn(one, {**batch, "rater_mask": mask}, KEY, ZERO)[0]

    result = losses(masks)
    assert len(np.unique(np.round(result, 3))) == RATERS


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="loss.*hinge"):
        _method(_network(), loss="hinge")
