"""What all segmenters share: their call, their fields and what they return."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from noisyjax.core import checks
from noisyjax.models import blocks


class Segmentation(NamedTuple):
    """What a segmenter returns.

    Attributes:
      logits: ``[B, *S, L]``, float32.
      features: ``[B, *S, W]``, the last decoder features, which annotator heads read.
      deep: logits of coarser levels, finer first, ``[B, *ceil(S / 2^i), L]`` for i = 1, 2, ...; in
        training with deep supervision alone.
    """

    logits: Array
    features: Array
    deep: tuple[Array, ...] = ()


class Segmenter(blocks.Layers, nn.Module):
    """A network from images to logits, 2-D or 3-D by the rank of its input.

    A network defines `_segment`.

    Attributes:
      num_classes: L, the number of logits.
      widths: channels of every level, finest first.
      dropout: probability that something is dropped in training.
      axis_name: mapped axis over which batch statistics are averaged, or None.
      dtype: type of the activations; parameters and logits are float32.
    """

    num_classes: int
    widths: tuple[int, ...] = (32, 64, 128, 256, 512)
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
    ) -> Segmentation:
        """Segments a batch.

        Args:
          image: ``[B, *S, K]``.
          train: whether batch statistics are updated and dropout is on.
          keys: ``[B]`` typed keys, one per example; needed by dropout in training.
          weight: ``[B]``; examples of weight 0 (padding) stay out of the batch statistics.
        """
        checks.rank("image", image, (4, 5))
        return self._segment(image.astype(self.dtype), blocks.Context(train, keys, weight))

    def _segment(self, x: Float[Array, "B *S K"], context: blocks.Context) -> Segmentation:
        """Segments a batch in the call, given its image in the type of the activations."""
        raise NotImplementedError

    def logits(self, x: Array, size: int = 1, *, name: str = "logits") -> Float[Array, "B *S L"]:
        """The last convolution, float32."""
        return blocks.Conv(self.num_classes, size, use_bias=True, name=name)(x)
