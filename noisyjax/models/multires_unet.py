"""MultiResUNet (Ibtehaz and Rahman 2020)."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array

from noisyjax.core import upsampling
from noisyjax.models import blocks, residual, segmentation

_SHARES = (0.167, 0.333, 0.5)


class MultiResUNet(segmentation.Segmenter):
    """A U-Net of multi-resolution blocks and residual paths; 2-D or 3-D by the rank of its input.

    Normalisations after a convolution have no scale, those after a sum or a concatenation have one,
    as in the published code. The logits have a bias here and a normalisation without scale there,
    so the number of parameters is the same. Any size is accepted, as by `unet.UNet`.

    Further attributes are those of `segmentation.Segmenter`.

    Attributes:
      widths: channels of every level of the U-Net of equal cost, finest first.
      alpha: channels of a block over those of that U-Net (Section 3.2).
      norm: "batch", "instance" or "none".
      dropout: probability that a channel is dropped after each block, in training.
    """

    alpha: float = 1.67
    norm: str = "batch"

    def _segment(self, x: Array, context: blocks.Context) -> segmentation.Segmentation:
        bottom, skips = len(self.widths) - 1, []
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
                skips.append(path(x, context))
                x = blocks.max_pool(x)
        for level in reversed(range(bottom)):
            up = blocks.UpsampleTransposed(
                self.widths[level], use_bias=True, dtype=self.dtype, name=f"up{level}"
            )
            x = upsampling.crop(up(x), skips[level].shape[1:-1])
            x = jnp.concatenate([x, skips[level]], -1)
            x = self._block(f"decoder{level}", level, 2 * bottom - level, x, context)
        return segmentation.Segmentation(self.logits(x), x)

    def _block(self, name: str, level: int, layer: int, x: Array, context: blocks.Context) -> Array:
        """Three 3x3 convolutions in a row, side by side, beside a 1x1 convolution (Figure 3)."""
        features = [int(self.alpha * self.widths[level] * share) for share in _SHARES]
        options, inputs, parts = {"norm_scale": False}, (x,), []
        for index, width in enumerate(features):
            conv = self.block(f"{name}_{index}", width, activation="relu", **options)
            parts.append(conv(inputs, *context))
            inputs = (parts[-1],)
        options |= {"size": 1, "activation": "identity"}
        shortcut = self.block(f"{name}_shortcut", sum(features), **options)
        y = self.normalise(f"{name}_norm0", jnp.concatenate(parts, -1), context)
        y = nn.relu(y + shortcut((x,), *context))
        y = self.normalise(f"{name}_norm1", y, context)
        if not (self.dropout and context.train):
            return y
        return blocks.dropout(y, context.keys, self.dropout, layer)
