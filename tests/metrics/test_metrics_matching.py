"""Samples matched with raters, against the golden file and by hand."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.metrics import distribution

_MANY = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1]])
_TWO = np.array([[1, 1, 0, 0], [1, 0, 0, 0]])


@pytest.mark.parametrize("case", range(10))
def test_golden(golden, case):
    with np.load(golden / "multirater.npz") as file:
        given = {
            key.partition(".")[2]: file[key] for key in file.files if key.startswith(f"{case:02d}.")
        }
    samples, labels, mask = (given[name] for name in ("sample_maps", "labels", "rater_mask"))
    classes = given["sample_probs"].shape[-1]
    matched = distribution.hm_iou(samples, labels, num_classes=classes, rater_mask=mask)
    np.testing.assert_allclose(matched, given["hm_iou"], rtol=1e-5)
    if classes > 2:
        return
    family = distribution.dice_family(
        jnp.asarray(samples), jnp.asarray(labels), rater_mask=jnp.asarray(mask)
    )
    np.testing.assert_allclose(family.max_samples, given["dice_max_predictions"], rtol=1e-5)
    np.testing.assert_allclose(family.max_raters, given["dice_max_labels"], rtol=1e-5)
    both = (family.max_samples + family.max_raters) / 2
    np.testing.assert_allclose(both, given["dice_max_mean"], rtol=1e-5)
    np.testing.assert_allclose(family.match, given["dice_match"], rtol=1e-5)
    np.testing.assert_allclose(family.each, given["dice_each"], rtol=1e-5)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([[1, 1, 0, 0]], 0.5),
        ([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1]], 5 / 6),
        ([[0, 0, 1, 1], [1, 1, 0, 0]], 1.0),
    ],
)
def test_hm_iou_by_hand(samples, expected):
    labels = np.array([[1, 1, 0, 0], [0, 0, 1, 1]])
    np.testing.assert_allclose(distribution.hm_iou(np.array(samples), labels), expected, rtol=1e-6)


def test_no_order_of_equally_many_is_better():
    draw = np.random.default_rng(0)
    samples, labels = draw.integers(0, 2, (2, 4, 20))
    pairs = [[distribution.hm_iou(s[None], y[None]) for s in samples] for y in labels]
    orders = itertools.permutations(range(4))
    best = max(np.mean([pairs[r][n] for r, n in enumerate(order)]) for order in orders)
    np.testing.assert_allclose(distribution.hm_iou(samples, labels), best, rtol=1e-6)


def test_the_family_by_hand():
    family = distribution.dice_family(_MANY, _TWO)
    np.testing.assert_allclose(family.max_samples, (1 + 0.8 + 0) / 3, rtol=1e-6)
    np.testing.assert_allclose(family.max_raters, (1 + 2 / 3) / 2, rtol=1e-6)
    np.testing.assert_allclose(family.match, 0.75, rtol=1e-6)
    assert np.isnan(family.each).all()
    # As many samples as raters who are present: the first belongs to the first of these.
    mask = np.array([False, True, True])
    labels = np.concatenate([1 - _TWO[:1], _TWO])
    personal = distribution.dice_family(_MANY[:2], labels, rater_mask=mask)
    np.testing.assert_allclose(personal.each, [1.0, 0.5], rtol=1e-6)
    assert np.isnan(distribution.dice_family(_MANY[:1], _TWO).match)


def test_classes_of_the_foreground_are_one_and_masks_may_be_bool():
    expected = distribution.dice_family(_MANY, _TWO)
    for samples, labels in ((3 * _MANY, 2 * _TWO), (_MANY > 0, _TWO > 0)):
        family = distribution.dice_family(samples, labels)
        assert family[:3] == expected[:3]


def test_pixels_without_a_label_are_left_out():
    gaps = np.concatenate([_TWO, [[1], [255]]], axis=1)
    samples = np.concatenate([_MANY, [[1], [1], [0]]], axis=1)
    assert distribution.dice_family(samples, gaps)[:3] == distribution.dice_family(_MANY, _TWO)[:3]
    assert distribution.hm_iou(samples, gaps) == distribution.hm_iou(_MANY, _TWO)


def test_empty_and_unknown():
    empty = np.zeros((2, 4), np.uint8)
    assert distribution.hm_iou(empty, empty) == 1
    assert distribution.dice_family(empty, empty)[:3] == (1, 1, 1)
    assert distribution.hm_iou(_MANY, empty) == 0
    assert distribution.dice_family(_MANY, empty)[:3] == (0, 0, 0)
    nobody = np.zeros(2, bool)
    for labels, mask in ((_TWO, nobody), (np.full((2, 4), 255), None)):
        assert np.isnan(distribution.hm_iou(_MANY, labels, rater_mask=mask))
        family = distribution.dice_family(_MANY, labels, rater_mask=mask)
        assert np.isnan(family[:3]).all()
        assert len(family.each) == 0
