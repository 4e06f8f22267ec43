"""Learn the distribution of segmentations: the probabilistic U-Net (Kohl et al. 2018).

A prior network sees the image, a posterior network the image and one rater's segmentation; each
gives a Gaussian over a few latent numbers. A draw from it joins the segmenter's last features, and
1x1 convolutions make a segmentation of both. Training draws from the posterior, which is held close
to the prior; prediction draws from the prior. Raters need not be the same persons from image to
image: this models that raters differ, not how each one does.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from noisyjax import fusion
from noisyjax.core import checks, ignored, rng
from noisyjax.losses import entropy
from noisyjax.methods import base, network
from noisyjax.models import prob_unet


def build(
    segmenter: Any,
    *,
    num_raters: int,
    num_classes: int,
    beta: float | int = 10.0,
    latent_size: int = 6,
    widths: tuple[int, ...] = (32, 64, 128, 192),
    convs_per_level: int = 3,
    norm: str = "none",
    num_samples: int = 16,
) -> base.Method:
    """Builds the method, which predicts samples, and their mean as the truth.

    The published loss adds the cross-entropy over pixels, and beta times the divergence of the
    posterior from the prior. Here the whole is divided by the number of pixels, so that learning
    rates and bounds on the gradient mean the same as for the other methods; the minimum is the
    same. In each step it is taken on the label of one of those who labelled the image, drawn anew.

    Args:
      beta: weight of the divergence.
      latent_size: Z.
      widths: channels of the levels of the prior and of the posterior network.
      convs_per_level: their convolutions at each level.
      norm: their normalisation, "none" as published, "instance", "group" or "batch".
      num_samples: N, how many segmentations a prediction draws. The standard normal numbers behind
        them are always the same, for all images: a prediction depends on nothing but its image.
    """
    del num_raters
    checks.positive("beta", beta, or_zero=True)
    checks.positive("latent_size", latent_size)
    checks.positive("num_samples", num_samples)
    axis_name = network.axis_name(segmenter)
    encoder = prob_unet.Encoder(
        latent_size, tuple(widths), convs_per_level, norm, axis_name=axis_name
    )
    modules = {"segmenter": segmenter, "prior": encoder, "posterior": encoder}
    modules["combiner"] = prob_unet.Combiner(num_classes)
    return _method(modules, beta=beta, num_samples=num_samples)


def _method(modules: dict[str, Any], *, beta: float | int, num_samples: int) -> base.Method:
    """Builds the functions of the method."""
    num_classes, latent_size = modules["combiner"].num_classes, modules["prior"].latent_size

    segmenter = modules["segmenter"]

    def run(name: str, variables: base.Variables, *inputs, **options) -> tuple:
        return network.run(name, modules[name], variables, *inputs, **options)

    def init(key: jax.Array, batch: base.Batch) -> base.Variables:
        image = batch["image"]
        variables = network.init_segmenter(segmenter, key, batch)
        features = network.evaluate(segmenter, variables, image).features
        inputs = {
            "prior": (image,),
            "posterior": (image, jnp.zeros((*image.shape[:-1], num_classes))),
            "combiner": (features, jnp.zeros((len(image), latent_size))),
        }
        return network.merge(variables, network.init_heads(modules, key, inputs))

    def loss_fn(variables, batch, key, step):
        image, ids = batch["image"], batch["id"]
        options = {"train": True, "weight": batch["weight"]}
        sampled = base.sample_rater(key, ids, batch["rater_mask"], step)
        to_target = functools.partial(fusion.mean, num_classes=num_classes)
        target = jax.vmap(lambda labels, rater: to_target(labels, rater_mask=rater))(
            batch["labels"], sampled
        )
        keys = base.dropout_keys(key, ids, step)
        output, state = network.segment(segmenter, variables, batch, keys)
        prior, more = run("prior", variables, image, **options)
        posterior, most = run("posterior", variables, image, target, **options)
        keys = rng.example_keys(rng.purpose_key(key, "latents"), ids, epoch=step + 1)
        latent = posterior.at(_normal(keys, latent_size))
        logits, _ = run("combiner", variables, output.features, latent)
        nll = jax.vmap(entropy.mean_soft_cross_entropy)(logits, target)
        kl = prob_unet.kl_divergence(posterior, prior)
        counting = ignored.counting_targets(target)
        scale = ignored.scale(counting, tuple(range(1, counting.ndim)))
        losses = nll + beta * kl / counting[0].size * scale
        state = network.merge(state, more, most)
        return base.weighted(losses, batch["weight"], {"nll": nll, "kl": kl}, state)

    def predict(variables: base.Variables, image: jax.Array) -> base.Prediction:
        features = network.evaluate(segmenter, variables, image).features
        prior, _ = run("prior", variables, image)
        keys = rng.rater_keys(rng.purpose_key(0, "latents"), num_samples)

        def sample(normal: jax.Array) -> jax.Array:
            latent = prior.at(jnp.broadcast_to(normal, prior.mean.shape))
            return jax.nn.softmax(run("combiner", variables, features, latent)[0])

        samples = jnp.moveaxis(jax.lax.map(sample, _normal(keys, latent_size)[:, None]), 0, 1)
        return base.Prediction(samples.mean(1), samples=samples)

    # The numbers of a draw are the same for all images: a latent differs by the prior alone.
    return base.Method(init, loss_fn, predict, shared_draws=True)


def _normal(keys: jax.Array, size: int) -> jax.Array:
    """Standard normal numbers, ``[B, Z]``, from keys ``[B]``."""
    return jax.vmap(lambda key: jax.random.normal(key, (size,)))(keys)
