"""How little each annotation of an image is to be trusted, voxel by voxel (UMA-Net, III-B)."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Integer

from noisyjax.core import checks, ignored
from noisyjax.models import blocks, unet


class AUEM(unet.UNet):
    """The annotation uncertainty estimation module: one encoder, one decoder per annotation.

    The paper gives its inputs (the image and all annotations), its parts and the sigmoid at its
    end. Ours are:

    * an annotation enters with one channel per foreground class, and one that says whether it is
      there at all; where it is absent, or ignored, it enters as zeros, whatever stands there;
    * the first convolution, `stem`, is not normalised: instance normalisation would take away
      whatever is the same everywhere, as those last channels are;
    * the sizes, small because this is for training alone: one convolution a level;
    * the uncertainties start low, about `sigmoid(start)`. At 1/2 every calibration map is
      undecided, whatever its annotation says.

    Further attributes are those of `unet.UNet`; dropout needs keys and is off.

    Attributes:
      num_classes: C, the number of foreground classes, each with maps of its own.
      num_raters: M, the number of annotations.
      start: added to the logits of the uncertainties.
    """

    widths: tuple[int, ...] = (8, 16, 32)
    convs_per_level: int = 1
    num_raters: int = 1
    start: float = -2.0

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "B *S K"],
        labels: Integer[Array, "B M *S"],
        rater_mask: Bool[Array, "B M"],
        *,
        train: bool = False,
        weight: Float[Array, "B"] | None = None,
    ) -> Float[Array, "B M *S C"]:
        """Estimates the uncertainty of each annotation, in (0, 1) and float32.

        Labels are class ids, 0 is background; `rater_mask` tells which annotations each image has,
        and the uncertainties of the others have no meaning. Examples of weight 0 (padding) stay out
        of the batch statistics.
        """
        checks.shape("rater_mask", rater_mask, (image.shape[0], self.num_raters))
        context = blocks.Context(train, None, weight)
        stem = self.block("stem", self.widths[0], norm="none", activation=self.activation)
        seen = _channels(labels, rater_mask, self.num_classes)
        x = stem((image.astype(self.dtype), seen.astype(self.dtype)))
        skips = self.encode(x, context)
        # A plain loop: grouped convolutions are slow on a CPU.
        maps = []
        for rater in range(self.num_raters):
            features = self.decode(skips, context, prefix=f"rater{rater}_")[0]
            head = blocks.Conv(self.num_classes, 1, use_bias=True, name=f"rater{rater}_logits")
            maps.append(nn.sigmoid(head(features) + self.start))
        return jnp.stack(maps, axis=1)


def _channels(labels: Array, rater_mask: Array, num_classes: int) -> Array:
    """Masks of the classes and presence of each annotation, ``[B, *S, M (C + 1)]``."""
    present = jnp.expand_dims(rater_mask, range(2, labels.ndim)) & ignored.known(labels)
    masks = [(labels == c) & present for c in range(1, num_classes + 1)]
    stacked = jnp.stack([*masks, present], -1)
    moved = jnp.moveaxis(stacked, 1, -2)
    return moved.reshape(*moved.shape[:-2], -1)
