import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.core import compilation


@pytest.fixture(autouse=True)
def _forget():
    compilation.options.cache_clear()
    yield
    compilation.options.cache_clear()


def _kernels_of_ynnpack(function, options, *args):
    compiled = jax.jit(function, compiler_options=options).lower(*args).compile()
    return compiled.as_text().count("__ynn")


def test_products_are_ynnpacks_and_convolutions_are_not(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    options = compilation.options("cpu")
    matrix = jnp.ones((256, 256))
    assert _kernels_of_ynnpack(jnp.dot, options, matrix, matrix) == 1

    def conv(x, kernel):
        return jax.lax.conv(x, kernel, (1, 1), "SAME")

    image, kernel = jnp.ones((2, 16, 32, 32)), jnp.ones((16, 16, 3, 3))
    assert _kernels_of_ynnpack(conv, options, image, kernel) == 0


def test_options_do_not_change_what_is_computed():
    x = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)

    def function(x):
        return jax.nn.softmax(x @ x.T).sum(0)

    plain = jax.jit(function)(x)
    ours = jax.jit(function, compiler_options=compilation.options("cpu"))(x)
    np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-6)


def test_no_options_for_accelerators_nor_against_the_users_own(monkeypatch):
    assert compilation.options("gpu") == {}
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_experimental_ynn_fusion_type=")
    assert compilation.options("cpu") == {}


def test_no_options_where_xla_does_not_know_them(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr(compilation, "_OPTION", "xla_cpu_no_such_option")
    assert compilation.options("cpu") == {}
