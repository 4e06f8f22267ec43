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
from collections.abc import Sequence

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
    return _conv((1,) * (x.ndim - 2), dilation, x, kernel)


def strided_conv(
    x: Float[Array, "B *S C"], kernel: Float[Array, "*K I O"], *, strides: Sequence[int] = ()
) -> Float[Array, "B *T O"]:
    """Convolves with strides: with 2, every second voxel of ``conv(x, kernel)``.

    ``[B, *S, C]`` and a kernel ``[*K, C, O]`` of odd sizes give ``[B, *T, O]`` with
    ``T = ceil(S / strides)``. The strides are 1 or 2 along each axis, by default 2; 2 and a size of
    3 along every axis is the fast case in 3-D.
    """
    _check_odd(x, kernel)
    strides = tuple(strides) or (2,) * (x.ndim - 2)
    if len(strides) != x.ndim - 2 or not set(strides) <= {1, 2}:
        raise ValueError(f"strides: expected 1 or 2 for each of {x.ndim - 2} axes, got {strides}")
    return _conv(strides, 1, x, kernel.astype(x.dtype))


def downsample_conv(
    x: Float[Array, "B *S C"], kernel: Float[Array, "*K I O"]
) -> Float[Array, "B *T O"]:
    """Convolves blocks of voxels that do not overlap; odd sizes get a zero at the end.

    ``[B, *S, C]`` and a kernel ``[*K, C, O]`` of sizes 1 and 2 give ``[B, *T, O]`` with
    ``T = ceil(S / K)``.
    """
    block = _check_block(x, kernel)
    return space_to_depth(x, block) @ kernel.astype(x.dtype).reshape(-1, kernel.shape[-1])


def transposed_conv(
    x: Float[Array, "B *S C"], kernel: Float[Array, "*K I O"]
) -> Float[Array, "B *T O"]:
    """Doubles sides: voxel s becomes the block ``x[s] @ kernel[t]``, t within the kernel's sizes.

    ``[B, *S, C]`` and a kernel ``[*K, C, O]`` of sizes 1 and 2 give ``[B, *K S, O]``.
    """
    block = _check_block(x, kernel)
    channels, out = kernel.shape[-2:]
    matrix = jnp.moveaxis(kernel.astype(x.dtype).reshape(-1, channels, out), 0, 1)
    return depth_to_space(x @ matrix.reshape(channels, -1), block)


