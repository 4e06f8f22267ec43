"""Attention: against the same written out in NumPy; gates on odd sides; gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from noisyjax.models import attention


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("sides", [(5, 6), (3, 4, 5)])
def test_conv_attention_weighs_space_then_channels(sides, variables_of):
    module = attention.ConvAttention(ratio=4, size=3)
    x = np.random.default_rng(0).normal(size=(1, *sides, 8)).astype(np.float32)
    variables = variables_of(module, jnp.asarray(x))
    result = module.apply(variables, jnp.asarray(x))
    params = jax.tree.map(np.asarray, variables["params"])
    kernel, axes = params["space"]["kernel"], tuple(range(len(sides)))
    spatial = sum(
        scipy.ndimage.correlate(pooled, kernel[..., index, 0], mode="constant")
        for index, pooled in enumerate((x[0].mean(-1), x[0].max(-1)))
    )
    weighed = x[0] * _sigmoid(spatial)[..., None]

    def perceptron(values):
        hidden = values @ params["hidden"]["kernel"] + params["hidden"]["bias"]
        return np.maximum(hidden, 0) @ params["channels"]["kernel"] + params["channels"]["bias"]

    channel = perceptron(weighed.mean(axes)) + perceptron(weighed.max(axes))
    np.testing.assert_allclose(result[0], weighed * _sigmoid(channel), rtol=1e-4, atol=1e-5)


def test_conv_attention_has_the_published_size(variables_of):
    variables = variables_of(attention.ConvAttention(), jnp.zeros((1, 8, 8, 32)))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 390


def test_attention_gate_by_hand(variables_of):
    """A coarse voxel opens its block of the skip, its neighbour's side a quarter less."""
    gate = attention.AttentionGate(1)
    skip = jnp.ones((1, 4, 4, 2)) * jnp.array([1.0, 3.0])[None, None, None]
    coarse = jnp.zeros((1, 2, 2, 1)).at[0, 0, 0, 0].set(1.0)
    params = jax.tree.map(jnp.zeros_like, variables_of(gate, skip, coarse)["params"])
    params["coarse"]["kernel"] = jnp.full((1, 1, 1, 1), 8.0)
    params["weight"]["kernel"] = jnp.full((1, 1, 1, 1), 2.0)
    params["weight"]["bias"] = jnp.array([-8.0])
    gated = gate.apply({"params": params}, skip, coarse)[0]
    opened, shut = _sigmoid(8.0), _sigmoid(-8.0)
    along = [1, 0.75, 0.25, 0]
    expected = shut + (opened - shut) * np.outer(along, along)
    np.testing.assert_allclose(gated[..., 0], expected, atol=1e-6)
    np.testing.assert_allclose(gated[..., 1], 3 * expected, atol=1e-6)


@pytest.mark.parametrize(("sides", "coarse"), [((5, 4), (3, 2)), ((3, 5, 4), (2, 3, 2))])
def test_attention_gate_takes_odd_sides_with_finite_gradients(
    sides, coarse, variables_of, quick_jit
):
    gate = attention.AttentionGate(3)
    skip = jnp.asarray(np.random.default_rng(0).standard_normal((2, *sides, 2)), jnp.float32)
    coarse = jnp.asarray(np.random.default_rng(1).standard_normal((2, *coarse, 4)), jnp.float32)
    variables = variables_of(gate, skip, coarse)

    def loss(variables):
        gated = gate.apply(variables, skip, coarse)
        return jnp.square(gated).sum(), gated

    (_, gated), gradient = quick_jit(jax.value_and_grad(loss, has_aux=True))(variables)
    assert gated.shape == skip.shape
    assert (jnp.abs(gated) <= jnp.abs(skip)).all()
    for leaf in jax.tree.leaves(gradient):
        assert np.isfinite(leaf).all()
        assert np.any(leaf != 0)


def test_an_attention_gate_has_small_kernels():
    gate = attention.AttentionGate(3)
    inputs = jnp.zeros((1, 4, 6, 2)), jnp.zeros((1, 2, 3, 5))
    params = jax.eval_shape(gate.init, jax.random.key(0), *inputs)["params"]
    sizes = {name: part["kernel"].shape for name, part in params.items()}
    assert sizes == {"skip": (2, 2, 2, 3), "coarse": (1, 1, 5, 3), "weight": (1, 1, 3, 1)}
