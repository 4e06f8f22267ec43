"""Displacements of a known strength, and masks moved by them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.noise import elastic

_elastic = jax.jit(elastic.elastic, static_argnames="smoothness")


def _disc(shape=(24, 20), radius=6, dtype=np.uint8):
    offsets = [np.arange(n) - n // 2 for n in shape]
    grid = np.meshgrid(*offsets, indexing="ij")
    return jnp.asarray((sum(g**2 for g in grid) <= radius**2).astype(dtype))


@pytest.mark.parametrize("shape", [(6, 7, 8)])
def test_a_field_is_as_strong_at_the_edges_as_in_the_middle(shape):
    keys = jax.random.split(jax.random.key(0), 2000)
    draw = jax.jit(jax.vmap(lambda key: elastic.displacement(key, shape, smoothness=2.5)))
    fields = np.asarray(draw(keys))
    assert fields.shape == (2000, len(shape), *shape)
    # The relative error of a standard deviation of n numbers is about 1 / sqrt(2 n).
    np.testing.assert_allclose(fields.std(axis=0), 1.0, atol=6 / np.sqrt(2 * 2000))
    np.testing.assert_allclose(fields.mean(axis=0), 0.0, atol=6 / np.sqrt(2000))


def test_a_field_has_the_correlations_of_smoothed_white_noise():
    keys = jax.random.split(jax.random.key(1), 2000)
    draw = jax.jit(jax.vmap(lambda key: elastic.displacement(key, (40, 4), smoothness=(2, 1e-3))))
    fields = np.asarray(draw(keys))
    middle = fields[:, 0, 18:25, 0]
    # Two Gaussians of width s, d apart, overlap by exp(-d^2 / (4 s^2)).
    expected = np.exp(-(np.arange(7) ** 2) / 16)
    np.testing.assert_allclose(
        np.corrcoef(middle.T)[0], expected, atol=5 / np.sqrt(2000), err_msg="along the first axis"
    )
    assert abs(np.corrcoef(fields[:, 0, 18, 0], fields[:, 0, 18, 1])[0, 1]) < 0.11
    assert abs(np.corrcoef(fields[:, 0, 18, 0], fields[:, 1, 18, 0])[0, 1]) < 0.11


@pytest.mark.parametrize(
    ("shape", "dtype"), [((24, 20), np.uint8), ((24, 20), bool), ((12, 13, 11), np.int32)]
)
def test_an_elastic_mask_is_the_mask_looked_up_beside_every_voxel(shape, dtype):
    mask, key = _disc(shape, 4, dtype), jax.random.key(3)
    made = _elastic(key, mask, amplitude=2.0, smoothness=2.0)
    field = 2.0 * np.asarray(
        jax.jit(lambda key: elastic.displacement(key, shape, smoothness=2.0))(key)
    )
    assert made.dtype == mask.dtype
    index = np.floor(np.indices(shape) + field + 0.5).astype(int)
    inside = np.all([(i >= 0) & (i < n) for i, n in zip(index, shape)], axis=0)
    clipped = tuple(np.clip(i, 0, n - 1) for i, n in zip(index, shape))
    expected = np.where(inside, np.asarray(mask)[clipped], 0)
    np.testing.assert_array_equal(made, expected)
    assert (np.asarray(made) != np.asarray(mask)).any()


def test_eager_jitted_and_mapped_masks_are_equal():
    mask = _disc()
    keys = jax.random.split(jax.random.key(4), 3)
    loop = [elastic.elastic(key, mask, amplitude=2.5, smoothness=3.0) for key in keys]

    def one(key, amplitude):
        return elastic.elastic(key, mask, amplitude=amplitude, smoothness=3.0)

    mapped = jax.jit(jax.vmap(one, in_axes=(0, None)))(keys, jnp.float32(2.5))
    # A position half way between two voxels may fall to either side.
    assert np.mean(np.asarray(mapped) != np.stack(loop)) < 0.005
    assert not np.array_equal(loop[0], loop[1])


def test_amplitude_zero_changes_nothing():
    mask = _disc()
    made = _elastic(jax.random.key(0), mask, amplitude=0.0, smoothness=2.0)
    np.testing.assert_array_equal(made, mask)


def test_a_wave_moves_columns_by_a_sine_of_their_place():
    field = np.asarray(elastic.wave(jax.random.key(5), (6, 40), periods=2))
    assert not field[1].any()
    np.testing.assert_array_equal(field[0], np.broadcast_to(field[0, :1], (6, 40)))
    line = field[0, 0]
    spectrum = np.abs(np.fft.rfft(line))
    assert spectrum.argmax() == 2
    assert spectrum[2] == pytest.approx(20, abs=1e-3)
    assert np.delete(spectrum, 2).max() < 1e-3
    other = np.asarray(elastic.wave(jax.random.key(6), (6, 40), periods=2))
    assert np.abs(other - field).max() > 0.01


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda k, m: elastic.elastic(k, m, amplitude=-1, smoothness=2), "amplitude: expected"),
        (lambda k, m: elastic.elastic(k, m, amplitude=1, smoothness=0), "smoothness: expected"),
        (lambda k, m: elastic.elastic(k, m, amplitude=1, smoothness=(1, 2, 3)), "1 or 2 numbers"),
        (lambda k, m: elastic.wave(k, m.shape, periods=0), "periods: expected"),
        (lambda k, m: elastic.wave(k, m.shape, axis=1), "another axis than axis=1"),
        (lambda k, m: elastic.wave(k, m.shape, axis=2), "axis: expected one of"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(jax.random.key(0), _disc())
