"""Convolutions in two and three dimensions that are fast on every backend.

XLA has no quick 3-D convolution and a slow kernel gradient on CPU. There the depth taps are folded
into two-dimensional convolutions and the kernel gradient is one matrix product per slice;
accelerators keep their native convolution. `jax.lax.platform_dependent` chooses when the program is
lowered, so one traced function serves all of them. Convolutions of blocks of ``2^n`` voxels are
reshapes and matrix products everywhere.

All arrays are channels last. Gradients are reverse mode (`jax.grad`, `jax.vjp`) only.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# In two dimensions XLA's own kernel gradient is slower only for small images with many channels.
_SLICE_PIXELS_2D = 4096
_SLICE_CHANNELS_2D = 64


def conv(
    x: Float[Array, "B *S C"], kernel: Float[Array, "*K I O"], *, dilation: int = 1
) -> Float[Array, "B *S O"]:
    """Convolves with stride 1 and zero padding that keeps the size, ``[B, *S, C] -> [B, *S, O]``.

    ``y[b, s, o] = sum_{t, c} x[b, s + dilation (t - K // 2), c] kernel[t, c, o]``.

    Args:
      x: ``[B, *S, C]``, two or three spatial axes.
      kernel: ``[*K, C, O]``, odd sizes, as many spatial axes as `x`; cast to the dtype of `x`.
      dilation: distance of neighbouring taps in voxels, the same along every axis.

    Example:
      >>> conv(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1)))[0, :, :, 0]
      Array([[4., 6., 4.],
             [6., 9., 6.],
             [4., 6., 4.]], dtype=float32)
    """
    _check_odd(x, kernel)
    kernel = kernel.astype(x.dtype)
    if all(size == 1 for size in kernel.shape[:-2]):
        return x @ kernel.reshape(kernel.shape[-2:])
    return _conv(1, dilation, x, kernel)


def strided_conv(
    x: Float[Array, "B *S C"], kernel: Float[Array, "*K I O"]
) -> Float[Array, "B *T O"]:
    """Convolves with stride 2: every second voxel of ``conv(x, kernel)``.

    ``[B, *S, C]`` and a kernel ``[*K, C, O]`` of odd sizes give ``[B, *T, O]`` with
    ``T = ceil(S / 2)``; the same 3 along every axis is the fast case in 3-D.
    """
    _check_odd(x, kernel)
    return _conv(2, 1, x, kernel.astype(x.dtype))


def downsample_conv(
    x: Float[Array, "B *S C"], kernel: Float[Array, "*K I O"]
) -> Float[Array, "B *T O"]:
    """Convolves blocks of ``2^n`` voxels with stride 2; odd sizes get a zero at the end.

    ``[B, *S, C]`` and a kernel ``[2, 2, (2,) C, O]`` give ``[B, *T, O]`` with ``T = ceil(S / 2)``.
    """
    _check_kernel(x, kernel, size=2)
    return space_to_depth(x) @ kernel.astype(x.dtype).reshape(-1, kernel.shape[-1])


def transposed_conv(
    x: Float[Array, "B *S C"], kernel: Float[Array, "*K I O"]
) -> Float[Array, "B *T O"]:
    """Doubles every side: voxel s becomes the block ``x[s] @ kernel[t]``, t in {0, 1}^n.

    ``[B, *S, C]`` and a kernel ``[2, 2, (2,) C, O]`` give ``[B, *2S, O]``.
    """
    _check_kernel(x, kernel, size=2)
    channels, out = kernel.shape[-2:]
    matrix = jnp.moveaxis(kernel.astype(x.dtype).reshape(-1, channels, out), 0, 1)
    return depth_to_space(x @ matrix.reshape(channels, -1))


def space_to_depth(x: Float[Array, "B *S C"]) -> Float[Array, "B *T D"]:
    """Moves blocks of ``2^n`` voxels into channels, ``[B, *S, C] -> [B, *ceil(S / 2), 2^n C]``.

    An odd side gets one zero voxel at its end. The voxel's position in its block varies slower than
    the channel.
    """
    ndim = x.ndim - 2
    x = jnp.pad(x, [(0, 0), *((0, side % 2) for side in x.shape[1:-1]), (0, 0)])
    halves = tuple(side // 2 for side in x.shape[1:-1])
    x = x.reshape(x.shape[0], *itertools.chain(*((half, 2) for half in halves)), x.shape[-1])
    order = (0, *range(1, 2 * ndim, 2), *range(2, 2 * ndim + 1, 2), 2 * ndim + 1)
    return x.transpose(order).reshape(x.shape[0], *halves, -1)


def depth_to_space(x: Float[Array, "B *S D"]) -> Float[Array, "B *T C"]:
    """Moves channels into blocks of voxels, ``[B, *S, 2^n C] -> [B, *2S, C]``.

    The inverse of `space_to_depth` on even sides.
    """
    ndim = x.ndim - 2
    sides = x.shape[1:-1]
    x = x.reshape(x.shape[0], *sides, *(2,) * ndim, -1)
    pairs = itertools.chain(*((1 + axis, 1 + ndim + axis) for axis in range(ndim)))
    x = x.transpose(0, *pairs, 2 * ndim + 1)
    return x.reshape(x.shape[0], *(2 * side for side in sides), x.shape[-1])


def _check_kernel(x: Array, kernel: Array, size: int | None = None) -> None:
    if x.ndim not in (4, 5) or kernel.ndim != x.ndim:
        raise ValueError(
            "x, kernel: expected [B, *S, C] and [*K, C, O] with two or three spatial axes, "
            f"got {x.shape} and {kernel.shape}"
        )
    if kernel.shape[-2] != x.shape[-1]:
        raise ValueError(f"kernel: expected {x.shape[-1]} input channels, got {kernel.shape}")
    if size is not None and set(kernel.shape[:-2]) != {size}:
        raise ValueError(f"kernel: expected spatial sizes {size}, got {kernel.shape[:-2]}")


def _check_odd(x: Array, kernel: Array) -> None:
    _check_kernel(x, kernel)
    if any(size % 2 == 0 for size in kernel.shape[:-2]):
        raise ValueError(f"kernel: expected odd spatial sizes, got {kernel.shape[:-2]}")


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _conv(stride: int, dilation: int, x: Array, kernel: Array) -> Array:
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(_folded, stride, dilation),
        default=functools.partial(native, stride, dilation),
    )


def _conv_forward(
    stride: int, dilation: int, x: Array, kernel: Array
) -> tuple[Array, tuple[Array, Array]]:
    return _conv(stride, dilation, x, kernel), (x, kernel)


def _conv_backward(
    stride: int, dilation: int, residuals: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
    return jax.lax.platform_dependent(
        *residuals,
        g,
        cpu=functools.partial(_folded_gradients, stride, dilation),
        default=functools.partial(_native_gradients, stride, dilation),
    )


_conv.defvjp(_conv_forward, _conv_backward)


def native(
    stride: int, dilation: int, x: Float[Array, "B *S C"], kernel: Float[Array, "*K I O"]
) -> Float[Array, "B *T O"]:
    """Convolves odd kernels by XLA's own operation, with zero padding."""
    spatial = "DHW"[-(x.ndim - 2) :]
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride,) * len(spatial),
        padding=[(dilation * (size // 2),) * 2 for size in kernel.shape[:-2]],
        rhs_dilation=(dilation,) * len(spatial),
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
    )


def _native_gradients(
    stride: int, dilation: int, x: Array, kernel: Array, g: Array
) -> tuple[Array, Array]:
    return jax.vjp(functools.partial(native, stride, dilation), x, kernel)[1](g)


def _folded(stride: int, dilation: int, x: Array, kernel: Array) -> Array:
    """`native` with the depth taps of a 3-D kernel folded into 2-D convolutions."""
    if x.ndim == 4:
        return native(stride, dilation, x, kernel)
    if stride == 2 and set(kernel.shape[:-2]) == {3}:
        return _folded_strided(x, kernel)
    if stride == 2:
        return _folded_dense(1, x, kernel)[:, ::2, ::2, ::2]
    return _folded_dense(dilation, x, kernel)


def _folded_dense(dilation: int, x: Array, kernel: Array) -> Array:
    """Stride 1: the taps go to the channels of the side that has fewer.

    Neighbouring slices become input channels, or every tap gets output channels of its own, which
    are summed over neighbouring slices.
    """
    taps, out = kernel.shape[0], kernel.shape[-1]
    moves = [dilation * (taps // 2 - tap) for tap in range(taps)]
    if x.shape[-1] < out:
        x = jnp.concatenate([_shift(x, by) for by in moves], -1)
        return _by_slice(1, dilation, x, jnp.concatenate(list(kernel), -2))
    y = _by_slice(1, dilation, x, jnp.concatenate(list(kernel), -1))
    return sum(_shift(part, by) for part, by in zip(jnp.split(y, taps, -1), moves))


def _shift(y: Array, by: int) -> Array:
    """Moves the depth slices of ``[B, D, H, W, C]`` by some positions, zeros behind them."""
    depth = y.shape[1]
    front, back = min(max(by, 0), depth), min(max(-by, 0), depth)
    return jnp.pad(y[:, back : depth - front], [(0, 0), (front, back), *[(0, 0)] * 3])


def _folded_strided(x: Array, kernel: Array) -> Array:
    """Stride 2, size 3: even slices meet the middle tap, odd slices both outer ones."""
    out = kernel.shape[-1]
    middle = _by_slice(2, 1, x[:, ::2], kernel[1])
    outer = _by_slice(2, 1, x[:, 1::2], jnp.concatenate([kernel[0], kernel[2]], -1))
    depth, odd = middle.shape[1], outer.shape[1]
    rest = [(0, 0)] * 3
    before = jnp.pad(outer[..., :out], [(0, 0), (1, 0), *rest])[:, :depth]
    after = jnp.pad(outer[..., out:], [(0, 0), (0, depth - odd), *rest])
    return middle + before + after


def _by_slice(stride: int, dilation: int, x: Array, kernel: Array) -> Array:
    """Convolves every depth slice of ``[B, D, H, W, C]`` with a 2-D kernel."""
    batch, depth = x.shape[:2]
    y = native(stride, dilation, x.reshape(batch * depth, *x.shape[2:]), kernel)
    return y.reshape(batch, depth, *y.shape[1:])


def _folded_gradients(
    stride: int, dilation: int, x: Array, kernel: Array, g: Array
) -> tuple[Array, Array]:
    if stride == 2:
        return jax.vjp(functools.partial(_folded, stride, dilation), x, kernel)[1](g)
    flipped = jnp.flip(kernel, range(kernel.ndim - 2)).swapaxes(-1, -2)
    dx = _folded(stride, dilation, g, flipped)
    if x.ndim == 5:
        dkernel = _kernel_gradient(dilation, x, g, kernel.shape[:3])
    elif _has_small_wide_slices(x, g):
        dkernel = _kernel_gradient(dilation, x[:, None], g[:, None], (1, *kernel.shape[:2]))[0]
    else:
        dkernel = _native_gradients(stride, dilation, x, kernel, g)[1]
    return dx, dkernel.astype(kernel.dtype)


def _has_small_wide_slices(x: Array, g: Array) -> bool:
    pixels, channels = x.shape[1] * x.shape[2], min(x.shape[-1], g.shape[-1])
    return pixels <= _SLICE_PIXELS_2D and channels >= _SLICE_CHANNELS_2D


def _kernel_gradient(dilation: int, x: Array, g: Array, sizes: tuple[int, ...]) -> Array:
    """Kernel gradient as one matrix product per depth slice, accumulated in float32.

    Depth and width taps become channels of x and height taps channels of g, which keeps both
    factors small: ``[taps_h O, M] @ [M, taps_d taps_w C]`` with M the pixels of a slice. The side
    with fewer channels plays x: exchanging x and g mirrors the kernel.
    """
    if x.shape[-1] > g.shape[-1]:
        mirrored = _kernel_gradient(dilation, g, x, sizes)
        return jnp.flip(mirrored, range(3)).swapaxes(-1, -2)
    batch, depth, height, width, channels = x.shape
    reach = [dilation * (size // 2) for size in sizes]
    x = jnp.pad(x, [(0, 0), *((r, r) for r in reach), (0, 0)])
    g = jnp.pad(g, [(0, 0), (0, 0), (2 * reach[1],) * 2, (0, 0), (0, 0)])
    rows = height + 2 * reach[1]

    def add_slice(total: Array, index: Array) -> tuple[Array, None]:
        start = (index // depth, index % depth, 0, 0, 0)
        slab = jax.lax.dynamic_slice(x, start, (1, 2 * reach[0] + 1, *x.shape[2:]))[0]
        sheet = jax.lax.dynamic_slice(g, start, (1, 1, *g.shape[2:]))[0, 0]
        columns = [
            slab[dilation * i, :, dilation * k : dilation * k + width]
            for i in range(sizes[0])
            for k in range(sizes[2])
        ]
        shifts = [sheet[2 * reach[1] - dilation * j :][:rows] for j in range(sizes[1])]
        product = jnp.einsum(
            "hwb,hwa->ba",
            jnp.concatenate(shifts, -1),
            jnp.concatenate(columns, -1),
            preferred_element_type=jnp.float32,
        )
        return total + product, None

    shape = (sizes[1] * g.shape[-1], sizes[0] * sizes[2] * channels)
    slices = jnp.arange(batch * depth)
    total = jax.lax.scan(add_slice, jnp.zeros(shape, jnp.float32), slices)[0]
    total = total.reshape(sizes[1], -1, sizes[0], sizes[2], channels)
    return total.transpose(2, 0, 3, 4, 1)
