"""Attention: over space and channels of one map, and of a coarse map over a finer one."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from noisyjax.core import upsampling
from noisyjax.models import blocks


class ConvAttention(nn.Module):
    """Weighs the voxels, then the channels, of a feature map (Woo et al. 2018).

    The weight of a voxel is read from a neighbourhood of the mean and maximum over channels, that
    of a channel from its mean and maximum over space, through one small network for both. Space
    comes first, as in the RAR-U-Net (its Eq. 4); Woo et al. put it second.

    Attributes:
      ratio: how many times narrower the hidden layer is than the channels.
      size: side of the neighbourhood, odd.
    """

    ratio: int = 8
    size: int = 7
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B *S C"]) -> Float[Array, "B *S C"]:
        """Returns `x` times its two weights, ``[B, *S, C]``."""
        channels, space = x.shape[-1], tuple(range(1, x.ndim - 1))
        over_channels = (x.mean(-1, keepdims=True), x.max(-1, keepdims=True))
        conv = blocks.Conv(1, self.size, dtype=self.dtype, name="space")
        x = x * nn.sigmoid(conv(*over_channels))
        over_space = jnp.stack([x.mean(space, keepdims=True), x.max(space, keepdims=True)])
        hidden = nn.Dense(max(channels // self.ratio, 1), dtype=self.dtype, name="hidden")
        weigh = nn.Dense(channels, dtype=self.dtype, name="channels")
        return x * nn.sigmoid(weigh(nn.relu(hidden(over_space))).sum(0))


class AttentionGate(nn.Module):
    """Weighs the voxels of a skip connection by what the coarser level knows (Oktay et al. 2018).

    Both maps are brought to the coarser grid and to `features` channels and added; a rectifier, one
    number per voxel and a sigmoid give the weight, which is interpolated to the finer grid
    (Section 3, additive attention).

    Attributes:
      features: channels between the two maps and the weight.
    """

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, skip: Float[Array, "B *S C"], coarse: Float[Array, "B *T D"]
    ) -> Float[Array, "B *S C"]:
        """Weighs `skip` ``[B, *S, C]`` by `coarse` ``[B, *ceil(S / 2), D]``."""
        theta = blocks.Conv(self.features, 2, stride=2, dtype=self.dtype, name="skip")(skip)
        phi = blocks.Conv(self.features, 1, use_bias=True, dtype=self.dtype, name="coarse")(coarse)
        weigh = blocks.Conv(1, 1, use_bias=True, dtype=self.dtype, name="weight")
        weight = upsampling.linear(nn.sigmoid(weigh(nn.relu(theta + phi))))
        return skip * upsampling.crop(weight, skip.shape[1:-1])
