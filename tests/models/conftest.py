"""Variables without a compiled initialisation, and jit with little optimisation."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest


def _filled(path, shape, rng):
    name = path[-1].key
    if name == "kernel":
        scale = math.sqrt(2 / math.prod(shape.shape[:-1]))
        return jnp.asarray(rng.normal(0, scale, shape.shape), shape.dtype)
    if name in ("scale", "variance"):
        return jnp.asarray(rng.uniform(0.5, 1.5, shape.shape), shape.dtype)
    return jnp.asarray(rng.normal(0, 0.1, shape.shape), shape.dtype)


@pytest.fixture
def variables_of():
    """Random variables of a module for inputs, no number of which is special."""

    def make(module, *inputs):
        rng = np.random.default_rng(0)
        shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
        return jax.tree_util.tree_map_with_path(lambda p, s: _filled(p, s, rng), shapes)

    return make


@pytest.fixture
def quick_jit():
    """`jax.jit` that compiles faster than it runs."""
    options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    return functools.partial(jax.jit, compiler_options=options)
