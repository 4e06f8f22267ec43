import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from noisyjax.core import warp

_warp = jax.jit(warp.warp, static_argnames=("order", "fill"))


def _case(shape, channels=(), seed=0):
    generator = np.random.default_rng(seed)
    image = generator.random(shape + channels).astype(np.float32)
    displacement = 3 * generator.standard_normal((len(shape), *shape)).astype(np.float32)
    return image, displacement


def _positions(displacement):
    return np.indices(displacement.shape[1:]) + displacement.astype(np.float64)


@pytest.mark.parametrize("name", ["warp_0", "warp_1"])
def test_nearest_warp_equals_the_golden_labels(golden, name):
    with np.load(golden / "gaussian_field_mc.npz") as arrays:
        displacement, expected = arrays[f"{name}_disp_voxel"], arrays[f"{name}_label"]
    with np.load(golden / "gaussian_field.npz") as arrays:
        labels = [arrays[key] for key in ("label_l2", "label_l2edge")]
    results = [_warp(jnp.asarray(label), jnp.asarray(displacement)) for label in labels]
    assert any(np.array_equal(result, expected) for result in results)


def test_warp_takes_the_hand_worked_voxels():
    image = jnp.array([[1, 2], [3, 4]])
    down_right = jnp.ones((2, 2, 2))
    np.testing.assert_array_equal(_warp(image, down_right, fill=9), [[4, 9], [9, 9]])
    # Eager, where the others are jitted.
    np.testing.assert_array_equal(warp.warp(image, down_right, fill=9), [[4, 9], [9, 9]])
    half = jnp.full((1, 3), 0.25)
    ramp = jnp.array([0.0, 4.0, 8.0])
    np.testing.assert_allclose(_warp(ramp, half, order=1), [1.0, 5.0, 6.0])


@pytest.mark.parametrize("shape", [(15,), (13, 17), (7, 8, 9)])
@pytest.mark.parametrize("fill", [0.0, 2.5])
def test_linear_warp_equals_scipy(shape, fill):
    image, displacement = _case(shape)
    expected = ndimage.map_coordinates(
        image.astype(np.float64), _positions(displacement), order=1, mode="grid-constant", cval=fill
    )
    ours = _warp(jnp.asarray(image), jnp.asarray(displacement), order=1, fill=fill)
    np.testing.assert_allclose(ours, expected, atol=3e-6)


@pytest.mark.parametrize("shape", [(13, 17), (7, 8, 9)])
def test_nearest_warp_equals_numpy_indexing(shape):
    image, displacement = _case(shape)
    index = np.floor(_positions(displacement) + 0.5).astype(int)
    sizes = np.array(shape).reshape(-1, *[1] * len(shape))
    inside = np.all((index >= 0) & (index < sizes), axis=0)
    expected = np.where(inside, image[tuple(np.clip(index, 0, sizes - 1))], -1)
    ours = _warp(jnp.asarray(image), jnp.asarray(displacement), fill=-1)
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("order", [0, 1])
def test_channels_are_moved_alike(order):
    image, displacement = _case((9, 10), (3,))
    together = _warp(jnp.asarray(image), jnp.asarray(displacement), order=order)
    for channel in range(3):
        alone = _warp(jnp.asarray(image[..., channel]), jnp.asarray(displacement), order=order)
        np.testing.assert_allclose(together[..., channel], alone, rtol=1e-6)


@pytest.mark.parametrize("order", [0, 1])
def test_vmap_and_jit_equal_a_loop(order):
    cases = [_case((6, 7), seed=seed) for seed in range(3)]
    images, fields = (jnp.asarray(np.stack(part)) for part in zip(*cases))
    batched = jax.jit(jax.vmap(lambda x, d: warp.warp(x, d, order=order)))(images, fields)
    loop = jnp.stack([_warp(x, d, order=order) for x, d in zip(images, fields)])
    np.testing.assert_allclose(batched, loop, rtol=1e-6)


@pytest.mark.parametrize("order", [0, 1])
def test_no_displacement_changes_nothing_and_a_huge_one_leaves_the_image(order):
    image = jnp.asarray(_case((5, 6))[0])
    for shift, expected in ((0.0, image), (1e30, 0 * image), (-1e30, 0 * image)):
        moved = _warp(image, jnp.full((2, 5, 6), shift), order=order)
        np.testing.assert_array_equal(moved, expected)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize(
    ("shape", "corner", "size"),
    [
        ((13, 17), (2, 5), (6, 9)),
        ((7, 8, 9), (1, 0, 4), (5, 8, 2)),
    ],
)
def test_a_part_is_what_the_whole_has_there(shape, corner, size, order):
    image, displacement = _case(shape, (2,))
    part = tuple(slice(c, c + n) for c, n in zip(corner, size, strict=True))
    whole = _warp(jnp.asarray(image), jnp.asarray(displacement), order=order, fill=1.5)
    some = jnp.asarray(displacement[(slice(None), *part)])
    cut = functools.partial(warp.warp, order=order, fill=1.5, corner=corner)
    np.testing.assert_allclose(jax.jit(cut)(jnp.asarray(image), some), whole[part], atol=1e-6)


def test_the_dtype_of_labels_stays():
    label = jnp.ones((4, 4), jnp.uint8)
    assert _warp(label, jnp.zeros((2, 4, 4)), fill=3).dtype == jnp.uint8


def test_gradients_of_the_linear_warp_are_finite():
    image, displacement = (jnp.asarray(part) for part in _case((5, 6)))

    @jax.jit
    @jax.grad
    def gradients(arguments):
        return jnp.sum(jnp.square(warp.warp(*arguments, order=1)))

    for gradient in gradients((image, 1e6 * displacement)):
        assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (jnp.zeros, {"order": 3}, "order: expected one of 0, 1, got 3"),
        (lambda s: jnp.zeros(s, jnp.uint8), {"order": 1}, "image: expected floats"),
        (lambda s: jnp.zeros((4, 5)), {}, "image: expected shape \\[4, 4\\] like displacement"),
    ],
)
def test_the_error_names_the_argument(image, options, message):
    with pytest.raises(ValueError, match=message):
        warp.warp(image((4, 4)), jnp.zeros((2, 4, 4)), **options)
