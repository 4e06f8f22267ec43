"""Structural similarity: the windows summed by hand, closed forms, gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from noisyjax.losses import ssim

_SSIM = jax.jit(ssim.ssim, static_argnames=("window", "sigma", "data_range"))
_LOSS = jax.jit(ssim.ssim_loss, static_argnames=("window", "include_background"))


def _pair(*shape):
    draw = np.random.default_rng(0)
    x = draw.uniform(size=shape)
    return x, np.clip(x + draw.normal(0, 0.3, shape), 0, 1)


def _by_hand(x, y, at, *, window, sigma, data_range=1.0):
    """The formula at one voxel in float64, from the sum over its window; zeros lie outside."""
    half = window // 2
    axis = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    weights = functools.reduce(np.multiply.outer, [axis / axis.sum()] * x.ndim)
    position = tuple(slice(i, i + window) for i in at)
    x, y = (np.pad(z, half)[position] for z in (x, y))
    mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
    var_x, var_y = (weights * (x - mean_x) ** 2).sum(), (weights * (y - mean_y) ** 2).sum()
    covariance = (weights * (x - mean_x) * (y - mean_y)).sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return above / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))


@pytest.mark.parametrize(
    ("shape", "positions", "options"),
    [
        ((14, 13), [(0, 0), (7, 6), (13, 4)], {"window": 11, "sigma": 1.5}),
        ((14, 13), [(0, 12), (6, 6)], {"window": 5, "sigma": 3.0, "data_range": 2.0}),
        ((6, 7, 5), [(0, 0, 0), (3, 3, 2)], {"window": 5, "sigma": 1.5}),
    ],
)
def test_the_windows_summed_by_hand(shape, positions, options):
    x, y = _pair(*shape)
    result = _SSIM(jnp.float32(x), jnp.float32(y), **options)
    assert result.shape == shape
    for at in positions:
        np.testing.assert_allclose(result[at], _by_hand(x, y, at, **options), rtol=1e-4, atol=1e-5)


def test_whole_maps_are_those_of_a_gaussian_filter():
    x, y = _pair(20, 20)
    mean = functools.partial(
        ndimage.gaussian_filter, sigma=1.5, mode="constant", truncate=5.25 / 1.5
    )
    covariance = mean(x * y) - mean(x) * mean(y)
    variances = mean(x * x) - mean(x) ** 2 + mean(y * y) - mean(y) ** 2
    expected = (2 * mean(x) * mean(y) + 1e-4) * (2 * covariance + 9e-4)
    expected /= (mean(x) ** 2 + mean(y) ** 2 + 1e-4) * (variances + 9e-4)
    result = _SSIM(jnp.float32(x), jnp.float32(y))
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_constant_images_differ_by_their_brightness_alone():
    # Far from the border: (2 a b + c) / (a^2 + b^2 + c).
    result = _SSIM(jnp.full((11, 11), 0.25), jnp.full((11, 11), 0.75))[5, 5]
    expected = (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4)
    np.testing.assert_allclose(result, expected, rtol=1e-3)


def test_the_loss_is_that_of_the_foreground_unless_asked_otherwise():
    x, y = (jnp.float32(z) for z in _pair(9, 8))
    probs, targets = jnp.stack([1 - x, x], -1), jnp.stack([1 - y, y], -1)
    one, other = (1 - _SSIM(*pair).mean() for pair in ((x, y), (1 - x, 1 - y)))
    assert abs(float(one - other)) > 1e-3
    np.testing.assert_allclose(_LOSS(probs, targets), one, rtol=1e-5)
    both = _LOSS(probs, targets, include_background=True)
    np.testing.assert_allclose(both, (one + other) / 2, rtol=1e-5)
    np.testing.assert_allclose(_LOSS(probs, probs), 0, atol=1e-5)
    batch = jax.jit(jax.vmap(ssim.ssim_loss))(
        jnp.stack([probs, targets]), targets[None].repeat(2, 0)
    )
    np.testing.assert_allclose(batch, [one, 0], rtol=1e-5, atol=1e-5)


def test_gradients_are_finite_and_lead_downhill():
    step = jax.jit(jax.value_and_grad(lambda p, t: ssim.ssim_loss(jax.nn.softmax(p), t)))
    mask = (
        jnp.zeros((8, 8, 2)).at[..., 0].set(1.0).at[2:6, 2:6].set(jnp.array([0.0, 1.0])[None, None])
    )
    for logits in (jnp.zeros((8, 8, 2)), 200 * mask, -200 * mask):
        for targets in (mask, 1 - mask, jnp.zeros((8, 8, 2))):
            assert np.isfinite(step(logits, targets)[1]).all()
    value, gradient = step(jnp.zeros((8, 8, 2)), mask)
    assert float(step(-5 * gradient, mask)[0]) < float(value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 10}, "window: expected an odd"),
        ({"sigma": 0}, "sigma: expected"),
        ({"data_range": -1.0}, "data_range: expected"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ssim.ssim(jnp.zeros((4, 4)), jnp.zeros((4, 4)), **options)


def test_a_lone_background_is_refused():
    with pytest.raises(ValueError, match="probs"):
        ssim.ssim_loss(jnp.ones((4, 4, 1)), jnp.ones((4, 4, 1)))
