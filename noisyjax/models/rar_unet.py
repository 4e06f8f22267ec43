"""RAR-U-Net and the U-Nets of its ablation: residual encoders, residual paths, attention decoders.

The wiring is the one that gives the parameter counts of the paper's Table 4 to the unit; where two
of its rows do not agree with each other, both are followed and a comment says so.
"""

import jax.numpy as jnp
from jaxtyping import Array

from noisyjax.core import upsampling
from noisyjax.models import attention, blocks, residual, segmentation


class RARUNet(segmentation.Segmenter):
    """A U-Net with three switches; 2-D or 3-D by the rank of its input.

    A stage is (3x3 convolution with bias, ReLU) twice and a normalisation; pooling is a maximum, up
    goes a transposed convolution with bias. All switches off is the paper's U-Net, the first alone
    its Residual U-Net. The 2-D networks of the paper have "batch" normalisation, the 3-D ones
    "none". The paper counts parameters with one input channel and one sigmoid logit
    (`num_classes=1`). Any size is accepted, as by `unet.UNet`.

    Further attributes are those of `segmentation.Segmenter`.

    Attributes:
      residual_encoders: every stage returns its input beside its last convolution (Section 2.1), in
        the decoder too; the bottleneck is not normalised then.
      residual_connections: a residual path on each skip connection (Section 2.2), of one unit at
        the deepest and one more at every finer level.
      attention_decoders: attention over space and channels in the decoder (Section 2.3).
      dense_stages: the second convolution of a stage also reads what the first one read, and the
        deepest skip connection is the whole output of its stage: with residual encoders the
        Densely-UNet of Table 1.
      norm: "batch", "instance", "group" or "none".
      dropout: probability that a number is zeroed after each pooling and each concatenation of the
        decoder, in training.
    """

    residual_encoders: bool = True
    residual_connections: bool = True
    attention_decoders: bool = True
    dense_stages: bool = False
    norm: str = "batch"
    dropout: float | int = 0.1

    def _segment(self, x: Array, context: blocks.Context) -> segmentation.Segmentation:
        bottom, skips = len(self.widths) - 1, []
        for level in range(len(self.widths)):
            if level:
                x = self._dropout(blocks.max_pool(x), level - 1, context)
            x, last = self._stage(f"encoder{level}", level, x, False)
            if not (self.residual_encoders and level == bottom):
                x = self.normalise(f"encoder_norm{level}", x, context)
            if level < bottom:
                skips.append(self._skip(level, x, last, context))
        for level in reversed(range(bottom)):
            up = blocks.UpsampleTransposed(
                self.widths[level], use_bias=True, dtype=self.dtype, name=f"up{level}"
            )
            x = upsampling.crop(up(x), skips[level].shape[1:-1])
            x = jnp.concatenate([x, skips[level]], -1)
            x = self._dropout(x, 2 * bottom - 1 - level, context)
            x, _ = self._stage(f"decoder{level}", level, x, self.attention_decoders)
            x = self.normalise(f"decoder_norm{level}", x, context)
        return segmentation.Segmentation(self.logits(x), x)

    def _stage(self, name: str, level: int, x: Array, attend: bool) -> tuple[Array, Array]:
        """What a stage returns, and its last convolution alone."""
        first = self._conv(f"{name}_0", level)((x,))
        last = self._conv(f"{name}_1", level)((x, first) if self.dense_stages else (first,))
        if attend:
            last = attention.ConvAttention(dtype=self.dtype, name=f"{name}_attention")(last)
        return (jnp.concatenate([x, last], -1) if self.residual_encoders else last), last

    def _skip(self, level: int, x: Array, last: Array, context: blocks.Context) -> Array:
        """What the decoder gets of a level."""
        deepest = level == len(self.widths) - 2
        # Residual encoders hand on their last convolution, not normalised. The full network alone
        # feeds its residual paths with the whole stage, as its published size says.
        full = self.residual_connections and self.attention_decoders
        bare = self.residual_encoders and not full and not (self.dense_stages and deepest)
        x = last if bare else x
        if not self.residual_connections:
            return x
        path = residual.ResidualPath(
            self.widths[level],
            len(self.widths) - 1 - level,
            norm=self.norm,
            axis_name=self.axis_name,
            dtype=self.dtype,
            name=f"path{level}",
        )
        return path(x, context)

    def _conv(self, name: str, level: int) -> blocks.ConvNormAct:
        return self.block(name, self.widths[level], norm="none", activation="relu")

    def _dropout(self, x: Array, layer: int, context: blocks.Context) -> Array:
        if not (self.dropout and context.train):
            return x
        return blocks.dropout(x, context.keys, self.dropout, layer, whole_channels=False)
