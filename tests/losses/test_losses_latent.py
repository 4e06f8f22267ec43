"""Likelihoods of draws and KL divergences beside SciPy, float64 and values worked out by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from noisyjax.losses import latent

_NLL = jax.jit(latent.ssn_nll)
_GAUSSIAN = jax.jit(latent.kl_gaussian, static_argnames="prior_std")
_DIRICHLET = jax.jit(latent.kl_dirichlet_flat)


@pytest.mark.parametrize("case", ["26", "27"])
def test_golden(golden, case):
    with np.load(golden / "multirater.npz") as file:
        values = {key[3:]: file[key] for key in file.files if key.startswith(f"{case}.")}
    logits, mean, tril, concentration = (
        jnp.float32(values[key]) for key in ("logits", "mean", "tril", "concentration")
    )
    nll = _NLL(logits, jnp.int32(values["labels"]))
    np.testing.assert_allclose(nll, values["ssn_nll"], rtol=1e-5)
    kl = _GAUSSIAN(mean, tril, prior_std=float(values["prior_std"]))
    np.testing.assert_allclose(kl, values["kl_gaussian"], rtol=1e-5)
    kl = _DIRICHLET(concentration)
    np.testing.assert_allclose(kl, values["kl_dirichlet_flat"], rtol=1e-5)


def test_nll_by_hand():
    # Two draws of two pixels: the label has the probabilities .9 * .8 and .5 * .5.
    foreground = np.array([[0.9, 0.8], [0.5, 0.5]])
    logits = jnp.log(jnp.stack([1 - foreground, foreground], axis=-1))
    expected = -np.log((0.72 + 0.25) / 2)
    np.testing.assert_allclose(_NLL(logits, jnp.array([1, 1])), expected, rtol=1e-5)


def _draws(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def _labels(*shape, classes=3):
    return jnp.asarray(np.random.default_rng(1).integers(0, classes, shape))


def test_draws_that_agree_are_one_draw():
    logits, labels = _draws(1, 6, 5, 3), _labels(6, 5)
    once = _NLL(logits, labels)
    np.testing.assert_allclose(_NLL(jnp.tile(logits, (4, 1, 1, 1)), labels), once, rtol=1e-6)
    log_probs = jax.nn.log_softmax(logits[0])
    expected = -jnp.take_along_axis(log_probs, labels[..., None], axis=-1).sum()
    np.testing.assert_allclose(once, expected, rtol=1e-6)


def test_pixels_that_do_not_count():
    logits, labels = _draws(4, 6, 5, 3), _labels(6, 5)
    keep = jnp.arange(6)[:, None] < jnp.full((1, 5), 4)
    expected = _NLL(logits[:, :4], labels[:4])
    masked = _NLL(logits, jnp.where(keep, labels, 255), where=keep)
    np.testing.assert_allclose(masked, expected, rtol=1e-6)
    ignored = _NLL(logits, jnp.where(keep, labels, 255))
    np.testing.assert_allclose(ignored, expected, rtol=1e-6)
    assert np.isnan(_NLL(logits, jnp.where(keep, labels, 254)))
    np.testing.assert_allclose(_NLL(logits, jnp.full((6, 5), 255)), 0.0, atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "scale"), [(jnp.float32, 1e30), (jnp.float32, 3e38), (jnp.float16, 6e4)]
)
def test_extreme_logits_have_finite_values_and_gradients(dtype, scale):
    step = jax.jit(jax.value_and_grad(latent.ssn_nll))
    labels = _labels(30, 30)
    right = 2.0 * jax.nn.one_hot(labels, 3) - 1.0
    for signs in ((1.0, 1.0), (1.0, -1.0), (-1.0, -1.0), (0.0, -1.0)):
        logits = jnp.stack([(scale * sign * right).astype(dtype) for sign in signs])
        value, gradient = step(logits, labels)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
    # One draw that is right is enough, whatever the others are.
    logits = jnp.stack([(scale * sign * right).astype(dtype) for sign in (1.0, -1.0)])
    np.testing.assert_allclose(step(logits, labels)[0], np.log(2), rtol=1e-5)


@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 2)])
def test_nll_batches(shape):
    logits, labels = _draws(3, 4, *shape, 3), _labels(3, *shape)
    losses = jax.jit(jax.vmap(latent.ssn_nll))(logits, labels)
    loop = [latent.ssn_nll(x, y) for x, y in zip(logits, labels, strict=True)]
    np.testing.assert_allclose(losses, loop, rtol=1e-5)


def _gaussian(size, seed=0):
    draw = np.random.default_rng(seed)
    tril = np.tril(draw.normal(size=(size, size)), -1) + np.diag(draw.uniform(0.1, 3, size))
    return draw.normal(size=size), tril


@pytest.mark.parametrize("prior_std", [0.5, 2.0])
def test_gaussian_divergence_is_that_of_the_matrices(prior_std):
    mean, tril = _gaussian(8)
    covariance = tril @ tril.T
    expected = 0.5 * (
        (np.trace(covariance) + mean @ mean) / prior_std**2
        - 8
        + 16 * np.log(prior_std)
        - np.linalg.slogdet(covariance)[1]
    )
    kl = functools.partial(_GAUSSIAN, jnp.float32(mean), prior_std=prior_std)
    np.testing.assert_allclose(kl(jnp.float32(tril)), expected, rtol=1e-5)
    # What stands above the diagonal does not count, nor does the sign of a column.
    above = np.triu(np.ones((8, 8)), 1) - tril
    np.testing.assert_allclose(kl(jnp.float32(above)), expected, rtol=1e-5)


def test_gaussian_divergence_in_one_dimension_is_the_integral():
    x = np.linspace(-12, 12, 20001)
    q, p = stats.norm(1.0, 0.7), stats.norm(0.0, 2.0)
    expected = np.trapezoid(q.pdf(x) * (q.logpdf(x) - p.logpdf(x)), x)
    kl = _GAUSSIAN(jnp.array([1.0]), jnp.array([[0.7]]), prior_std=2.0)
    np.testing.assert_allclose(kl, expected, rtol=1e-5)


def test_gaussian_divergence_is_zero_at_the_prior_and_exact_beside_it():
    at = functools.partial(_GAUSSIAN, jnp.zeros(4), prior_std=2.0)
    assert at(2.0 * jnp.eye(4)) == 0.0
    # e - 1 - log e of the variances, each about the square of the distance.
    ratio = np.float64(np.float32(2.002)) / 2
    expected = 2 * (ratio**2 - 1 - 2 * np.log(ratio))
    np.testing.assert_allclose(at(2.002 * jnp.eye(4)), expected, rtol=1e-3)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16])
def test_gaussian_gradients_are_finite(dtype):
    step = jax.jit(
        jax.value_and_grad(functools.partial(latent.kl_gaussian, prior_std=2.0), argnums=(0, 1))
    )
    for scale in (0.0, float(jnp.finfo(dtype).tiny), 1e-4, 1.0, 1e4):
        value, gradients = step(jnp.full(3, scale, dtype), scale * jnp.eye(3, dtype=dtype))
        assert np.isfinite(value)
        for gradient in gradients:
            assert np.isfinite(gradient.astype(np.float32)).all()


def _dirichlet(a):
    a = np.float64(a)
    total = a.sum()
    logs = special.gammaln(total) - special.gammaln(len(a)) - special.gammaln(a).sum()
    return logs + ((a - 1) * (special.digamma(a) - special.digamma(total))).sum()


def test_dirichlet_divergence_by_hand():
    # Beta(2, 1) has the density 2 x: log 2 - 1 / 2.
    np.testing.assert_allclose(_DIRICHLET(jnp.array([2.0, 1.0])), np.log(2) - 0.5, rtol=1e-5)
    np.testing.assert_allclose(_DIRICHLET(jnp.ones(8)), 0.0, atol=1e-6)


@pytest.mark.parametrize("size", [2, 8])
@pytest.mark.parametrize("scale", [1e-3, 0.3, 1.0, 10.0, 1e4, 1e7])
def test_dirichlet_divergence_is_that_of_float64(size, scale):
    # Of large numbers: the terms are about 1e9, the divergence 10.
    a = np.random.default_rng(0).uniform(0.5 * scale, 2 * scale, size).astype(np.float32)
    np.testing.assert_allclose(_DIRICHLET(a), _dirichlet(a), rtol=1e-5)
    gradient = jax.jit(jax.grad(latent.kl_dirichlet_flat))(a)
    a = np.float64(a)
    trigamma = functools.partial(special.polygamma, 1)
    total = a.sum()
    expected = (a - 1) * trigamma(a) - (total - size) * trigamma(total)
    np.testing.assert_allclose(gradient, expected, atol=2e-5 * np.abs(expected).max())


def test_dirichlet_divergence_close_to_the_prior():
    a = np.array([1.02, 0.99, 1.01, 0.97], np.float32)
    np.testing.assert_allclose(_DIRICHLET(a), _dirichlet(a), rtol=1e-3)


@pytest.mark.parametrize(
    ("dtype", "least", "most"), [(jnp.float32, 1e-30, 1e30), (jnp.float16, 1e-7, 6e4)]
)
def test_dirichlet_gradients_are_finite(dtype, least, most):
    step = jax.jit(jax.value_and_grad(latent.kl_dirichlet_flat))
    for a in ((0.0, 0.0), (least, 1.0), (least, most), (most, most)):
        value, gradient = step(jnp.array(a, dtype))
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_divergences_batch():
    means, trils = zip(*(_gaussian(4, seed) for seed in range(3)))
    means, trils = jnp.float32(np.stack(means)), jnp.float32(np.stack(trils))
    of_each = functools.partial(latent.kl_gaussian, prior_std=2.0)
    loop = [of_each(m, t) for m, t in zip(means, trils, strict=True)]
    np.testing.assert_allclose(jax.jit(jax.vmap(of_each))(means, trils), loop, rtol=1e-5)
    a = jnp.exp(means)
    loop = [latent.kl_dirichlet_flat(one) for one in a]
    np.testing.assert_allclose(jax.vmap(_DIRICHLET)(a), loop, rtol=1e-5, atol=1e-6)


def test_no_draw_is_no_distribution():
    with pytest.raises(ValueError, match="draws: expected at least 1"):
        latent.ssn_nll(jnp.zeros((0, 2, 2)), jnp.array([0, 1]))
