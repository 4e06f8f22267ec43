"""Noisy masks of a wanted overlap, and the cases that receive them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from noisyjax import metrics
from noisyjax.core import rng
from noisyjax.noise import replacement

_KINDS = tuple(replacement.KINDS)


@functools.partial(jax.jit, static_argnames=("kinds", "num_classes"))
def _replace(key, truth, overlap, kinds=_KINDS[:3], num_classes=2):
    return replacement.replace(key, truth, overlap=overlap, kinds=kinds, num_classes=num_classes)


def _blob(shape, seed=0, share=0.15):
    """A smooth random blob of about the given share of the image."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), min(shape) / 8)
    middle = sum((np.indices(shape)[k] / n - 0.5) ** 2 for k, n in enumerate(shape))
    level = noise / noise.std() - 20 * middle
    return jnp.asarray((level > np.quantile(level, 1 - share)).astype(np.uint8))


def _dice(a, b):
    a, b = np.asarray(a) > 0, np.asarray(b) > 0
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("shape", [(64, 64), (24, 22, 20)])
@pytest.mark.parametrize("kind", _KINDS)
def test_the_wanted_overlap_is_reached(shape, kind):
    truth = _blob(shape)
    for wanted in (0.55, 0.68, 0.85, 0.95):
        made = _replace(jax.random.key(1), truth, jnp.float32(wanted), kinds=(kind,))
        assert float(made.overlap) == pytest.approx(_dice(made.label, truth), abs=1e-6)
        # A step of whole voxels.
        near = 0.06 if kind == "shift" else 0.01
        assert float(made.overlap) == pytest.approx(wanted, abs=near)
    assert made.label.dtype == truth.dtype
    assert _KINDS[int(made.kind)] == kind


@pytest.mark.parametrize("shape", [(40, 30), (14, 13, 12)])
def test_eroded_and_dilated_masks_lie_between_two_levels_of_the_distance(shape):
    truth = np.asarray(_blob(shape, seed=2)) > 0
    # Background outside of the image would erode there as well.
    far = ndimage.distance_transform_edt(np.pad(truth, 40, mode="edge"))
    depth = far[tuple(slice(40, -40) for _ in shape)]
    away = ndimage.distance_transform_edt(~truth)
    volume = truth.sum()
    for kind, level in (("erosion", -depth), ("dilation", away)):
        for wanted in (0.3, 0.62, 0.9):
            made = _replace(jax.random.key(0), jnp.asarray(truth), wanted, kinds=(kind,))
            label = np.asarray(made.label)
            last = level[label].max()
            assert label[level < last - 1e-6].all()
            assert (label <= truth if kind == "erosion" else label >= truth).all()
            size = volume * (wanted / (2 - wanted)) ** (1 if kind == "erosion" else -1)
            assert label.sum() == round(min(size, truth.size))


def test_hand_worked_layers_of_a_square():
    # A layer less leaves 36 of 64 voxels, Dice 72 / 100, two leave 16, Dice 32 / 80.
    truth = jnp.zeros((16, 16), jnp.uint8).at[4:12, 4:12].set(1)
    for wanted, side in ((0.99999, 8), (0.72, 6), (0.4, 4)):
        made = _replace(jax.random.key(0), truth, wanted, kinds=("erosion",))
        margin = (16 - side) // 2
        expected = np.pad(np.ones((side, side), np.uint8), margin)
        np.testing.assert_array_equal(made.label, expected)
        assert float(made.overlap) == pytest.approx(wanted, abs=1e-4)
    # Four sides of 8 voxels without the corners: 2 * 64 / 160.
    made = _replace(jax.random.key(0), truth, 0.8, kinds=("dilation",))
    cross = ndimage.binary_dilation(np.asarray(truth) > 0)
    np.testing.assert_array_equal(made.label, cross)
    assert float(made.overlap) == pytest.approx(0.8)
    # Of the first layer the corners go first.
    made = _replace(jax.random.key(0), truth, 2 * 60 / 124, kinds=("erosion",))
    expected = np.asarray(truth).copy()
    expected[np.ix_([4, 11], [4, 11])] = 0
    np.testing.assert_array_equal(made.label, expected)


@pytest.mark.parametrize("kind", _KINDS)
def test_empty_masks_and_an_overlap_of_one_change_nothing(kind):
    empty = jnp.zeros((12, 10), jnp.uint8)
    made = _replace(jax.random.key(2), empty, 0.6, kinds=(kind,))
    np.testing.assert_array_equal(made.label, empty)
    assert float(made.overlap) == 1
    truth = _blob((24, 20))
    made = _replace(jax.random.key(2), truth, 1.0, kinds=(kind,))
    np.testing.assert_array_equal(made.label, truth)
    assert float(made.overlap) == 1


def test_what_cannot_be_reached_is_as_near_as_can_be():
    full = jnp.ones((9, 9), bool)
    for kind in ("erosion", "dilation"):
        made = _replace(jax.random.key(0), full, 0.5, kinds=(kind,))
        assert np.asarray(made.label).all()
        assert float(made.overlap) == 1
    dot = jnp.zeros((9, 9), bool).at[4, 4].set(True)
    made = _replace(jax.random.key(0), dot, 0.5, kinds=("erosion",))
    np.testing.assert_array_equal(made.label, dot)
    # 1 or 2 voxels: Dice 1 or 2/3.
    made = _replace(jax.random.key(0), dot, 0.7, kinds=("dilation",))
    assert int(made.label.sum()) == 2
    made = _replace(jax.random.key(0), dot, 0.001, kinds=("dilation",))
    assert float(made.overlap) == pytest.approx(2 / 82)


