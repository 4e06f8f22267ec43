"""HighRes3DNet: full resolution throughout, by dilated convolutions (Li et al. 2017)."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array

from noisyjax.models import blocks, segmentation


class HighRes3DNet(segmentation.Segmenter):
    """Residual blocks of growing width and dilation, no pooling; 2-D or 3-D by rank.

    A 3x3x3 convolution, three residual blocks for each width, dilated by 1, 2, 4, ..., and a 1x1x1
    convolution to `head` channels. A block is (normalisation, ReLU, convolution) twice; where the
    channels grow, its input is padded with zero channels on both sides and added. No convolution
    has a bias, and the logits are normalised. With three widths a logit depends on 87 voxels along
    each axis. Every layer keeps all voxels, so training takes much more memory than a U-Net.

    Further attributes are those of `segmentation.Segmenter`.

    Attributes:
      widths: channels of the blocks of each dilation.
      head: channels of the last convolution before the logits.
      norm: "batch", "instance" or "none".
      dropout: probability that a number is zeroed before the logits, in training.
    """

    widths: tuple[int, ...] = (16, 32, 64)
    head: int = 80
    norm: str = "batch"

    def _segment(self, x: Array, context: blocks.Context) -> segmentation.Segmentation:
        if list(self.widths) != sorted(self.widths):
            raise ValueError(
                f"widths: expected none smaller than the one before, got {self.widths}"
            )
        x = self.conv("conv", self.widths[0])(x)
        x = nn.relu(self.normalise("norm", x, context))
        for level, width in enumerate(self.widths):
            for index in range(3):
                x = self._block(f"block{level}_{index}", width, 2**level, x, context)
        x = self.conv("head", self.head, 1)(x)
        x = nn.relu(self.normalise("head_norm", x, context))
        if self.dropout and context.train:
            x = blocks.dropout(x, context.keys, self.dropout, 0, whole_channels=False)
        logits = blocks.Conv(self.num_classes, 1, name="logits")(x)
        norm = blocks.Norm(self.norm, axis_name=self.axis_name, name="logits_norm")
        logits = norm(logits, context.train, context.weight)
        return segmentation.Segmentation(logits, x)

    def _block(
        self, name: str, width: int, dilation: int, x: Array, context: blocks.Context
    ) -> Array:
        y = x
        for index in range(2):
            y = nn.relu(self.normalise(f"{name}_norm{index}", y, context))
            y = self.conv(f"{name}_conv{index}", width, dilation=dilation)(y)
        before = (width - x.shape[-1]) // 2
        channels = (before, width - x.shape[-1] - before)
        return y + jnp.pad(x, [*[(0, 0)] * (x.ndim - 1), channels])
