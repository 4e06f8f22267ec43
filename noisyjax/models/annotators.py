"""Heads that estimate how each rater errs, as confusion matrices (Zhang et al. 2020).

`A[..., i, j] = p(noisy = i | true = j)`: columns, over axis -2, sum to one. Raw channels are
ordered `k = i L + j`. Matrices are float32, whatever the type of the activations. There are R
raters and L classes, background included.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from noisyjax.core import checks
from noisyjax.models import blocks

# Keeps a column of vanishing entries from 0/0; softplus is above it for inputs over -34; its
# square is still a float32.
_FLOOR = 1e-15
# Of more raters than these the zeros of a block-diagonal matrix cost more than they save.
_MANY = 16
_NORMS = ("instance", "group", "none")


def normalise_columns(positive: Float[Array, "*A L L"]) -> Float[Array, "*A L L"]:
    """Divides columns (over axis -2, entries >= 0) by their sums; one of zeros becomes uniform.

    Example:
      >>> normalise_columns(jnp.array([[3.0, 0.0], [1.0, 0.0]]))
      Array([[0.75, 0.5 ],
             [0.25, 0.5 ]], dtype=float32)
    """
    positive = positive.astype(jnp.float32) + _FLOOR
    return positive / positive.sum(-2, keepdims=True)


def full_matrices(raw: Float[Array, "*A M"], num_classes: int) -> Float[Array, "*A L L"]:
    """Confusion matrices from L^2 raw channels: softplus, columns normalised (Section 3.1)."""
    raw = raw.astype(jnp.float32).reshape(*raw.shape[:-1], num_classes, num_classes)
    return normalise_columns(jax.nn.softplus(raw))


def low_rank_matrices(
    raw: Float[Array, "*A M"], num_classes: int, rank: int
) -> Float[Array, "*A L L"]:
    """Confusion matrices `A ~ softplus(U) softplus(V)^T + softplus(s) I`, columns normalised.

    Raw channels ``[..., 2 rank L + 1]`` are V transposed ``[rank, L]``, then U ``[L, rank]``, then
    s (Zhang et al. 2020, supplementary material on the low-rank approximation).
    """
    positive = jax.nn.softplus(raw.astype(jnp.float32))
    size = rank * num_classes
    right = positive[..., :size].reshape(*raw.shape[:-1], rank, num_classes)
    left = positive[..., size : 2 * size].reshape(*raw.shape[:-1], num_classes, rank)
    identity = jnp.eye(num_classes).reshape((1,) * (raw.ndim - 1) + (num_classes,) * 2)
    return normalise_columns(left @ right + positive[..., -1:, None] * identity)


class Convolutional(blocks.Layers, nn.Module):
    """Matrices of every rater and pixel from the segmenter's features.

    Each rater has `convs` times (3^n convolution, normalisation, activation), then a 1^n
    convolution.

    Attributes:
      rank: 0 for full matrices, else the rank of `low_rank_matrices`.
      convs: number of 3^n convolutions of each rater, 4 in the paper; 0 leaves the 1^n
        convolution alone.
      width: channels of each rater; 0 takes those of the features.
      norm: "instance", "group" or "none".
      activation: see `blocks.Activation`.
      identity_bias: added to the raw diagonal at the start, so that raters begin as reliable.
    """

    num_raters: int
    num_classes: int
    rank: int = 0
    convs: int = 4
    width: int = 0
    norm: str = "instance"
    activation: str = "prelu"
    identity_bias: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Float[Array, "B *S W"]) -> Float[Array, "B R *S L L"]:
        """Maps features ``[B, *S, W]`` to matrices ``[B, R, *S, L, L]``."""
        checks.one_of("norm", self.norm, _NORMS)
        raters, width = self.num_raters, self.width or features.shape[-1]
        x = features
        if self.convs:
            # All raters read the same features: their first convolutions are one.
            block = self.block("first", raters * width, activation=self.activation)
            x = block((features,))
        if self.convs > 1:
            x = jnp.concatenate([self._deeper(r, x, width) for r in range(raters)], -1)
        raw = self._mix(x, x.shape[-1] // raters if self.convs else width)
        raw = jnp.moveaxis(raw.reshape(*raw.shape[:-1], raters, -1), -2, 1)
        if self.rank:
            return low_rank_matrices(raw, self.num_classes, self.rank)
        return full_matrices(raw, self.num_classes)

    def _deeper(self, rater: int, x: Array, width: int) -> Array:
        x = x[..., rater * width : (rater + 1) * width]
        for layer in range(1, self.convs):
            block = self.block(f"rater{rater}_{layer}", width, activation=self.activation)
            x = block((x,))
        return x

    def _mix(self, x: Array, width: int) -> Array:
        """The raters' 1^n convolutions ``[width, M]`` to raw channels, ``[B, *S, R M]``."""
        raters = self.num_raters
        size = 2 * self.rank * self.num_classes + 1 if self.rank else self.num_classes**2
        init = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal", batch_axis=0)
        kernel = self.param("kernel", init, (raters, width, size), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (raters, size), jnp.float32)
        bias = bias.at[:, self._diagonal()].add(self.identity_bias)
        if self.convs and raters > _MANY:
            own = x.reshape(*x.shape[:-1], raters, width)
            mixed = jnp.einsum("...rw,rwm->...rm", own, kernel.astype(self.dtype))
            mixed = mixed.reshape(*x.shape[:-1], raters * size)
            return mixed + bias.reshape((1,) * (x.ndim - 1) + (-1,))
        if self.convs:
            # One product with a block-diagonal matrix; a batched one would transpose the pixels.
            blocks_of_raters = jnp.eye(raters)[:, None, :, None] * kernel[:, :, None]
            matrix = blocks_of_raters.reshape(raters * width, raters * size)
        else:
            matrix = jnp.moveaxis(kernel, 0, 1).reshape(width, raters * size)
        mixed = x @ matrix.astype(self.dtype)
        return mixed + bias.reshape((1,) * (x.ndim - 1) + (-1,))

    def _diagonal(self) -> slice:
        if self.rank:
            return slice(-1, None)
        return slice(None, None, self.num_classes + 1)


