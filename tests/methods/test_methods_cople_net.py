import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from noisyjax import methods, models
from noisyjax.core import rng
from noisyjax.losses import overlap
from noisyjax.methods import base, cople_net
from noisyjax.train import step, train_state
from noisyjax.train.devices import parallelism

KEY = rng.root_key(0)
# Compiles faster than it runs.
OPTIONS = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
quick_jit = functools.partial(jax.jit, compiler_options=OPTIONS)
NETWORK = {"widths": (2,), "convs_per_level": 1, "norm": "batch"}


def _batch(size=4, weight=None):
    draw = np.random.default_rng(0)
    return {
        "image": draw.normal(size=(size, 6, 6, 1)).astype(np.float32),
        "labels": draw.integers(0, 2, (size, 3, 6, 6)).astype(np.uint8),
        "rater_mask": np.ones((size, 3), bool),
        "weight": np.ones(size, np.float32) if weight is None else np.float32(weight),
        "id": np.arange(size, dtype=np.int32),
    }


def _build(axis_name=None, **options):
    network = models.build("unet", 2, **NETWORK, axis_name=axis_name)
    options = {"decay": 0.8, "window": 4, "quantile": 0.5, "ramp_steps": 10, **options}
    return methods.build("cople_net", network, num_raters=3, num_classes=2, **options)


@pytest.fixture(scope="module")
def made():
    """(method, batch, variables, compiled loss); the teacher is another network.

    Two of the four images are labelled as it says, the others as the student does.
    """
    method, batch = _build(), jax.tree.map(jnp.asarray, _batch())
    init = quick_jit(method.init)
    variables, other = init(KEY, batch), init(rng.root_key(5), batch)
    variables[cople_net.COLLECTION]["average"] = other[cople_net.COLLECTION]["average"]
    teacher = variables[cople_net.COLLECTION]["average"]
    predicted = [
        _logits(own, batch["image"], train=False).argmax(-1) for own in (teacher, variables)
    ]
    labels = jnp.concatenate([predicted[0][:2], predicted[1][2:]])[:, None].astype(jnp.uint8)
    batch["labels"] = jnp.broadcast_to(labels, batch["labels"].shape)
    return method, batch, variables, quick_jit(method.loss_fn)


@functools.partial(quick_jit, static_argnames="train")
def _logits(variables, image, *, train):
    own = {kind: tree["segmenter"] for kind, tree in variables.items() if "segmenter" in tree}
    network = models.build("unet", 2, **NETWORK)
    return network.apply(own, image, train=train, mutable=["batch_stats"])[0].logits


@quick_jit
def _compare(logits, batch):
    target = jax.nn.one_hot((batch["labels"].sum(1) >= 2).astype(jnp.int32), 2)
    return jax.vmap(overlap.noise_robust_dice)(jax.nn.softmax(logits), target)


def test_the_teacher_starts_as_the_student(made):
    method, batch, _, loss = made
    variables = quick_jit(method.init)(KEY, batch)
    average = variables[cople_net.COLLECTION]["average"]
    assert set(average) == {"params", "batch_stats"}
    for kind, tree in average.items():
        jax.tree.map(np.testing.assert_array_equal, tree, variables[kind])
    # At the first step it becomes what the student is by then.
    changed = {**variables, "params": jax.tree.map(lambda leaf: leaf + 1, variables["params"])}
    state = loss(changed, batch, KEY, jnp.int32(0))[1][1].model_state
    average = state[cople_net.COLLECTION]["average"]
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-6), average["params"],
        changed["params"],
    )  # fmt: skip
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-6), average["batch_stats"],
        state["batch_stats"],
    )  # fmt: skip


def test_the_student_learns_from_the_teacher_only_where_it_does_better(made):
    _, batch, variables, loss = made
    average = variables[cople_net.COLLECTION]["average"]
    student = _logits(variables, batch["image"], train=True)
    teacher = _logits(average, batch["image"], train=False)
    own, better = _compare(student, batch), _compare(teacher, batch)
    taught = np.asarray(better < own)
    assert 0 < taught.sum() < 4
    probs = jax.nn.softmax(student), jax.nn.softmax(teacher)
    distance = jnp.square(probs[0] - probs[1]).mean((1, 2, 3))
    for number, factor in ((0, np.exp(-5)), (5, np.exp(-1.25)), (50, 1)):
        _, (_, aux) = loss(variables, batch, KEY, jnp.int32(number))
        np.testing.assert_allclose(aux.losses, own + factor * taught * distance, rtol=1e-4)
    assert float(aux.metrics["taught"][0]) == taught.sum()
    np.testing.assert_allclose(aux.metrics["consistency"][0], distance.sum(), rtol=1e-4)


def test_all_of_the_student_learns(made):
    method, batch, variables, _ = made

    def value(params):
        return method.loss_fn({**variables, "params": params}, batch, KEY, jnp.int32(50))[0]

    gradient = quick_jit(jax.grad(value))(variables["params"])
    for path, leaf in jax.tree.leaves_with_path(gradient):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 0, path


