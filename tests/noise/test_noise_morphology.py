import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from noisyjax.noise import morphology

_measure = jax.jit(morphology.measure)
_thicken = jax.jit(morphology.thicken)
_thin = jax.jit(morphology.thin)
_cuts = jax.jit(morphology.cuts, static_argnames="count")


def _bar(width, shape=(24, 40), axis=0):
    mask = np.zeros(shape, bool)
    start = (shape[axis] - width) // 2
    mask[(slice(None),) * axis + (slice(start, start + width),)] = True
    return jnp.asarray(mask)


def _ring():
    y, x = np.mgrid[:24, :40] - np.array([11.5, 19.5]).reshape(2, 1, 1)
    radius = np.hypot(y, x)
    return jnp.asarray((radius > 6) & (radius < 10))


def _tube():
    z, y, _ = np.mgrid[:13, :13, :20] - np.array([6, 6, 0]).reshape(3, 1, 1, 1)
    return jnp.asarray(np.hypot(z, y) < 3)


def _pieces(mask):
    return ndimage.label(np.asarray(mask), np.ones((3,) * mask.ndim))[1]


def test_erode_and_dilate_are_public_here():
    dilated, eroded = jax.jit(
        lambda m: (morphology.dilate(m, radius=1), morphology.erode(m, radius=1))
    )(_bar(4))
    assert np.sum(dilated) == 6 * 40
    assert np.sum(eroded) == 2 * 38


@pytest.mark.parametrize("width", [1, 2, 3, 4, 7, 8])
@pytest.mark.parametrize("axis", [0, 1])
def test_thickness_of_a_bar_is_its_width(width, axis):
    assert 2 * float(_measure(_bar(width, axis=axis)).radius) == pytest.approx(width)


def test_thickness_of_a_slanted_bar_is_its_width_to_half_a_voxel():
    y, x = np.mgrid[:40, :40] - 19.5
    for degrees in (20, 30, 45):
        angle = np.deg2rad(degrees)
        mask = np.abs(np.cos(angle) * y - np.sin(angle) * x) < 2.5
        thickness = 2 * float(_measure(jnp.asarray(mask)).radius)
        assert thickness == pytest.approx(5, abs=0.5), degrees


def test_depth_is_the_distance_to_the_face_on_both_sides():
    depth = _measure(_bar(4)).depth[:, 20]
    np.testing.assert_allclose(
        depth[7:17], [-2.5, -1.5, -0.5, 0.5, 1.5, 1.5, 0.5, -0.5, -1.5, -2.5]
    )


def test_thickening_by_one_doubles_a_bar_and_by_zero_keeps_it():
    shape = _measure(_bar(4))
    np.testing.assert_array_equal(_thicken(shape, amount=1.0), _bar(8))
    np.testing.assert_array_equal(_thicken(shape, amount=0.0), shape.mask)


def test_thinning_leaves_the_middle_of_a_bar_and_by_zero_keeps_it():
    shape = _measure(_bar(4))
    np.testing.assert_array_equal(_thin(shape, amount=0.7), _bar(2))
    np.testing.assert_array_equal(_thin(shape, amount=0.0), shape.mask)


def test_of_what_is_as_deep_the_bulkiest_stays():
    # The middles of a square and of a bar are both two voxels from the background.
    mask = jnp.zeros((24, 40), bool).at[4:7, 4:7].set(True).at[14:17, 10:30].set(True)
    thin = np.asarray(_thin(_measure(mask), amount=3.0))
    rows, columns = np.nonzero(thin)
    assert set(rows) == {15}
    # A voxel and a half from one end 93 % of the surroundings belong to the bar, and of the square,
    # with two such ends, 87 %.
    assert set(columns) == set(range(11, 29))


