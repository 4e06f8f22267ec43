"""HighRes3DNet: full resolution throughout, by dilated convolutions (Li et al. 2017)."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from noisyjax.core import checks
from noisyjax.models import blocks, unet


class HighRes3DNet(nn.Module):
    """Residual blocks of growing width and dilation, no pooling; 2-D or 3-D by rank.

    A 3x3x3 convolution, three residual blocks for each width, dilated by 1, 2, 4, ..., and a 1x1x1
    convolution to `head` channels. A block is (normalisation, ReLU, convolution) twice; where the
    channels grow, its input is padded with zero channels on both sides and added. No convolution
    has a bias, and the logits are normalised. With three widths a logit depends on 87 voxels along
    each axis. Every layer keeps all voxels, so training takes much more memory than a U-Net.

    Attributes:
      num_classes: L, the number of logits.
      widths: channels of the blocks of each dilation.
      head: channels of the last convolution before the logits.
      norm: "batch", "instance" or "none".
      dropout: probability that a number is zeroed before the logits, in training.
      axis_name: mapped axis over which batch statistics are averaged, or None.
      dtype: type of the activations; parameters and logits are float32.
    """

    num_classes: int
    widths: tuple[int, ...] = (16, 32, 64)
    head: int = 80
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
          Logits `[B, *S, L]` and features `[B, *S, head]`.

        Raises:
          ValueError: for widths that shrink, an unknown option, or dropout without keys.
        """
        checks.rank("image", image, (4, 5))
        if list(self.widths) != sorted(self.widths):
            raise ValueError(
                f"widths: expected none smaller than the one before, got {self.widths}"
            )
        context = (train, weight)
        x = self._conv("conv", self.widths[0], 3, 1)(image.astype(self.dtype))
        x = nn.relu(self._norm("norm", x, context))
        for level, width in enumerate(self.widths):
            for index in range(3):
                x = self._block(f"block{level}_{index}", width, 2**level, x, context)
        x = self._conv("head", self.head, 1, 1)(x)
        x = nn.relu(self._norm("head_norm", x, context))
        if self.dropout and train:
            x = blocks.dropout(x, keys, self.dropout, 0, whole_channels=False)
        logits = blocks.Conv(self.num_classes, 1, name="logits")(x)
        logits = blocks.Norm(self.norm, axis_name=self.axis_name, name="logits_norm")(
            logits, *context
        )
        return unet.Segmentation(logits, x)

    def _block(self, name: str, width: int, dilation: int, x: Array, context: tuple) -> Array:
        y = x
        for index in range(2):
            y = nn.relu(self._norm(f"{name}_norm{index}", y, context))
            y = self._conv(f"{name}_conv{index}", width, 3, dilation)(y)
        before = (width - x.shape[-1]) // 2
        channels = (before, width - x.shape[-1] - before)
        return y + jnp.pad(x, [*[(0, 0)] * (x.ndim - 1), channels])

    def _conv(self, name: str, features: int, size: int, dilation: int) -> nn.Module:
        return blocks.Conv(features, size, dilation=dilation, dtype=self.dtype, name=name)

    def _norm(self, name: str, x: Array, context: tuple) -> Array:
        norm = blocks.Norm(self.norm, axis_name=self.axis_name, dtype=self.dtype, name=name)
        return norm(x, *context)
