"""COPLE-Net, the network of the noise-robust Dice loss (Wang et al. 2020)."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from noisyjax.models import blocks, segmentation

# Kernel size and dilation of the branches of the pyramid.
_PYRAMID = ((1, 1), (3, 2), (3, 4), (3, 6))


class COPLENet(segmentation.Segmenter):
    """A U-Net that pools twice over and looks around itself at the bottom; 2-D or 3-D by rank.

    Down goes the concatenation of a maximum and a mean pooling, skip connections are halved in
    width, the bottleneck ends in a pyramid of dilated convolutions, up goes linear interpolation.
    A stage is (3x3 convolution, normalisation, leaky ReLU) twice and a squeeze and excitation that
    adds; its input is added to its output wherever both have the same width, which is everywhere
    but at the top of the encoder. Convolutions have a bias, also before a normalisation, as in the
    published code. Any size is accepted: an odd side rounds up on the way down, and maps are
    interpolated to the size of what they join.

    Further attributes are those of `segmentation.Segmenter`.

    Attributes:
      widths: channels of every level, finest first, each twice the one before, the last divisible
        by 4.
      norm: "batch", "instance" or "none".
      dropout: probability that a number is zeroed between the two convolutions of a stage, in
        training: one for all levels, or one per level, finest first, of which a network of fewer
        levels takes the last.
    """

    norm: str = "batch"
    dropout: tuple[float | int, ...] | float | int = (0.0, 0.0, 0.3, 0.4, 0.5)

    def _segment(self, x: Array, context: blocks.Context) -> segmentation.Segmentation:
        if self.widths[-1] % 4 or any(b != 2 * a for a, b in zip(self.widths, self.widths[1:])):
            raise ValueError(
                "widths: expected each to be twice the one before and the last divisible by 4, "
                f"got {self.widths}"
            )
        bottom, rates, skips = len(self.widths) - 1, self._rates(), []
        for level in range(len(self.widths)):
            if level:
                x = jnp.concatenate([blocks.max_pool(x), blocks.mean_pool(x)], -1)
            y = self._stage(f"encoder{level}", level, level, rates[level], x, context)
            x = x + y if level else y
            if level < bottom:
                half = self.widths[level] // 2
                skips.append(self._active(f"skip{level}", half, 1, x, context))
        x = self._pyramid(x, context)
        for level in reversed(range(bottom)):
            half = self.widths[level] // 2
            x = self.conv(f"up{level}", half, 1, use_bias=True)(x)
            x = resize(x, skips[level].shape[1:-1])
            x = jnp.concatenate([skips[level], x], -1)
            layer = 2 * bottom - level
            x = x + self._stage(f"decoder{level}", level, layer, rates[level], x, context)
        return segmentation.Segmentation(self.logits(x, 3), x)

    def _rates(self) -> tuple[float | int, ...]:
        """The probability of dropout of every level, finest first."""
        levels = len(self.widths)
        if not isinstance(self.dropout, tuple):
            return (self.dropout,) * levels
        if len(self.dropout) < levels:
            raise ValueError(
                f"dropout: expected one number per level, {levels}, got {self.dropout}"
            )
        return self.dropout[len(self.dropout) - levels :]

    def _stage(
        self,
        name: str,
        level: int,
        layer: int,
        rate: float | int,
        x: Array,
        context: blocks.Context,
    ) -> Array:
        x = self._active(f"{name}_0", self.widths[level], 3, x, context)
        if rate and context.train:
            x = blocks.dropout(x, context.keys, rate, layer, whole_channels=False)
        x = self._active(f"{name}_1", self.widths[level], 3, x, context)
        return x + x * self._excitation(name, x)

    def _excitation(self, name: str, x: Array) -> Array:
        """A weight per channel from the means of all, not bounded above: ``[B, 1, ..., C]``."""
        space, channels = tuple(range(1, x.ndim - 1)), x.shape[-1]
        squeeze = nn.Dense(channels // 2, dtype=self.dtype, name=f"{name}_squeeze")
        excite = nn.Dense(channels, dtype=self.dtype, name=f"{name}_excite")
        return nn.relu(excite(nn.leaky_relu(squeeze(x.mean(space, keepdims=True)))))

    def _pyramid(self, x: Array, context: blocks.Context) -> Array:
        width = x.shape[-1] // len(_PYRAMID)
        branches = [
            self.conv(f"branch{index}", width, size, use_bias=True, dilation=dilation)
            for index, (size, dilation) in enumerate(_PYRAMID)
        ]
        x = jnp.concatenate([branch(x) for branch in branches], -1)
        return self._active("pyramid", x.shape[-1], 1, x, context)

    def _active(
        self, name: str, features: int, size: int, x: Array, context: blocks.Context
    ) -> Array:
        """Convolution with a bias, normalisation, leaky ReLU."""
        y = self.conv(name, features, size, use_bias=True)(x)
        return nn.leaky_relu(self.normalise(f"{name}_norm", y, context))


def resize(x: Float[Array, "B *S C"], sides: tuple[int, ...]) -> Float[Array, "B *T C"]:
    """Resizes by linear interpolation with the first and the last voxels of both on each other.

    New voxel t of T lies at ``t (S - 1) / (T - 1)`` (PyTorch's `align_corners=True`).
    """
    for axis, side in enumerate(sides, 1):
        position = np.linspace(0, x.shape[axis] - 1, side)[:, None]
        # A product with a banded matrix: its gradient is one too, and no scatter.
        weights = np.maximum(1 - np.abs(position - np.arange(x.shape[axis])), 0)
        y = jnp.tensordot(
            jnp.asarray(weights, x.dtype), x, (1, axis), precision=jax.lax.Precision.HIGHEST
        )
        x = jnp.moveaxis(y, 0, axis)
    return x