@pytest.mark.parametrize("make", [lambda: _bar(3), lambda: _bar(2), _ring])
def test_thin_lies_in_the_mask_and_the_mask_in_thick_and_amounts_are_monotone(make):
    shape = _measure(make())
    thinner = thicker = np.asarray(shape.mask)
    for amount in (0.3, 0.7, 1.2):
        thin = np.asarray(_thin(shape, amount=amount))
        thick = np.asarray(_thicken(shape, amount=amount))
        assert not np.any(thin & ~thinner)
        assert not np.any(thicker & ~thick)
        assert np.any(thin)
        assert thick.sum() > shape.mask.sum()
        thinner, thicker = thin, thick


def test_every_transform_is_safe_when_the_mask_is_empty_full_or_one_voxel():
    key = jax.random.key(0)
    empty = _measure(jnp.zeros((24, 40), bool))
    assert float(empty.radius) == 0
    for result in (_thicken(empty), _thin(empty), _cuts(key, empty)):
        assert not np.any(result)
    full = _measure(jnp.ones((24, 40), bool))
    assert np.all(_thicken(full))
    assert np.all(_thin(full))
    point = _measure(jnp.zeros((24, 40), bool).at[3, 4].set(True))
    assert np.sum(_thin(point)) == 1
    assert np.sum(_thicken(point)) == 5
    assert np.all(np.isfinite(np.concatenate([np.ravel(part) for part in full + empty])))


def test_a_cut_severs_a_bar_across_its_direction():
    for axis in (0, 1):
        shape = _measure(_bar(4, axis=axis))
        for seed in range(5):
            cut = np.asarray(_cuts(jax.random.key(seed), shape, count=1))
            lines = np.flatnonzero(np.any(cut, axis=axis))
            assert len(lines) == 1, "one voxel wide along the bar"
            assert 4 <= cut.sum() <= 6, "no longer than the bar is wide, plus half a voxel"
            broken = np.asarray(shape.mask & ~cut)
            assert not np.any(np.take(broken, lines, axis=1 - axis))


def test_cuts_break_a_ring_into_as_many_pieces_as_there_are_cuts():
    shape = _measure(_ring())
    for seed in range(5):
        broken = np.asarray(shape.mask & ~_cuts(jax.random.key(seed), shape, count=3))
        assert _pieces(broken) == 3
        assert broken.sum() > 0.6 * shape.mask.sum()


def test_a_cut_severs_a_tube_in_three_dimensions():
    shape = _measure(_tube())
    for seed in range(3):
        cut = np.asarray(_cuts(jax.random.key(seed), shape, count=1))
        planes = np.flatnonzero(np.any(cut, axis=(0, 1)))
        assert len(planes) == 1
        broken = np.asarray(shape.mask) & ~cut
        assert not np.any(broken[:, :, planes])


def test_cuts_differ_between_keys_and_repeat_with_the_same_key():
    shape = _measure(_ring())
    first, again, other = (_cuts(jax.random.key(seed), shape, count=1) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def test_positions_keep_their_distance_where_there_is_room():
    # Each takes 21 of 64 voxels at most.
    line = jnp.ones((1, 64), bool)
    draw = jax.jit(
        lambda key: morphology._positions(key, line, line * 1.0, count=3, min_distance=10.0)
    )
    for seed in range(10):
        assert np.diff(np.sort(draw(jax.random.key(seed)))).min() > 10


def test_more_cuts_than_there_is_room_for_all_meet_the_mask():
    shape = _measure(jnp.zeros((24, 40), bool).at[3, 4:6].set(True))
    assert not np.any(shape.mask & ~_cuts(jax.random.key(0), shape, count=5))
    assert not np.any(_cuts(jax.random.key(0), shape, count=0))


def test_directedness_by_hand():
    # Determinants over the squared means: 1, 0, 3 / 4.
    tensors = jnp.stack([jnp.diag(jnp.array(d)) for d in ([1.0, 1.0], [5.0, 0.0], [3.0, 1.0])])
    np.testing.assert_allclose(morphology._directedness(tensors), [0, 1, 0.25], atol=1e-6)
