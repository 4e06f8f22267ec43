"""Convolutions in two and three dimensions that are fast on every backend.

XLA has no quick 3-D convolution and a slow kernel gradient on CPU. There the depth taps
are therefore folded into two-dimensional convolutions and the kernel gradient is one matrix product
per slice; accelerators keep their native convolution. `jax.lax.platform_dependent` chooses when the
program is lowered, so one traced function serves all of them.

All arrays are channels last. Strided and transposed convolutions are reshapes and matrix products.
Gradients are reverse mode (`jax.grad`, `jax.vjp`) only.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Below this many input channels one 2-D convolution over folded depth taps beats a sum of three.
_FOLD_BELOW = 40
# Two-dimensional images above this many pixels are better served by XLA's own kernel gradient.
_SLICE_PIXELS_2D = 4096


def conv(
    x: Float[Array, "B *S C"], kernel: Float[Array, "*K C O"], *, dilation: int = 1
) -> Float[Array, "B *S O"]:
    """Convolves with stride 1 and zero padding that keeps the size.

    y[b, s, o] = sum over taps t and channels c of x[b, s + dilation * (t - K // 2), c] kernel[t, c, o].

    Args:
      x: `[B, *S, C]`, two or three spatial axes.
      kernel: `[*K, C, O]`, odd sizes, as many spatial axes as `x`; cast to the dtype of `x`.
      dilation: distance of neighbouring taps in voxels, the same along every axis.

    Returns:
      `[B, *S, O]` in the dtype of `x`.

    Raises:
      ValueError: if the ranks or channels do not fit, or a kernel size is even.

    Example:
      >>> conv(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1)))[0, :, :, 0]
      Array([[4., 6., 4.],
             [6., 9., 6.],
             [4., 6., 4.]], dtype=float32)
    """
    _check_kernel(x, kernel)
    if any(size % 2 == 0 for size in kernel.shape[:-2]):
        raise ValueError(f"kernel: expected odd spatial sizes, got {kernel.shape[:-2]}")
    kernel = kernel.astype(x.dtype)
    if all(size == 1 for size in kernel.shape[:-2]):
        return x @ kernel.reshape(kernel.shape[-2:])
    return _conv(dilation, x, kernel)


def strided_conv(
    x: Float[Array, "B *S C"], kernel: Float[Array, "*K C O"]
) -> Float[Array, "B *T O"]:
    """Convolves with a `3^n` kernel and stride 2: every second voxel of `conv(x, kernel)`.

    Args:
      x: `[B, *S, C]`.
      kernel: `[3, 3, (3,) C, O]`.

    Returns:
      `[B, *T, O]` with `T = ceil(S / 2)`.

    Raises:
      ValueError: if the kernel does not fit.
    """
    _check_kernel(x, kernel, size=3)
    ndim = x.ndim - 2
    out = tuple(-(-side // 2) for side in x.shape[1:-1])
    # Tap 2t of an axis reads voxel 2i + t - 1, so one voxel in front and an even total suffice.
    pads = [(0, 0), *((1, 2 * o + 1 - s) for o, s in zip(out, x.shape[1:-1])), (0, 0)]
    padded = jnp.pad(x, pads)
    taps = [
        padded[(slice(None), *(slice(t, t + 2 * o, 2) for t, o in zip(tap, out)))]
        for tap in itertools.product(range(3), repeat=ndim)
    ]
    return jnp.concatenate(taps, -1) @ kernel.astype(x.dtype).reshape(-1, kernel.shape[-1])


def downsample_conv(
    x: Float[Array, "B *S C"], kernel: Float[Array, "*K C O"]
) -> Float[Array, "B *T O"]:
    """Convolves blocks of `2^n` voxels with stride 2; odd sizes are padded with a zero at the end.

    Args:
      x: `[B, *S, C]`.
      kernel: `[2, 2, (2,) C, O]`.

    Returns:
      `[B, *T, O]` with `T = ceil(S / 2)`.

    Raises:
      ValueError: if the kernel does not fit.
    """
    _check_kernel(x, kernel, size=2)
    return space_to_depth(x) @ kernel.astype(x.dtype).reshape(-1, kernel.shape[-1])


def transposed_conv(
    x: Float[Array, "B *S C"], kernel: Float[Array, "*K C O"]
) -> Float[Array, "B *T O"]:
    """Doubles every side: voxel s becomes the block `x[s] @ kernel[t]`, t in {0, 1}^n.

    Args:
      x: `[B, *S, C]`.
      kernel: `[2, 2, (2,) C, O]`.

    Returns:
      `[B, *T, O]` with `T = 2 S`.

    Raises:
      ValueError: if the kernel does not fit.
    """
    _check_kernel(x, kernel, size=2)
    channels, out = kernel.shape[-2:]
    matrix = jnp.moveaxis(kernel.astype(x.dtype).reshape(-1, channels, out), 0, 1)
    return depth_to_space(x @ matrix.reshape(channels, -1))


def space_to_depth(x: Float[Array, "B *S C"]) -> Float[Array, "B *T D"]:
    """Moves blocks of `2^n` voxels into channels, `[B, *S, C] -> [B, *ceil(S / 2), 2^n C]`.

    Args:
      x: `[B, *S, C]`; an odd side gets one zero voxel at its end.

    Returns:
      The blocks; the voxel's place in its block varies slower than the channel.
    """
    ndim = x.ndim - 2
    x = jnp.pad(x, [(0, 0), *((0, side % 2) for side in x.shape[1:-1]), (0, 0)])
    halves = tuple(side // 2 for side in x.shape[1:-1])
    x = x.reshape(x.shape[0], *itertools.chain(*((half, 2) for half in halves)), x.shape[-1])
    order = (0, *range(1, 2 * ndim, 2), *range(2, 2 * ndim + 1, 2), 2 * ndim + 1)
    return x.transpose(order).reshape(x.shape[0], *halves, -1)


def depth_to_space(x: Float[Array, "B *S D"]) -> Float[Array, "B *T C"]:
    """Moves channels into blocks of `2^n` voxels: the inverse of `space_to_depth` on even sides.

    Args:
      x: `[B, *S, 2^n C]`.

    Returns:
      `[B, *2S, C]`.
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


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _conv(dilation: int, x: Array, kernel: Array) -> Array:
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(_folded, dilation),
        default=functools.partial(_native, dilation),
    )


