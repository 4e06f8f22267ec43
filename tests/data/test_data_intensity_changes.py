"""Changes of intensities against SciPy, NumPy and values by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from noisyjax.data import intensity_changes


def _image(shape, seed=0):
    return np.random.default_rng(seed).uniform(-3.0, 5.0, shape).astype(np.float32)


EVERYTHING = {
    "intensity_scale": 0.25,
    "intensity_shift": 0.3,
    "intensity_noise": 0.1,
    "gamma": 0.5,
    "smoothing": 1.5,
    "contrast": 0.25,
    "inverted_gamma": 0.5,
    "low_resolution": 0.5,
}


def _never():
    return {f"{name}_probability": 0.0 for name in EVERYTHING}


def _change(**options):
    return jax.jit(functools.partial(intensity_changes.change, **options))


def test_gamma_raises_the_intensities_of_each_channel_to_a_power():
    image = _image((6, 7, 2))
    # A channel without contrast stays as it is.
    image[..., 1] = 4.0
    change = _change(gamma=0.5)
    exponents = []
    for seed in range(20):
        bent_image = np.asarray(change(jax.random.key(seed), jnp.asarray(image)))
        np.testing.assert_array_equal(bent_image[..., 1], 4.0)
        low, high = image[..., 0].min(), image[..., 0].max()
        unit, bent = ((array[..., 0] - low) / (high - low) for array in (image, bent_image))
        inside = (unit > 0.05) & (unit < 0.95)
        powers = np.log(bent[inside]) / np.log(unit[inside])
        np.testing.assert_allclose(powers, powers[0], rtol=1e-3)
        np.testing.assert_allclose([bent.min(), bent.max()], [0, 1], atol=1e-6)
        exponents.append(powers[0])
    assert 1 / 1.501 < min(exponents) < 0.85 < 1.2 < max(exponents) < 1.501


def test_inverted_gamma_raises_what_lacks_to_the_greatest_to_a_power():
    image = _image((6, 7, 1))
    low, high = image.min(), image.max()
    lacking = (high - image) / (high - low)
    inside = (lacking > 0.05) & (lacking < 0.95)
    change, exponents = _change(inverted_gamma=0.5), []
    for seed in range(8):
        bent = (high - np.asarray(change(jax.random.key(seed), image))) / (high - low)
        powers = np.log(bent[inside]) / np.log(lacking[inside])
        np.testing.assert_allclose(powers, powers[0], rtol=1e-3)
        exponents.append(powers[0])
    assert 1 / 1.501 < min(exponents) < 0.9 < 1.1 < max(exponents) < 1.501


def test_contrast_multiplies_about_the_mean_and_keeps_the_range():
    image = _image((6, 7, 5, 2))
    for factor in (0.75, 1.25):
        mean = image.mean(axis=(0, 1, 2))
        expected = (image - mean) * factor + mean
        expected = np.clip(expected, image.min(axis=(0, 1, 2)), image.max(axis=(0, 1, 2)))
        result = jax.jit(intensity_changes.contrast)(image, jnp.float32(factor))
        np.testing.assert_allclose(result, expected, atol=1e-5)
    # A channel without contrast stays as it is.
    flat = jnp.full((3, 3, 1), 0.1)
    np.testing.assert_array_equal(intensity_changes.contrast(flat, jnp.float32(2)), flat)


def test_low_resolution_when_worked_by_hand():
    image = jnp.array([0.0, 1.0, 2.0, 3.0])[:, None]
    # Two voxels are left, 1 and 3, with their centres at 0.5 and 2.5.
    half = intensity_changes.low_resolution(image, jnp.float32(0.5))
    np.testing.assert_allclose(half[:, 0], [1.0, 1.5, 2.5, 3.0])
    np.testing.assert_array_equal(intensity_changes.low_resolution(image, jnp.float32(1)), image)
    # One voxel at least is left.
    none = intensity_changes.low_resolution(image, jnp.float32(0.01))
    np.testing.assert_array_equal(none[:, 0], [2.0] * 4)


@pytest.mark.parametrize("shape", [(11, 16), (7, 10, 9)])
def test_low_resolution_equals_a_choice_of_voxels_and_interpolation_by_numpy(shape):
    image = _image((*shape, 2))
    low = jax.jit(intensity_changes.low_resolution)
    for share in (0.5, 0.62, 0.8, 0.97):
        expected = image
        for axis, size in enumerate(shape):
            few = round(size * np.float32(share))
            chosen = np.floor((np.arange(few) + 0.5) * size / few).astype(int)
            place = (np.arange(size) + 0.5) * few / size - 0.5
            expected = np.apply_along_axis(
                lambda line, at=place, of=chosen: np.interp(at, np.arange(len(of)), line[of]),
                axis,
                expected,
            )
        np.testing.assert_allclose(low(image, jnp.float32(share)), expected, atol=1e-5)


def test_smoothing_is_a_gaussian_of_scipy_of_some_width():
    image = _image((14, 12, 1))
    change = _change(smoothing=1.5)
    widths = []
    for seed in range(4):
        smooth = np.asarray(change(jax.random.key(seed), image))[..., 0]
        errors = {
            width: np.abs(ndimage.gaussian_filter(image[..., 0], width) - smooth).max()
            for width in np.linspace(0.01, 1.5, 300)
        }
        widths.append(min(errors, key=errors.get))
        assert errors[widths[-1]] < 0.05
    assert len(set(widths)) == 4


def test_noise_has_its_deviation_and_brightness_is_linear():
    image = _image((40, 40, 1))
    noise = np.asarray(_change(intensity_noise=0.2)(jax.random.key(1), image)) - image
    assert noise.std() == pytest.approx(0.2, abs=0.015)
    change = _change(intensity_scale=0.2, intensity_shift=0.3)
    result = np.asarray(change(jax.random.key(1), image))
    slope, intercept = np.polyfit(image.ravel(), result.ravel(), 1)
    np.testing.assert_allclose(result, slope * image + intercept, atol=1e-5)
    assert 0.8 <= slope <= 1.2
    assert slope != pytest.approx(1, abs=1e-3)
    assert -0.3 <= intercept <= 0.3


def test_what_is_not_drawn_changes_nothing():
    image = _image((6, 7, 1))
    np.testing.assert_array_equal(
        _change(**EVERYTHING, **_never())(jax.random.key(0), image), image
    )


def test_each_kind_happens_with_its_own_probability():
    image = _image((16, 14, 1))
    keys = jax.random.split(jax.random.key(0), 400)
    probabilities = np.linspace(0.1, 0.6, len(EVERYTHING))
    for (name, amount), probability in zip(EVERYTHING.items(), probabilities, strict=True):
        options = {name: amount, f"{name}_probability": float(probability)}
        change = functools.partial(intensity_changes.change, **options)
        changed = np.asarray(jax.jit(jax.vmap(change, (0, None)))(keys, image)) != image
        share = changed.any(axis=(1, 2, 3)).mean()
        deviation = np.sqrt(probability * (1 - probability) / len(keys))
        assert share == pytest.approx(probability, abs=4 * deviation), name


def test_kinds_follow_on_each_other_and_draw_what_they_draw_alone():
    """In the order of the docstring, each with its own draws."""
    image, key = _image((8, 9, 1)), jax.random.key(5)
    expected = jnp.asarray(image)
    for name, amount in EVERYTHING.items():
        expected = _change(**{name: amount})(key, expected)
    np.testing.assert_allclose(_change(**EVERYTHING)(key, image), expected, atol=1e-4)


def test_options_out_of_range_are_refused():
    image = jnp.zeros((4, 4, 1))
    for options, message in (
        (
            {"gamma": 0.5, "gamma_probability": 1.5},
            r"gamma_probability: expected .* \[0, 1\], got 1.5",
        ),
        ({"low_resolution": 1.0}, r"low_resolution: expected a number in \[0, 1\), got 1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            intensity_changes.change(jax.random.key(0), image, **options)
