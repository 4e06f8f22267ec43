"""The sides of the threshold benchmark decide alike."""

import dataclasses
import pickle

import numpy as np
import pytest

from noisyjax.benchmarks import threshold


def test_listing_by_hand():
    m = np.array([[0.1, 0.9], [0.4, 0.6]])
    np.testing.assert_array_equal(threshold.by_sorting(m), [[False, True], [True, True]])


def test_sides_find_the_same_mask_and_count_the_same_voxels():
    setup = dataclasses.replace(threshold.SMOKE, size=40)
    works = {name: make(1) for name, make in setup.sides().items()}
    masks = {name: np.asarray(work.step()) for name, work in works.items()}
    assert {work.params for work in works.values()} == {40**3}
    expected = masks.pop("numpy float64")
    assert 0 < expected.sum() < expected.size
    for name, mask in masks.items():
        np.testing.assert_array_equal(mask, expected, err_msg=name)


@pytest.mark.parametrize("name", threshold.SETUPS)
def test_sides_can_be_sent_to_a_process(name):
    setup = threshold.SETUPS[name]
    assert setup.peer == ""
    for make in setup.sides().values():
        assert pickle.loads(pickle.dumps(make)).args == (setup,)
