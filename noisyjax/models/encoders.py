"""Encoders made for classification, without their last layers and without pretrained weights.

Each returns one map per halving, from half the sides of the image to the coarsest. They are written
for images and work for volumes as well.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from noisyjax.models import blocks


class VGG16(blocks.Layers, nn.Module):
    """The 13 convolutions of VGG-16, each with bias and ReLU (Simonyan and Zisserman 2015).

    Attributes:
      widths: channels of every level, finest first; at most five.
      norm: normalisation after each convolution; VGG has none.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    norm: str = "none"
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "B *S K"],
        context: blocks.Context = blocks.EVALUATION,
    ) -> list[Array]:
        """Encodes ``[B, *S, K]``; the last map is the pooled last level."""
        x, maps = image, []
        for level, (width, convs) in enumerate(zip(self.widths, (2, 2, 3, 3, 3))):
            for index in range(convs):
                conv = self.block(f"conv{level}_{index}", width, activation="relu")
                x = conv((x,), *context)
            if level:
                maps.append(x)
            x = blocks.max_pool(x)
        return [*maps, x]


class ResNet34(blocks.Layers, nn.Module):
    """ResNet-34 with activations before the convolutions (He et al. 2016), the image normalised.

    Attributes:
      widths: channels of the first convolution and of every stage; at most five.
      norm: one of `blocks.NORMS`.
    """

    widths: tuple[int, ...] = (64, 64, 128, 256, 512)
    norm: str = "batch"
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "B *S K"],
        context: blocks.Context = blocks.EVALUATION,
    ) -> list[Array]:
        """Encodes ``[B, *S, K]``; every map is normalised and rectified."""
        ndim = image.ndim - 2
        x = self.normalise("norm_image", image, context, use_scale=False)
        x = self.conv("conv", self.widths[0], 7, stride=2)(x)
        maps = [nn.relu(self.normalise("norm", x, context))]
        x = nn.max_pool(maps[0], (3,) * ndim, (2,) * ndim, [(1, 1)] * ndim)
        for stage, (width, units) in enumerate(zip(self.widths[1:], (3, 4, 6, 3))):
            for unit in range(units):
                name, first = f"unit{stage}_{unit}", unit == 0
                y = nn.relu(self.normalise(f"{name}_norm0", x, context))
                if stage and first:
                    maps.append(y)
                x = self._unit(name, width, 2 if stage and first else 1, x, y, first, context)
        return [*maps, nn.relu(self.normalise("norm_last", x, context))]

    def _unit(
        self,
        name: str,
        width: int,
        stride: int,
        x: Array,
        y: Array,
        project: bool,
        context: blocks.Context,
    ) -> Array:
        """Two convolutions of the activated `y`, added to `x` or to a projection of `y`."""
        if project:
            strided = y[(slice(None), *(slice(None, None, stride),) * (y.ndim - 2))]
            x = self.conv(f"{name}_shortcut", width, 1)(strided)
        y = self.conv(f"{name}_conv0", width, stride=stride)(y)
        y = nn.relu(self.normalise(f"{name}_norm1", y, context))
        return x + self.conv(f"{name}_conv1", width)(y)


ENCODERS = {"vgg16": VGG16, "resnet34": ResNet34}
