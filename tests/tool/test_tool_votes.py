"""Counted patterns of votes."""

import numpy as np
import pytest

from noisyjax.metrics import agreement
from noisyjax.tool import votes


def test_patterns_say_what_every_voxel_has():
    labels = np.random.default_rng(0).integers(0, 4, (4, 5, 6)).astype(np.uint8)
    mask = np.array([True, True, False, True])
    patterns, which = votes.index(labels, 3, rater_mask=mask)
    assert len(np.unique(patterns, axis=0)) == len(patterns)
    expected = np.where(mask[:, None, None] & (labels < 3), labels, 3)
    np.testing.assert_array_equal(np.moveaxis(patterns[which], -1, 0), expected)


def test_many_raters_and_classes_stay_small():
    labels = np.random.default_rng(1).integers(0, 200, (40, 9)).astype(np.uint8)
    patterns, which = votes.index(labels, 200)
    assert len(patterns) <= 9
    np.testing.assert_array_equal(patterns[which].T, labels)


def test_tables_are_those_of_the_voxels():
    labels = np.random.default_rng(1).integers(0, 3, (3, 40)).astype(np.uint8)
    labels[labels == 2] = 255
    parts = [votes.count(*votes.index(labels[:, part], 2)) for part in np.split(np.arange(40), 4)]
    tables = votes.joint(votes.add(parts), 2)
    np.testing.assert_array_equal(tables, agreement.rater_tables(labels, 2))


def test_where_leaves_voxels_out():
    patterns, which = votes.index(np.array([[1, 1, 0, 0], [1, 0, 0, 1]]), 2)
    found = votes.count(patterns, which, where=np.array([True, True, False, False]))
    assert votes.joint(found, 2)[0, 1].tolist() == [[0, 0], [1, 1]]


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="num_classes: expected at least 2, got 1"):
        votes.index(np.zeros((2, 3), int), 1)
