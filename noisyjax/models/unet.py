"""U-Net for images and volumes (Ronneberger et al. 2015; Cicek et al. 2016)."""

from flax import linen as nn
from jaxtyping import Array

from noisyjax.core import checks, upsampling
from noisyjax.models import attention, blocks, segmentation

_POOLS = {"pool": blocks.max_pool, "mean_pool": blocks.mean_pool}


class UNet(segmentation.Segmenter):
    """Encoder and decoder joined at every resolution; 2-D or 3-D by the rank of its input.

    The defaults are the segmentation network of Zhang et al. 2020 (Section 4): width 24, a strided
    first convolution at each lower level, (3x3 convolution, instance norm, PReLU) twice, linear
    up-sampling, concatenation. Any size is accepted: an odd side rounds up on the way down, and the
    up-sampled map is cropped at its far end to the map it joins.

    Further attributes are those of `segmentation.Segmenter`.

    Attributes:
      convs_per_level: convolutions of each level of the encoder and of the decoder.
      strides: from each level to the next coarser one, 1 or 2 along each axis; () for 2 everywhere.
      kernels: odd sizes of the convolutions of each level, along each axis; () for 3 everywhere.
      norm: "instance", "group", "batch" or "none".
      activation: "prelu", "leaky_relu", "relu", "elu", "gelu" or "swish".
      down: "strided_conv" (the first convolution of a level has the stride), "pool" (maximum) or
        "mean_pool", which halve every side.
      up: "linear", or "transposed" (a transposed convolution to the width of the level, whose size
        is the stride).
      attention_gates: whether the coarser features weigh what is joined (`attention.AttentionGate`)
        at every level but the finest, which Oktay et al. 2018 leave as it is.
      dropout: probability that a channel is dropped after each activation, in training.
      deep_supervision: whether, in training, the levels of the decoder between the finest and the
        coarsest have logits of their own, as nnU-Net's.
      remat: whether activations are recomputed in the backward pass, to save memory on
        accelerators; on a CPU the compiler merges the recomputation, and nothing is saved.
    """

    widths: tuple[int, ...] = (24, 48, 96)
    convs_per_level: int = 2
    strides: tuple[tuple[int, ...], ...] = ()
    kernels: tuple[tuple[int, ...], ...] = ()
    norm: str = "instance"
    activation: str = "prelu"
    down: str = "strided_conv"
    up: str = "linear"
    attention_gates: bool = False
    deep_supervision: bool = False
    remat: bool = False

    def _segment(self, x: Array, context: blocks.Context) -> segmentation.Segmentation:
        checks.one_of("down", self.down, ("strided_conv", *_POOLS))
        checks.one_of("up", self.up, ("linear", "transposed"))
        self._check_levels(x.ndim - 2)
        features = self.decode(self.encode(x, context), context)
        supervised = self.deep_supervision and (context.train or self.is_initializing())
        # The last one is the bottom, and nnU-Net gives the one above it no weight.
        levels = range(1, len(features) - 2) if supervised else ()
        deep = tuple(self.logits(features[level], name=f"logits{level}") for level in levels)
        return segmentation.Segmentation(self.logits(features[0]), features[0], deep)

    def _check_levels(self, axes: int) -> None:
        levels = len(self.widths)
        for name, each, count in (
            ("strides", self.strides, levels - 1),
            ("kernels", self.kernels, levels),
        ):
            if each and (len(each) != count or any(len(one) != axes for one in each)):
                raise ValueError(
                    f"{name}: expected {count} times {axes} numbers for {levels} levels, got {each}"
                )
        if any(2 not in stride for stride in self.strides):
            raise ValueError(f"strides: expected a 2 in each, got {self.strides}")
        if self.down in _POOLS and any(1 in stride for stride in self.strides):
            raise ValueError(f"down: {self.down} halves every side, got strides {self.strides}")

    def encode(self, x: Array, context: blocks.Context) -> list[Array]:
        """Runs the encoder in a module's call; features of every level, finest first."""
        skips = []
        for level in range(len(self.widths)):
            x = self._encode(level, x, context)
            skips.append(x)
        return skips

    def decode(
        self, skips: list[Array], context: blocks.Context, *, prefix: str = ""
    ) -> list[Array]:
        """Runs a decoder on what `encode` returned; features of every level, finest first.

        `prefix` is of the names of its parameters, so that an encoder may have several decoders.
        """
        features = [skips[-1]]
        for level in reversed(range(len(self.widths) - 1)):
            features.append(self._decode(level, features[-1], skips[level], context, prefix))
        return features[::-1]

    def _encode(self, level: int, x: Array, context: blocks.Context) -> Array:
        down = level > 0
        if down and self.down in _POOLS:
            x = _POOLS[self.down](x)
        for index in range(self.convs_per_level):
            strided = down and index == 0 and self.down == "strided_conv"
            name = f"encoder{level}_{index}"
            x = self._block(name, level, index, strided=strided)((x,), *context)
        return x

    def _decode(
        self, level: int, x: Array, skip: Array, context: blocks.Context, prefix: str
    ) -> Array:
        if self.attention_gates and level:
            name = f"{prefix}gate{level}"
            gate = attention.AttentionGate(self.widths[level], self.dtype, name=name)
            skip = gate(skip, x)
        if self.up == "transposed":
            name = f"{prefix}up{level}"
            up = blocks.UpsampleTransposed(
                self.widths[level], self._stride(level), dtype=self.dtype, name=name
            )
            x = up(x)
            x = upsampling.crop(x, skip.shape[1:-1])
        inputs = (x, skip)
        for index in range(self.convs_per_level):
            number = 2 * len(self.widths) - 2 - level
            name = f"{prefix}decoder{level}_{index}"
            up = index == 0 and self.up == "linear"
            x = self._block(name, number, index, up=up)(inputs, *context)
            inputs = (x,)
        return x

    def _stride(self, level: int) -> int | tuple[int, ...]:
        """Returns the stride from a level to the next coarser one."""
        return tuple(self.strides[level]) if self.strides else 2

    def _block(
        self, name: str, number: int, index: int, *, strided: bool = False, up: bool = False
    ) -> nn.Module:
        level = min(number, 2 * len(self.widths) - 2 - number)
        return self.block(
            name,
            self.widths[level],
            layer=number * self.convs_per_level + index,
            size=self.kernels[level] if self.kernels else 3,
            stride=self._stride(level - 1) if strided else 1,
            activation=self.activation,
            up=up and (tuple(self.strides[level]) if self.strides else True),
            dropout=self.dropout,
            remat=self.remat,
        )
