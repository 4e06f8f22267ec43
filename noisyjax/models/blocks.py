"""Building blocks of the networks: convolution, normalisation, activation, dropout, pooling.

Parameters are float32; `dtype` is the type of the activations. Statistics are always float32.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from noisyjax.core import checks, convolution, upsampling

NORMS = ("instance", "group", "batch", "none")
_EPSILON = 1e-5
_KERNEL_INIT = nn.initializers.he_normal()


class Conv(nn.Module):
    """A convolution over one or several inputs, concatenated along channels.

    Attributes:
      size: of the kernel, one for all axes or one for each.
      stride: 1 or 2, one for all axes or one for each; 2 with an odd kernel size, or 2 everywhere.
      dilation: distance of neighbouring taps in voxels; with stride 1 alone.
      up: whether the first of two inputs is on the coarser grid, and is up-sampled linearly first;
        or by how much along each axis, 1 or 2. With stride 1 and dilation 1 alone.
    """

    features: int
    size: int | tuple[int, ...] = 3
    stride: int | tuple[int, ...] = 1
    use_bias: bool = False
    dilation: int = 1
    up: bool | tuple[int, ...] = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, *inputs: Float[Array, "..."]) -> Float[Array, "..."]:
        """Convolves ``[B, *S, C_i]``, of one S but with `up`, to ``[B, *T, features]``."""
        ndim = inputs[0].ndim - 2
        channels = sum(x.shape[-1] for x in inputs)
        shape = _along(self.size, ndim) + (channels, self.features)
        kernel = self.param("kernel", _KERNEL_INIT, shape, jnp.float32).astype(self.dtype)
        inputs = tuple(x.astype(self.dtype) for x in inputs)
        if self.up:
            self._check_up(len(inputs))
            factors = () if self.up is True else self.up
            y = upsampling.joined_conv(*inputs, kernel, strides=factors)
        else:
            y = self._convolve(jnp.concatenate(inputs, -1), kernel)
        if self.use_bias:
            y = y + _bias(self, self.features, y.ndim).astype(self.dtype)
        return y

    def _check_up(self, inputs: int) -> None:
        if inputs != 2 or self.stride != 1 or self.dilation != 1:
            raise ValueError(
                "up: expected two inputs, stride 1 and dilation 1, got "
                f"{inputs}, {self.stride} and {self.dilation}"
            )

    def _convolve(self, x: Array, kernel: Array) -> Array:
        strides = _along(self.stride, x.ndim - 2)
        if set(strides) == {1}:
            return convolution.conv(x, kernel, dilation=self.dilation)
        if self.dilation != 1:
            raise ValueError(f"dilation: expected 1 with stride 2, got {self.dilation}")
        if self.size == 2:
            return convolution.downsample_conv(x, kernel)
        return convolution.strided_conv(x, kernel, strides=strides)


def _along(value: int | tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """Returns one number for each axis."""
    return (value,) * ndim if isinstance(value, int) else tuple(value)


class Norm(nn.Module):
    """Normalisation over space, with scale and bias per channel.

    "instance" normalises every example and channel, "group" every example and group of channels,
    "batch" every channel over the batch, with running averages for prediction; "none" does nothing.
    The variance is that of the population; 1e-5 is added to it.

    Attributes:
      kind: one of `NORMS`.
      groups: number of channel groups of "group"; it must divide the channels.
      momentum: how much of the running averages a training step keeps.
      use_scale: whether there is a scale beside the bias.
      axis_name: mapped axis over which the batch statistics are averaged, or None.
    """

    kind: str = "instance"
    groups: int = 8
    momentum: float = 0.9
    use_scale: bool = True
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B *S C"],
        train: bool = False,
        weight: Float[Array, "B"] | None = None,
    ) -> Float[Array, "B *S C"]:
        """Normalises; examples whose `weight` is 0 stay out of the batch statistics."""
        checks.one_of("norm", self.kind, NORMS)
        if self.kind == "none":
            return x
        channels = x.shape[-1]
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        if self.kind == "batch":
            mean, variance = self._batch_statistics(x, train, weight)
        else:
            mean, variance = moments(x)
        if self.kind == "group":
            mean, variance = self._pooled(mean, variance)
        factor = jax.lax.rsqrt(variance + _EPSILON)
        if self.use_scale:
            scale = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
            factor = scale[None] * factor
        offset = bias[None] - mean * factor
        shape = (-1,) + (1,) * (x.ndim - 2) + (channels,)
        return (x * factor.reshape(shape) + offset.reshape(shape)).astype(self.dtype)

    def _pooled(self, mean: Array, variance: Array) -> tuple[Array, Array]:
        """Statistics of channel groups from those of their channels, ``[B, C]`` each."""
        batch, channels = mean.shape
        if channels % self.groups:
            raise ValueError(f"groups: expected a divisor of {channels}, got {self.groups}")
        mean, variance = (m.reshape(batch, self.groups, -1) for m in (mean, variance))
        pooled = mean.mean(-1, keepdims=True)
        variance = (variance + jnp.square(mean - pooled)).mean(-1, keepdims=True)
        size = (1, 1, channels // self.groups)
        return tuple(jnp.tile(m, size).reshape(batch, channels) for m in (pooled, variance))

    def _batch_statistics(self, x: Array, train: bool, weight: Array | None) -> tuple[Array, Array]:
        channels = x.shape[-1]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        running_variance = self.variable("batch_stats", "variance", jnp.ones, (channels,))
        if not train:
            return running_mean.value[None], running_variance.value[None]
        weight = jnp.ones(x.shape[0]) if weight is None else (weight > 0).astype(jnp.float32)
        means, variances = moments(x)
        axis = None if self.is_initializing() else self.axis_name

        def average(values: Array) -> Array:
            sums = jnp.concatenate([weight @ values, weight.sum()[None]])
            sums = jax.lax.psum(sums, axis) if axis else sums
            return sums[:-1] / jnp.maximum(sums[-1], 1.0)

        mean = average(means)
        variance = average(variances + jnp.square(means - mean[None]))
        if not self.is_initializing():
            keep = self.momentum
            running_mean.value = keep * running_mean.value + (1 - keep) * mean
            running_variance.value = keep * running_variance.value + (1 - keep) * variance
        return mean[None], variance[None]


def moments(
    x: Float[Array, "B *S C"],
) -> tuple[Float[Array, "B C"], Float[Array, "B C"]]:
    """Mean and population variance over space in one pass, in float32.

    The sums are taken about the voxel in the middle of the image, so a mean far from zero does not
    cancel the variance: the relative error is about 1e-7 times (mean - middle)^2 / variance.

    Returns ``[B, C]`` each.
    """
    middle = (slice(None), *(slice(side // 2, side // 2 + 1) for side in x.shape[1:-1]))
    shift = jax.lax.stop_gradient(x[middle]).astype(jnp.float32)
    shifted = x.astype(jnp.float32) - shift
    space = tuple(range(1, x.ndim - 1))
    mean = shifted.mean(space)
    variance = jnp.square(shifted).mean(space) - jnp.square(mean)
    return mean + shift.reshape(mean.shape), jnp.maximum(variance, 0.0)


class Activation(nn.Module):
    """A pointwise non-linearity; "prelu" learns one slope, from 0.25.

    Attributes:
      kind: a key of `ACTIVATIONS`, or "prelu".
    """

    kind: str = "prelu"

    @nn.compact
    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """Applies the activation."""
        if self.kind != "prelu":
            return checks.lookup("activation", self.kind, ACTIVATIONS)(x)
        slope = self.param("slope", nn.initializers.constant(0.25), (), jnp.float32)
        return jnp.where(x >= 0, x, slope.astype(x.dtype) * x)


ACTIVATIONS = {
    "identity": lambda x: x,
    "relu": nn.relu,
    "leaky_relu": nn.leaky_relu,
    "elu": nn.elu,
    "gelu": nn.gelu,
    "swish": nn.swish,
}


def dropout(
    x: Float[Array, "B *S C"],
    keys: Key[Array, "B"] | None,
    rate: float | int,
    layer: int,
    *,
    whole_channels: bool = True,
) -> Float[Array, "B *S C"]:
    """Zeroes whole channels (Tompson et al. 2015) or single numbers and scales the others up.

    What an example loses depends on its key and the layer, not on the batch around it. `rate` is
    the probability that a channel, or a number, is zeroed; `layer` is folded into the keys, of
    which there is one per example. Without keys it is a ValueError.
    """
    if keys is None:
        raise ValueError("keys: expected one key per example to train with dropout, got None")
    shape = (*(1,) * (x.ndim - 2), x.shape[-1]) if whole_channels else x.shape[1:]

    def mask(key: Array) -> Array:
        kept = jax.random.bernoulli(jax.random.fold_in(key, layer), 1 - rate, shape)
        return kept / (1 - rate)

    return x * jax.vmap(mask)(keys).astype(x.dtype)


class Context(NamedTuple):
    """How a network is called.

    Attributes:
      train: whether batch statistics are updated and dropout is on.
      keys: one typed key per example, for dropout, ``[B]``.
      weight: examples of weight 0 (padding) stay out of the batch statistics, ``[B]``.
    """

    train: bool = False
    keys: Key[Array, "B"] | None = None
    weight: Float[Array, "B"] | None = None


EVALUATION = Context()


class Layers:
    """Makes the layers of a module of its own normalisation and type.

    For modules with the fields `norm` and `dtype`, and `axis_name` if it may be other than None.
    """

    axis_name = None

    def conv(
        self, name: str, features: int, *arguments: int | tuple[int, ...], **options: Any
    ) -> Conv:
        """Returns a `Conv`."""
        return Conv(features, *arguments, **options, dtype=self.dtype, name=name)

    def block(
        self, name: str, features: int, *, remat: bool = False, **options: Any
    ) -> "ConvNormAct":
        """Returns a `ConvNormAct`, whose backward pass recomputes activations with `remat`."""
        kind = nn.remat(ConvNormAct, static_argnums=(2,)) if remat else ConvNormAct
        own = {"norm": self.norm, "axis_name": self.axis_name, "dtype": self.dtype}
        return kind(features, **(own | options), name=name)

    def normalise(self, name: str, x: Array, context: Context, **options: Any) -> Array:
        """Applies a `Norm`."""
        own = {"axis_name": self.axis_name, "dtype": self.dtype}
        return Norm(self.norm, **own, **options, name=name)(x, context.train, context.weight)


class ConvNormAct(Layers, nn.Module):
    """Convolution, normalisation, activation and, in training with keys, dropout.

    Attributes:
      layer: number of the layer in its network, for dropout.
      size, stride: see `Conv`.
      norm: one of `NORMS`; with "none" the convolution has a bias.
      activation: see `Activation`.
      up: see `Conv`.
      dropout: probability that a channel is dropped.
      norm_scale: whether the normalisation has a scale.
      axis_name: see `Norm`.
    """

    features: int
    layer: int = 0
    size: int | tuple[int, ...] = 3
    stride: int | tuple[int, ...] = 1
    norm: str = "instance"
    activation: str = "prelu"
    up: bool | tuple[int, ...] = False
    dropout: float = 0.0
    norm_scale: bool = True
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        inputs: tuple[Array, ...],
        train: bool = False,
        keys: Key[Array, "B"] | None = None,
        weight: Float[Array, "B"] | None = None,
    ) -> Float[Array, "..."]:
        """Maps inputs ``[B, *S, C_i]``, as `Conv` takes them, to ``[B, *T, features]``."""
        bias = self.norm == "none"
        x = self.conv("conv", self.features, self.size, self.stride, use_bias=bias, up=self.up)(
            *inputs
        )
        x = self.normalise("norm", x, Context(train, keys, weight), use_scale=self.norm_scale)
        x = Activation(self.activation, name="activation")(x)
        if self.dropout and train:
            x = dropout(x, keys, self.dropout, self.layer)
        return x


def max_pool(x: Float[Array, "B *S C"]) -> Float[Array, "B *T C"]:
    """Maximum over blocks of `2^n` voxels; an odd side keeps its last, narrower block."""
    # The gradient of `max` looks for the voxel equal to the maximum. XLA may compute the two apart,
    # rounded differently; then no voxel is, and the gradient is 0 / 0.
    voxels = jnp.unstack(_corners(x), axis=-2)
    return functools.reduce(lambda a, b: jnp.where(a < b, b, a), voxels)


def mean_pool(x: Float[Array, "B *S C"]) -> Float[Array, "B *T C"]:
    """Mean over blocks of `2^n` voxels, otherwise as `max_pool`."""
    return _corners(x).mean(-2)


def _corners(x: Array) -> Array:
    """The voxels of each block, ``[B, *ceil(S / 2), 2^n, C]``, those of a narrower one twice."""
    odd = [(0, side % 2) for side in x.shape[1:-1]]
    padded = jnp.pad(x, [(0, 0), *odd, (0, 0)], mode="edge")
    blocks = convolution.space_to_depth(padded)
    return blocks.reshape(*blocks.shape[:-1], -1, x.shape[-1])


class UpsampleTransposed(nn.Module):
    """Doubles sides with a transposed convolution.

    Attributes:
      factor: 1 or 2, one for all axes or one for each; the size of the kernel too.
    """

    features: int
    factor: int | tuple[int, ...] = 2
    use_bias: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B *S C"]) -> Float[Array, "B *T O"]:
        """Maps ``[B, *S, C]`` to ``[B, *factor S, features]``."""
        shape = _along(self.factor, x.ndim - 2) + (x.shape[-1], self.features)
        # Every output voxel has one tap, so the fan-in is that of a 1x1 convolution.
        init = nn.initializers.variance_scaling(
            2.0, "fan_in", "truncated_normal", batch_axis=tuple(range(x.ndim - 2))
        )
        kernel = self.param("kernel", init, shape, jnp.float32)
        y = convolution.transposed_conv(x.astype(self.dtype), kernel)
        if self.use_bias:
            y = y + _bias(self, self.features, y.ndim).astype(self.dtype)
        return y


def _bias(module: nn.Module, features: int, ndim: int) -> Array:
    """A parameter of one number per channel, ``[1, ..., 1, features]``."""
    bias = module.param("bias", nn.initializers.zeros, (features,), jnp.float32)
    return bias.reshape((1,) * (ndim - 1) + (-1,))
