"""A U-Net as nnU-Net plans it for images of equal spacing (Isensee et al. 2021)."""

from jaxtyping import Array

from noisyjax.models import blocks, segmentation, unet

# By the number of spatial axes.
_WIDEST = {2: 512, 3: 320}


class NNUNetStyle(segmentation.Segmenter):
    """A plain U-Net with nnU-Net's widths, blocks and deep supervision; 2-D or 3-D by rank.

    Two convolutions a level, each with instance normalisation and a leaky ReLU of slope 0.01; width
    32 at the finest level, doubled from level to level up to 512 in 2-D and 320 in 3-D; down by
    strided, up by transposed convolutions; in training, logits at the coarser levels of the decoder
    (see `unet.UNet`). What differs: the convolutions before a normalisation and the transposed ones
    have no bias, strides and kernels are the same along every axis, and nothing is planned from the
    data but by whoever chooses the number of levels.

    Further attributes are those of `segmentation.Segmenter`.

    Attributes:
      widths: channels of every level, finest first; those above 512 in 2-D, 320 in 3-D are cut to
        that. nnU-Net halves as long as a side keeps four voxels: 4 levels for a side of 32 voxels,
        5 for 64, 6 for 128.
      deep_supervision: whether the coarser levels have logits of their own in training.
      dropout: probability that a channel is dropped after each activation; nnU-Net has none.
      axis_name: mapped axis of the devices; instance normalisation does not read it.
      remat: whether activations are recomputed in the backward pass, to save memory on
        accelerators; on a CPU the compiler merges the recomputation, and nothing is saved.
    """

    deep_supervision: bool = True
    remat: bool = False

    def _segment(self, x: Array, context: blocks.Context) -> segmentation.Segmentation:
        network = unet.UNet(
            num_classes=self.num_classes,
            widths=tuple(min(width, _WIDEST[x.ndim - 2]) for width in self.widths),
            activation="leaky_relu",
            up="transposed",
            dropout=self.dropout,
            deep_supervision=self.deep_supervision,
            dtype=self.dtype,
            remat=self.remat,
            name="unet",
        )
        return network(x, **context._asdict())