def _conv_forward(dilation: int, x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _conv(dilation, x, kernel), (x, kernel)


def _conv_backward(dilation: int, residuals: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    return jax.lax.platform_dependent(
        *residuals,
        g,
        cpu=functools.partial(_folded_gradients, dilation),
        default=functools.partial(_native_gradients, dilation),
    )


_conv.defvjp(_conv_forward, _conv_backward)


def _native(dilation: int, x: Array, kernel: Array) -> Array:
    spatial = "DHW"[-(x.ndim - 2) :]
    layout = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1,) * len(spatial),
        padding="SAME",
        rhs_dilation=(dilation,) * len(spatial),
        dimension_numbers=layout,
    )


def _native_gradients(dilation: int, x: Array, kernel: Array, g: Array) -> tuple[Array, Array]:
    return jax.vjp(functools.partial(_native, dilation), x, kernel)[1](g)


def _folded(dilation: int, x: Array, kernel: Array) -> Array:
    """`_native` with the depth taps of a 3-D kernel folded into 2-D convolutions."""
    if x.ndim == 4:
        return _native(dilation, x, kernel)
    batch, depth, *plane, channels = x.shape
    taps = kernel.shape[0]
    reach = dilation * (taps // 2)
    padded = jnp.pad(x, [(0, 0), (reach, reach), (0, 0), (0, 0), (0, 0)])
    slabs = [padded[:, dilation * t : dilation * t + depth] for t in range(taps)]
    kernels = list(kernel)
    if channels < _FOLD_BELOW:
        slabs, kernels = [jnp.concatenate(slabs, -1)], [jnp.concatenate(kernels, -2)]
    y = sum(
        _native(dilation, slab.reshape(batch * depth, *plane, -1), taps_2d)
        for slab, taps_2d in zip(slabs, kernels)
    )
    return y.reshape(batch, depth, *plane, -1)


def _folded_gradients(dilation: int, x: Array, kernel: Array, g: Array) -> tuple[Array, Array]:
    flipped = jnp.flip(kernel, range(kernel.ndim - 2)).swapaxes(-1, -2)
    dx = _folded(dilation, g, flipped)
    if x.ndim == 4:
        if x.shape[1] * x.shape[2] > _SLICE_PIXELS_2D:
            return dx, _native_gradients(dilation, x, kernel, g)[1]
        dkernel = _kernel_gradient(dilation, x[:, None], g[:, None], (1, *kernel.shape[:2]))[0]
    else:
        dkernel = _kernel_gradient(dilation, x, g, kernel.shape[:3])
    return dx, dkernel.astype(kernel.dtype)


def _kernel_gradient(dilation: int, x: Array, g: Array, sizes: tuple[int, int, int]) -> Array:
    """Kernel gradient as one matrix product per depth slice.

    Depth and width taps are gathered from x and height taps from g, which keeps both factors small:
    `[taps_d * taps_w * C, M] @ [M, taps_h * O]` with M the pixels of a slice.
    """
    batch, depth, height, width, channels = x.shape
    reach = [dilation * (size // 2) for size in sizes]
    x = jnp.pad(x, [(0, 0), *((r, r) for r in reach), (0, 0)])
    g = jnp.pad(g, [(0, 0), (0, 0), (2 * reach[1],) * 2, (0, 0), (0, 0)])
    rows = height + 2 * reach[1]

    def slice_gradient(index: Array) -> Array:
        n, d = index // depth, index % depth
        slab = jax.lax.dynamic_slice(x, (n, d, 0, 0, 0), (1, 2 * reach[0] + 1, *x.shape[2:]))[0]
        sheet = jax.lax.dynamic_slice(g, (n, d, 0, 0, 0), (1, 1, *g.shape[2:]))[0, 0]
        left = jnp.concatenate(
            [
                slab[dilation * i, :, dilation * k : dilation * k + width]
                for i in range(sizes[0])
                for k in range(sizes[2])
            ],
            -1,
        )
        right = jnp.concatenate(
            [sheet[2 * reach[1] - dilation * j :][:rows] for j in range(sizes[1])], -1
        )
        return jnp.einsum("hwa,hwb->ab", left, right, preferred_element_type=jnp.float32)

    total = jnp.zeros((sizes[0] * sizes[2] * channels, sizes[1] * g.shape[-1]), jnp.float32)
    total = jax.lax.scan(
        lambda carry, index: (carry + slice_gradient(index), None),
        total,
        jnp.arange(batch * depth),
    )[0]
    total = total.reshape(sizes[0], sizes[2], channels, sizes[1], -1)
    return total.transpose(0, 3, 1, 2, 4)
