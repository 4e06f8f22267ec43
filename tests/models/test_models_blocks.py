"""Blocks: statistics far from zero, resampling by hand, group statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.models import blocks


@pytest.mark.parametrize("mean", [0.0, 1e3, -1e5])
def test_moments_stay_exact_when_the_mean_is_far_from_zero(mean):
    x = np.random.default_rng(0).normal(mean, 1.0, (2, 16, 17, 3)).astype(np.float32)
    mean, variance = jax.jit(blocks.moments)(x)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean((1, 2)), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(variance, exact.var((1, 2)), rtol=1e-4)


def test_moments_of_a_constant_have_no_variance_and_finite_gradients():
    x = jnp.full((1, 4, 4, 2), 7.0)
    np.testing.assert_array_equal(blocks.moments(x)[1], 0)
    gradient = jax.grad(lambda x: jnp.sum(jax.lax.rsqrt(blocks.moments(x)[1] + 1e-5)))(x)
    assert np.isfinite(gradient).all()


def test_group_norm_pools_the_channels_of_a_group():
    x = (
        jnp.asarray(np.random.default_rng(0).standard_normal((2, 5, 4, 6)), jnp.float32)
        + jnp.arange(6.0)[None, None, None]
    )
    norm = blocks.Norm("group", groups=2)
    y, _ = norm.init_with_output(jax.random.key(1), x)
    grouped = np.asarray(y).reshape(2, 20, 2, 3)
    np.testing.assert_allclose(grouped.mean((1, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(grouped.std((1, 3)), 1, atol=1e-3)


def test_max_pool_keeps_the_last_narrower_block():
    x = jnp.array([[-1.0, -2, -3], [-4, -5, -6], [-7, -8, -9]]).reshape(1, 3, 3, 1)
    np.testing.assert_array_equal(blocks.max_pool(x)[..., 0], [[[-1, -3], [-7, -9]]])


def test_mean_pool_means_over_what_is_there():
    x = jnp.arange(9.0).reshape(1, 3, 3, 1)
    expected = [[(0 + 1 + 3 + 4) / 4, (2 + 5) / 2], [(6 + 7) / 2, 8]]
    np.testing.assert_allclose(blocks.mean_pool(x)[..., 0], [expected])


def test_conv_with_up_is_the_conv_of_the_up_sampled_and_the_finer_map():
    keys = jax.random.split(jax.random.key(0), 3)
    coarse = jax.random.normal(keys[0], (2, 2, 3, 3))
    fine = jax.random.normal(keys[1], (2, 4, 5, 2))
    y, variables = blocks.Conv(4, up=True).init_with_output(keys[2], coarse, fine)
    up = jax.image.resize(coarse, (2, 4, 6, 3), "linear")[:, :, :5]
    expected = blocks.Conv(4).apply(variables, up, fine)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_conv_with_up_takes_two_inputs_and_no_stride():
    coarse, fine = jnp.zeros((1, 2, 2, 3)), jnp.zeros((1, 4, 4, 1))
    variables = blocks.Conv(2, up=True).init(jax.random.key(0), coarse, fine)
    assert variables["params"]["kernel"].shape == (3, 3, 4, 2)
    with pytest.raises(ValueError, match="up: expected two inputs, .* got 1, 1 and 1"):
        blocks.Conv(2, up=True).init(jax.random.key(0), coarse)
    with pytest.raises(ValueError, match="up: .* got 2, 2 and 1"):
        blocks.Conv(2, stride=2, up=True).init(jax.random.key(0), coarse, fine)


def test_a_norm_without_scale_has_a_shift_alone():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 4, 3)), jnp.float32)
    norm = blocks.Norm("instance", use_scale=False)
    y, variables = norm.init_with_output(jax.random.key(1), x)
    assert set(variables["params"]) == {"bias"}
    scaled, _ = blocks.Norm("instance").init_with_output(jax.random.key(1), x)
    np.testing.assert_array_equal(y, scaled)


def test_transposed_up_sampling_with_bias_by_hand():
    up = blocks.UpsampleTransposed(1, use_bias=True)
    params = {
        "kernel": jnp.array([1.0, 2.0, 3.0, 4.0]).reshape(2, 2, 1, 1),
        "bias": jnp.array([0.5]),
    }
    y = up.apply({"params": params}, jnp.full((1, 1, 1, 1), 10.0))
    np.testing.assert_allclose(y[0, ..., 0], [[10.5, 20.5], [30.5, 40.5]])


@pytest.mark.parametrize("whole_channels", [True, False])
def test_dropout_keeps_the_mean_and_zeroes_channels_or_numbers(whole_channels):
    x = jnp.ones((4, 20, 20, 30))
    keys = jax.random.split(jax.random.key(0), 4)
    y = np.asarray(blocks.dropout(x, keys, 0.25, 1, whole_channels=whole_channels))
    assert set(np.unique(y.round(4))) == {0, np.float32(4 / 3).round(4)}
    np.testing.assert_allclose(y.mean(), 1, atol=0.15 if whole_channels else 0.02)
    flat = y.reshape(4, 400, 30)
    assert (flat == flat[:, :1]).all() == whole_channels
    with pytest.raises(ValueError, match="keys"):
        blocks.dropout(x, None, 0.25, 1)


@pytest.mark.parametrize("shape", [(1, 6, 5, 2), (1, 4, 5, 3, 2)])
def test_a_dilated_convolution_has_its_taps_apart(shape):
    x = jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)
    kernel = jax.random.normal(jax.random.key(1), (3,) * (len(shape) - 2) + (2, 3))
    y = blocks.Conv(3, dilation=2).apply({"params": {"kernel": kernel}}, x)
    apart = jnp.zeros((5,) * (len(shape) - 2) + (2, 3))
    apart = apart.at[(slice(None, None, 2),) * (len(shape) - 2)].set(kernel)
    dense = blocks.Conv(3, 5).apply({"params": {"kernel": apart}}, x)
    np.testing.assert_allclose(y, dense, rtol=1e-4, atol=1e-4)


def test_strides_and_dilations_exclude_each_other():
    conv = blocks.Conv(1, stride=2, dilation=2)
    with pytest.raises(ValueError, match="dilation.*2"):
        jax.eval_shape(conv.init, jax.random.key(0), jnp.zeros((1, 4, 4, 1)))


@pytest.mark.parametrize("weight", [None, [1.0, 0.0, 0.5]])
def test_batch_statistics_by_hand(weight):
    """Two pixels each of 0 and 2, 90 and 110 (padding, if weighted), 4 and 8: mean and variance."""
    x = jnp.array([0.0, 2.0, 90.0, 110.0, 4.0, 8.0]).reshape(3, 2, 1, 1)
    pixels = [0, 2, 90, 110, 4, 8] if weight is None else [0, 2, 4, 8]
    norm = blocks.Norm("batch", momentum=0.75)
    given = None if weight is None else jnp.array(weight)
    variables = norm.init(jax.random.key(0), x)
    y, state = norm.apply(variables, x, True, given, mutable="batch_stats")
    mean, variance = np.mean(pixels), np.var(pixels)
    expected = (np.asarray(x) - mean) / np.sqrt(variance + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-6)
    stats = state["batch_stats"]
    np.testing.assert_allclose(stats["mean"], [0.25 * mean], rtol=1e-5)
    np.testing.assert_allclose(stats["variance"], [0.75 + 0.25 * variance], rtol=1e-5)


def test_prelu_starts_at_a_quarter():
    activation = blocks.Activation("prelu")
    y, variables = activation.init_with_output(jax.random.key(0), jnp.array([-4.0, 0.0, 2.0]))
    assert y.tolist() == [-1.0, 0.0, 2.0]
    assert float(variables["params"]["slope"]) == 0.25
