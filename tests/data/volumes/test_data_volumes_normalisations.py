"""Normalisations of one channel."""

import numpy as np
import pytest

from noisyjax.data.volumes import normalisations


def test_normalisations():
    image = np.random.default_rng(0).normal(100, 30, (6, 7)).astype(np.float32)
    scored = normalisations.normalise(image, "z_score")
    np.testing.assert_allclose([scored.mean(), scored.std()], [0, 1], atol=1e-5)
    bone = normalisations.normalise(image, "bone", cut=110)
    inside = bone[image > 110]
    np.testing.assert_allclose([inside.mean(), inside.std()], [0, 1], atol=1e-5)
    # Both scale one and the same image.
    np.testing.assert_allclose(np.corrcoef(bone.ravel(), image.ravel())[0, 1], 1, atol=1e-6)
    windowed = normalisations.normalise(image, "ct_window", window=(80, 120))
    np.testing.assert_allclose(windowed, np.clip((image - 80) / 40, 0, 1), atol=1e-6)
    np.testing.assert_array_equal(normalisations.normalise(image, "none"), image)
    for name in normalisations.NORMALISATIONS:
        assert normalisations.normalise(image.astype(np.int16), name, cut=0).dtype == np.float32
    np.testing.assert_array_equal(normalisations.z_score(np.full((2, 2), 7)), np.zeros((2, 2)))


def test_normalisations_name_what_is_wrong():
    image = np.zeros((2, 2))
    with pytest.raises(ValueError, match="cut: expected voxels above 900.*the cut of 900 is -124"):
        normalisations.normalise(image, "bone")
    with pytest.raises(ValueError, match=r"window: expected \(low, high\)"):
        normalisations.normalise(image, "ct_window", window=(3, 3))
    with pytest.raises(ValueError, match="normalise: expected one of 'z_score'"):
        normalisations.normalise(image, "zscore")


def test_those_of_a_plan():
    image = np.array([[-2000, 0], [40, 3000]], np.int16)
    scaled = normalisations.normalise(image, "ct", intensities=(-100, 200, 50, 25))
    np.testing.assert_allclose(scaled, [[-6, -2], [-0.4, 6]], rtol=1e-6)
    nonzero = normalisations.normalise(image, "z_score_nonzero")
    mean, deviation = np.mean([-2000, 40, 3000]), np.std([-2000, 40, 3000])
    expected = (image - mean) / deviation
    np.testing.assert_allclose(nonzero, np.where(image != 0, expected, 0), rtol=1e-6)
    np.testing.assert_allclose(
        normalisations.normalise(image, "rescale_to_0_1"), (image + 2000) / 5000, rtol=1e-6
    )
    grey = np.array([0, 51, 255], np.uint8)
    np.testing.assert_allclose(normalisations.normalise(grey, "rgb_to_0_1"), [0, 0.2, 1], rtol=1e-6)
    for name in ("z_score_nonzero", "rescale_to_0_1"):
        np.testing.assert_array_equal(normalisations.normalise(grey * 0, name), np.zeros(3))


def test_statistics_of_a_box():
    image = np.array([[0, 0, 0], [0, 4, 6]], np.uint8)
    scaled = normalisations.normalise(image, "z_score", box=((1, 2), (1, 3)))
    np.testing.assert_allclose(scaled, [[-5, -5, -5], [-5, -1, 1]])


def test_intensities_that_are_none_are_named():
    for wrong in ((0, 1, 0), (1, 1, 0, 1), (0, 1, 0, 0)):
        with pytest.raises(ValueError, match=r"intensities: expected \(low, high, mean, standard"):
            normalisations.normalise(np.zeros(3), "ct", intensities=wrong)
