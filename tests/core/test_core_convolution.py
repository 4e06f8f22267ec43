import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.core import convolution

CASES = [
    # batch and sides, kernel sizes, channels in, channels out, dilation
    ((2, 7, 9), (3, 3), 3, 4, 1),
    ((2, 8, 5), (5, 3), 4, 2, 2),
    ((2, 5, 4), (3, 3), 64, 65, 1),  # wide enough for the kernel gradient by slices
    ((2, 4, 3), (3, 1), 66, 64, 2),
    ((1, 2, 3, 4), (1, 1, 3), 64, 64, 1),
    ((2, 3, 6, 5), (3, 3, 3), 2, 5, 1),
    ((2, 5, 6, 7), (3, 3, 3), 5, 2, 1),
    ((1, 5, 4, 6), (3, 1, 3), 3, 3, 2),
    ((1, 2, 3, 4), (1, 3, 5), 2, 3, 1),
    # Taps that lie outside of the image from every voxel.
    ((2, 4, 5), (3, 3), 3, 4, 6),
    ((2, 4, 3), (3, 3), 65, 64, 4),
    ((1, 3, 6, 5), (3, 3, 3), 2, 4, 4),
    ((1, 5, 2, 3), (3, 3, 3), 4, 2, 4),
]


def _normal(*shapes):
    draw = np.random.default_rng(0)
    return [jnp.asarray(draw.standard_normal(shape), jnp.float32) for shape in shapes]


def _arrays(shape, sizes, channels, out):
    return _normal((*shape, channels), (*sizes, channels, out), (*shape, out))


