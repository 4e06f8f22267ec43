"""Residual parts that several networks share."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from noisyjax.models import blocks


class ResidualPath(blocks.Layers, nn.Module):
    """Residual units between an encoder and its decoder (Ibtehaz and Rahman 2020, Section 3.3).

    Every unit is `norm(relu(relu(conv3(x)) + conv1(x)))`.

    Attributes:
      norm: normalisation after each unit, one of `blocks.NORMS`.
      conv_norm: normalisation, without a scale, after each convolution; with "none" the
        convolutions have a bias.
    """

    features: int
    length: int
    norm: str = "batch"
    conv_norm: str = "none"
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B *S C"], context: blocks.Context = blocks.EVALUATION
    ) -> Float[Array, "B *S O"]:
        """Maps ``[B, *S, C]`` to ``[B, *S, features]``."""
        for unit in range(self.length):
            mapped = self._conv(f"conv{unit}", 3, "relu")((x,), *context)
            shortcut = self._conv(f"shortcut{unit}", 1, "identity")((x,), *context)
            x = self.normalise(f"norm{unit}", nn.relu(mapped + shortcut), context)
        return x

    def _conv(self, name: str, size: int, activation: str) -> nn.Module:
        options = {"size": size, "norm": self.conv_norm, "norm_scale": False}
        return self.block(name, self.features, activation=activation, **options)