def test_an_object_at_the_edge_is_not_eroded_there():
    truth = jnp.zeros((10, 10), bool).at[:6].set(True)
    made = _replace(jax.random.key(0), truth, 0.8, kinds=("erosion",))
    np.testing.assert_array_equal(made.label, np.arange(10)[:, None] < [4] * 10)


def test_classes_grow_by_the_nearest_and_shrink_to_background():
    truth = jnp.zeros((14, 20), jnp.uint8).at[4:10, 3:10].set(2).at[4:10, 10:17].set(1)
    grown = _replace(jax.random.key(0), truth, 0.7, kinds=("dilation",), num_classes=3)
    label = np.asarray(grown.label)
    np.testing.assert_array_equal(label[np.asarray(truth) > 0], truth[truth > 0])
    new = (label > 0) & (np.asarray(truth) == 0)
    distances = [ndimage.distance_transform_edt(np.asarray(truth) != c) for c in (1, 2)]
    np.testing.assert_array_equal(label[new], 1 + np.argmin(distances, axis=0)[new])
    assert set(label[new]) == {1, 2}
    shrunk = np.asarray(_replace(jax.random.key(0), truth, 0.7, kinds=("erosion",)).label)
    kept = shrunk > 0
    np.testing.assert_array_equal(shrunk[kept], np.asarray(truth)[kept])
    moved = _replace(jax.random.key(0), truth, 0.7, kinds=("elastic",), num_classes=3)
    assert set(np.unique(moved.label)) == {0, 1, 2}
    assert float(moved.overlap) == pytest.approx(_dice(moved.label, truth))


def test_kinds_are_drawn_equally_often():
    truth = jnp.zeros((6, 6), bool).at[1:5, 1:5].set(True)
    draw = functools.partial(_replace, truth=truth, overlap=0.8, kinds=("dilation", "erosion"))
    kinds = np.array([draw(key).kind for key in jax.random.split(jax.random.key(3), 200)])
    assert set(kinds) == {0, 1}
    assert abs((kinds == 0).mean() - 0.5) < 4 * 0.5 / np.sqrt(200)


def test_eager_jitted_and_mapped_masks_are_equal():
    kinds = ("dilation", "sine_shear")
    truths = jnp.stack([_blob((24, 24), seed) for seed in range(4)])
    keys = jax.random.split(jax.random.key(4), 4)
    mapped = jax.vmap(lambda key, truth: _replace(key, truth, 0.7, kinds=kinds))(keys, truths)
    assert set(np.asarray(mapped.kind)) == {1, 3}
    for i, truth in enumerate(truths):
        alone = _replace(keys[i], truth, 0.7, kinds=kinds)
        assert mapped.kind[i] == alone.kind
        np.testing.assert_array_equal(mapped.label[i], alone.label)
        assert float(mapped.overlap[i]) == pytest.approx(0.7, abs=0.01)
    eager = replacement.replace(keys[0], truths[0], overlap=0.7, kinds=("dilation",))
    jitted = _replace(keys[0], truths[0], 0.7, kinds=("dilation",))
    np.testing.assert_array_equal(eager.label, jitted.label)


@pytest.mark.parametrize(("overlap", "nearer"), [(0.74, 0.7), (0.76, 0.8)])
def test_of_the_two_overlaps_around_the_wanted_one_the_nearer_is_taken(overlap, nearer):
    # Ten columns, moved by 2 or 3; the search comes to its end on either side.
    block = jnp.zeros((3, 30), jnp.uint8).at[:, 8:18].set(1)
    field = jnp.zeros((2, 3, 30)).at[1].set(1.0)
    move = jax.jit(replacement._moved)
    for scale in (0.7, 0.8, 0.9, 1.0, 1.1):
        moved = move(block, scale * field, jnp.float32(overlap))
        assert _dice(moved, block) == pytest.approx(nearer), scale


def test_the_overlap_is_the_dice_of_the_metric():
    truth = _blob((32, 32))
    made = _replace(jax.random.key(4), truth, 0.77)
    expected = metrics.overlap.dice(metrics.overlap.counts(made.label, truth, 2))[1]
    np.testing.assert_allclose(made.overlap, expected, rtol=1e-6)


def test_chosen_cases_are_nested_exact_and_belong_to_their_ids():
    key = rng.purpose_key(0, "replaced_cases")
    ids = np.random.default_rng(0).permutation(1000)[:203].astype(np.int32)
    before = np.zeros(203, bool)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        chosen = np.asarray(replacement.choose_cases(key, ids, share=share))
        assert chosen.sum() == round(share * 203)
        assert (chosen | ~before).all()
        before = chosen
    half = np.asarray(replacement.choose_cases(key, ids, share=0.5))
    order = np.random.default_rng(1).permutation(203)
    again = np.asarray(replacement.choose_cases(key, ids[order], share=0.5))
    np.testing.assert_array_equal(again, half[order])
    other = rng.purpose_key(1, "replaced_cases")
    assert not np.array_equal(replacement.choose_cases(other, ids, share=0.5), half)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlap": 0.0}, r"overlap: expected a number in \(0, 1\], got 0.0"),
        ({"overlap": 1.2}, "overlap: expected"),
        ({"kinds": ()}, "kinds: expected different ones"),
        ({"kinds": ("erosion", "erosion")}, "kinds: expected different ones"),
        ({"kinds": ("smear",)}, "kinds: expected one of 'erosion'.*got 'smear'"),
        ({"num_classes": 1}, "num_classes: expected at least 2, got 1"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        replacement.replace(jax.random.key(0), jnp.ones((4, 4)) > 0, **{"overlap": 0.5, **options})


def test_a_share_is_between_nothing_and_all():
    with pytest.raises(ValueError, match="share: expected a number in"):
        replacement.choose_cases(jax.random.key(0), np.arange(3), share=1.01)
