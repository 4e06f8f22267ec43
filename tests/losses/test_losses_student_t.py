"""The T-Loss beside SciPy's multivariate t distribution, and at extreme degrees of freedom."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from noisyjax.losses import student_t

_LOSS = jax.jit(student_t.t_loss)


def _pair(shape, seed=0):
    draw = np.random.default_rng(seed)
    return np.float32(draw.random(shape)), np.float32(draw.integers(0, 2, shape))


def test_one_pixel_by_hand():
    # A Cauchy distribution: log(pi (1 + 1)).
    loss = _LOSS(jnp.zeros((1, 1)), jnp.ones((1, 1)), 0.0)
    np.testing.assert_allclose(loss, np.log(2 * np.pi), rtol=1e-6)


@pytest.mark.parametrize("case", ["24", "25"])
def test_golden(golden, case):
    with np.load(golden / "multirater.npz") as file:
        probs, labels = (jnp.float32(file[f"{case}.{key}"]) for key in ("probs", "hard"))
        raw_nu = jnp.float32(file[f"{case}.t_raw_nu"])
        paper, code = file[f"{case}.t_loss_paper"], file[f"{case}.t_loss_code"]
    np.testing.assert_allclose(_LOSS(probs, labels, raw_nu), paper, rtol=1e-5)
    np.testing.assert_allclose(_LOSS(probs, labels, raw_nu, log_precision=1.0), code, rtol=1e-5)
    np.testing.assert_allclose(_LOSS(probs, labels > 0, raw_nu), paper, rtol=1e-5)


@pytest.mark.parametrize("raw_nu", [-15.0, -3.0, 0.0, 1.0, 5.0, 15.0])
@pytest.mark.parametrize("log_precision", [0.0, 1.0])
def test_the_density_is_that_of_scipy(raw_nu, log_precision):
    probs, labels = _pair((12, 10))
    expected = -stats.multivariate_t.logpdf(
        np.float64(labels - probs).ravel(),
        shape=np.exp(-log_precision) * np.eye(120),
        df=np.exp(raw_nu) + 1e-8,
    )
    loss = _LOSS(probs, labels, raw_nu, log_precision=log_precision)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_with_many_degrees_of_freedom_it_is_the_normal_likelihood():
    # A million pixels: the two log Gammas alone are 1e8, the loss 1e6.
    probs, labels = _pair((1000, 1000))
    squares = np.square(np.float64(labels - probs)).sum()
    expected = 5e5 * np.log(2 * np.pi) + squares / 2
    for raw_nu in (38.0, 1e30):
        np.testing.assert_allclose(_LOSS(probs, labels, raw_nu), expected, rtol=1e-5)


def _gradients(dtype):
    loss = functools.partial(student_t.t_loss, log_precision=1.0)
    step = jax.jit(jax.value_and_grad(loss, argnums=(0, 2)))
    ones = jnp.ones((40, 40), dtype)
    for raw_nu in (-1e30, -20.0, 1.0, 20.0, 1e30):
        for probs in (0.0 * ones, 0.5 * ones, ones):
            for labels in (0.0 * ones, ones):
                yield step(probs, labels, jnp.float32(raw_nu))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16])
def test_values_and_gradients_are_finite(dtype):
    for loss, gradients in _gradients(dtype):
        assert np.isfinite(loss)
        for gradient in gradients:
            assert np.isfinite(gradient).all()


def test_the_gradient_is_the_derivative():
    probs, labels = (jnp.asarray(x) for x in _pair((6, 5)))
    of_probs, of_nu = jax.grad(student_t.t_loss, argnums=(0, 2))(probs, labels, jnp.float32(1.0))
    # The definition: an error e weighs (nu + V) e / (nu + sum of squares).
    squares = jnp.sum(jnp.square(labels - probs))
    expected = (jnp.e + 30) * (probs - labels) / (jnp.e + squares)
    np.testing.assert_allclose(of_probs, expected, rtol=1e-5)
    density = functools.partial(
        stats.multivariate_t.logpdf, np.float64(labels - probs).ravel(), shape=np.eye(30)
    )
    slope = (density(df=np.exp(0.999)) - density(df=np.exp(1.001))) / 0.002
    np.testing.assert_allclose(of_nu, slope, rtol=1e-4)


def test_an_image_full_of_errors_weighs_less_than_in_the_normal_likelihood():
    labels = jnp.ones((20, 20))
    pull = jax.jit(jax.grad(lambda p: student_t.t_loss(p * labels, labels, 1.0)))
    # Eight times the error, yet no more than its square root of the pull.
    assert pull(0.2) / pull(0.9) < 8**0.5


def test_where_equals_cutting_the_pixels_away():
    probs, labels = (jnp.asarray(x) for x in _pair((6, 5)))
    keep = jnp.arange(6)[:, None] < jnp.full((1, 5), 4)
    masked = _LOSS(probs.at[4:].set(jnp.nan), labels, 1.0, where=keep)
    np.testing.assert_allclose(masked, _LOSS(probs[:4], labels[:4], 1.0), rtol=1e-6)
    nothing = jnp.zeros((6, 5), bool)
    loss = functools.partial(student_t.t_loss, where=nothing)
    value, gradients = jax.value_and_grad(loss, argnums=(0, 2))(probs, labels, jnp.float32(1.0))
    assert value == 0.0
    assert all(np.all(np.asarray(gradient) == 0.0) for gradient in gradients)


@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 2)])
def test_batches(shape):
    probs, labels = (jnp.asarray(x) for x in _pair((3, *shape)))
    losses = jax.jit(jax.vmap(student_t.t_loss, in_axes=(0, 0, None)))(probs, labels, 1.0)
    loop = [student_t.t_loss(p, y, 1.0) for p, y in zip(probs, labels, strict=True)]
    np.testing.assert_allclose(losses, loop, rtol=1e-5)
