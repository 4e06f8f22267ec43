"""The digits bundled with scikit-learn."""

import numpy as np
import pytest
from sklearn import datasets

from noisyjax.data import sources
from noisyjax.data.sources import digits


@pytest.fixture(scope="module")
def loaded():
    return sources.load("digits")


def test_digits_are_1797_real_images_of_32x32(loaded):
    assert len(loaded.examples) == 1797
    example = loaded.examples[1796]
    assert example["image"].shape == (32, 32, 1)
    assert example["truth"].shape == (32, 32)
    assert example["truth"].dtype == np.uint8
    assert example["id"] == 1796
    assert loaded.rater_names == ()
    assert loaded.splits is None
    assert loaded.case_name(0) == "digits-0000-0"


def test_images_that_are_kept_for_the_next_run_cannot_be_written_to(loaded):
    assert sources.load("digits").examples.images.base is loaded.examples.images.base
    with pytest.raises(ValueError, match="read-only"):
        loaded.examples.images[0] = 0


def test_truth_is_the_upper_half_of_the_range(loaded):
    for i in (0, 100, 1000):
        example = loaded.examples[i]
        image = example["image"][..., 0]
        assert 0.0 <= image.min() < image.max() <= 1.0
        np.testing.assert_array_equal(example["truth"], image >= 0.5)
        assert 0.05 < example["truth"].mean() < 0.6


def test_enlarged_digits_keep_their_place_and_brightness(loaded):
    small = datasets.load_digits().images[:200] / 16
    large = np.stack([loaded.examples[i]["image"][..., 0] for i in range(200)])
    block_means = large.reshape(200, 8, 4, 8, 4).mean((2, 4))
    assert np.abs(block_means - small).mean() < 0.05
    assert abs((block_means - small).mean()) < 0.01


def test_enlarging_keeps_constants_and_mirror_symmetry():
    np.testing.assert_allclose(digits.enlarge(np.full((1, 3, 3), 4.0)), 0.25, rtol=1e-6)
    images = np.random.default_rng(0).uniform(0, 16, (2, 8, 8))
    mirrored = digits.enlarge(images[:, ::-1, ::-1])
    np.testing.assert_allclose(mirrored, digits.enlarge(images)[:, ::-1, ::-1], atol=1e-6)
