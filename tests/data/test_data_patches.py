"""Patches against slices and against padding by hand, random ones against their expectation."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from noisyjax.data import patches, spatial_changes


def test_inside_a_patch_is_a_slice_and_channels_go_along():
    volume = np.arange(6 * 7 * 8 * 2).reshape(6, 7, 8, 2)
    patch = patches.around(volume, (3, 4, 2), (4, 3, 4))
    np.testing.assert_array_equal(patch, volume[1:5, 3:6, 0:4])


@pytest.mark.parametrize("centre", [(0, 0), (5, 6), (2.6, 3.4), (-9, 20)])
def test_outside_is_filled(centre):
    volume = np.arange(6 * 7).reshape(6, 7)
    size, border = (5, 4), 30
    padded = np.pad(volume, border, constant_values=-1)
    start = [round(c) - n // 2 + border for c, n in zip(centre, size)]
    expected = padded[start[0] : start[0] + 5, start[1] : start[1] + 4]
    np.testing.assert_array_equal(patches.around(volume, centre, size, fill=-1), expected)


def test_centre_of_mass():
    mask = np.zeros((5, 6), bool)
    mask[1:4, 2:4] = True
    assert patches.centre_of_mass(mask) == (2.0, 2.5)
    assert patches.centre_of_mass(np.zeros((5, 6), bool)) == (2.0, 2.5)


@pytest.mark.parametrize("corner", [(1, 2), (-3, 5), (4, -9), (20, 0)])
def test_a_part_is_cut_at_its_corner_and_filled_up(corner):
    array = np.random.default_rng(0).normal(size=(2, 7, 8, 3)).astype(np.float32)
    padded = np.pad(array, [(0, 0), (30, 30), (30, 30), (0, 0)], constant_values=np.nan)
    first, second = (start + 30 for start in corner)
    expected = padded[:, first : first + 5, second : second + 4]
    fill = np.float32([-1, -2, -3])
    expected = np.where(np.isnan(expected), fill, expected)
    part = patches.cut(array, corner=corner, size=(5, 4), leading=1, fill=fill)
    np.testing.assert_array_equal(part, expected)


def _mask():
    mask = np.zeros((10, 13), np.uint8)
    mask[1:3, 9:12] = mask[7, 4] = 1
    return mask


@functools.cache
def _drawn(share, count=4, draws=2000):
    draw = patches.Draw((4, 5), (0, 0), count, share)
    positions = patches.sample_positions(_mask()[None], 2, most=100)
    cases = range(draws)
    return np.stack([
        patches.corners(draw, (10, 13), positions, seed=0, example_id=i, epoch=3) for i in cases
    ])  # fmt: skip


def test_uniform_patches_begin_everywhere_within_the_volume_equally_often():
    corners = _drawn(0.0).reshape(-1, 2)
    counts = np.zeros((7, 9))
    np.add.at(counts, tuple(corners.T), 1)
    # Every one of the 63 positions, 127 times on average: chi squared has 62 degrees of freedom.
    expected = len(corners) / counts.size
    assert ((counts - expected) ** 2 / expected).sum() < stats.chi2.ppf(0.999, counts.size - 1)


def test_patches_of_the_foreground_hold_it_and_lie_around_each_voxel_equally_often():
    corners = _drawn(1.0).reshape(-1, 2)
    mask = _mask()
    assert all(mask[y : y + 4, x : x + 5].any() for y, x in corners[::50])
    wanted = np.clip(np.argwhere(mask) - (2, 2), 0, (6, 8))
    expected, times = np.unique(wanted, axis=0, return_counts=True)
    drawn, counts = np.unique(corners, axis=0, return_counts=True)
    np.testing.assert_array_equal(drawn, expected)
    np.testing.assert_allclose(counts / len(corners), times / len(wanted), atol=0.02)


@pytest.mark.parametrize(("share", "count"), [(0.5, 4), (0.3, 4), (0.25, 1)])
def test_the_share_of_patches_of_the_foreground(share, count):
    corners = _drawn(share, count)
    windows = np.lib.stride_tricks.sliding_window_view(_mask(), (4, 5)).any(axis=(2, 3))
    holds = windows[tuple(np.moveaxis(corners, -1, 0))]
    expected = share + (1 - share) * windows.mean()
    assert holds.mean() == pytest.approx(expected, abs=4 * np.sqrt(0.25 / holds.size))
    # Never less than the share rounded down.
    assert holds.sum(axis=1).min() >= np.floor(share * count)


def test_a_rare_class_is_drawn_as_often_as_a_common_one():
    labels = np.zeros((1, 40, 40), np.uint8)
    labels[0, :20, :20], labels[0, 30, 30] = 1, 2
    positions = patches.sample_positions(labels, 3, most=50)
    assert np.bincount(positions[:, 0]).tolist() == [0, 50, 1]
    assert np.all(labels[0][tuple(positions[:, 1:].T)] == positions[:, 0])
    draw = patches.Draw((3, 3), (0, 0), 500, 1.0)
    corners = patches.corners(draw, (40, 40), positions, seed=0, example_id=0, epoch=0)
    assert np.mean(np.all(corners == 29, axis=1)) == pytest.approx(0.5, abs=0.1)


def test_without_foreground_patches_lie_anywhere():
    draw = patches.Draw((2, 2, 2), (0, 0, 0), 500, 1.0)
    nothing = patches.sample_positions(np.zeros((1, 3, 4, 5), np.uint8), 2, most=5)
    corners = patches.corners(draw, (3, 4, 5), nothing, seed=0, example_id=0, epoch=0)
    assert len(np.unique(corners, axis=0)) == 2 * 3 * 4


def test_what_is_smaller_than_a_patch_lies_in_its_middle():
    draw = patches.Draw((8, 3), (0, 0), 2, 0.5)
    positions = np.array([[1, 4, 4]], np.int32)
    corners = patches.corners(draw, (5, 5), positions, seed=0, example_id=0, epoch=0)
    np.testing.assert_array_equal(corners[:, 0], -2)
    assert corners[:, 1].min() >= 0
    assert corners[:, 1].max() <= 2


def test_a_draw_depends_on_seed_id_and_epoch_alone():
    draw = functools.partial(patches.corners, patches.Draw((4, 5), (0, 0), 3), (50, 60))
    nothing = np.zeros((0, 3), np.int32)
    one = draw(nothing, seed=1, example_id=2, epoch=3)
    np.testing.assert_array_equal(one, draw(nothing, seed=1, example_id=2, epoch=3))
    for other in ({"seed": 2}, {"example_id": 3}, {"epoch": 4}):
        facts = {"seed": 1, "example_id": 2, "epoch": 3} | other
        assert not np.array_equal(one, draw(nothing, **facts))


def test_nothing_moves_into_a_patch_from_beyond_its_margin():
    """What `spatial_changes.affine_displacement` reaches at the corners, turned in one plane."""
    size, spacing, rotation, scale = (9, 12, 7), (1.0, 0.5, 2.0), 25.0, 0.2
    reach = np.array(patches.reach(size, rotation=rotation, scale=scale, spacing=spacing))
    furthest = np.zeros(3)
    for plane in range(3):
        for angle in (-rotation, rotation):
            angles = jnp.zeros(3).at[plane].set(np.deg2rad(angle))
            moved = spatial_changes.affine_displacement(
                size, angles, jnp.zeros(3), jnp.float32(1 / (1 + scale)), spacing=spacing
            )
            places = np.indices(size) + np.asarray(moved)
            ends = places.reshape(3, -1)
            last = np.array(size) - 1
            furthest = np.maximum(furthest, np.maximum(-ends.min(axis=1), ends.max(axis=1) - last))
    assert np.all(reach >= furthest - 1e-4)
    assert np.all(reach < furthest + 1)


def test_patches_that_cannot_be():
    for options, message in (
        ({"size": (2, 0)}, "patches.size: expected a number > 0, got 0"),
        ({"count": 0}, "patches.count: expected a number > 0, got 0"),
        ({"foreground_share": 1.5}, r"foreground_share: expected .* \[0, 1\], got 1.5"),
    ):
        with pytest.raises(ValueError, match=message):
            patches.Draw(**{"size": (2, 2), "margin": (0, 0), **options})
    draw, nothing = patches.Draw((2, 2), (0, 0)), np.zeros((0, 4), np.int32)
    with pytest.raises(ValueError, match=r"size: expected one of 3 sides, got \[2, 2\]"):
        patches.corners(draw, (4, 4, 4), nothing, seed=0, example_id=0, epoch=0)
