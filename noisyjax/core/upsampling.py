"""Up-sampling, and the convolution that follows it in the decoder of a U-Net.

Linear up-sampling acts on space and the sum over channels on channels, so they commute. On a CPU
the channels are summed first, on the coarse grid, for every tap of the kernel, with a quarter (3-D:
an eighth) of the products; the sums are up-sampled and added over the taps. Accelerators up-sample,
concatenate and convolve. All arrays are channels last.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from noisyjax.core import convolution


def linear(x: Float[Array, "B *S C"], factors: Sequence[int] = ()) -> Float[Array, "B *T C"]:
    """Doubles sides by linear interpolation, ``[B, *S, C] -> [B, *factors S, C]``, edges repeated.

    The factors are 1 or 2 along each axis, by default 2. The new neighbours of voxel s are 3/4 of
    it and 1/4 of the one beside it (PyTorch's ``align_corners=False``).
    """
    for axis, factor in enumerate(factors or (2,) * (x.ndim - 2), 1):
        if factor == 1:
            continue
        before, after = (_neighbour(x, axis, step, _edge(x, axis, step)) for step in (-1, 1))
        x = _interleave(0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after, axis)
    return x


def nearest(x: Float[Array, "B *S C"]) -> Float[Array, "B *T C"]:
    """Doubles every side by repeating every voxel, ``[B, *S, C] -> [B, *2S, C]``."""
    return convolution.depth_to_space(jnp.tile(x, (1,) * (x.ndim - 1) + (2 ** (x.ndim - 2),)))


def crop(x: Float[Array, "B *S C"], sides: tuple[int, ...]) -> Float[Array, "B *T C"]:
    """Cuts an up-sampled map at its far end to the given spatial sides."""
    return x[(slice(None), *(slice(side) for side in sides))]


def joined_conv(
    x: Float[Array, "B *S C"],
    skip: Float[Array, "B *T D"],
    kernel: Float[Array, "*K I O"],
    *,
    strides: Sequence[int] = (),
) -> Float[Array, "B *T O"]:
    """Up-samples a map, joins it to one of the finer grid, and convolves: a decoder's first step.

    ``convolution.conv(concatenate([crop(linear(x, strides), T), skip], -1), kernel)``,
    ``[B, *T, O]``. Gradients are reverse mode only.

    Args:
      x: ``[B, *S, C]`` with ``S = ceil(T / strides)``.
      skip: ``[B, *T, D]``.
      kernel: ``[*K, C + D, O]``, odd sizes; 3 along every axis is the fast case.
      strides: 1 or 2 along each axis, by default 2; the fast case has no other.
    """
    strides = tuple(strides) or (2,) * (skip.ndim - 2)
    halves = tuple(-(-n // stride) for n, stride in zip(skip.shape[1:-1], strides, strict=True))
    if x.shape[1:-1] != halves:
        raise ValueError(
            f"x, skip: expected sides that are the other's through {strides}, rounded up, got "
            f"{x.shape} and {skip.shape}"
        )
    channels = x.shape[-1] + skip.shape[-1]
    if kernel.shape[-2] != channels:
        raise ValueError(f"kernel: expected {channels} input channels, got {kernel.shape}")
    kernel = kernel.astype(x.dtype)
    if set(kernel.shape[:-2]) != {3} or set(strides) != {2}:
        up = crop(linear(x, strides), skip.shape[1:-1])
        return convolution.conv(jnp.concatenate([up, skip], -1), kernel)
    return _joined_conv(x, skip, kernel)


def _joined(x: Array, skip: Array, kernel: Array) -> Array:
    up = crop(linear(x), skip.shape[1:-1])
    return convolution.conv(jnp.concatenate([up, skip], -1), kernel)


@jax.custom_vjp
def _joined_conv(x: Array, skip: Array, kernel: Array) -> Array:
    return jax.lax.platform_dependent(x, skip, kernel, cpu=_separate, default=_joined)


def _joined_conv_forward(x: Array, skip: Array, kernel: Array) -> tuple[Array, tuple]:
    return _joined_conv(x, skip, kernel), (x, skip, kernel)


def _joined_conv_backward(residuals: tuple[Array, ...], g: Array) -> tuple[Array, ...]:
    return jax.lax.platform_dependent(
        *residuals, g, cpu=_separate_gradients, default=_joined_gradients
    )


_joined_conv.defvjp(_joined_conv_forward, _joined_conv_backward)


def _joined_gradients(x: Array, skip: Array, kernel: Array, g: Array) -> tuple[Array, ...]:
    return jax.vjp(_joined, x, skip, kernel)[1](g)


def _separate(x: Array, skip: Array, kernel: Array) -> Array:
    """The sum of the convolutions of both maps, the coarse one's by taps."""
    channels, sides = x.shape[-1], skip.shape[1:-1]
    taps = x @ _tap_matrix(kernel[..., :channels, :])
    for axis in reversed(range(1, x.ndim - 1)):
        taps = _add_taps(axis, sides[axis - 1], *jnp.split(taps, 3, -1))
    return taps + convolution.conv(skip, kernel[..., channels:, :])


def _separate_gradients(x: Array, skip: Array, kernel: Array, g: Array) -> tuple[Array, ...]:
    channels, taps = x.shape[-1], g
    for axis in range(1, x.ndim - 1):
        taps = jnp.concatenate(_tap_gradients(axis, x.shape[axis], taps), -1)
    matrix, from_matrix = jax.vjp(_tap_matrix, kernel[..., :channels, :])
    product = jnp.einsum(
        "mc,mo->co",
        x.reshape(-1, channels),
        taps.reshape(-1, taps.shape[-1]),
        preferred_element_type=jnp.float32,
    )
    (coarse,) = from_matrix(product.astype(kernel.dtype))
    _, pullback = jax.vjp(convolution.conv, skip, kernel[..., channels:, :])
    dskip, fine = pullback(g)
    return taps @ matrix.T, dskip, jnp.concatenate([coarse, fine], -2)


def _tap_matrix(kernel: Array) -> Array:
    """A kernel ``[*K, C, O]`` as a matrix ``[C, 3^n O]``, the last axis's taps slowest.

    They are added first, when what is added lies together in the longest runs.
    """
    ndim = kernel.ndim - 2
    return kernel.transpose(ndim, *reversed(range(ndim)), ndim + 1).reshape(kernel.shape[ndim], -1)


def _add_taps(axis: int, side: int, before: Array, middle: Array, after: Array) -> Array:
    """Up-samples along an axis what three taps have summed, and adds it, each tap moved by one.

    Voxel f of the result is ``up(before)[f - 1] + up(middle)[f] + up(after)[f + 1]``, zero outside
    of the `side` voxels that are left of the doubled axis.
    """
    first, last = _ends(middle, axis)
    down, up = (_neighbour(middle, axis, step, _edge(middle, axis, step)) for step in (-1, 1))
    behind = _neighbour(before, axis, -1, _edge(before, axis, -1))
    ahead = _neighbour(after, axis, 1, _edge(after, axis, 1))
    even_before = jnp.where(first, 0, 0.75 * behind + 0.25 * before)
    even_after = 0.75 * after + 0.25 * ahead
    odd_after = jnp.where(last, 0, 0.25 * after + 0.75 * ahead)
    if side % 2:
        even_after = jnp.where(last, 0, even_after)
    even = even_before + 0.25 * down + 0.75 * middle + even_after
    odd = 0.25 * behind + 0.75 * before + 0.75 * middle + 0.25 * up + odd_after
    return jax.lax.slice_in_dim(_interleave(even, odd, axis), 0, side, axis=axis)


def _tap_gradients(axis: int, half: int, g: Array) -> tuple[Array, Array, Array]:
    """The transpose of `_add_taps`: gradients of its three maps, `half` voxels long."""
    odd_side = g.shape[axis] % 2
    g = jnp.pad(g, [(0, odd_side if a == axis else 0) for a in range(g.ndim)])
    pairs = g.reshape(*g.shape[:axis], half, 2, *g.shape[axis + 1 :])
    even, odd = jnp.unstack(pairs, axis=axis + 1)
    first, last = _ends(even, axis)
    zero = jnp.zeros_like(_edge(even, axis, 1))
    # Of the map that `after` is added from, the voxel past an odd side is not there.
    reached = jnp.where(last, 0, even) if odd_side else even
    before = (
        0.25 * jnp.where(first, odd, even)
        + 0.75 * odd
        + 0.75 * _neighbour(even, axis, 1, zero)
        + 0.25 * _neighbour(odd, axis, 1, zero)
    )
    middle = (
        0.25 * _neighbour(odd, axis, -1, _edge(even, axis, -1))
        + 0.75 * even
        + 0.75 * odd
        + 0.25 * _neighbour(even, axis, 1, _edge(odd, axis, 1))
    )
    after = (
        0.25 * _neighbour(even, axis, -1, zero)
        + 0.75 * _neighbour(odd, axis, -1, zero)
        + 0.75 * reached
        + 0.25 * jnp.where(last, reached, odd)
    )
    return before, middle, after


def _ends(x: Array, axis: int) -> tuple[Array, Array]:
    """Where an axis begins and where it ends."""
    index = jax.lax.broadcasted_iota(jnp.int32, x.shape, axis)
    return index == 0, index == x.shape[axis] - 1


def _edge(x: Array, axis: int, step: int) -> Array:
    """The last voxel along an axis (step 1) or the first one (step -1)."""
    start = 0 if step < 0 else x.shape[axis] - 1
    return jax.lax.slice_in_dim(x, start, start + 1, axis=axis)


def _neighbour(x: Array, axis: int, step: int, outside: Array) -> Array:
    """The voxels one step ahead (1) or behind (-1) along an axis, `outside` past its end."""
    side = x.shape[axis]
    if step < 0:
        parts = [outside, jax.lax.slice_in_dim(x, 0, side - 1, axis=axis)]
    else:
        parts = [jax.lax.slice_in_dim(x, 1, side, axis=axis), outside]
    return jnp.concatenate(parts, axis)


def _interleave(even: Array, odd: Array, axis: int) -> Array:
    shape = (*even.shape[:axis], 2 * even.shape[axis], *even.shape[axis + 1 :])
    return jnp.stack([even, odd], axis + 1).reshape(shape)
