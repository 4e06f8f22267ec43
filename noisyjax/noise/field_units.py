"""Strength and smoothness of a Gaussian field: fractions of the sides, voxels, millimetres."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from noisyjax.core import checks

# The text of the paper names 0.15 / sqrt(2) in its figures; its listing, which made the numbers,
# has 0.15 sqrt(2).
DEFAULT_B = 0.15 * math.sqrt(2)

Number = float | int | Float[Array, ""]
Strength = Number | np.ndarray | Sequence[Number] | Float[Array, "..."]
Smoothness = float | int | np.ndarray | Sequence[float | int]


def from_millimetres(
    length: float | int | Sequence[float | int],
    shape: Sequence[int],
    *,
    spacing: Sequence[float | int] | np.ndarray,
) -> tuple[float, ...]:
    """Returns a length in mm as fractions of the sides of an image, one per axis, for `a` or `b`.

    Args:
      length: in mm, one number or one per axis.
      shape: ``S``, the voxels along each axis.
      spacing: size of a voxel along each axis in mm.

    >>> from_millimetres(1.5, (64, 64, 30), spacing=(0.75, 0.75, 2.5))
    (0.03125, 0.03125, 0.02)
    """
    lengths = _per_axis("length", length, len(shape))
    spacings = _per_axis("spacing", spacing, len(shape))
    return tuple(mm / (n * s) for mm, n, s in zip(lengths, shape, spacings, strict=True))


def in_voxels(a: Strength, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Returns the strength of a field in voxels.

    Args:
      a: fractions of the side, not negative: one number, one per axis ``[n]``, or over the grid
        ``[*S]`` or ``[n, *S]``; may be traced.
      shape: ``S``.

    Returns:
      ``[n, 1, ..]``, or ``[n, *S]`` if the strength varies over the grid; float32.
    """
    _not_negative(a)
    ndim = len(shape)
    ones = (1,) * ndim
    values = jnp.asarray(a, jnp.float32)
    allowed = ((), (ndim,), shape, (ndim, *shape))
    if values.shape not in allowed:
        wanted = " or ".join(str(list(size)) for size in allowed)
        raise ValueError(f"a: expected the shape {wanted}, got {list(values.shape)}")
    if values.shape == (ndim,):
        values = values.reshape(ndim, *ones)
    elif values.ndim <= ndim:
        values = values.reshape(1, *(values.shape or ones))
    return values * jnp.array(shape, jnp.float32).reshape(ndim, *ones)


def lengths(b: Smoothness, ndim: int) -> tuple[float, ...]:
    """Returns the smoothness along every axis, n positive numbers: fractions of the side."""
    values = _per_axis("b", b, ndim)
    for value in values:
        checks.positive("b", value)
    return values


def _per_axis(name: str, value: Smoothness, ndim: int) -> tuple[float, ...]:
    values = [float(v) for v in value] if np.ndim(value) else [float(value)] * ndim
    if len(values) != ndim:
        raise ValueError(f"{name}: expected 1 or {ndim} numbers, got {len(values)}")
    return tuple(values)


def _not_negative(a: Strength) -> None:
    for value in a if isinstance(a, (list, tuple)) else [a]:
        if not isinstance(value, jax.Array) and not np.all(np.asarray(value) >= 0):
            raise ValueError(f"a: expected numbers >= 0, got {a}")
