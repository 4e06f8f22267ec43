"""The five noises of one strength: what they do, their ends, and that their Dice can be solved."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from noisyjax.core import rng
from noisyjax.noise import annotation, annotators, contour, severity

_NAMES = list(annotation.NOISES)
# Enough for much damage to the masks below.
_STRONG = {
    "erode_or_dilate": 4.0, "shift": 5.0, "reverse_square": 9.0, "polygonise": 0.25, "erase": 1.0,
}  # fmt: skip


@functools.partial(jax.jit, static_argnames="name")
def _noise(key, mask, strength, name):
    return annotation.NOISES[name](key, mask, strength=strength)


def _blobs(seed=0, shape=(20, 24)):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    return jnp.asarray(noise > np.quantile(noise, 0.7))


@pytest.mark.parametrize("shape", [(20, 24), (6, 12, 10)])
@pytest.mark.parametrize("name", _NAMES)
def test_no_strength_changes_nothing_and_much_does(name, shape):
    mask = _blobs(shape=shape)
    keys = jax.random.split(jax.random.key(0), 3)
    for dtype in (bool, jnp.uint8):
        for key in keys:
            same = _noise(key, mask.astype(dtype), 0.0, name)
            np.testing.assert_array_equal(same, mask)
            assert same.dtype == dtype
    drawn = [_noise(key, mask, _STRONG[name], name) for key in keys]
    assert any(np.any(d != mask) for d in drawn)
    empty = _noise(keys[0], jnp.zeros_like(mask), _STRONG[name], name)
    assert np.any(empty) == (name == "reverse_square")


@pytest.mark.parametrize("name", _NAMES)
def test_eager_jitted_and_mapped_masks_are_equal(name):
    masks = jnp.stack([_blobs(seed) for seed in range(3)])
    keys = jax.random.split(jax.random.key(1), 3)
    strength = jnp.float32(_STRONG[name])
    mapped = jax.vmap(lambda k, m: _noise(k, m, strength, name))(keys, masks)
    for key, mask, result in zip(keys, masks, mapped, strict=True):
        np.testing.assert_array_equal(result, _noise(key, mask, strength, name))
    if name != "polygonise":
        eager = annotation.NOISES[name](keys[0], masks[0], strength=_STRONG[name])
        np.testing.assert_array_equal(eager, mapped[0])


@pytest.mark.parametrize("name", [n for n in _NAMES if n not in ("polygonise", "shift")])
def test_with_the_same_key_more_strength_is_more_damage(name):
    mask = _blobs(3)
    for key in jax.random.split(jax.random.key(2), 4):
        damage = np.zeros(mask.shape, bool)
        for share in (0.2, 0.5, 0.8, 1.0):
            changed = np.asarray(_noise(key, mask, share * _STRONG[name], name) != mask)
            assert (changed | ~damage).all()
            damage = changed


def test_erosion_and_dilation_are_by_a_ball_and_equally_often():
    mask = np.asarray(_blobs(4))
    inside, outside = (ndimage.distance_transform_edt(m) for m in (mask, ~mask))
    keys = jax.random.split(jax.random.key(3), 200)
    drawn = np.asarray(
        jax.vmap(lambda k: _noise(k, jnp.asarray(mask), 3.0, "erode_or_dilate"))(keys)
    )
    assert all(np.all(d <= mask) or np.all(d >= mask) for d in drawn)
    balls = [mask & ((inside > r) | (inside == inside.max())) for r in (0, 1, 1.42, 2, 2.24, 2.83)]
    balls += [outside <= r for r in (1, 1.42, 2, 2.24, 2.83)]
    assert all(any(np.array_equal(d, b) for b in balls) for d in drawn)
    # A third of the radii reach no voxel.
    grown = np.sum(np.any(drawn > mask, axis=(1, 2)))
    assert abs(grown - 200 / 3) < 5 * np.sqrt(200 * 2 / 9)
    shrunk = np.sum(np.any(drawn < mask, axis=(1, 2)))
    assert abs(shrunk - 200 / 3) < 5 * np.sqrt(200 * 2 / 9)


def test_a_thin_line_is_never_eroded_away():
    line = jnp.zeros((9, 9), bool).at[4, 2:7].set(True)
    for key in jax.random.split(jax.random.key(4), 8):
        assert np.any(_noise(key, line, 20.0, "erode_or_dilate"))


def test_a_shift_is_to_the_right_and_its_fraction_a_probability():
    mask = np.asarray(_blobs(5))
    expected = np.zeros_like(mask)
    expected[:, 3:] = mask[:, :-3]
    np.testing.assert_array_equal(
        _noise(jax.random.key(0), jnp.asarray(mask), 3.0, "shift"), expected
    )
    line = jnp.zeros(9, bool).at[2].set(True)
    keys = jax.random.split(jax.random.key(5), 400)
    drawn = np.asarray(jax.vmap(lambda k: _noise(k, line, 1.25, "shift"))(keys))
    positions = drawn.argmax(axis=1)
    assert set(positions) == {3, 4}
    assert abs((positions == 4).mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 400)
    assert not np.any(_noise(keys[0], line, 9.0, "shift"))


@pytest.mark.parametrize("shape", [(7, 9), (5, 6, 4)])
def test_a_reversed_square_is_one_and_can_lie_anywhere(shape):
    keys = jax.random.split(jax.random.key(6), 300)
    empty = jnp.zeros(shape, bool)
    drawn = np.asarray(jax.vmap(lambda k: _noise(k, empty, 3.0, "reverse_square"))(keys))
    assert np.all(drawn.reshape(300, -1).sum(1) == 3 ** len(shape))
    for cube in drawn[:20]:
        assert all(np.ptp(index) == 2 for index in np.nonzero(cube))
    assert drawn.any(axis=0).all()
    whole = _noise(keys[0], empty, 99.0, "reverse_square")
    assert whole.sum() == min(shape) ** len(shape)


def test_one_connected_structure_is_erased_by_its_size():
    mask = np.zeros((10, 12), bool)
    mask[1:4, 1:4] = True
    mask[4, 4] = True
    mask[7, 2:7] = True
    mask[1:8, 11] = True
    structures = ndimage.label(mask, np.ones((3, 3)))[0]
    assert structures.max() == 3
    keys = jax.random.split(jax.random.key(7), 400)
    drawn = np.asarray(jax.vmap(lambda k: _noise(k, jnp.asarray(mask), 0.6, "erase"))(keys))
    gone = [set(np.unique(structures[mask & ~d])) for d in drawn]
    for d, which in zip(drawn, gone, strict=True):
        assert len(which) <= 1
        np.testing.assert_array_equal(d, mask & ~np.isin(structures, list(which)))
    sizes = np.bincount(structures[mask])[1:]
    for number, size in enumerate(sizes, start=1):
        share = 0.6 * size / sizes.sum()
        result = np.mean([which == {number} for which in gone])
        assert abs(result - share) < 5 * np.sqrt(share * (1 - share) / 400)


def test_a_winding_structure_goes_as_a_whole():
    mask = np.zeros((9, 11), bool)
    mask[::2] = True
    mask[1, -1] = mask[3, 0] = mask[5, -1] = mask[7, 0] = True
    assert not np.any(_noise(jax.random.key(0), jnp.asarray(mask), 1.0, "erase"))


def test_slices_of_a_volume_are_redrawn_one_by_one():
    mask = jnp.stack([_blobs(1), jnp.zeros((20, 24), bool), _blobs(1)])
    drawn = _noise(jax.random.key(8), mask, 0.2, "polygonise")
    assert not np.any(drawn[1])
    assert np.any(drawn[0] != drawn[2])
    with pytest.raises(ValueError, match="mask: expected 2 or 3 .* axes, got shape"):
        annotation.polygonise(jax.random.key(0), jnp.ones(4, bool), strength=0.1)


@pytest.mark.parametrize("name", _NAMES)
def test_negative_strengths_are_refused(name):
    with pytest.raises(ValueError, match="strength: expected a number >= 0, got -1"):
        annotation.NOISES[name](jax.random.key(0), jnp.ones((4, 4), bool), strength=-1)


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("target", [0.8, 0.7])
def test_the_strength_of_a_mean_dice_is_solved(name, target):
    digits = pytest.importorskip("noisyjax.data.sources.digits")
    # Redrawing takes longest, and its Dice falls evenly; that of all or nothing does not.
    truths = digits.load().examples.truths[: 30 if name == "polygonise" else 100]
    result = severity.solve_severity(
        annotation.NOISES[name], truths, target, rng.root_key(0), tolerance=0.008
    )
    assert result.dice == pytest.approx(target, abs=0.01)


@pytest.mark.parametrize("name", [n for n in _NAMES if n != "polygonise"])
def test_the_strength_is_solved_for_lung_nodules(name, real_data):
    with np.load(real_data / "lidc_all_nodules_64.npz") as file:
        votes = np.unpackbits(file["masks_packed"][::13], axis=-1).sum(axis=1) >= 2
    truths = votes[votes.any(axis=(1, 2))][:100]
    result = severity.solve_severity(
        annotation.NOISES[name], truths, 0.8, rng.root_key(0), tolerance=0.008
    )
    assert result.dice == pytest.approx(0.8, abs=0.01)


def test_a_panel_of_the_five_noises_acts_on_the_target_class():
    truth = jnp.where(_blobs(6), 2, 0).astype(jnp.uint8).at[:4, :6].set(1)
    draw = jax.jit(annotators.panel(_NAMES, num_classes=3, target=2, strengths=_STRONG))
    key = jax.random.key(9)
    labels = draw(key, truth)
    for name, rater_key, label in zip(_NAMES, rng.rater_keys(key, 5), labels, strict=True):
        np.testing.assert_array_equal(
            label == 2, _noise(rater_key, truth == 2, _STRONG[name], name)
        )
        np.testing.assert_array_equal(label == 1, (truth == 1) & (label != 2))
    with pytest.raises(ValueError, match="strengths: expected one for 'erase', got"):
        annotators.panel(("erase",))
    with pytest.raises(ValueError, match="strengths: expected one of .*got 'smear'"):
        annotators.panel(("good",), strengths={"smear": 1})


def test_a_polygon_has_three_points_at_least(monkeypatch):
    monkeypatch.setattr(contour, "redraw", lambda key, mask, *, points: mask & (points == 3))
    mask = jnp.ones((3, 3), bool)
    for strength in (1.0, 0.5, 1e6):
        assert annotation.polygonise(jax.random.key(0), mask, strength=strength).all()
    # One over the number of points.
    assert not annotation.polygonise(jax.random.key(0), mask, strength=0.25).any()