def space_to_depth(x: Float[Array, "B *S C"], block: Sequence[int] = ()) -> Float[Array, "B *T D"]:
    """Moves blocks of voxels into channels, ``[B, *S, C] -> [B, *ceil(S / block), D]``.

    A block has one or two voxels along each axis, by default two, and D is the product of their
    number and C. An odd side gets one zero voxel at its end. The voxel's position in its block
    varies slower than the channel.
    """
    ndim = x.ndim - 2
    block = tuple(block) or (2,) * ndim
    pairs = list(zip(x.shape[1:-1], block, strict=True))
    x = jnp.pad(x, [(0, 0), *((0, -side % size) for side, size in pairs), (0, 0)])
    halves = tuple(-(-side // size) for side, size in pairs)
    x = x.reshape(x.shape[0], *itertools.chain(*zip(halves, block, strict=True)), x.shape[-1])
    order = (0, *range(1, 2 * ndim, 2), *range(2, 2 * ndim + 1, 2), 2 * ndim + 1)
    return x.transpose(order).reshape(x.shape[0], *halves, -1)


def depth_to_space(x: Float[Array, "B *S D"], block: Sequence[int] = ()) -> Float[Array, "B *T C"]:
    """Moves channels into blocks of voxels, ``[B, *S, D] -> [B, *block S, C]``.

    The inverse of `space_to_depth` on even sides.
    """
    ndim = x.ndim - 2
    sides, block = x.shape[1:-1], tuple(block) or (2,) * ndim
    x = x.reshape(x.shape[0], *sides, *block, -1)
    pairs = itertools.chain(*((1 + axis, 1 + ndim + axis) for axis in range(ndim)))
    x = x.transpose(0, *pairs, 2 * ndim + 1)
    doubled = (side * size for side, size in zip(sides, block, strict=True))
    return x.reshape(x.shape[0], *doubled, x.shape[-1])


def _check_block(x: Array, kernel: Array) -> tuple[int, ...]:
    _check_kernel(x, kernel)
    block = kernel.shape[:-2]
    if not set(block) <= {1, 2}:
        raise ValueError(f"kernel: expected spatial sizes 1 and 2, got {block}")
    return block


def _check_kernel(x: Array, kernel: Array) -> None:
    if x.ndim not in (4, 5) or kernel.ndim != x.ndim:
        raise ValueError(
            "x, kernel: expected [B, *S, C] and [*K, C, O] with two or three spatial axes, "
            f"got {x.shape} and {kernel.shape}"
        )
    if kernel.shape[-2] != x.shape[-1]:
        raise ValueError(f"kernel: expected {x.shape[-1]} input channels, got {kernel.shape}")


def _check_odd(x: Array, kernel: Array) -> None:
    _check_kernel(x, kernel)
    if any(size % 2 == 0 for size in kernel.shape[:-2]):
        raise ValueError(f"kernel: expected odd spatial sizes, got {kernel.shape[:-2]}")


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _conv(strides: tuple[int, ...], dilation: int, x: Array, kernel: Array) -> Array:
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(_folded, strides, dilation),
        default=functools.partial(native, strides, dilation),
    )


def _conv_forward(
    strides: tuple[int, ...], dilation: int, x: Array, kernel: Array
) -> tuple[Array, tuple[Array, Array]]:
    return _conv(strides, dilation, x, kernel), (x, kernel)


def _conv_backward(
    strides: tuple[int, ...], dilation: int, residuals: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
    return jax.lax.platform_dependent(
        *residuals,
        g,
        cpu=functools.partial(_folded_gradients, strides, dilation),
        default=functools.partial(_native_gradients, strides, dilation),
    )


_conv.defvjp(_conv_forward, _conv_backward)


def native(
    strides: tuple[int, ...],
    dilation: int,
    x: Float[Array, "B *S C"],
    kernel: Float[Array, "*K I O"],
) -> Float[Array, "B *T O"]:
    """Convolves odd kernels by XLA's own operation, with zero padding."""
    spatial = "DHW"[-(x.ndim - 2) :]
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=strides,
        padding=[(dilation * (size // 2),) * 2 for size in kernel.shape[:-2]],
        rhs_dilation=(dilation,) * len(spatial),
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
    )


def _native_gradients(
    strides: tuple[int, ...], dilation: int, x: Array, kernel: Array, g: Array
) -> tuple[Array, Array]:
    return jax.vjp(functools.partial(native, strides, dilation), x, kernel)[1](g)


def _folded(strides: tuple[int, ...], dilation: int, x: Array, kernel: Array) -> Array:
    """`native` with the depth taps of a 3-D kernel folded into 2-D convolutions."""
    if x.ndim == 4:
        return native(strides, dilation, x, kernel)
    depth, *plane = strides
    if set(strides) == {2} and set(kernel.shape[:-2]) == {3}:
        return _folded_strided(x, kernel)
    if kernel.shape[0] == 1:
        return _folded_dense(tuple(plane), dilation, x[:, ::depth], kernel)
    return _folded_dense(tuple(plane), dilation, x, kernel)[:, ::depth]


def _folded_dense(plane: tuple[int, ...], dilation: int, x: Array, kernel: Array) -> Array:
    """Stride 1 in depth: the taps go to the channels of the side that has fewer.

    Neighbouring slices become input channels, or every tap gets output channels of its own, which
    are summed over neighbouring slices.
    """
    taps, out = kernel.shape[0], kernel.shape[-1]
    moves = [dilation * (taps // 2 - tap) for tap in range(taps)]
    if x.shape[-1] < out:
        x = jnp.concatenate([_shift(x, by) for by in moves], -1)
        return _by_slice(plane, dilation, x, jnp.concatenate(list(kernel), -2))
    y = _by_slice(plane, dilation, x, jnp.concatenate(list(kernel), -1))
    return sum(_shift(part, by) for part, by in zip(jnp.split(y, taps, -1), moves))


def _shift(y: Array, by: int) -> Array:
    """Moves the depth slices of ``[B, D, H, W, C]`` by some positions, zeros behind them."""
    depth = y.shape[1]
    front, back = min(max(by, 0), depth), min(max(-by, 0), depth)
    return jnp.pad(y[:, back : depth - front], [(0, 0), (front, back), *[(0, 0)] * 3])


def _folded_strided(x: Array, kernel: Array) -> Array:
    """Stride 2, size 3: even slices meet the middle tap, odd slices both outer ones."""
    out = kernel.shape[-1]
    middle = _by_slice((2, 2), 1, x[:, ::2], kernel[1])
    outer = _by_slice((2, 2), 1, x[:, 1::2], jnp.concatenate([kernel[0], kernel[2]], -1))
    depth, odd = middle.shape[1], outer.shape[1]
    rest = [(0, 0)] * 3
    before = jnp.pad(outer[..., :out], [(0, 0), (1, 0), *rest])[:, :depth]
    after = jnp.pad(outer[..., out:], [(0, 0), (0, depth - odd), *rest])
    return middle + before + after


def _by_slice(plane: tuple[int, ...], dilation: int, x: Array, kernel: Array) -> Array:
    """Convolves every depth slice of ``[B, D, H, W, C]`` with a 2-D kernel."""
    batch, depth = x.shape[:2]
    y = native(plane, dilation, x.reshape(batch * depth, *x.shape[2:]), kernel)
    return y.reshape(batch, depth, *y.shape[1:])


def _folded_gradients(
    strides: tuple[int, ...], dilation: int, x: Array, kernel: Array, g: Array
) -> tuple[Array, Array]:
    if 2 in strides:
        return jax.vjp(functools.partial(_folded, strides, dilation), x, kernel)[1](g)
    flipped = jnp.flip(kernel, range(kernel.ndim - 2)).swapaxes(-1, -2)
    dx = _folded(strides, dilation, g, flipped)
    if x.ndim == 5:
        dkernel = _kernel_gradient(dilation, x, g, kernel.shape[:3])
    elif _has_small_wide_slices(x, g):
        dkernel = _kernel_gradient(dilation, x[:, None], g[:, None], (1, *kernel.shape[:2]))[0]
    else:
        dkernel = _native_gradients(strides, dilation, x, kernel, g)[1]
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