def _peer(x, kernel, *, stride=1, dilation=1):
    """XLA's own convolution, with taps centred on the voxel they belong to."""
    spatial = "DHW"[-(x.ndim - 2) :]
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride,) * len(spatial),
        padding=[(dilation * (size // 2),) * 2 for size in kernel.shape[:-2]],
        rhs_dilation=(dilation,) * len(spatial),
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
    )


def _assert_same_with_gradients(ours, peer, x, kernel, g, **tolerance):
    @jax.jit
    def both(x, kernel, g):
        values, pullbacks = zip(*(jax.vjp(f, x, kernel) for f in (ours, peer)))
        return values, tuple(pullback(g) for pullback in pullbacks)

    (y, expected), (gradients, expected_gradients) = both(x, kernel, g)
    np.testing.assert_allclose(y, expected, **tolerance)
    for name, a, b in zip(("x", "kernel"), gradients, expected_gradients):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, **tolerance, err_msg=f"gradient of {name}")


@pytest.mark.parametrize(("shape", "sizes", "channels", "out", "dilation"), CASES)
def test_conv_equals_xla_with_gradients(shape, sizes, channels, out, dilation):
    x, kernel, g = _arrays(shape, sizes, channels, out)
    _assert_same_with_gradients(
        lambda x, k: convolution.conv(x, k, dilation=dilation),
        lambda x, k: _peer(x, k, dilation=dilation),
        *(x, kernel, g),
        rtol=1e-4,
        atol=5e-4,
    )


@pytest.mark.parametrize("ndim", [2, 3])
def test_conv_is_a_matrix_product_when_the_kernel_is_one_voxel(ndim):
    x, kernel, _ = _arrays((2, 4, 3, 5)[: ndim + 1], (1,) * ndim, 3, 4)
    expected = np.einsum("...c,co->...o", np.asarray(x), np.asarray(kernel).reshape(3, 4))
    np.testing.assert_allclose(convolution.conv(x, kernel), expected, rtol=1e-5, atol=1e-5)


def test_conv_of_an_impulse_is_the_mirrored_kernel():
    x = jnp.zeros((1, 3, 3, 3, 1)).at[0, 1, 1, 1, 0].set(1.0)
    kernel = jnp.arange(27.0).reshape(3, 3, 3, 1, 1)
    y = convolution.conv(x, kernel)[0, ..., 0]
    np.testing.assert_array_equal(y, jnp.flip(kernel[..., 0, 0], (0, 1, 2)))


@pytest.mark.parametrize("shape", [(2, 6, 5), (1, 4, 5, 6)])
def test_conv_in_bfloat16_keeps_its_dtype_and_the_values(shape):
    x, kernel, g = _arrays(shape, (3,) * (len(shape) - 1), 4, 4)
    half = jnp.bfloat16

    @jax.jit
    def both(x, kernel, g):
        y, pullback = jax.vjp(lambda k: convolution.conv(x.astype(half), k), kernel)
        peer, peer_pullback = jax.vjp(lambda k: _peer(x, k), kernel)
        return y, *pullback(g.astype(half)), peer, *peer_pullback(g)

    y, gradient, peer, expected = both(x, kernel, g)
    assert y.dtype == half
    assert gradient.dtype == jnp.float32
    scale = float(jnp.abs(peer).max())
    np.testing.assert_allclose(y.astype(jnp.float32), peer, atol=0.02 * scale)
    np.testing.assert_allclose(gradient, expected, atol=0.03 * float(jnp.abs(expected).max()))


@pytest.mark.parametrize("shape", [(2, 5, 4), (1, 3, 4, 5)])
def test_conv_vmapped_over_kernels_equals_a_loop_with_gradients(shape):
    x, kernel, g = _arrays(shape, (3,) * (len(shape) - 1), 2, 3)
    xs, kernels = jnp.stack([x, x + 1, 2 * x]), jnp.stack([kernel, -kernel, kernel + 1])

    def gradients(x, kernel):
        y, pullback = jax.vjp(convolution.conv, x, kernel)
        return y, pullback(g)

    mapped = jax.jit(jax.vmap(gradients))(xs, kernels)
    single = jax.jit(gradients)
    looped = [single(*pair) for pair in zip(xs, kernels)]
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *looped)
    for a, b in zip(jax.tree.leaves(mapped), jax.tree.leaves(expected)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_conv_agrees_on_every_device_under_pmap():
    devices = jax.local_device_count()
    x, kernel, _ = _arrays((devices, 1, 4, 3, 5), (3, 3, 3), 2, 3)
    y = jax.pmap(convolution.conv, in_axes=(0, None))(x, kernel)
    expected = convolution.conv(x[:, 0], kernel)
    np.testing.assert_allclose(y[:, 0], expected, rtol=1e-5, atol=1e-5)


def test_conv_lowers_to_the_native_convolution_for_accelerators():
    x, kernel, _ = _arrays((1, 4, 4, 4), (3, 3, 3), 2, 3)
    traced = jax.jit(convolution.conv).trace(x, kernel)
    native = traced.lower(lowering_platforms=("cuda",)).as_text()
    folded = traced.lower(lowering_platforms=("cpu",)).as_text()
    assert "tensor<3x3x3x2x3xf32>) -> tensor<1x4x4x4x3xf32>" in native
    assert "tensor<3x3x6x3xf32>) -> tensor<4x4x4x3xf32>" in folded


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        *(((2, 6, 8), 3), ((2, 5, 7), 3), ((1, 4, 5, 6), 3), ((1, 1, 3, 4), 3)),
        *(((2, 6, 9), 7), ((1, 4, 5, 6), 5)),
    ],
)
def test_strided_conv_equals_xla_with_gradients(shape, size):
    halves = tuple(-(-side // 2) for side in shape[1:])
    x, kernel, _ = _arrays(shape, (size,) * len(halves), 2, 3)
    (g,) = _normal((shape[0], *halves, 3))
    _assert_same_with_gradients(
        convolution.strided_conv,
        lambda x, k: _peer(x, k, stride=2),
        *(x, kernel, g),
        rtol=1e-4,
        atol=1e-4,
    )
    every_second = (slice(None), *(slice(None, None, 2),) * len(halves))
    np.testing.assert_allclose(
        convolution.strided_conv(x, kernel),
        convolution.conv(x, kernel)[every_second],
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    ("shape", "sizes", "strides"),
    [
        *(((2, 5, 7), (3, 3), (1, 2)), ((1, 4, 5, 6), (3, 3, 3), (1, 2, 2))),
        *(((1, 4, 5, 6), (1, 3, 3), (1, 2, 2)), ((1, 5, 5, 6), (1, 3, 3), (2, 1, 2))),
        *(((1, 5, 4, 3), (3, 3, 1), (2, 2, 1)), ((1, 5, 4, 3), (3, 3, 3), (2, 1, 1))),
    ],
)
def test_strided_conv_of_an_axis_by_itself_equals_xla_with_gradients(shape, sizes, strides):
    x, kernel, _ = _arrays(shape, sizes, 2, 3)
    coarse = [-(-side // stride) for side, stride in zip(shape[1:], strides, strict=True)]
    (g,) = _normal((shape[0], *coarse, 3))
    spatial = "DHW"[-len(sizes) :]
    _assert_same_with_gradients(
        lambda x, k: convolution.strided_conv(x, k, strides=strides),
        lambda x, k: jax.lax.conv_general_dilated(
            x,
            k,
            window_strides=strides,
            padding=[(size // 2,) * 2 for size in sizes],
            dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        ),
        *(x, kernel, g),
        rtol=1e-4,
        atol=1e-4,
    )


def test_strided_conv_names_strides_that_are_none():
    x, kernel, _ = _arrays((1, 4, 5, 6), (3, 3, 3), 2, 3)
    with pytest.raises(ValueError, match="strides: expected 1 or 2 for each of 3 axes, got"):
        convolution.strided_conv(x, kernel, strides=(1, 3, 2))
    with pytest.raises(ValueError, match="strides: expected 1 or 2 for each of 3 axes, got"):
        convolution.strided_conv(x, kernel, strides=(2, 2))


@pytest.mark.parametrize("block", [(1, 2), (2, 1), (1, 2, 2), (2, 1, 1)])
def test_blocks_of_one_voxel_along_an_axis_equal_xla(block):
    ndim = len(block)
    x, kernel, _ = _arrays((2, *(4, 6, 2)[:ndim]), block, 3, 4)
    spatial = "DHW"[-ndim:]
    layout = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
    down = jax.lax.conv_general_dilated(x, kernel, block, "VALID", dimension_numbers=layout)
    np.testing.assert_allclose(convolution.downsample_conv(x, kernel), down, rtol=1e-4, atol=1e-5)
    mirrored = jnp.flip(kernel, range(ndim))
    up = jax.lax.conv_transpose(x, mirrored, block, "VALID", dimension_numbers=layout)
    np.testing.assert_allclose(convolution.transposed_conv(x, kernel), up, rtol=1e-4, atol=1e-5)
    folded = convolution.space_to_depth(x, block)
    np.testing.assert_array_equal(convolution.depth_to_space(folded, block), x)


@pytest.mark.parametrize("shape", [(2, 6, 8), (1, 4, 2, 6)])
def test_downsample_and_transposed_conv_equal_xla(shape):
    ndim = len(shape) - 1
    x, kernel, _ = _arrays(shape, (2,) * ndim, 3, 4)
    spatial = "DHW"[-ndim:]
    layout = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
    down = jax.lax.conv_general_dilated(x, kernel, (2,) * ndim, "VALID", dimension_numbers=layout)
    np.testing.assert_allclose(convolution.downsample_conv(x, kernel), down, rtol=1e-4, atol=1e-5)
    mirrored = jnp.flip(kernel, range(ndim))  # XLA's transposed convolution correlates
    up = jax.lax.conv_transpose(x, mirrored, (2,) * ndim, "VALID", dimension_numbers=layout)
    np.testing.assert_allclose(convolution.transposed_conv(x, kernel), up, rtol=1e-4, atol=1e-5)


def test_downsample_conv_pads_odd_sides_at_their_end():
    y = convolution.downsample_conv(jnp.ones((1, 3, 5, 1)), jnp.ones((2, 2, 1, 1)))
    np.testing.assert_array_equal(y[0, ..., 0], [[4, 4, 2], [2, 2, 1]])


@pytest.mark.parametrize("shape", [(2, 4, 6, 3), (1, 2, 4, 6, 2)])
def test_depth_to_space_undoes_space_to_depth(shape):
    x = jnp.arange(np.prod(shape), dtype=jnp.float32).reshape(shape)
    blocks = convolution.space_to_depth(x)
    np.testing.assert_array_equal(convolution.depth_to_space(blocks), x)
    corner = itertools.product(range(2), repeat=len(shape) - 2)
    expected = [x[(0, *position)] for position in corner]
    np.testing.assert_array_equal(blocks.reshape(-1, blocks.shape[-1])[0], np.concatenate(expected))


@pytest.mark.parametrize(
    ("shape", "kernel", "words"),
    [
        ((1, 4, 4, 2), (3, 3, 3, 2, 1), "spatial axes"),
        ((1, 4, 4, 2), (3, 3, 3, 1), "2 input channels"),
        ((1, 4, 4, 2), (2, 3, 2, 1), "odd"),
    ],
)
def test_conv_names_the_argument_when_shapes_do_not_fit(shape, kernel, words):
    with pytest.raises(ValueError, match=words):
        convolution.conv(jnp.ones(shape), jnp.ones(kernel))


def test_strided_conv_raises_when_the_kernel_is_even():
    with pytest.raises(ValueError, match="expected odd spatial sizes"):
        convolution.strided_conv(jnp.ones((1, 4, 4, 1)), jnp.ones((4, 4, 1, 1)))