class Global(nn.Module):
    """One matrix per rater for all pixels and images.

    Attributes:
      identity_bias: raw diagonal at the start, over zeros elsewhere.
    """

    num_raters: int
    num_classes: int
    identity_bias: float = 1.0

    @nn.compact
    def __call__(self, features: Float[Array, "B *S W"]) -> Float[Array, "1 R *T L L"]:
        """Returns ``[1, R, 1.., L, L]``, one 1 per spatial axis, to broadcast over the batch."""

        def init(key: Array, shape: tuple[int, ...]) -> Array:
            return jnp.broadcast_to(self.identity_bias * jnp.eye(self.num_classes), shape)

        shape = (self.num_raters, self.num_classes, self.num_classes)
        raw = self.param("raw", init, shape)
        matrices = normalise_columns(jax.nn.softplus(raw))
        return jnp.expand_dims(matrices, (0, *range(2, features.ndim)))


class OneCoin(nn.Module):
    """One error rate per rater: right with probability 1 - e, else any other class alike.

    The simplest model of Dawid & Skene (1979) with which raters can be told apart. Its matrices are
    diagonally dominant whatever is learnt, the condition of Theorem 1 in Zhang et al. 2020.

    Attributes:
      min_error_rate: the smallest error rate, in (0, (L - 1) / L): how good a rater may be believed
        to be. At 0.1 one rater weighs as much as two or three fairly good ones that agree.
      pace: factor on the parameters. An adaptive optimiser moves each by about its learning rate
        and error rates have much further to go than weights.
    """

    num_raters: int
    num_classes: int
    min_error_rate: float = 0.1
    pace: float = 3.0

    @nn.compact
    def __call__(self, features: Float[Array, "B *S W"]) -> Float[Array, "1 R *T L L"]:
        """Returns ``[1, R, 1.., L, L]``, one 1 per spatial axis, to broadcast over the batch."""
        chance = (self.num_classes - 1) / self.num_classes
        raw = self.param("raw", nn.initializers.zeros, (self.num_raters,))
        error = self.min_error_rate + (chance - self.min_error_rate) * jax.nn.sigmoid(
            self.pace * raw
        )
        error = jnp.expand_dims(error, (1, 2))
        identity = jnp.eye(self.num_classes)[None]
        matrices = (1 - error) * identity + error / (self.num_classes - 1) * (1 - identity)
        return jnp.expand_dims(matrices, (0, *range(2, features.ndim)))


HEADS = {
    "spatial": Convolutional,
    "low_rank": Convolutional,
    "global": Global,
    "one_coin": OneCoin,
}


def build(kind: str, num_raters: int, num_classes: int, **options: Any) -> nn.Module:
    """Makes the heads of all raters; options are attributes of the module.

    Args:
      kind: "spatial", "low_rank" (option `rank`, default 1), "global" or "one_coin".

    Returns:
      A module: `apply(variables, features [B, *S, W]) -> [B, R, *S, L, L]`; "global" returns ones
      for the batch and space axes.
    """
    head = checks.lookup("annotator head", kind, HEADS)
    defaults = {"rank": 1} if kind == "low_rank" else {}
    return head(num_raters=num_raters, num_classes=num_classes, **(defaults | options))
