"""Masks bent by random displacements whose strength is given in voxels.

Two of the noises by which adaptive denoising learning is studied (RAR-U-Net, section 2.4): the
elastic distortion of Simard et al. 2003, and the wave by which the columns of an image are shifted
in widespread public code under the same name. `noisyjax.noise.gaussian_field` has a model of its
own, with a known mean.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer, Key

from noisyjax.core import checks, warp

Label = Integer[Array, "*S"] | Bool[Array, "*S"]
Amplitude = float | int | Float[Array, ""]
Smoothness = float | int | Sequence[float | int]


def displacement(
    key: Key[Array, ""], shape: Sequence[int], *, smoothness: Smoothness
) -> Float[Array, "n *S"]:
    """Draws a smooth displacement field of amplitude 1, ``[n, *S]`` float32.

    Uniform numbers, one per voxel and axis, smoothed by a Gaussian. Every voxel is divided by the
    standard deviation that the smoothing leaves it, so that each component has the standard
    deviation 1 at the edges of the image as in the middle.

    Args:
      shape: ``S``, the voxels along each of the n axes.
      smoothness: standard deviation of the Gaussian in voxels, above 0, one number or one per axis.

    References:
      Simard et al. 2003, Best Practices for Convolutional Neural Networks Applied to Visual
      Document Analysis, section 2. Their scale is a factor on the smoothed field instead.
    """
    widths = list(smoothness) if isinstance(smoothness, Sequence) else [smoothness] * len(shape)
    if len(widths) != len(shape):
        raise ValueError(f"smoothness: expected 1 or {len(shape)} numbers, got {len(widths)}")
    # The standard deviation of the uniform distribution on [-1, 1] is sqrt(1/3).
    field = math.sqrt(3) * jax.random.uniform(key, (len(shape), *shape), minval=-1.0)
    for axis, (size, width) in enumerate(zip(shape, widths, strict=True), start=1):
        checks.positive("smoothness", width)
        smoothed = jnp.tensordot(
            _smoothing(size, width), field, axes=(1, axis), precision=jax.lax.Precision.HIGHEST
        )
        field = jnp.moveaxis(smoothed, 0, axis)
    return field


def elastic(
    key: Key[Array, ""], mask: Label, *, amplitude: Amplitude, smoothness: Smoothness
) -> Label:
    """Draws an elastic distortion of a mask; background comes in where it leaves the image.

    Every voxel takes the class of the nearest voxel of the mask (Simard et al. 2003, section 2).

    Args:
      mask: class ids or bool, ``[*S]``; one displacement moves all classes.
      amplitude: standard deviation of the displacement along each axis in voxels; may be traced.
        Much beyond the smoothness it tears the mask into pieces.
      smoothness: as in `displacement`.

    >>> mask = jnp.zeros((16, 16), jnp.uint8).at[4:12, 4:12].set(1)
    >>> elastic(jax.random.key(0), mask, amplitude=0.0, smoothness=3.0).sum()
    Array(64, dtype=uint32)
    """
    _check(amplitude)
    checks.ids("mask", mask, masks=True)
    field = displacement(key, mask.shape, smoothness=smoothness)
    return warp.warp(mask, amplitude * field)


def wave(
    key: Key[Array, ""],
    shape: Sequence[int],
    *,
    periods: float | int = 1.0,
    axis: int = 0,
    along: int = -1,
) -> Float[Array, "n *S"]:
    """Draws a displacement along one axis that follows a sine of another, with a random phase.

    Args:
      shape: ``S``, the voxels along each of the n axes.
      periods: number of periods across the image, positive.
      axis: the axis along which voxels move.
      along: the axis along which the sine runs, another one.

    Returns:
      ``[n, *S]`` float32, between -1 and 1 voxels along `axis` and 0 along the others.
    """
    checks.positive("periods", periods)
    ndim = len(shape)
    for name, number in (("axis", axis), ("along", along)):
        checks.one_of(name, number, range(-ndim, ndim))
    if axis % ndim == along % ndim:
        raise ValueError(f"along: expected another axis than axis={axis}, got {along}")
    size = shape[along]
    position = (jnp.arange(size) + 0.5) / size + jax.random.uniform(key)
    sine = jnp.sin(2 * math.pi * periods * position)
    line = sine.reshape([size if k == along % ndim else 1 for k in range(ndim)])
    return jnp.zeros((ndim, *shape)).at[axis % ndim].set(jnp.broadcast_to(line, shape))


def _check(amplitude: Amplitude) -> None:
    if not isinstance(amplitude, jax.Array):
        checks.positive("amplitude", amplitude, or_zero=True)


def _smoothing(size: int, width: float | int) -> Float[Array, "size size"]:
    """Gaussian weights with rows of norm 1: they keep the variance of independent numbers."""
    index = jnp.arange(size, dtype=jnp.float32)
    weights = jnp.exp(-0.5 * jnp.square((index[:, None] - index[None, :]) / width))
    return weights / jnp.linalg.norm(weights, axis=1, keepdims=True)
