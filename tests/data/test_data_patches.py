"""Patches against slices and against padding by hand."""

import numpy as np
import pytest

from noisyjax.data import patches


def test_inside_a_patch_is_a_slice_and_channels_go_along():
    volume = np.arange(6 * 7 * 8 * 2).reshape(6, 7, 8, 2)
    patch = patches.around(volume, (3, 4, 2), (4, 3, 4))
    np.testing.assert_array_equal(patch, volume[1:5, 3:6, 0:4])


@pytest.mark.parametrize("centre", [(0, 0), (5, 6), (2.6, 3.4), (-9, 20)])
def test_outside_is_filled(centre):
    volume = np.arange(6 * 7).reshape(6, 7)
    size, border = (5, 4), 30
    padded = np.pad(volume, border, constant_values=-1)
    start = [round(c) - n // 2 + border for c, n in zip(centre, size)]
    expected = padded[start[0] : start[0] + 5, start[1] : start[1] + 4]
    np.testing.assert_array_equal(patches.around(volume, centre, size, fill=-1), expected)


def test_centre_of_mass():
    mask = np.zeros((5, 6), bool)
    mask[1:4, 2:4] = True
    assert patches.centre_of_mass(mask) == (2.0, 2.5)
    assert patches.centre_of_mass(np.zeros((5, 6), bool)) == (2.0, 2.5)
