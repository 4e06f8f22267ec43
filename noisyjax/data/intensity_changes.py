"""Random changes of an image's intensities, alike in all of its channels."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from noisyjax.core import blur
from noisyjax.data import change_draws


def contrast(image: Float[Array, "*S K"], factor: Float[Array, ""]) -> Float[Array, "*S K"]:
    """Multiplies what differs from the mean of each channel, and cuts off at its former range.

    >>> contrast(jnp.array([[0.0], [1.0], [5.0]]), jnp.float32(0.5)).ravel()
    Array([1. , 1.5, 3.5], dtype=float32)
    """
    space = tuple(range(image.ndim - 1))
    mean = image.mean(space, keepdims=True)
    low, high = image.min(space, keepdims=True), image.max(space, keepdims=True)
    return jnp.clip(mean + (image - mean) * factor, low, high)


def gamma(image: Float[Array, "*S K"], exponent: Float[Array, ""]) -> Float[Array, "*S K"]:
    """Raises the intensities of each channel to a power, between the least and the greatest in it.

    >>> gamma(jnp.array([[1.0], [2.0], [3.0]]), jnp.float32(2)).ravel()
    Array([1. , 1.5, 3. ], dtype=float32)
    """
    space = tuple(range(image.ndim - 1))
    low, high = image.min(space, keepdims=True), image.max(space, keepdims=True)
    width = jnp.where(high > low, high - low, 1.0)
    unit = (image - low) / width
    # The slope of a root has no end at 0.
    power = jnp.where(unit > 0, jnp.where(unit > 0, unit, 1.0) ** exponent, 0.0)
    return low + width * power


def low_resolution(image: Float[Array, "*S K"], share: Float[Array, ""]) -> Float[Array, "*S K"]:
    """Takes a share of the voxels along each axis, the nearest ones, and interpolates linearly.

    As ``torch.nn.functional.interpolate``, down by "nearest-exact" and up again by "trilinear", to
    a number of voxels that is rounded and may be traced.
    """
    for axis, size in enumerate(image.shape[:-1]):
        few = jnp.maximum(jnp.round(size * share), 1.0)
        place = (jnp.arange(size) + 0.5) * few / size - 0.5
        place = jnp.clip(place, 0.0, few - 1)
        before = jnp.floor(place)
        weights = 0.0
        after = place - before
        for low, weight in ((before, 1 - after), (jnp.minimum(before + 1, few - 1), after)):
            source = jnp.minimum(jnp.floor((low + 0.5) * size / few), size - 1)
            taken = source[:, None] == jnp.arange(size)[None, :]
            weights = weights + jnp.where(taken, weight[:, None], 0.0)
        weights = weights.astype(image.dtype)
        image = jnp.moveaxis(
            jnp.tensordot(weights, image, axes=(1, axis), precision=jax.lax.Precision.HIGHEST),
            0,
            axis,
        )
    return image


class _Draw(NamedTuple):
    """What a change draws: a key, and a number of it, uniform in [0, 1)."""

    key: Array
    number: Array

    def between(self, low, high):
        return low + self.number * (high - low)


def _scale(draw, image, most):
    return image * draw.between(1 - most, 1 + most)


def _shift(draw, image, most):
    return image + draw.between(-most, most)


def _noise(draw, image, most):
    return image + most * jax.random.normal(draw.key, image.shape)


def _contrast(draw, image, most):
    return contrast(image, draw.between(1 - most, 1 + most))


def _gamma(draw, image, most):
    bound = jnp.log1p(most)
    return gamma(image, jnp.exp(draw.between(-bound, bound)))


def _inverted_gamma(draw, image, most):
    return -_gamma(draw, -image, most)


def _smoothing(draw, image, most):
    smooth = functools.partial(
        blur.gaussian_blur, sigma=draw.between(0, most), mode="reflect", largest=most
    )
    return jax.vmap(smooth, -1, -1)(image)


def _low_resolution(draw, image, most):
    return low_resolution(image, draw.between(1 - most, 1))


# In the order in which they follow on each other. The places of their draws are part of every
# stored run: append new ones.
_KINDS = {
    "intensity_scale": _scale,
    "intensity_shift": _shift,
    "intensity_noise": _noise,
    "gamma": _gamma,
    "smoothing": _smoothing,
    "contrast": _contrast,
    "inverted_gamma": _inverted_gamma,
    "low_resolution": _low_resolution,
}


def _draws(key, probabilities):
    """Returns for each kind of change what it draws, and whether it happens."""
    keys = change_draws.streams(key)
    first = ("intensity_scale", "intensity_shift", "intensity_noise")
    keys |= zip(first, jax.random.split(keys["intensity"], 3), strict=True)
    own = jnp.stack([keys[name] for name in _KINDS])
    numbers = jax.vmap(jax.random.uniform)(own)
    chosen = change_draws.chosen(keys["intensity_chosen"], probabilities)
    return {n: (_Draw(own[i], numbers[i]), chosen[i]) for i, n in enumerate(_KINDS)}


def change(
    key: Key[Array, ""],
    image: Float[Array, "*S K"],
    *,
    intensity_scale: float = 0.0,
    intensity_scale_probability: float = 1.0,
    intensity_shift: float = 0.0,
    intensity_shift_probability: float = 1.0,
    intensity_noise: float = 0.0,
    intensity_noise_probability: float = 1.0,
    gamma: float = 0.0,
    gamma_probability: float = 1.0,
    smoothing: float = 0.0,
    smoothing_probability: float = 1.0,
    contrast: float = 0.0,
    contrast_probability: float = 1.0,
    inverted_gamma: float = 0.0,
    inverted_gamma_probability: float = 1.0,
    low_resolution: float = 0.0,
    low_resolution_probability: float = 1.0,
) -> Float[Array, "*S K"]:
    """Changes the intensities of an image at random, in this order.

    Of each option ``..._probability`` is that with which an example is changed in this way.

    Args:
      image: ``[*S, K]`` float32.
      intensity_scale: the image is multiplied by a number within this of 1 (brightness).
      intensity_shift: a number up to this, of either sign, is added.
      intensity_noise: Gaussian noise of this standard deviation is added.
      gamma: the intensities of each channel, made to lie in [0, 1], are raised to a power between
        ``1 / (1 + gamma)`` and ``1 + gamma``, and get their range back.
      smoothing: the image is blurred by a Gaussian of a random width up to this, in voxels.
      contrast: what differs from the mean of a channel is multiplied by a number within this of 1,
        and cut off where it leaves the channel's range.
      inverted_gamma: as `gamma`, of the negative image.
      low_resolution: a share of the voxels along each axis, between ``1 - low_resolution`` and 1,
        is taken, the nearest ones, and the image is interpolated linearly from these.

    Raises:
      ValueError: if a probability is out of range, or low resolution leaves no voxel.
    """
    if not 0 <= low_resolution < 1:
        raise ValueError(f"low_resolution: expected a number in [0, 1), got {low_resolution}")
    amounts = {
        "intensity_scale": (intensity_scale, intensity_scale_probability),
        "intensity_shift": (intensity_shift, intensity_shift_probability),
        "intensity_noise": (intensity_noise, intensity_noise_probability),
        "gamma": (gamma, gamma_probability),
        "smoothing": (smoothing, smoothing_probability),
        "contrast": (contrast, contrast_probability),
        "inverted_gamma": (inverted_gamma, inverted_gamma_probability),
        "low_resolution": (low_resolution, low_resolution_probability),
    }
    if not any(most for most, _ in amounts.values()):
        return image
    draws = _draws(key, {name: amounts[name][1] for name in _KINDS})
    for name, function in _KINDS.items():
        (draw, happens), most = draws[name], amounts[name][0]
        if most:
            changed = functools.partial(function, draw, most=most)
            # What does not happen costs nothing, and no two changes are computed as one, which
            # would compute the first anew for each use that the second makes of it.
            image = jax.lax.cond(happens, changed, lambda same: same, image)
    return image
