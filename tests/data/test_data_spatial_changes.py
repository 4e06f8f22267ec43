"""Mirrors, right angles and free moves against NumPy, SciPy and values by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from noisyjax.core import warp
from noisyjax.data import spatial_changes


def test_flip_when_worked_by_hand():
    image = jnp.array([[1, 2], [3, 4]])
    flip = functools.partial(spatial_changes.flip, image, (0, 1))
    assert flip(jnp.array([False, False])).tolist() == [[1, 2], [3, 4]]
    assert flip(jnp.array([True, False])).tolist() == [[3, 4], [1, 2]]
    assert flip(jnp.array([False, True])).tolist() == [[2, 1], [4, 3]]
    assert flip(jnp.array([True, True])).tolist() == [[4, 3], [2, 1]]
    assert spatial_changes.flip(image, (1,), jnp.array([True])).tolist() == [[2, 1], [4, 3]]


def test_flipping_twice_is_the_identity():
    image = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5, 6, 1)))
    chosen = jnp.array([True, False, True])
    once = spatial_changes.flip(image, (0, 1, 2), chosen)
    assert (once != image).any()
    np.testing.assert_array_equal(spatial_changes.flip(once, (0, 1, 2), chosen), image)


@pytest.mark.parametrize("plane", [(0, 1), (1, 0), (0, 2), (2, 1)])
def test_quarter_turns_agree_with_rot90(plane):
    image = np.random.default_rng(0).normal(size=(4, 4, 4, 2))
    for turns in range(4):
        turned = spatial_changes.quarter_turns(jnp.asarray(image), plane, jnp.int32(turns))
        np.testing.assert_array_equal(turned, np.rot90(image, turns, plane).astype(np.float32))


def test_quarter_turns_of_an_oblong_plane_raise():
    with pytest.raises(ValueError, match=r"expected square planes, got axes \(0, 1\) of \(4, 5"):
        spatial_changes.quarter_turns(jnp.zeros((4, 5, 1)), (0, 1), jnp.int32(1))


def test_affine_displacement_when_worked_by_hand():
    displace = jax.jit(
        functools.partial(spatial_changes.affine_displacement, (3, 3), spacing=(1.0, 1.0))
    )
    zero, one = jnp.zeros(2), jnp.float32(1)
    np.testing.assert_array_equal(displace(jnp.zeros(1), zero, one), np.zeros((2, 3, 3)))
    moved = displace(jnp.zeros(1), jnp.array([1.0, -2.0]), one)
    np.testing.assert_array_equal(moved, np.full((2, 3, 3), [[[-1.0]], [[2.0]]]))
    larger = displace(jnp.zeros(1), zero, jnp.float32(2))
    np.testing.assert_array_equal(larger[0, :, 0], [0.5, 0.0, -0.5])
    # A quarter turn: the corner (0, 0) takes its value from the corner (0, 2).
    turned = displace(jnp.array([jnp.pi / 2]), zero, one)
    np.testing.assert_allclose(turned[:, 0, 0], [0.0, 2.0], atol=1e-6)


def test_rotation_is_rigid_in_millimetres():
    spacing = (2.0, 1.0, 0.5)
    displace = jax.jit(
        functools.partial(spatial_changes.affine_displacement, (4, 6, 5), spacing=spacing)
    )
    displacement = displace(jnp.array([0.3, -0.2, 0.5]), jnp.zeros(3), jnp.float32(1))
    grid = np.stack(np.meshgrid(*[np.arange(s) for s in (4, 6, 5)], indexing="ij"))
    millimetres = np.array(spacing).reshape(-1, 1)
    before = (grid.reshape(3, -1) - np.array([[1.5], [2.5], [2.0]])) * millimetres
    after = before + np.asarray(displacement).reshape(3, -1) * millimetres
    assert np.abs(after - before).max() > 0.5
    np.testing.assert_allclose((after**2).sum(0), (before**2).sum(0), rtol=1e-4, atol=1e-5)


def test_free_moves_agree_with_scipy():
    rows, columns = jnp.meshgrid(jnp.arange(24.0), jnp.arange(20.0), indexing="ij")
    image = (jnp.sin(rows / 3) + jnp.cos(columns / 4))[..., None]
    angle, shift, factor = 0.3, np.array([1.25, -2.5]), 1.1

    @jax.jit
    def move(shift):
        displacement = spatial_changes.affine_displacement(
            (24, 20), jnp.array([angle]), shift, jnp.float32(factor), spacing=(1.0, 1.0)
        )
        return warp.warp(image, displacement, order=1)

    moved = move(jnp.asarray(shift, jnp.float32))
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.array([[cos, sin], [-sin, cos]]) / factor
    centre = np.array([11.5, 9.5])
    expected = ndimage.affine_transform(
        np.asarray(image[..., 0], float),
        matrix,
        offset=centre - matrix @ (centre + shift),
        order=1,
        mode="grid-constant",
    )
    np.testing.assert_allclose(moved[..., 0], expected, atol=1e-5)


def test_what_comes_in_from_outside_background_and_the_given_intensity():
    image = jnp.arange(1.0, 26.0).reshape(5, 5, 1)
    labels = jnp.ones((1, 5, 5), jnp.uint8)
    far = functools.partial(spatial_changes.change, shift=(1e9, 0.0), image_fill=-7.0)
    moved, masks = jax.jit(far)(jax.random.key(0), image, labels)
    assert (moved == -7).all()
    assert (masks == 0).all()


def test_all_quarter_turns_are_equally_likely():
    image, labels = jnp.array([[0.0, 1.0], [3.0, 2.0]])[..., None], jnp.zeros((1, 2, 2), jnp.uint8)

    def turned(key):
        return spatial_changes.change(key, image, labels, right_angle_planes=((0, 1),))[0][0, 0, 0]

    # What stands in the first corner is the number of turns.
    corners = jax.jit(jax.vmap(turned))(jax.random.split(jax.random.key(0), 4000))
    shares = np.bincount(np.asarray(corners, int), minlength=4) / 4000
    # The standard deviation of a share is 0.0068.
    np.testing.assert_allclose(shares, 0.25, atol=0.03)


def _case(shape, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, (2, *shape), np.uint8)
    return jnp.asarray(random.normal(size=(*shape, 2)), jnp.float32), jnp.asarray(labels)


MOVES = {"rotation": 20.0, "shift": 1.5, "scale": 0.3}


@pytest.mark.parametrize(("shape", "margin"), [((15, 13), (2, 3)), ((9, 12, 10), (1, 3, 2))])
def test_with_a_margin_it_is_the_middle_of_what_becomes_of_the_whole(shape, margin):
    image, labels = _case(shape)
    options = {**MOVES, "spacing": (1.0, 2.0, 1.5)[: len(shape)], "image_fill": -1.0}
    whole = jax.jit(functools.partial(spatial_changes.change, **options))
    inside = jax.jit(functools.partial(spatial_changes.change, margin=margin, **options))
    middle = tuple(slice(m, n - m) for m, n in zip(margin, shape, strict=True))
    for seed in range(3):
        (expected, masks), (moved, few) = (
            f(jax.random.key(seed), image, labels) for f in (whole, inside)
        )
        np.testing.assert_allclose(moved, expected[middle], atol=2e-5)
        np.testing.assert_array_equal(few, masks[(slice(None), *middle)])
        assert (masks != labels).mean() > 0.3


def test_what_lies_in_the_margin_is_turned_into_the_patch_as_by_scipy():
    image = np.zeros((9, 9), np.float32)
    image[3:6, 0:2] = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]

    @jax.jit
    def turned(degrees):
        angle = jnp.deg2rad(degrees)[None]
        displacement = spatial_changes.affine_displacement(
            (9, 5), angle, jnp.zeros(2), jnp.float32(1), spacing=(1.0, 1.0)
        )
        return warp.warp(jnp.asarray(image), displacement, order=1, corner=(0, 2))

    assert not turned(jnp.float32(0)).any()
    np.testing.assert_allclose(turned(jnp.float32(90)), np.rot90(image, 1)[:, 2:7], atol=1e-5)
    for degrees in (30.0, -70.0):
        expected = ndimage.rotate(image, degrees, reshape=False, order=1, mode="grid-constant")
        np.testing.assert_allclose(turned(jnp.float32(degrees)), expected[:, 2:7], atol=1e-5)
        assert expected[:, 2:7].max() > 2


@pytest.mark.parametrize("shape", [(7, 8), (5, 6, 7)])
def test_what_is_not_drawn_changes_nothing(shape):
    image, labels = _case(shape)
    never = {f"{name}_probability": 0.0 for name in MOVES}
    change = jax.jit(functools.partial(spatial_changes.change, **MOVES, **never))
    moved, masks = change(jax.random.key(0), image, labels)
    np.testing.assert_array_equal(moved, image)
    np.testing.assert_array_equal(masks, labels)


@pytest.mark.parametrize("name", MOVES)
def test_each_move_happens_with_its_own_probability(name):
    image, labels = _case((5, 5))
    others = {f"{other}_probability": 0.0 for other in MOVES if other != name}
    options = {**MOVES, **others, f"{name}_probability": 0.3}
    change = functools.partial(spatial_changes.change, **options)
    keys = jax.random.split(jax.random.key(0), 500)
    moved, _ = jax.jit(jax.vmap(change, (0, None, None)))(keys, image, labels)
    share = (np.asarray(moved) != np.asarray(image)).any(axis=(1, 2, 3)).mean()
    assert share == pytest.approx(0.3, abs=4 * np.sqrt(0.3 * 0.7 / 500))


def test_voxels_without_a_label_stay_without_and_move_with_the_others():
    image, labels = _case((12, 14))
    labels = jnp.stack([labels[0], jnp.where(labels[0] == 3, 255, labels[0])])
    _, moved = jax.jit(functools.partial(spatial_changes.change, **MOVES))(
        jax.random.key(3), image, labels.astype(jnp.uint8)
    )
    np.testing.assert_array_equal(moved[1], np.where(moved[0] == 3, 255, moved[0]))
    assert (moved[1] == 255).any()
    assert moved.dtype == jnp.uint8
