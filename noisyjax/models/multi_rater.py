"""Small modules that tell raters apart, on top of any segmenter's last features."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from noisyjax.models import blocks


class _Head(blocks.Layers, nn.Module, kw_only=True):
    """What the heads share; attributes that stand after those of each. Their output is float32."""

    norm: str = "instance"
    activation: str = "prelu"
    dtype: Any = jnp.float32

    def _shared(self, inputs: tuple[Array, ...]) -> Array:
        block = self.block("shared", inputs[0].shape[-1], activation=self.activation)
        return block(inputs)


class ExpertnessHead(_Head):
    """Segments the way a mixture of raters would, given how much of each rater is in it.

    A convolution, then a scale and an offset per channel that a linear map makes of the mixture
    (feature-wise linear modulation, Perez et al. 2018), then a 1x1 convolution. The linear map
    starts at zero: at first all mixtures are segmented alike.
    """

    num_classes: int

    @nn.compact
    def __call__(
        self, inputs: tuple[Array, ...], expertness: Float[Array, "B R"]
    ) -> Float[Array, "B *S L"]:
        """Returns the logits that belong to given shares of the raters in the mixture.

        Inputs are maps ``[B, *S, W_i]``; the first are the features, whose width is kept.
        """
        width = inputs[0].shape[-1]
        x = self._shared(inputs)
        film = nn.Dense(2 * width, kernel_init=nn.initializers.zeros, name="film")(expertness)
        shape = (len(film), *(1,) * (x.ndim - 2), width)
        scale, offset = (part.reshape(shape).astype(x.dtype) for part in jnp.split(film, 2, -1))
        x = blocks.Activation(self.activation, name="activation")(x * (1 + scale) + offset)
        return blocks.Conv(self.num_classes, 1, use_bias=True, name="logits")(x)


class RaterHead(_Head):
    """Segments once for each rater: a convolution that all share, and a 1x1 convolution of each."""

    num_raters: int
    num_classes: int

    @nn.compact
    def __call__(self, inputs: tuple[Array, ...]) -> Float[Array, "B R *S L"]:
        """Maps ``[B, *S, W_i]``, the features first, to logits ``[B, R, *S, L]``."""
        x = self._shared(inputs)
        head = blocks.Conv(self.num_raters * self.num_classes, 1, use_bias=True, name="logits")
        x = head(x)
        return jnp.moveaxis(x.reshape(*x.shape[:-1], self.num_raters, self.num_classes), -2, 1)


class WeightHead(_Head):
    """Weighs the raters at each voxel; all alike at first."""

    num_raters: int

    @nn.compact
    def __call__(self, inputs: tuple[Array, ...]) -> Float[Array, "B R *S"]:
        """Maps ``[B, *S, W_i]``, the features first, to logarithms of weights ``[B, R, *S]``.

        They are not normalised, so that raters can be left out before.
        """
        x = self._shared(inputs).astype(jnp.float32)
        scores = nn.Dense(self.num_raters, kernel_init=nn.initializers.zeros, name="scores")
        return jnp.moveaxis(scores(x), -1, 1)
