"""The region of a label in question."""

import numpy as np
import pytest

from noisyjax.tool.audit import regions


def _find(label, prediction, *, sure=0.9, known=None, spacing=(2.0,)):
    prediction = np.asarray(prediction, np.uint8)
    probs = np.full((*prediction.shape, 3), (1 - sure) / 2)
    np.put_along_axis(probs, prediction[..., None].astype(int), sure, axis=-1)
    known = np.ones(prediction.shape, bool) if known is None else np.asarray(known)
    label = np.asarray(label, np.uint8)
    return regions.find(label, probs, prediction, known=known, spacing=spacing)


def test_by_hand():
    made = _find([0, 0, 1, 1, 1, 2, 0, 0], [0, 1, 1, 1, 2, 2, 0, 1])
    assert made.map.tolist() == [0, 1, 0, 0, 3, 0, 0, 1]
    assert made.volume == 3 * 2
    # The last voxel is three away from the label's class.
    assert made.distance == 3 * 2
    assert _find([2, 2, 1], [2, 0, 1]).map.tolist() == [0, regions.SURPLUS, 0]


def test_what_is_unsure_or_unknown_is_not_in_question():
    label, prediction = [0, 0, 1], [0, 1, 1]
    assert not _find(label, prediction, sure=0.5).map.any()
    hidden = _find(label, prediction, known=[True, False, True])
    assert (hidden.map.any(), hidden.volume, hidden.distance) == (False, 0, 0)


def test_nothing_to_measure_from():
    made = _find([0, 0], [0, 1])
    assert made.volume == 2
    assert np.isnan(made.distance)


@pytest.mark.parametrize("spacing", [(1.0, 3.0), (0.5, 0.5)])
def test_distances_are_in_mm(spacing):
    label = np.zeros((3, 5), np.uint8)
    label[1, 0] = 1
    prediction = label.copy()
    prediction[1, 4] = 1
    made = _find(label, prediction, spacing=spacing)
    assert made.distance == 4 * spacing[1]
    assert made.volume == pytest.approx(np.prod(spacing))
