import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.core import upsampling

CASES = [
    # sides of the finer map, channels of the coarse and the fine map, channels out
    ((6, 8), 3, 2, 4),
    ((7, 5), 2, 3, 2),
    ((2, 1), 2, 1, 3),
    ((4, 6, 8), 3, 2, 2),
    ((5, 4, 7), 2, 2, 3),
    ((1, 2, 3), 1, 1, 2),
]


def _arrays(sides, coarse, fine, out, size=3):
    draw = np.random.default_rng(len(sides))
    halves = tuple(-(-side // 2) for side in sides)
    kernel = (*(size,) * len(sides), coarse + fine, out)
    shapes = ((2, *halves, coarse), (2, *sides, fine), kernel, (2, *sides, out))
    return tuple(jnp.asarray(draw.standard_normal(shape), jnp.float32) for shape in shapes)


def _peer(x, skip, kernel):
    """JAX's own interpolation, whose edges repeat as well, and XLA's own convolution."""
    doubled = (x.shape[0], *(2 * side for side in x.shape[1:-1]), x.shape[-1])
    up = jax.image.resize(x, doubled, "linear")
    up = up[(slice(None), *(slice(side) for side in skip.shape[1:-1]))]
    spatial = "DHW"[-(x.ndim - 2) :]
    return jax.lax.conv_general_dilated(
        jnp.concatenate([up, skip], -1),
        kernel,
        window_strides=(1,) * len(spatial),
        padding=[(size // 2,) * 2 for size in kernel.shape[:-2]],
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
    )


def _values_and_gradients(function):
    def both(x, skip, kernel, g):
        y, pullback = jax.vjp(function, x, skip, kernel)
        return y, *pullback(g)

    return both


def _assert_all_close(ours, expected):
    for name, a, b in zip(("y", "x", "skip", "kernel"), ours, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5, err_msg=name)


def test_linear_by_hand():
    x = jnp.array([0.0, 4.0]).reshape(1, 1, 2, 1)
    np.testing.assert_allclose(upsampling.linear(x)[0, ..., 0], [[0, 1, 3, 4]] * 2)


def test_nearest_repeats_every_voxel():
    x = jnp.arange(12.0).reshape(1, 2, 3, 2)
    expected = np.repeat(np.repeat(x, 2, 1), 2, 2)
    np.testing.assert_array_equal(upsampling.nearest(x), expected)
    volume = jnp.arange(8.0).reshape(1, 2, 2, 2, 1)
    expected = np.repeat(np.repeat(np.repeat(volume, 2, 1), 2, 2), 2, 3)
    np.testing.assert_array_equal(upsampling.nearest(volume), expected)


def test_crop_keeps_the_near_end():
    x = jnp.arange(6.0).reshape(1, 2, 3, 1)
    np.testing.assert_array_equal(upsampling.crop(x, (1, 2))[0, ..., 0], [[0, 1]])


def test_joined_conv_by_hand():
    # Up-sampled: 0 1 3 4; the kernel adds both neighbours, and the skip counts ten times.
    x = jnp.array([0.0, 4.0]).reshape(1, 1, 2, 1)
    skip = jnp.arange(8.0).reshape(1, 2, 4, 1)
    kernel = jnp.zeros((3, 3, 2, 1)).at[1, ::2, 0, 0].set(1.0).at[1, 1, 1, 0].set(10.0)
    y = jax.jit(upsampling.joined_conv)(x, skip, kernel)[0, ..., 0]
    np.testing.assert_allclose(y, [[1, 13, 25, 33], [41, 53, 65, 73]])


@pytest.mark.parametrize("case", CASES)
def test_joined_conv_equals_jax_resize_and_xla_with_gradients(case):
    arrays = _arrays(*case)
    ours = jax.jit(_values_and_gradients(upsampling.joined_conv))(*arrays)
    _assert_all_close(ours, jax.jit(_values_and_gradients(_peer))(*arrays))


@pytest.mark.parametrize("size", [1, 5])
def test_joined_conv_takes_kernels_of_other_sizes(size):
    arrays = _arrays((5, 6), 2, 3, 2, size)
    ours = jax.jit(_values_and_gradients(upsampling.joined_conv))(*arrays)
    _assert_all_close(ours, jax.jit(_values_and_gradients(_peer))(*arrays))


@pytest.mark.parametrize("strides", [(1, 2, 2), (2, 1, 2), (1, 1, 2)])
def test_joined_conv_doubles_the_axes_that_are_to_be(strides):
    draw, sides = np.random.default_rng(0), (3, 5, 6)
    coarse = tuple(-(-side // stride) for side, stride in zip(sides, strides, strict=True))
    shapes = ((2, *coarse, 2), (2, *sides, 3), (1, 3, 3, 5, 2), (2, *sides, 2))
    arrays = [jnp.asarray(draw.standard_normal(shape), jnp.float32) for shape in shapes]

    def peer(x, skip, kernel):
        up = jax.image.resize(
            x, (2, *(n * s for n, s in zip(coarse, strides, strict=True)), 2), "linear"
        )
        up = up[:, : sides[0], : sides[1], : sides[2]]
        return jax.lax.conv_general_dilated(
            jnp.concatenate([up, skip], -1),
            kernel,
            window_strides=(1, 1, 1),
            padding=[(0, 0), (1, 1), (1, 1)],
            dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
        )

    def ours(x, skip, kernel):
        return upsampling.joined_conv(x, skip, kernel, strides=strides)

    both = [jax.jit(_values_and_gradients(function))(*arrays) for function in (ours, peer)]
    _assert_all_close(*both)


def test_joined_conv_is_the_same_without_jit():
    arrays = _arrays((3, 4, 5), 2, 1, 2)
    function = _values_and_gradients(upsampling.joined_conv)
    _assert_all_close(function(*arrays), jax.jit(function)(*arrays))


def test_joined_conv_vmapped_equals_a_loop_with_gradients():
    arrays = _arrays((5, 4), 2, 1, 3)
    stacked = [jnp.stack([a, 2 * a, a + 1]) for a in arrays]
    function = jax.jit(_values_and_gradients(upsampling.joined_conv))
    looped = [function(*(a[i] for a in stacked)) for i in range(3)]
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *looped)
    _assert_all_close(jax.jit(jax.vmap(function))(*stacked), expected)


def test_joined_conv_in_bfloat16_keeps_its_dtype_and_the_values():
    x, skip, kernel, g = _arrays((6, 5), 4, 4, 4)
    halves = [a.astype(jnp.bfloat16) for a in (x, skip, g)]

    @jax.jit
    def with_gradient(kernel, x, skip, g):
        y, pullback = jax.vjp(lambda k: upsampling.joined_conv(x, skip, k), kernel)
        return y, *pullback(g)

    y, gradient = with_gradient(kernel, *halves)
    expected, _, _, expected_gradient = jax.jit(_values_and_gradients(_peer))(x, skip, kernel, g)
    assert y.dtype == jnp.bfloat16
    assert gradient.dtype == jnp.float32
    scale, gradient_scale = (float(jnp.abs(a).max()) for a in (expected, expected_gradient))
    np.testing.assert_allclose(y.astype(jnp.float32), expected, atol=0.03 * scale)
    np.testing.assert_allclose(gradient, expected_gradient, atol=0.03 * gradient_scale)


def test_joined_conv_lowers_to_one_native_convolution_for_an_accelerator():
    x, skip, kernel, _ = _arrays((4, 4, 4), 2, 2, 2)
    lowered = (
        jax.jit(upsampling.joined_conv).trace(x, skip, kernel).lower(lowering_platforms=("tpu",))
    )
    assert lowered.as_text().count("stablehlo.convolution") == 1


def test_joined_conv_names_maps_that_do_not_fit():
    x, skip, kernel, _ = _arrays((5, 4), 2, 1, 3)
    with pytest.raises(ValueError, match=r"x, skip: .*\(2, 3, 2, 2\) and \(2, 7, 4, 1\)"):
        upsampling.joined_conv(x, jnp.zeros((2, 7, 4, 1)), kernel)
    with pytest.raises(ValueError, match="kernel: expected 3 input channels"):
        upsampling.joined_conv(x, skip, kernel[..., :2, :])
