"""Solids and smooth fields."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.core import rng
from noisyjax.data.sources.procedural import solids


def _jit(solid, points, centre, radii):
    return np.asarray(jax.jit(lambda x: solid(x, centre, radii))(points))


def test_uniform_stays_in_its_ranges():
    ranges = {"a": (1.0, 2.0), "b": (-5.0, -5.0), "c": (-1.0, 1.0)}
    drawn = jax.vmap(lambda key: solids.uniform(key, ranges))(
        jax.random.split(rng.root_key(0), 2000)
    )
    assert set(drawn) == set(ranges)
    for name, (low, high) in ranges.items():
        assert (drawn[name] >= low).all()
        assert (drawn[name] <= high).all()
        mean = (low + high) / 2
        assert drawn[name].mean() == pytest.approx(mean, abs=5 * (high - low) / 12**0.5 / 2000**0.5)


def test_grid_is_centred():
    points = solids.grid((2, 3), spacing=2.0)
    np.testing.assert_array_equal(points[0], [[-1, -1, -1], [1, 1, 1]])
    np.testing.assert_array_equal(points[1], [[-2, 0, 2], [-2, 0, 2]])


def test_smooth_fields_are_standard_normal_up_to_the_edges():
    count, length = 4000, 2.0
    fields = solids.smooth_fields(rng.root_key(1), count, (6, 5), length=length)
    assert fields.shape == (count, 6, 5)
    np.testing.assert_allclose(fields.mean(0), 0.0, atol=5 / count**0.5)
    np.testing.assert_allclose(fields.var(0), 1.0, atol=5 * (2 / count) ** 0.5)
    neighbours = (fields[:, 0, 0] * fields[:, 1, 0]).mean()
    far = (fields[:, 0, 0] * fields[:, 5, 0]).mean()
    # The product of two Gaussians of width `length` at distance d: exp(-(d / length)^2 / 4).
    assert neighbours == pytest.approx(np.exp(-1 / 16), abs=0.1)
    assert far == pytest.approx(np.exp(-25 / 16), abs=0.1)


def test_a_sphere_is_exact():
    points = solids.grid((5, 5, 5), spacing=1.0)
    solid = _jit(solids.ellipsoid, points, (1.0, 0.0, 0.0), (1.5,) * 3)
    distance = np.sqrt((np.asarray(points[0]) - 1) ** 2 + np.sum(np.asarray(points[1:]) ** 2, 0))
    np.testing.assert_allclose(solid[distance > 0], distance[distance > 0] - 1.5, atol=1e-5)
    assert np.isfinite(solid).all()
    assert solid[3, 2, 2] == -1.5


def test_an_ellipsoid_is_inside_where_its_equation_says():
    points = solids.grid((9, 9), spacing=0.7)
    radii = jnp.array([1.3, 2.4])
    solid = _jit(solids.ellipsoid, points, (0.3, -0.2), radii)
    x, y = np.asarray(points)
    np.testing.assert_array_equal(solid < 0, ((x - 0.3) / 1.3) ** 2 + ((y + 0.2) / 2.4) ** 2 < 1)


def test_a_tube_follows_its_centre_line():
    points = solids.grid((7, 7, 5), spacing=1.0)
    solid = jax.jit(lambda x: solids.tube(x, (x[2], 0.0), (1.2, 1.2)))(points)
    tube = np.asarray(solid) < 0
    for k in range(5):
        xs, ys = np.nonzero(tube[:, :, k])
        # The centre is at x = z, which is index 1 + k.
        assert (xs.mean(), ys.mean(), len(xs)) == (1 + k, 3, 5)


def test_paint_mixes_on_the_surface():
    solid = jnp.array([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0])
    painted = solids.paint(jnp.full(7, 100.0), solid, 200.0, spacing=2.0)
    np.testing.assert_allclose(painted, [200, 200, 175, 150, 125, 100, 100])
