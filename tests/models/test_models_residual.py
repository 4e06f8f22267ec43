"""Residual paths: one unit by hand, sizes."""

import jax
import jax.numpy as jnp
import numpy as np

from noisyjax.models import residual


def test_one_unit_by_hand(variables_of):
    """1x1 kernels inside 3x3 ones leave a sum that can be written down."""
    path = residual.ResidualPath(1, 1, norm="none")
    x = jnp.array([-2.0, 0.5, 3.0]).reshape(1, 1, 3, 1)
    params = jax.tree.map(jnp.zeros_like, variables_of(path, x)["params"])
    params["conv0"]["conv"]["kernel"] = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(2.0)
    params["conv0"]["conv"]["bias"] = jnp.array([-1.0])
    params["shortcut0"]["conv"]["kernel"] = jnp.ones((1, 1, 1, 1))
    result = path.apply({"params": params}, x)[0, 0, :, 0]
    # relu(relu(2x - 1) + x)
    np.testing.assert_allclose(result, [0.0, 0.5, 8.0])


def test_the_unit_ends_in_its_norm(variables_of):
    path = residual.ResidualPath(3, 2)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 5, 2)), jnp.float32)
    variables = variables_of(path, x)
    variables["params"]["norm1"] = {"scale": jnp.zeros(3), "bias": jnp.array([1.0, -2.0, 3.0])}
    result = path.apply(variables, x)
    np.testing.assert_array_equal(result, jnp.broadcast_to(jnp.array([1.0, -2, 3]), result.shape))


def test_parameters_by_hand():
    def count(conv_norm):
        path = residual.ResidualPath(8, 3, conv_norm=conv_norm)
        shapes = jax.eval_shape(path.init, jax.random.key(0), jnp.zeros((1, 4, 4, 8)))
        return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))

    # A bias or the shift of a norm per convolution, and scale and shift of the unit.
    assert count("none") == count("batch") == 3 * (10 * 8 * 8 + 2 * 8 + 2 * 8)
