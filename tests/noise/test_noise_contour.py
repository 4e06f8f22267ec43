"""Outlines of masks, and splines through some of their points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import path
from scipy import interpolate, ndimage

from noisyjax.noise import contour

_ALL = 10**6


@jax.jit
def _redraw(key, mask, points):
    return contour.redraw(key, mask, points=points)


@jax.jit
def _outlines(mask):
    following, given = contour._following(mask)
    return following, given, *contour._outlines(following, given)


_KNOTS = jax.jit(contour._draw_knots)


def _blob(seed, shape=(30, 26)):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3)
    return jnp.asarray(noise > np.quantile(noise, 0.7))


def _dice(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("seed", range(3))
def test_with_all_points_it_is_the_mask(seed):
    key = jax.random.key(seed)
    noise = jnp.asarray(np.random.default_rng(seed).random((30, 26)) < 0.5)
    for mask in (_blob(seed), noise, ~noise, jnp.zeros_like(noise), jnp.ones_like(noise)):
        np.testing.assert_array_equal(_redraw(key, mask, _ALL), mask)


def test_outlines_are_those_of_the_pieces_and_their_holes():
    mask = np.zeros((12, 14), bool)
    mask[1:7, 1:7] = True
    mask[3:5, 3:5] = False
    mask[7, 7] = True
    mask[10, 11:14] = True
    following, given, start, length, order = map(np.asarray, _outlines(jnp.asarray(mask)))
    count = int(given.sum())
    # A square of 6 with a pixel at its corner, its hole of 2, and a bar of 3.
    assert sorted(set(zip(start[:count].tolist(), length[:count].tolist(), strict=True))) == [
        (0, 28), (28, 8), (36, 8)
    ]  # fmt: skip
    assert sorted(np.asarray(order[:count])) == np.flatnonzero(given).tolist()
    positions = np.arange(1, count + 1)
    after = np.where(positions == (start + length)[:count], start[:count], positions)
    np.testing.assert_array_equal(following[order[:count]], order[after])
    y, x = (np.asarray(v)[order] for v in contour._middles(mask.shape))
    steps = np.hypot(y[after] - y[:count], x[after] - x[:count])
    assert np.all(np.isclose(steps, 1) | np.isclose(steps, np.sqrt(0.5)))


@pytest.mark.parametrize("number", [7, 40])  # with 40 some are neighbours
def test_the_curve_is_the_periodic_spline_of_scipy(number):
    _, given, start, length, order = _outlines(_blob(1))
    values = jnp.stack(contour._middles((30, 26)))[:, order]
    longest = int(jnp.argmax(jnp.where(jnp.arange(len(start)) < given.sum(), length, 0)))
    knots = _KNOTS(jax.random.key(0), start, length, number)
    curve = np.asarray(jax.jit(contour._spline)(values, knots, start, length))
    first, size = int(start[longest]), int(length[longest])
    positions = first + np.flatnonzero(knots[first : first + size])
    assert len(positions) == number
    points = np.asarray(values)[:, [*positions, positions[0]]]
    chords = np.append(0, np.cumsum(np.linalg.norm(np.diff(points), axis=0)))
    spline = interpolate.CubicSpline(chords, points, axis=1, bc_type="periodic")
    ends = [*positions[1:], positions[0] + size]
    for k, (position, end) in enumerate(zip(positions, ends, strict=True)):
        share = np.arange(4 * (end - position)) / (4 * (end - position))
        expected = spline(chords[k] + share * (chords[k + 1] - chords[k]))
        round_trip = first + (np.arange(position, end) - first) % size
        result = curve[:, round_trip].reshape(2, -1)
        np.testing.assert_allclose(result, expected, atol=2e-3)


def test_a_polygon_is_filled_as_matplotlib_does():
    corners = np.array([[2.4, 7.0], [4.2, 13.3], [6.1, 13.7], [7.9, 6.2], [6.3, 1.1], [4.4, 0.6]])
    starts, ends = (jnp.asarray(c.T[..., None]) for c in (corners, np.roll(corners, -1, 0)))
    filled = contour._fill(starts, ends, jnp.ones(6, bool), (9, 16))
    pixels = np.moveaxis(np.indices((9, 16)), 0, -1).reshape(-1, 2)
    inside = path.Path(corners).contains_points(pixels).reshape(9, 16)
    np.testing.assert_array_equal(filled, inside)


def test_fewer_points_are_among_the_more_and_damage_more():
    _, given, start, length, _ = _outlines(_blob(2))
    count = int(given.sum())
    outlines = set(zip(start[:count].tolist(), length[:count].tolist(), strict=True))
    before = np.zeros(count, bool)
    for points in (3, 5, 9, 40):
        knots = np.asarray(_KNOTS(jax.random.key(1), start, length, points))[:count]
        assert (knots | ~before).all()
        before = knots
        for first, size in outlines:
            assert knots[first : first + size].sum() == min(points, size)
    keys = jax.random.split(jax.random.key(2), 8)
    masks = [_blob(seed) for seed in range(8)]
    means = [
        np.mean([_dice(_redraw(k, m, points), m) for k, m in zip(keys, masks, strict=True)])
        for points in (3, 6, 12, 60)
    ]
    assert means == sorted(means)
    assert means[0] < 0.7
    assert means[-1] > 0.97


def test_a_disc_through_a_few_points_has_another_outline_and_its_hole_stays():
    y, x = np.mgrid[:40, :40] - 20
    ring = (np.hypot(y, x) < 17) & (np.hypot(y, x) > 8)
    drawn = np.asarray(_redraw(jax.random.key(3), jnp.asarray(ring), 16))
    assert 0.9 < _dice(drawn, ring) < 1
    assert not drawn[20, 20]
