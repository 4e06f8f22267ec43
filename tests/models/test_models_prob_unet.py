"""The parts of the probabilistic U-Net: divergence by hand, shapes, what each part sees."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import models
from noisyjax.models import prob_unet


def _gaussian(mean, sigma):
    return prob_unet.Gaussian(jnp.array(mean), jnp.log(jnp.array(sigma)))


def test_divergence_by_hand():
    standard = _gaussian([0.0, 0.0], [1.0, 1.0])
    assert float(prob_unet.kl_divergence(standard, standard)) == 0
    # log(1 / 2) + (4 + 9) / 2 - 1 / 2, and log 2 + (1 + 9) / 8 - 1 / 2 the other way.
    wide = _gaussian([3.0, 0.0], [2.0, 1.0])
    there, back = math.log(0.5) + 6, math.log(2) + 0.75
    np.testing.assert_allclose(prob_unet.kl_divergence(wide, standard), there, rtol=1e-6)
    np.testing.assert_allclose(prob_unet.kl_divergence(standard, wide), back, rtol=1e-6)


def test_divergence_is_the_mean_log_ratio_of_draws():
    posterior, prior = _gaussian([0.3, -1.0], [0.5, 2.0]), _gaussian([0.0, 0.5], [1.0, 1.5])
    draws = jax.vmap(posterior.at)(jax.random.normal(jax.random.key(0), (200_000, 2)))

    def log_density(gaussian):
        z = (draws - gaussian.mean[None]) * jnp.exp(-gaussian.log_sigma)[None]
        return -(0.5 * jnp.square(z) + gaussian.log_sigma[None]).sum(-1)

    ratio = log_density(posterior) - log_density(prior)
    expected = prob_unet.kl_divergence(posterior, prior)
    np.testing.assert_allclose(ratio.mean(), expected, atol=5 * float(ratio.std()) / 447)


@pytest.mark.parametrize("log_sigma", [-20.0, 0.0, 20.0])
def test_divergence_has_finite_gradients(log_sigma):
    def divergence(mean, log_sigma):
        posterior = prob_unet.Gaussian(mean, log_sigma)
        return prob_unet.kl_divergence(posterior, prob_unet.Gaussian(0 * mean, 0 * log_sigma))

    gradients = jax.grad(divergence, (0, 1))(jnp.full(2, 100.0), jnp.full(2, log_sigma))
    assert np.isfinite(jax.tree.leaves(gradients)).all()


def test_the_published_segmenter_has_the_published_layers():
    segmenter = models.build("prob_unet", 2)
    shapes = jax.eval_shape(segmenter.init, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    # Three convolutions of 3 x 3 with bias at each level, down and up again.
    widths, inputs = (32, 64, 128, 192), (1, 32, 64, 128)
    layers = [pair for i, w in zip(inputs, widths) for pair in ((i, w), (w, w), (w, w))]
    layers += [pair for i, w in ((192, 128), (128, 64), (64, 32)) for pair in ((i + w, w),)]
    layers += [(w, w) for w in widths[:3] for _ in range(2)]
    expected = sum(9 * i * o + o for i, o in layers) + 32 * 2 + 2
    assert models.parameter_count(shapes) == expected


@pytest.mark.parametrize("sides", [(7, 6), (5, 4, 3)])
def test_an_encoder_gives_a_gaussian_of_any_image(sides):
    taps = 3 ** len(sides)
    encoder = prob_unet.Encoder(2, widths=(3, 4), convs_per_level=2)
    image = jax.random.normal(jax.random.key(0), (2, *sides, 1))
    segmentation = jnp.zeros((2, *sides, 3)).at[..., 0].set(1.0)
    variables = jax.jit(encoder.init)(jax.random.key(1), image, segmentation)
    # (in, out) of the convolutions, with biases; 4 means become 2 means and 2 spreads.
    convs = [(1 + 3, 3), (3, 3), (3, 4), (4, 4)]
    by_hand = sum(taps * i * o + o for i, o in convs) + 4 * 4 + 4
    assert models.parameter_count(variables) == by_hand
    apply = jax.jit(encoder.apply)
    gaussian = apply(variables, image, segmentation)
    assert gaussian.mean.shape == gaussian.log_sigma.shape == (2, 2)
    other = apply(variables, image, segmentation.at[0].set(1 / 3))
    assert float(jnp.abs(other.mean - gaussian.mean)[0].max()) > 1e-3
    np.testing.assert_allclose(other.mean[1], gaussian.mean[1], atol=1e-6)
    with pytest.raises(ValueError, match="image"):
        encoder.init(jax.random.key(0), jnp.zeros((1, 4, 1)))


def test_the_combiner_is_three_layers_at_every_voxel():
    combiner = prob_unet.Combiner(3)
    draw = jax.random.normal(jax.random.key(0), (2, 4, 5, 6 + 2))
    features, latent = draw[..., :6], draw[:, 0, 0, 6:]
    variables = jax.jit(combiner.init)(jax.random.key(1), features, latent)
    assert models.parameter_count(variables) == (8 * 6 + 6) + (6 * 6 + 6) + (6 * 3 + 3)
    result = combiner.apply(variables, features, latent)
    x = jnp.concatenate([features[1, 2, 3], latent[1]])
    for name in ("conv0", "conv1", "logits"):
        layer = variables["params"][name]
        x = x @ layer["kernel"][0, 0] + layer["bias"]
        x = x if name == "logits" else jnp.maximum(x, 0)
    np.testing.assert_allclose(result[1, 2, 3], x, rtol=1e-4, atol=1e-5)
