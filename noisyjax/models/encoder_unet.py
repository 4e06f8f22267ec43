"""U-Net, LinkNet and FPN decoders on the encoders of classification networks."""

from jaxtyping import Array

from noisyjax.core import checks, upsampling
from noisyjax.models import blocks, encoders, segmentation

DECODERS = ("unet", "linknet", "fpn")


class EncoderUNet(segmentation.Segmenter):
    """An encoder of `encoders.ENCODERS` and one of three decoders, trained from scratch.

    "unet" concatenates the up-sampled map and the encoder's (Ronneberger et al. 2015), "linknet"
    adds them after a bottleneck of a quarter of the channels (Chaurasia and Culurciello 2017),
    "fpn" adds them in a pyramid of equal widths and reads all its levels together (Kirillov et
    al. 2019). Widths, kernels and biases are those of the common Keras implementation, so the
    parameter counts agree with published ones. Decoders have half of the coarsest level's channels
    first and half as many at each finer level. VGG-16 ends in a pooling; the first two decoders put
    two convolutions behind it. Any size is accepted, as by `unet.UNet`.

    Further attributes are those of `segmentation.Segmenter`.

    Attributes:
      encoder: a key of `encoders.ENCODERS`.
      decoder: "unet", "linknet" or "fpn".
      widths: channels of the encoder, finest first; None for the published ones. The last must be
        divisible by two to the power of their number.
      norm: normalisation of the decoder: "batch", "instance", "group" or "none".
      encoder_norm: normalisation of the encoder; None for the published one, "none" for VGG-16 and
        "batch" for ResNet-34.
      dropout: probability that a channel is dropped after each activation of the decoder, in
        training.
    """

    encoder: str = "resnet34"
    decoder: str = "unet"
    widths: tuple[int, ...] | None = None
    norm: str = "batch"
    encoder_norm: str | None = None

    def _segment(self, x: Array, context: blocks.Context) -> segmentation.Segmentation:
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
        *maps, coarsest = encode(x, context)
        skips = maps[::-1]
        sides = [*(skip.shape[1:-1] for skip in skips), x.shape[1:-1]]
        x = coarsest
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
        return segmentation.Segmentation(self.logits(x, 3), x)

    def _unet_block(
        self,
        step: int,
        width: int,
        x: Array,
        skip: Array | None,
        sides: tuple[int, ...],
        context: blocks.Context,
    ) -> Array:
        x = upsampling.crop(upsampling.nearest(x), sides)
        inputs = (x,) if skip is None else (x, skip)
        x = self._conv(f"decoder{step}_0", width, 3, 2 * step + 2, context, *inputs)
        return self._conv(f"decoder{step}_1", width, 3, 2 * step + 3, context, x)

    def _linknet_block(
        self,
        step: int,
        width: int,
        x: Array,
        skip: Array | None,
        sides: tuple[int, ...],
        context: blocks.Context,
    ) -> Array:
        narrow, layer = x.shape[-1] // 4, 3 * step + 2
        x = self._conv(f"decoder{step}_0", narrow, 1, layer, context, x)
        x = upsampling.crop(upsampling.nearest(x), sides)
        x = self._conv(f"decoder{step}_1", narrow, 3, layer + 1, context, x)
        width = width if skip is None else skip.shape[-1]
        x = self._conv(f"decoder{step}_2", width, 1, layer + 2, context, x)
        return x if skip is None else x + skip

    def _fpn(
        self,
        x: Array,
        skips: list[Array],
        sides: list[tuple[int, ...]],
        context: blocks.Context,
    ) -> Array:
        width, read = x.shape[-1] // 2, []
        x = self.conv("lateral_coarsest", width, 1, use_bias=True)(x)
        for step, skip in enumerate(skips):
            x = upsampling.crop(upsampling.nearest(x), sides[step])
            x = x + self.conv(f"lateral{step}", width, 1, use_bias=True)(skip)
            y = self._conv(f"decoder{step}_0", width // 2, 3, 2 * step, context, x)
            y = self._conv(f"decoder{step}_1", width // 2, 3, 2 * step + 1, context, y)
            for finer in sides[step + 1 : -1]:
                y = upsampling.crop(upsampling.nearest(y), finer)
            read.append(y)
        x = self._conv("pyramid", width // 2, 3, 2 * len(skips), context, *read)
        return upsampling.crop(upsampling.linear(x), sides[-1])

    def _conv(
        self, name: str, width: int, size: int, layer: int, context: blocks.Context, *inputs: Array
    ) -> Array:
        options = {"layer": layer, "size": size, "dropout": self.dropout}
        return self.block(name, width, activation="relu", **options)(inputs, *context)
