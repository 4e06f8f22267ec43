"""MultiResUNet (Ibtehaz and Rahman 2020)."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from noisyjax.core import checks, upsampling
from noisyjax.models import blocks, residual, unet

_SHARES = (0.167, 0.333, 0.5)


class MultiResUNet(nn.Module):
    """A U-Net of multi-resolution blocks and residual paths; 2-D or 3-D by the rank of its input.

    Normalisations after a convolution have no scale, those after a sum or a concatenation have one,
    as in the published code. The logits have a bias here and a normalisation without scale there,
    so the number of parameters is the same. Any size is accepted, as by `unet.UNet`.

    Attributes:
      num_classes: L, the number of logits.
      widths: channels of every level of the U-Net of equal cost, finest first.
      alpha: channels of a block over those of that U-Net (Section 3.2).
      norm: "batch", "instance" or "none".
      dropout: probability that a channel is dropped after each block, in training.
      axis_name: mapped axis over which batch statistics are averaged, or None.
      dtype: type of the activations; parameters and logits are float32.
    """

    num_classes: int
    widths: tuple[int, ...] = (32, 64, 128, 256, 512)
    alpha: float = 1.67
    norm: str = "batch"
    dropout: float | int = 0.0
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "B *S K"],
        *,
        train: bool = False,
        keys: Key[Array, "B"] | None = None,
        weight: Float[Array, "B"] | None = None,
    ) -> unet.Segmentation:
        """Segments a batch.

        Args:
          image: `[B, *S, K]`.
          train: whether batch statistics are updated and dropout is on.
          keys: `[B]` typed keys, one per example; needed by dropout in training.
          weight: `[B]`; examples of weight 0 (padding) stay out of the batch statistics.

        Returns:
          Logits `[B, *S, L]` and features `[B, *S, W]`, W about `alpha * widths[0]`.

        Raises:
          ValueError: for an unknown option, or dropout without keys.
        """
        checks.rank("image", image, (4, 5))
        context, bottom = (train, keys, weight), len(self.widths) - 1
        x, skips = image.astype(self.dtype), []
        for level in range(len(self.widths)):
            x = self._block(f"encoder{level}", level, level, x, context)
            if level < bottom:
                path = residual.ResidualPath(
                    self.widths[level],
                    bottom - level,
                    norm=self.norm,
                    conv_norm=self.norm,
                    axis_name=self.axis_name,
                    dtype=self.dtype,
                    name=f"path{level}",
                )
                skips.append(path(x, train, weight))
                x = blocks.max_pool(x)
        for level in reversed(range(bottom)):
            up = blocks.UpsampleTransposed(
                self.widths[level], use_bias=True, dtype=self.dtype, name=f"up{level}"
            )
            x = upsampling.crop(up(x), skips[level].shape[1:-1])
            x = jnp.concatenate([x, skips[level]], -1)
            x = self._block(f"decoder{level}", level, 2 * bottom - level, x, context)
        logits = blocks.Conv(self.num_classes, 1, use_bias=True, name="logits")(x)
        return unet.Segmentation(logits, x)

    def _block(self, name: str, level: int, layer: int, x: Array, context: tuple) -> Array:
        """Three 3x3 convolutions in a row, side by side, beside a 1x1 convolution (Figure 3)."""
        train, keys, weight = context
        features = [int(self.alpha * self.widths[level] * share) for share in _SHARES]
        inputs, parts = (x,), []
        for index, width in enumerate(features):
            conv = self._conv(f"{name}_{index}", width, 3, "relu")
            parts.append(conv(inputs, train, None, weight))
            inputs = (parts[-1],)
        shortcut = self._conv(f"{name}_shortcut", sum(features), 1, "identity")
        y = self._norm(f"{name}_norm0")(jnp.concatenate(parts, -1), train, weight)
        y = nn.relu(y + shortcut((x,), train, None, weight))
        y = self._norm(f"{name}_norm1")(y, train, weight)
        return blocks.dropout(y, keys, self.dropout, layer) if self.dropout and train else y

    def _conv(self, name: str, features: int, size: int, activation: str) -> nn.Module:
        return blocks.ConvNormAct(
            features,
            size=size,
            norm=self.norm,
            norm_scale=False,
            activation=activation,
            axis_name=self.axis_name,
            dtype=self.dtype,
            name=name,
        )

    def _norm(self, name: str) -> nn.Module:
        return blocks.Norm(self.norm, axis_name=self.axis_name, dtype=self.dtype, name=name)
