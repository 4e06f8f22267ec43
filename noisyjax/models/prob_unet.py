"""The parts that make a probabilistic network of any segmenter (Kohl et al. 2018).

A Gaussian over a few latent numbers stands for what the image leaves open, such as whose hand
draws the outline. `Encoder` gives its mean and spread, `Combiner` the segmentation that goes with
one draw.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from noisyjax.core import checks
from noisyjax.models import blocks


class Gaussian(NamedTuple):
    """A Gaussian with independent components; `log_sigma` is of the standard deviations."""

    mean: Float[Array, "*B Z"]
    log_sigma: Float[Array, "*B Z"]

    def at(self, normal: Float[Array, "*B Z"]) -> Float[Array, "*B Z"]:
        """Returns the draw that belongs to standard normal numbers of the same shape."""
        return self.mean + jnp.exp(self.log_sigma) * normal


def kl_divergence(posterior: Gaussian, prior: Gaussian) -> Float[Array, "*B"]:
    r"""Returns the Kullback-Leibler divergence of the prior from the posterior, in closed form.

    .. math:: \sum_z \log\frac{\sigma_p}{\sigma_q}
       + \frac{\sigma_q^2 + (\mu_q - \mu_p)^2}{2 \sigma_p^2} - \frac{1}{2}

    in nats, with q the posterior and p the prior (Kohl et al. 2018, Eq. 3).

    >>> one, zero = jnp.ones(2), jnp.zeros(2)
    >>> float(kl_divergence(Gaussian(one, zero), Gaussian(zero, zero)))
    1.0
    """
    log_ratio = posterior.log_sigma - prior.log_sigma
    distance = (posterior.mean - prior.mean) * jnp.exp(-prior.log_sigma)
    terms = jnp.expm1(2 * log_ratio) - 2 * log_ratio + jnp.square(distance)
    return 0.5 * terms.sum(-1)


class Encoder(blocks.Layers, nn.Module):
    """The contracting half of a U-Net, its mean over space, and a Gaussian from that.

    As published: no normalisation, rectified linear units, average pooling.

    Attributes:
      latent_size: Z.
      widths: channels of every level, finest first.
      norm: "none", "instance", "group" or "batch".
      activation: see `blocks.Activation`.
    """

    latent_size: int
    widths: tuple[int, ...] = (32, 64, 128, 192)
    convs_per_level: int = 3
    norm: str = "none"
    activation: str = "relu"
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "B *S K"],
        segmentation: Float[Array, "B *S L"] | None = None,
        *,
        train: bool = False,
        weight: Float[Array, "B"] | None = None,
    ) -> Gaussian:
        """Encodes a batch, with a segmentation for the posterior, with None for the prior; float32.

        A segmentation holds the probabilities of the classes; it enters minus 1/2, beside the
        image. Examples of weight 0 (padding) stay out of the batch statistics.
        """
        checks.rank("image", image, (4, 5))
        inputs = (image,) if segmentation is None else (image, segmentation - 0.5)
        for level, width in enumerate(self.widths):
            inputs = tuple(blocks.mean_pool(x) for x in inputs) if level else inputs
            for index in range(self.convs_per_level):
                block = self.block(f"encoder{level}_{index}", width, activation=self.activation)
                inputs = (block(inputs, train, None, weight),)
        pooled = inputs[0].astype(jnp.float32).mean(tuple(range(1, image.ndim - 1)))
        return Gaussian(*jnp.split(nn.Dense(2 * self.latent_size, name="gaussian")(pooled), 2, -1))


class Combiner(nn.Module):
    """1x1 convolutions over a segmenter's features with a latent draw beside each voxel.

    Attributes:
      num_convs: convolutions, the last of which gives the logits.
    """

    num_classes: int
    num_convs: int = 3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, features: Float[Array, "B *S W"], latent: Float[Array, "B Z"]
    ) -> Float[Array, "B *S L"]:
        """Segments with one draw ``[B, Z]`` per example: logits ``[B, *S, L]``."""
        width, space = features.shape[-1], features.shape[1:-1]
        latent = latent.reshape(latent.shape[0], *(1,) * len(space), -1)
        x = (features, jnp.broadcast_to(latent, (len(latent), *space, latent.shape[-1])))
        for index in range(self.num_convs - 1):
            conv = blocks.Conv(width, 1, use_bias=True, dtype=self.dtype, name=f"conv{index}")
            x = (nn.relu(conv(*x)),)
        return blocks.Conv(self.num_classes, 1, use_bias=True, name="logits")(*x)
