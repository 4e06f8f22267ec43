"""A U-Net as nnU-Net plans it for images of equal spacing (Isensee et al. 2021)."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from noisyjax.core import checks
from noisyjax.models import unet

# By the number of spatial axes.
_WIDEST = {2: 512, 3: 320}


class NNUNetStyle(nn.Module):
    """A plain U-Net with nnU-Net's widths, blocks and deep supervision; 2-D or 3-D by rank.

    Two convolutions a level, each with instance normalisation and a leaky ReLU of slope 0.01; width
    32 at the finest level, doubled from level to level up to 512 in 2-D and 320 in 3-D; down by
    strided, up by transposed convolutions; in training, logits at the coarser levels of the decoder
    (see `unet.UNet`). What differs: the convolutions before a normalisation and the transposed ones
    have no bias, strides and kernels are the same along every axis, and nothing is planned from the
    data but by whoever chooses the number of levels.

    Attributes:
      num_classes: L, the number of logits.
      widths: channels of every level, finest first; those above 512 in 2-D, 320 in 3-D are cut to
        that. nnU-Net halves as long as a side keeps four voxels: 4 levels for a side of 32 voxels,
        5 for 64, 6 for 128.
      deep_supervision: whether the coarser levels have logits of their own in training.
      dropout: probability that a channel is dropped after each activation; nnU-Net has none.
      axis_name: mapped axis of the devices; instance normalisation does not read it.
      dtype: type of the activations; parameters and logits are float32.
      remat: whether activations are recomputed in the backward pass, to save memory on
        accelerators; on a CPU the compiler merges the recomputation, and nothing is saved.
    """

    num_classes: int
    widths: tuple[int, ...] = (32, 64, 128, 256, 512)
    deep_supervision: bool = True
    dropout: float = 0.0
    axis_name: str | None = None
    dtype: Any = jnp.float32
    remat: bool = False

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
          train: whether there are deep logits, and dropout is on.
          keys: `[B]` typed keys, one per example; needed by dropout in training.
          weight: `[B]`; nothing depends on it, as there are no batch statistics.

        Returns:
          Logits `[B, *S, L]`, features `[B, *S, widths[0]]` and, in training, deep logits.

        Raises:
          ValueError: for an image of another rank, or dropout without keys.
        """
        checks.rank("image", image, (4, 5))
        network = unet.UNet(
            self.num_classes,
            widths=tuple(min(width, _WIDEST[image.ndim - 2]) for width in self.widths),
            activation="leaky_relu",
            up="transposed",
            dropout=self.dropout,
            deep_supervision=self.deep_supervision,
            dtype=self.dtype,
            remat=self.remat,
            name="unet",
        )
        return network(image, train=train, keys=keys, weight=weight)