@pytest.mark.parametrize(
    ("losses", "number", "share"),
    # At first each step counts the same: the second has one half.
    [((0.0, 0.1, 0.2, 0.1), 50, 0.0), ((9.0,) * 4, 50, 0.2), ((9.0,) * 4, 1, 0.5)],
)
def test_a_step_of_large_loss_has_no_share_in_the_teacher(made, losses, number, share):
    _, batch, variables, loss = made
    kept = {**variables[cople_net.COLLECTION], "losses": jnp.array(losses)}
    state = {**variables, cople_net.COLLECTION: kept}
    total, (count, aux) = loss(state, batch, KEY, jnp.int32(number))
    after = aux.model_state[cople_net.COLLECTION]

    def check(new, old, student):
        np.testing.assert_allclose(new, (1 - share) * old + share * student, rtol=1e-5, atol=1e-6)

    jax.tree.map(check, after["average"]["params"], kept["average"]["params"],
                 variables["params"])  # fmt: skip
    jax.tree.map(check, after["average"]["batch_stats"], kept["average"]["batch_stats"],
                 aux.model_state["batch_stats"])  # fmt: skip
    assert float(aux.metrics["averaged"][0]) == (4 if share else 0)
    assert float(aux.metrics[base.LEARNING][0]) == (4 if share else 0)
    # The loss without what the teacher adds replaces that of the oldest one.
    own = _compare(_logits(variables, batch["image"], train=True), batch).mean()
    expected = np.where(np.arange(4) == number % 4, own, losses)
    np.testing.assert_allclose(after["losses"], expected, rtol=1e-5)


def test_a_student_that_predicts_learns_from_steps_of_large_loss_too(made):
    _, batch, variables, _ = made
    kept = {**variables[cople_net.COLLECTION], "losses": jnp.zeros(4)}
    state = {**variables, cople_net.COLLECTION: kept}
    loss = quick_jit(_build(predictor="student").loss_fn)
    _, (_, aux) = loss(state, batch, KEY, jnp.int32(50))
    assert float(aux.metrics["averaged"][0]) == 0
    assert float(aux.metrics[base.LEARNING][0]) == 4


def test_losses_are_large_above_the_quantile_of_those_known():
    losses = jnp.array([1.0, 2.0, 3.0, 4.0, jnp.nan])
    for loss, quantile, expected in (
        (2.6, 0.5, True), (2.4, 0.5, False), (4.1, 0.999, True), (9.0, 1, False),
    ):  # fmt: skip
        assert bool(cople_net.is_large(jnp.float32(loss), losses, quantile)) == expected
    assert not bool(cople_net.is_large(jnp.float32(9), jnp.full(3, jnp.nan), 0.5))


@pytest.mark.parametrize("predictor", ["teacher", "student"])
def test_the_one_who_was_asked_for_predicts(made, predictor):
    _, batch, variables, _ = made
    chosen = variables[cople_net.COLLECTION]["average"] if predictor == "teacher" else variables
    result = quick_jit(_build(predictor=predictor).predict)(variables, batch["image"]).probs
    expected = jax.nn.softmax(_logits(chosen, batch["image"], train=False))
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_padding_has_no_influence_on_the_teacher(made):
    _, batch, variables, loss = made
    padded = {**batch, "weight": jnp.array([1.0, 1, 1, 0])}
    other = {**padded, "image": batch["image"].at[3].set(9.0)}
    result = [loss(variables, b, KEY, jnp.int32(50))[1][1].model_state for b in (padded, other)]
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), *result)


def _three_steps(spread):
    """(parameters, model state, metrics) after three steps on eight examples, two of no weight."""
    method, batch = _build(spread.axis_name, ramp_steps=1), _batch(8, [1, 1, 1, 1, 1, 0, 1, 0])
    variables = quick_jit(method.init)(KEY, jax.tree.map(jnp.asarray, batch))
    state = spread.replicate(train_state.create(variables, optax.sgd(0.5), ema=False))
    train = functools.partial(
        step.train_step, method=method, optimiser=optax.sgd(0.5),
        transform=lambda batch, key: batch, ema=0.0, axis_name=spread.axis_name,
    )  # fmt: skip
    compiled, key = spread.step(train), spread.replicate(KEY)
    for _ in range(3):
        state, report = compiled(state, spread.put(batch), key)
    return jax.device_get((state.params, state.model_state, report.metrics))


@pytest.fixture(scope="module")
def alone():
    """What one device makes of it."""
    return _three_steps(parallelism.build("pmap", jax.devices()[:1]))


@pytest.mark.parametrize("kind", ["pmap", "vmap"])
def test_the_number_of_devices_changes_nothing(alone, kind):
    result = _three_steps(parallelism.build(kind, jax.devices()))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-5), result, alone)
    losses = result[1][cople_net.COLLECTION]["losses"]
    assert np.isnan(losses).tolist() == [False, False, False, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": 1.0}, "decay: expected a number in .0, 1., got 1.0"),
        ({"quantile": 1.5}, "quantile: expected"),
        ({"window": 0}, "window: expected"),
        ({"ramp_steps": 0}, "ramp_steps: expected"),
        ({"consistency_weight": -1}, "consistency_weight: expected"),
        ({"predictor": "parrot"}, "predictor: expected one of 'teacher', 'student'"),
        ({"target": "best"}, "target: expected"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        _build(**options)


def test_consistency_may_be_switched_off_but_not_turned_round():
    assert _build(consistency_weight=0).predict is not None
    with pytest.raises(ValueError, match="consistency_weight: expected a number >= 0"):
        _build(consistency_weight=-1)
