"""Components of a segmentation."""

import math

import numpy as np

from noisyjax.tool.training import components

_IDS = np.array(
    [
        [1, 1, 0, 0, 2],
        [0, 0, 1, 0, 2],
        [0, 0, 0, 0, 0],
        [1, 0, 2, 2, 2],
    ],
    np.uint8,
)


def test_the_largest_component_stays_and_corners_connect():
    kept = components.keep_largest(_IDS, [1])
    expected = _IDS.copy()
    expected[3, 0] = 0
    np.testing.assert_array_equal(kept, expected)
    assert _IDS[3, 0] == 1
    both = components.keep_largest(_IDS, [1, 2])
    assert (both == 2).sum() == 3
    np.testing.assert_array_equal(components.keep_largest(_IDS, []), _IDS)


def test_three_dimensions_and_nothing_at_all():
    mask = np.zeros((3, 3, 3), bool)
    np.testing.assert_array_equal(components.largest(mask), mask)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[0, 2, 2] = mask[0, 2, 1] = True
    # By its corners all of it is one.
    np.testing.assert_array_equal(components.largest(mask), mask)
    mask[1, 1, 1] = False
    assert components.largest(mask).sum() == 2


def test_a_gain_is_one_of_the_mean():
    gain = components.gain([(0.5, 0.7), (0.9, 0.8), (math.nan, 0.5)])
    assert gain.labels == 2
    np.testing.assert_allclose(gain[:2], (0.7, 0.75))
    assert gain.is_gain
    assert not components.gain([(0.5, 0.5)]).is_gain
    assert not components.gain([]).is_gain
