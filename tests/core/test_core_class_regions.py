"""Regions against nnU-Net's rule, by hand and for random sigmoids."""

import jax
import numpy as np
import pytest

from noisyjax.core import class_regions

CHAIN = class_regions.Regions(("whole", "core", "bright"), ((1, 2, 3), (2, 3), (3,)), (1, 2, 3))
# Of kidney, tumour and cyst: the inner regions have other numbers than their place.
KIDNEY = class_regions.Regions(("all", "masses", "tumour"), ((1, 2, 3), (2, 3), (2,)), (1, 3, 2))
# Two that exclude each other, with a part each.
TREE = class_regions.Regions(
    ("liver", "tumour", "kidney", "cyst"), ((1, 2), (2,), (3, 4), (4,)), (1, 2, 3, 4)
)
OVERLAP = class_regions.Regions(("one", "other", "both"), ((1, 3), (2, 3), (3,)), (1, 2, 3))
# Nothing tells the second class from the first.
MERGED = class_regions.Regions(("all",), ((1, 2),), (1,))
ALL = [CHAIN, KIDNEY, TREE, OVERLAP, MERGED]


def test_later_regions_are_written_over_earlier_ones():
    probs = np.array([[0.9, 0.6, 0.1], [0.9, 0.5, 0.7], [0.5, 0.1, 0.2], [0.2, 0.9, 0.3]])
    assert class_regions.written(probs, CHAIN).tolist() == [2, 3, 0, 2]
    assert class_regions.written(probs, KIDNEY).tolist() == [3, 2, 0, 3]


def test_probabilities_of_classes_by_hand():
    """Of sigmoids 0.8 and 0.4 the logits are log 4 and log 2/3, so the weights 1, 4 and 8/3."""
    regions = class_regions.Regions(("whole", "core"), ((1, 2), (2,)), (1, 2))
    probs = class_regions.class_probs(np.array([0.8, 0.4]), regions)
    np.testing.assert_allclose(probs, np.array([3, 12, 8]) / 23, rtol=1e-5)
    alone = class_regions.class_probs(np.array([[0.9]]), MERGED)
    np.testing.assert_allclose(alone, [[0.1, 0.9, 0.0]], rtol=1e-5)


@pytest.mark.parametrize("regions", ALL, ids=lambda regions: regions.names[0])
def test_the_most_probable_class_is_the_one_that_nnunet_writes(regions):
    draw = np.random.default_rng(3)
    ends = np.array([0.0, 1.0, 0.5, np.nextafter(np.float32(0.5), np.float32(1)), 1e-7, 0.999999])
    probs = np.concatenate(
        [
            draw.uniform(size=(4000, len(regions))),
            0.5 + 1e-6 * draw.normal(size=(2000, len(regions))),
            draw.choice(ends, (4000, len(regions))),
        ]
    ).astype(np.float32)
    expected = np.zeros(len(probs), int)
    for number, label in enumerate(regions.order):
        expected[probs[:, number] > 0.5] = label
    classes = class_regions.class_probs(probs, regions)
    np.testing.assert_array_equal(classes.argmax(axis=-1), expected)
    assert classes.min() >= 0
    np.testing.assert_allclose(classes.sum(axis=-1), 1, atol=1e-5)
    on_device = jax.jit(class_regions.class_probs, static_argnums=1)(probs, regions)
    np.testing.assert_array_equal(np.argmax(on_device, axis=-1), expected)
    # Where two are equally probable the device may find the other one first.
    np.testing.assert_allclose(on_device, classes, atol=2e-4)


@pytest.mark.parametrize("regions", ALL, ids=lambda regions: regions.names[0])
def test_a_segmentation_is_written_back_as_it_is(regions):
    truth = np.arange(regions.num_classes)
    sure = class_regions.of_classes(np.eye(regions.num_classes, dtype=np.float32), regions)
    expected = [0, 1, 1] if regions is MERGED else truth
    np.testing.assert_array_equal(class_regions.written(sure, regions), expected)
    inside = class_regions.in_regions(np.append(truth, 255), regions)
    np.testing.assert_array_equal(inside[:, :-1], sure.T == 1)
    assert not inside[:, -1].any()


@pytest.mark.parametrize(
    ("members", "order", "text"),
    [
        (((1, 2), (2,)), (2, 1), "whole a class of|core a class of"),
        (((2,), (1, 2)), (2, 1), "by which class 2 becomes 1"),
        (((1, 3), (2, 3)), (1, 2), "by which class 3 becomes 2"),
        (((1, 2), (2,)), (1,), "expected a class for each of 2 regions"),
        (((1, 3), (3,)), (1, 3), "expected regions of the classes 1, 2, ..."),
        (((1, 2), ()), (1, 2), "expected regions of the classes 1, 2, ..."),
        (((0, 1), (1,)), (0, 1), "expected regions of the classes 1, 2, ..."),
    ],
)
def test_what_cannot_be_written_back_is_refused(members, order, text):
    with pytest.raises(ValueError, match=text):
        class_regions.Regions(("whole", "core"), members, order)


def test_regions_are_kept_as_plain_values():
    assert class_regions.from_json(KIDNEY.to_json()) == KIDNEY
    for changes in (
        {"names": ["all", "all", "tumour"]},
        {"names": ["all", "masses", 3]},
        {"order": [1, 3, "2"]},
        {"order": 3},
        {"members": [[1, 2, 3], 2, [2]]},
        {"more": []},
    ):
        with pytest.raises(ValueError, match="expected"):
            class_regions.from_json(KIDNEY.to_json() | changes)
    with pytest.raises(ValueError, match="expected names, members and order, got None"):
        class_regions.from_json(None)
