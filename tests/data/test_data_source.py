"""The contract of sources, and the registry."""

import numpy as np
import pytest

from noisyjax.data import source, sources


def _source(**changes):
    fields = {
        "name": "toy",
        "examples": source.ArrayExamples(np.zeros((3, 4, 4, 1), np.uint8)),
        "num_classes": 2,
        "class_names": ("background", "thing"),
        "spacing": (1.0, 1.0),
        "has_truth": False,
    }
    return source.Source(**{**fields, **changes})


def test_images_are_scaled_to_float32_when_read():
    images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1)
    example = source.ArrayExamples(images, scale=0.5)[1]
    assert example["image"].dtype == np.float32
    np.testing.assert_array_equal(example["image"][..., 0], [[2.0, 2.5], [3.0, 3.5]])
    assert example["id"] == 1
    assert example["id"].dtype == np.int32
    assert "truth" not in example
    assert "labels" not in example


def test_every_rater_labelled_everything_when_no_mask_is_given():
    images, labels = np.zeros((2, 2, 2, 1), np.uint8), np.ones((2, 3, 2, 2), np.uint8)
    example = source.ArrayExamples(images, labels=labels)[0]
    assert example["rater_mask"].tolist() == [True, True, True]
    masks = np.array([[True, False, True], [False, False, True]])
    example = source.ArrayExamples(images, labels=labels, rater_masks=masks)[1]
    assert example["rater_mask"].tolist() == [False, False, True]


def test_case_name_falls_back_to_the_id():
    assert _source().case_name(2) == "toy[2]"
    assert _source(case_names=("a", "b", "c")).case_name(2) == "c"


@pytest.mark.parametrize(
    "changes",
    [
        {"class_names": ("background",)},
        {"case_names": ("a",)},
        {"groups": np.array([1, 2])},
    ],
)
def test_source_raises_when_sizes_do_not_fit(changes):
    with pytest.raises(ValueError, match="toy: expected"):
        _source(**changes)


def test_load_names_the_known_sources_when_the_name_is_unknown():
    with pytest.raises(ValueError, match="annotators_npz.*digits.*mnist.*got 'bigits'"):
        sources.load("bigits")


def test_half_way_belongs_to_the_upper_half():
    half = source.upper_half(np.array([1.0, 2.0, 3.0]), low=1.0, high=3.0)
    assert half.tolist() == [0, 1, 1]
