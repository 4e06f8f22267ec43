import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from noisyjax.core import distance

_distance = jax.jit(distance.distance_transform, static_argnames="squared")


def _random_mask(shape, density=0.9, seed=0):
    mask = np.random.default_rng(seed).random(shape) < density
    mask.flat[0] = False
    return mask


def test_distances_are_the_hand_worked_ones_when_one_voxel_is_background():
    mask = jnp.ones((3, 4), bool).at[0, 0].set(False)
    expected = [[0, 1, 4, 9], [1, 2, 5, 10], [4, 5, 8, 13]]
    np.testing.assert_array_equal(distance.distance_transform(mask, squared=True), expected)


@pytest.mark.parametrize("shape", [(17,), (24, 31), (9, 14, 11)])
@pytest.mark.parametrize("density", [0.3, 0.97])
def test_distances_equal_scipy_when_voxels_are_cubes(shape, density):
    mask = _random_mask(shape, density)
    ours = _distance(jnp.asarray(mask), squared=True)
    theirs = ndimage.distance_transform_edt(mask)
    np.testing.assert_array_equal(ours, np.round(theirs**2))


@pytest.mark.parametrize("shape", [(24, 31), (9, 14, 11)])
def test_distances_equal_scipy_when_spacing_is_anisotropic(shape):
    mask = _random_mask(shape, 0.98)
    spacing = (2.5, 0.7, 1.3)[: len(shape)]
    ours = _distance(jnp.asarray(mask), spacing=jnp.asarray(spacing))
    theirs = ndimage.distance_transform_edt(mask, sampling=spacing)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_static_spacing_equals_traced_spacing_and_jit_equals_eager():
    mask = jnp.asarray(_random_mask((5, 6), 0.95))
    traced = _distance(mask, spacing=jnp.array([3.0, 0.5]))
    static = distance.distance_transform(mask, spacing=(3.0, 0.5))
    np.testing.assert_allclose(traced, static, rtol=1e-6)


def test_distances_are_zero_when_the_mask_is_empty():
    assert not np.any(_distance(jnp.zeros((5, 6), bool)))


def test_distances_are_infinite_when_there_is_no_background():
    assert np.all(np.isposinf(_distance(jnp.ones((5, 6), bool))))


def test_distances_are_exact_when_a_whole_row_has_no_background():
    mask = np.ones((4, 30), bool)
    mask[3, 29] = False
    ours = _distance(jnp.asarray(mask))
    np.testing.assert_allclose(ours, ndimage.distance_transform_edt(mask), rtol=1e-6)


def test_vmap_equals_a_loop_when_examples_stop_at_different_steps():
    masks = jnp.stack([jnp.asarray(_random_mask((13, 16), p)) for p in (0.1, 0.9, 0.995)])
    masks = jnp.concatenate([masks, jnp.ones((1, 13, 16), bool)])
    batched = jax.jit(jax.vmap(distance.distance_transform))(masks)
    loop = jnp.stack([_distance(mask) for mask in masks])
    np.testing.assert_array_equal(batched, loop)


def test_neighbours_differ_by_at_most_one_voxel():
    depth = _distance(jnp.asarray(_random_mask((20, 20), 0.95)))
    assert np.max(np.abs(np.diff(depth, axis=0))) <= 1 + 1e-6
    assert np.max(np.abs(np.diff(depth, axis=1))) <= 1 + 1e-6


@pytest.mark.parametrize("shape", [(19,), (12, 15), (7, 6, 8)])
def test_taxicab_distances_equal_scipy(shape):
    masks = np.random.default_rng(0).random((3, *shape)) < 0.95
    masks.reshape(3, -1)[:, 5] = False
    expected = [ndimage.distance_transform_cdt(mask, metric="taxicab") for mask in masks]
    batched = jax.jit(jax.vmap(distance.taxicab_distance))(masks)
    np.testing.assert_array_equal(batched, expected)
    np.testing.assert_array_equal(distance.taxicab_distance(jnp.asarray(masks[0])), expected[0])
    assert np.all(distance.taxicab_distance(jnp.ones(shape, bool)) == np.inf)


def test_the_error_names_the_argument_when_spacing_has_too_few_numbers():
    with pytest.raises(ValueError, match="spacing: expected shape \\[2\\]"):
        distance.distance_transform(jnp.ones((3, 3), bool), spacing=(1.0,))
