"""U-Net, LinkNet and FPN decoders on the encoders of classification networks."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from noisyjax.core import checks, upsampling
from noisyjax.models import blocks, encoders, unet

DECODERS = ("unet", "linknet", "fpn")


class EncoderUNet(nn.Module):
    """An encoder of `encoders.ENCODERS` and one of three decoders, trained from scratch.

    "unet" concatenates the up-sampled map and the encoder's (Ronneberger et al. 2015), "linknet"
    adds them after a bottleneck of a quarter of the channels (Chaurasia and Culurciello 2017),
    "fpn" adds them in a pyramid of equal widths and reads all its levels together (Kirillov et
    al. 2019). Widths, kernels and biases are those of the common Keras implementation, so the
    parameter counts agree with published ones. Decoders have half of the coarsest level's channels
    first and half as many at each finer level. VGG-16 ends in a pooling; the first two decoders put
    two convolutions behind it. Any size is accepted, as by `unet.UNet`.

    Attributes:
      num_classes: L, the number of logits.
      encoder: a key of `encoders.ENCODERS`.
      decoder: "unet", "linknet" or "fpn".
      widths: channels of the encoder, finest first; None for the published ones. The last must be
        divisible by two to the power of their number.
      norm: normalisation of the decoder: "batch", "instance", "group" or "none".
      encoder_norm: normalisation of the encoder; None for the published one, "none" for VGG-16 and
        "batch" for ResNet-34.
      dropout: probability that a channel is dropped after each activation of the decoder, in
        training.
      axis_name: mapped axis over which batch statistics are averaged, or None.
      dtype: type of the activations; parameters and logits are float32.
    """

    num_classes: int
    encoder: str = "resnet34"
    decoder: str = "unet"
    widths: tuple[int, ...] | None = None
    norm: str = "batch"
    encoder_norm: str | None = None
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
          Logits `[B, *S, L]` and features `[B, *S, W]`, what the last convolution reads.

        Raises:
          ValueError: for an unknown option, widths that do not fit, or dropout without keys.
        """
        checks.rank("image", image, (4, 5))
        checks.one_of("decoder", self.decoder, DECODERS)
        encoder = checks.lookup("encoder", self.encoder, encoders.ENCODERS)
        options = {"widths": self.widths, "norm": self.encoder_norm}
        options = {name: value for name, value in options.items() if value is not None}
        encode = encoder(**options, axis_name=self.axis_name, dtype=self.dtype, name="encoder")
        if encode.widths[-1] % 2 ** len(encode.widths):
            raise ValueError(
                f"widths: expected a last one divisible by {2 ** len(encode.widths)}, "
                f"got {encode.widths}"
            )
        context, maps = (train, keys, weight), encode(image.astype(self.dtype), train, weight)
        x, skips = maps[-1], [*reversed(maps[:-1])]
        sides = [*(skip.shape[1:-1] for skip in skips), image.shape[1:-1]]
        if self.decoder == "fpn":
            x = self._fpn(x, skips, sides, context)
        else:
            if self.encoder == "vgg16":
                for index in range(2):
                    x = self._conv(f"centre{index}", x.shape[-1], 3, index, context, x)
            block = self._unet_block if self.decoder == "unet" else self._linknet_block
            for step, side in enumerate(sides):
                skip = skips[step] if step < len(skips) else None
                x = block(step, encode.widths[-1] >> (step + 1), x, skip, side, context)
        logits = blocks.Conv(self.num_classes, 3, use_bias=True, name="logits")(x)
        return unet.Segmentation(logits, x)

    def _unet_block(
        self, step: int, width: int, x: Array, skip: Array | None, sides: tuple, context: tuple
    ) -> Array:
        x = upsampling.crop(upsampling.nearest(x), sides)
        inputs = (x,) if skip is None else (x, skip)
        x = self._conv(f"decoder{step}_0", width, 3, 2 * step + 2, context, *inputs)
        return self._conv(f"decoder{step}_1", width, 3, 2 * step + 3, context, x)

    def _linknet_block(
        self, step: int, width: int, x: Array, skip: Array | None, sides: tuple, context: tuple
    ) -> Array:
        narrow, layer = x.shape[-1] // 4, 3 * step + 2
        x = self._conv(f"decoder{step}_0", narrow, 1, layer, context, x)
        x = upsampling.crop(upsampling.nearest(x), sides)
        x = self._conv(f"decoder{step}_1", narrow, 3, layer + 1, context, x)
        width = width if skip is None else skip.shape[-1]
        x = self._conv(f"decoder{step}_2", width, 1, layer + 2, context, x)
        return x if skip is None else x + skip

    def _fpn(self, x: Array, skips: list[Array], sides: list[tuple], context: tuple) -> Array:
        width, read = x.shape[-1] // 2, []
        x = self._lateral("lateral_coarsest", width, x)
        for step, skip in enumerate(skips):
            x = upsampling.crop(upsampling.nearest(x), sides[step])
            x = x + self._lateral(f"lateral{step}", width, skip)
            y = self._conv(f"decoder{step}_0", width // 2, 3, 2 * step, context, x)
            y = self._conv(f"decoder{step}_1", width // 2, 3, 2 * step + 1, context, y)
            for finer in sides[step + 1 : -1]:
                y = upsampling.crop(upsampling.nearest(y), finer)
            read.append(y)
        x = self._conv("pyramid", width // 2, 3, 2 * len(skips), context, *read)
        return upsampling.crop(upsampling.linear(x), sides[-1])

    def _lateral(self, name: str, width: int, x: Array) -> Array:
        return blocks.Conv(width, 1, use_bias=True, dtype=self.dtype, name=name)(x)

    def _conv(
        self, name: str, width: int, size: int, layer: int, context: tuple, *inputs: Array
    ) -> Array:
        conv = blocks.ConvNormAct(
            width,
            layer=layer,
            size=size,
            norm=self.norm,
            activation="relu",
            dropout=self.dropout,
            axis_name=self.axis_name,
            dtype=self.dtype,
            name=name,
        )
        return conv(inputs, *context)
