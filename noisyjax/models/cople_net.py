"""COPLE-Net, the network of the noise-robust Dice loss (Wang et al. 2020)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Key

from noisyjax.core import checks
from noisyjax.models import blocks, unet

# Kernel size and dilation of the branches of the pyramid.
_PYRAMID = ((1, 1), (3, 2), (3, 4), (3, 6))


class COPLENet(nn.Module):
    """A U-Net that pools twice over and looks around itself at the bottom; 2-D or 3-D by rank.

    Down goes the concatenation of a maximum and a mean pooling, skip connections are halved in
    width, the bottleneck ends in a pyramid of dilated convolutions, up goes linear interpolation.
    A stage is (3x3 convolution, normalisation, leaky ReLU) twice and a squeeze and excitation that
    adds; its input is added to its output wherever both have the same width, which is everywhere
    but at the top of the encoder. Convolutions have a bias, also before a normalisation, as in the
    published code. Any size is accepted: an odd side rounds up on the way down, and maps are
    interpolated to the size of what they join.

    Attributes:
      num_classes: L, the number of logits.
      widths: channels of every level, finest first, each twice the one before, the last divisible
        by 4.
      norm: "batch", "instance" or "none".
      dropout: probability that a number is zeroed between the two convolutions of a stage, in
        training: one for all levels, or one per level, finest first, of which a network of fewer
        levels takes the last.
      axis_name: mapped axis over which batch statistics are averaged, or None.
      dtype: type of the activations; parameters and logits are float32.
    """

    num_classes: int
    widths: tuple[int, ...] = (32, 64, 128, 256, 512)
    norm: str = "batch"
    dropout: tuple[float | int, ...] | float | int = (0.0, 0.0, 0.3, 0.4, 0.5)
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
          Logits `[B, *S, L]` and features `[B, *S, widths[0]]`.

        Raises:
          ValueError: for widths or probabilities that do not fit, an unknown option, or dropout
            without keys.
        """
        checks.rank("image", image, (4, 5))
        if self.widths[-1] % 4 or any(b != 2 * a for a, b in zip(self.widths, self.widths[1:])):
            raise ValueError(
                "widths: expected each to be twice the one before and the last divisible by 4, "
                f"got {self.widths}"
            )
        context, bottom, rates = (train, keys, weight), len(self.widths) - 1, self._rates()
        x, skips = image.astype(self.dtype), []
        for level in range(len(self.widths)):
            if level:
                x = jnp.concatenate([blocks.max_pool(x), blocks.mean_pool(x)], -1)
            y = self._stage(f"encoder{level}", level, level, rates[level], x, context)
            x = x + y if level else y
            if level < bottom:
                half = self.widths[level] // 2
                skips.append(self._conv(f"skip{level}", half, 1, x, context))
        x = self._pyramid(x, context)
        for level in reversed(range(bottom)):
            half = self.widths[level] // 2
            x = blocks.Conv(half, 1, use_bias=True, dtype=self.dtype, name=f"up{level}")(x)
            x = resize(x, skips[level].shape[1:-1])
            x = jnp.concatenate([skips[level], x], -1)
            layer = 2 * bottom - level
            x = x + self._stage(f"decoder{level}", level, layer, rates[level], x, context)
        logits = blocks.Conv(self.num_classes, 3, use_bias=True, name="logits")(x)
        return unet.Segmentation(logits, x)

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
        self, name: str, level: int, layer: int, rate: float | int, x: Array, context: tuple
    ) -> Array:
        train, keys, _ = context
        x = self._conv(f"{name}_0", self.widths[level], 3, x, context)
        if rate and train:
            x = blocks.dropout(x, keys, rate, layer, whole_channels=False)
        x = self._conv(f"{name}_1", self.widths[level], 3, x, context)
        return x + x * self._excitation(name, x)

    def _excitation(self, name: str, x: Array) -> Array:
        """A weight per channel from the means of all, not bounded above: `[B, 1, ..., C]`."""
        space, channels = tuple(range(1, x.ndim - 1)), x.shape[-1]
        squeeze = nn.Dense(channels // 2, dtype=self.dtype, name=f"{name}_squeeze")
        excite = nn.Dense(channels, dtype=self.dtype, name=f"{name}_excite")
        return nn.relu(excite(nn.leaky_relu(squeeze(x.mean(space, keepdims=True)))))

    def _pyramid(self, x: Array, context: tuple) -> Array:
        branches = [
            blocks.Conv(
                x.shape[-1] // len(_PYRAMID),
                size,
                use_bias=True,
                dilation=dilation,
                dtype=self.dtype,
                name=f"branch{index}",
            )
            for index, (size, dilation) in enumerate(_PYRAMID)
        ]
        x = jnp.concatenate([branch(x) for branch in branches], -1)
        return self._conv("pyramid", x.shape[-1], 1, x, context)

    def _conv(self, name: str, features: int, size: int, x: Array, context: tuple) -> Array:
        """Convolution with a bias, normalisation, leaky ReLU."""
        train, _, weight = context
        conv = blocks.Conv(features, size, use_bias=True, dtype=self.dtype, name=name)
        norm = blocks.Norm(
            self.norm, axis_name=self.axis_name, dtype=self.dtype, name=f"{name}_norm"
        )
        return nn.leaky_relu(norm(conv(x), train, weight))


def resize(x: Float[Array, "B *S C"], sides: tuple[int, ...]) -> Float[Array, "B *T C"]:
    """Resizes by linear interpolation with the first and the last voxels of both on each other.

    New voxel t of T lies at ``t (S - 1) / (T - 1)`` (PyTorch's `align_corners=True`).

    Args:
      x: `[B, *S, C]`.
      sides: T, one per spatial axis.

    Returns:
      `[B, *T, C]`.
    """
    for axis, side in enumerate(sides, 1):
        place = np.linspace(0, x.shape[axis] - 1, side)[:, None]
        # A product with a banded matrix: its gradient is one too, and no scatter.
        weights = np.maximum(1 - np.abs(place - np.arange(x.shape[axis])), 0)
        y = jnp.tensordot(
            jnp.asarray(weights, x.dtype), x, (1, axis), precision=jax.lax.Precision.HIGHEST
        )
        x = jnp.moveaxis(y, 0, axis)
    return x
