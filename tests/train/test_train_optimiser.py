import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from noisyjax.train import optimiser

PARAMS = {"model": {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}, "annotators": {"w": jnp.ones((2, 2))}}
GRADS = {
    "model": {"w": jnp.full((2, 2), 0.5), "b": jnp.full(2, 0.5)},
    "annotators": {"w": jnp.full((2, 2), 0.5)},
}


def labels(params):
    return {name: jax.tree.map(lambda _, n=name: n, tree) for name, tree in params.items()}


def update(transformation, grads=GRADS):
    return transformation.update(grads, transformation.init(PARAMS), PARAMS)[0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", [0.2, 0.4, 0.6, 0.6, 0.6]),
        ("cosine", [0.2, 0.4, 0.6, 0.3, 0.0]),
        ("poly", [0.2, 0.4, 0.6, 0.6 * 0.5**0.9, 0.0]),
    ],
)
def test_schedule_warms_up_and_decays(name, expected):
    rate = optimiser.schedule(name, learning_rate=0.6, total_steps=8, warmup_steps=2)
    actual = [float(rate(step)) for step in (0, 1, 2, 5, 8)]
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_exponential_decays_after_each_epoch():
    options = {"learning_rate": 0.6, "total_steps": 12, "steps_per_epoch": 3, "decay_rate": 0.5}
    rate = optimiser.schedule("exponential", **options)
    actual = [float(rate(step)) for step in (0, 2, 3, 5, 6, 11)]
    np.testing.assert_allclose(actual, [0.6, 0.6, 0.3, 0.3, 0.15, 0.075], rtol=1e-6)
    rate = optimiser.schedule("exponential", **options, warmup_steps=2)
    actual = [float(rate(step)) for step in (0, 1, 2, 4, 5)]
    np.testing.assert_allclose(actual, [0.2, 0.4, 0.6, 0.6, 0.3], rtol=1e-6)


@pytest.mark.parametrize("momentum", [0.9, 0.99])
def test_momentum_keeps_its_share_of_the_last_step(momentum):
    for name, expected in (
        ("momentum", 1 + momentum),
        ("nesterov", 1 + momentum * (1 + momentum)),
    ):
        made = optimiser.build(name, 1.0, momentum=momentum)
        state = made.init(PARAMS)
        for _ in range(2):
            step, state = made.update(GRADS, state, PARAMS)
        np.testing.assert_allclose(step["model"]["b"], jnp.full(2, -0.5 * expected), rtol=1e-5)


def test_schedule_without_warmup_starts_at_the_peak():
    rate = optimiser.schedule("cosine", learning_rate=0.6, total_steps=8)
    assert float(rate(0)) == pytest.approx(0.6)


@pytest.mark.parametrize("name", optimiser.OPTIMISERS)
def test_first_update_goes_down_the_gradient(name):
    step = update(optimiser.build(name, 0.1))["model"]["w"]
    size = 0.05 if name in ("sgd", "momentum") else 0.095 if name == "nesterov" else 0.1
    np.testing.assert_allclose(step, jnp.full((2, 2), -size), rtol=1e-5)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_weight_decay_is_for_matrices_only(name):
    zero = jax.tree.map(jnp.zeros_like, GRADS)
    step = update(optimiser.build(name, 0.1, weight_decay=0.2), zero)
    np.testing.assert_allclose(step["model"]["w"], jnp.full((2, 2), -0.02), rtol=1e-6)
    np.testing.assert_array_equal(step["model"]["b"], jnp.zeros(2))


def test_clipping_bounds_the_global_norm():
    clipped = update(optimiser.build("sgd", 1.0, gradient_clip=0.1))
    assert float(optax.tree.norm(clipped)) == pytest.approx(0.1, rel=1e-5)
    free = update(optimiser.build("sgd", 1.0, gradient_clip=100.0))
    np.testing.assert_allclose(free["model"]["w"], -GRADS["model"]["w"])


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_head_factor_holds_for_adaptive_optimisers_too(name):
    whole = update(optimiser.build(name, 0.1))
    step = update(optimiser.build(name, 0.1, head_learning_rate=0.25, param_labels=labels))
    np.testing.assert_allclose(step["model"]["w"], whole["model"]["w"])
    np.testing.assert_allclose(step["annotators"]["w"], 0.25 * whole["annotators"]["w"], rtol=1e-6)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="optimizer: expected one of 'adamw'"):
        optimiser.build("lion", 0.1)
    with pytest.raises(ValueError, match="schedule: expected one of"):
        optimiser.schedule("step", learning_rate=0.1, total_steps=4)
    with pytest.raises(ValueError, match="warmup_steps: expected 0 <= warmup_steps < 4"):
        optimiser.schedule("cosine", learning_rate=0.1, total_steps=4, warmup_steps=4)
    with pytest.raises(ValueError, match="decay_rate: expected a number in .0, 1., got 0"):
        optimiser.schedule("exponential", learning_rate=0.1, total_steps=4, decay_rate=0)
    with pytest.raises(ValueError, match="momentum: expected a number in .0, 1., got 1.0"):
        optimiser.build("nesterov", 0.1, momentum=1.0)
    with pytest.raises(ValueError, match="gradient_clip"):
        optimiser.build("sgd", 0.1, gradient_clip=-1.0)
    with pytest.raises(ValueError, match="param_labels"):
        optimiser.build("sgd", 0.1, head_learning_rate=2.0)
