"""Patches against slices and against padding by hand, random ones against their expectation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from noisyjax.data import patches


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


def _foreground():
    mask = np.zeros((10, 13), bool)
    mask[1:3, 9:12] = mask[7, 4] = True
    return jnp.asarray(mask)


@functools.cache
def _drawn(share, count=4, draws=2000):
    sample = functools.partial(
        patches.sample_corners, size=(4, 5), count=count, foreground_share=share
    )
    keys = jax.random.split(jax.random.key(0), draws)
    return np.asarray(jax.jit(jax.vmap(sample, in_axes=(0, None)))(keys, _foreground()))


def test_uniform_patches_begin_everywhere_within_the_volume_equally_often():
    corners = _drawn(0.0).reshape(-1, 2)
    counts = np.zeros((7, 9))
    np.add.at(counts, tuple(corners.T), 1)
    # Every one of the 63 positions, 127 times on average: chi squared has 62 degrees of freedom.
    expected = len(corners) / counts.size
    assert ((counts - expected) ** 2 / expected).sum() < stats.chi2.ppf(0.999, counts.size - 1)


def test_patches_of_the_foreground_hold_it_and_lie_around_each_voxel_equally_often():
    corners = _drawn(1.0).reshape(-1, 2)
    assert corners.min() >= 0
    assert np.all(corners.max(axis=0) <= (6, 8))
    mask = np.asarray(_foreground())
    assert all(mask[y : y + 4, x : x + 5].any() for y, x in corners[::50])
    wanted = np.clip(np.argwhere(mask) - (2, 2), 0, (6, 8))
    expected, times = np.unique(wanted, axis=0, return_counts=True)
    drawn, counts = np.unique(corners, axis=0, return_counts=True)
    np.testing.assert_array_equal(drawn, expected)
    np.testing.assert_allclose(counts / len(corners), times / len(wanted), atol=0.02)


@pytest.mark.parametrize(("share", "count"), [(0.5, 4), (0.3, 4), (0.25, 1)])
def test_the_share_of_patches_of_the_foreground(share, count):
    mask, corners = np.asarray(_foreground()), _drawn(share, count)
    windows = np.lib.stride_tricks.sliding_window_view(mask, (4, 5)).any(axis=(2, 3))
    by_chance = windows.mean()
    holds = windows[tuple(np.moveaxis(corners, -1, 0))]
    expected = share + (1 - share) * by_chance
    assert holds.mean() == pytest.approx(expected, abs=4 * np.sqrt(0.25 / holds.size))
    # Never less than the share rounded down.
    assert holds.sum(axis=1).min() >= np.floor(share * count)


def test_without_foreground_patches_lie_anywhere():
    draw = functools.partial(patches.sample_corners, size=(2, 2, 2), count=500, foreground_share=1)
    corners = jax.jit(draw)(jax.random.key(0), jnp.zeros((3, 4, 5), bool))
    assert len(np.unique(np.asarray(corners), axis=0)) == 2 * 3 * 4


def _batch():
    draw = np.random.default_rng(0)
    image = draw.normal(size=(3, 6, 7, 5, 2))
    labels = (image[..., :1] > 0.5).astype(np.uint8)
    return {
        "image": jnp.asarray(image, jnp.float32),
        "labels": jnp.asarray(np.moveaxis(np.concatenate([labels, 1 - labels], -1), -1, 1)),
        "truth": jnp.asarray(labels[..., 0]),
        "rater_mask": jnp.array([[True, False]] * 3),
        "weight": jnp.array([1.0, 1.0, 0.0]),
        "id": jnp.array([4, 9, 2], jnp.int32),
        "epoch": jnp.zeros(3, jnp.int32),
    }


def test_a_batch_becomes_patches_of_image_and_labels_at_the_same_corners():
    batch, options = _batch(), {"size": (3, 4, 5), "count": 2, "foreground_share": 0.5}
    sample = jax.jit(functools.partial(patches.sample_batch, seed=1, **options))
    cut = sample(batch)
    assert cut["image"].shape == (6, 3, 4, 5, 2)
    assert cut["labels"].shape == (6, 2, 3, 4, 5)
    np.testing.assert_array_equal(cut["id"], [4, 4, 9, 9, 2, 2])
    np.testing.assert_array_equal(cut["weight"], [1, 1, 1, 1, 0, 0])
    assert cut["rater_mask"].shape == (6, 2)
    np.testing.assert_array_equal(cut["truth"], cut["image"][..., 0] > 0.5)
    np.testing.assert_array_equal(cut["labels"][:, 0], cut["truth"])
    np.testing.assert_array_equal(cut["labels"][:, 1], 1 - cut["truth"])
    # Neither the company nor the order of the examples plays a part; the epoch does.
    turned = sample(jax.tree.map(lambda x: x[::-1], batch))
    np.testing.assert_array_equal(turned["image"][4:], cut["image"][:2])
    later = sample({**batch, "epoch": batch["epoch"] + 1})
    assert not np.array_equal(later["image"], cut["image"])


def test_only_raters_who_are_there_make_foreground():
    batch = _batch()
    batch["labels"] = jnp.zeros_like(batch["labels"]).at[:, 0, 0, 0, 0].set(1).at[:, 1].set(1)
    options = {"size": (2, 2, 2), "count": 3, "foreground_share": 1, "seed": 0}
    cut = jax.jit(functools.partial(patches.sample_batch, **options))(batch)
    assert np.all(cut["labels"][:, 0].sum(axis=(1, 2, 3)) == 1)


def test_patches_that_cannot_be():
    draw = functools.partial(patches.sample_corners, jax.random.key(0), jnp.ones((4, 5), bool))
    with pytest.raises(ValueError, match=r"size: expected one of 1 to \[4, 5\] .* got \[4, 6\]"):
        draw(size=(4, 6), count=1)
    with pytest.raises(ValueError, match="size: expected one of"):
        draw(size=(4,), count=1)
    with pytest.raises(ValueError, match="count: expected a number > 0, got 0"):
        draw(size=(2, 2), count=0)
    with pytest.raises(ValueError, match=r"foreground_share: expected .* \[0, 1\], got 1.5"):
        draw(size=(2, 2), count=1, foreground_share=1.5)
