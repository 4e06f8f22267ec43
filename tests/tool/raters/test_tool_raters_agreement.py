"""How far raters agree with each other and with their consensus."""

import numpy as np

from noisyjax.fusion import patterns
from noisyjax.tool.raters import agreement

NO = 255
# Three raters of six voxels, three classes.
LABELS = np.array([[0, 0, 1, 1, 2, NO], [0, 1, 1, 1, 2, NO], [0, 0, 0, 1, NO, NO]], np.uint8)


def _tally(labels, num_classes=3):
    codes = patterns.encode_on_host(labels, num_classes)
    return patterns.tally([codes], num_raters=len(labels), num_classes=num_classes)


def test_raters_are_compared_pair_by_pair():
    found = agreement.between_raters(_tally(LABELS), 3)
    # Of the five voxels with a vote the second and the third are in dispute.
    assert found.disputed == 2 / 5
    # Class 1: 4/5 for the first pair, 2/3 and 2/4 for those with the third rater. Class 2: the one
    # voxel is no label of the third rater.
    np.testing.assert_allclose(
        found.dice, [(2 / 3 + 4 / 5 + 2 / 4) / 3, (4 / 5 + 2 / 3 + 2 / 4) / 3, 1]
    )
    assert found.volumes.tolist() == [[2, 2, 1], [1, 3, 1], [3, 1, 0]]


def test_what_cannot_be_said_is_nan():
    alone = agreement.between_raters(_tally(LABELS[:1]), 3)
    assert alone.disputed == 0
    assert np.isnan(alone.dice).all()
    nobody = agreement.between_raters(_tally(np.full((2, 4), NO, np.uint8)), 3)
    assert np.isnan(nobody.disputed)
    assert np.isnan(nobody.dice).all()


def test_performance_is_counted_where_there_are_no_matrices():
    truth = np.array([0, 0, 1, 1, 2, NO], np.uint8)
    counts = agreement.confusion(LABELS, truth, 3)
    assert counts[1].tolist() == [[1, 0, 0], [1, 2, 0], [0, 0, 1]]
    dice, sensitivity, specificity = agreement.performance(counts, None, lambda k: truth == k)
    np.testing.assert_allclose(dice[1], [2 / 3, 4 / 5, 1])
    np.testing.assert_allclose(sensitivity[1], [1 / 2, 1, 1])
    np.testing.assert_allclose(specificity[1], [1, 2 / 3, 1])
    # The third rater has said nothing where class 2 is.
    assert np.isnan([dice[2, 2], sensitivity[2, 2]]).all()


def test_matrices_say_sensitivity_and_specificity():
    cms = np.array([[[0.9, 0.2], [0.1, 0.8]]])
    probs = np.array([[1.0, 0.0], [0.5, 0.5]])
    counts = np.zeros((1, 2, 2), np.int64)
    _, sensitivity, specificity = agreement.performance(counts, cms, lambda k: probs[:, k])
    np.testing.assert_allclose(sensitivity, [[0.9, 0.8]])
    np.testing.assert_allclose(specificity, [[0.8, 0.9]])
    # One for each voxel, all alike.
    local = np.broadcast_to(cms[:, None], (1, 2, 2, 2))
    _, *same = agreement.performance(counts, local, lambda k: probs[:, k])
    np.testing.assert_allclose(same, [sensitivity, specificity])


def test_specificity_of_several_classes_is_that_of_all_others():
    # Where class 0 is (3 voxels) class 2 is said in 0.1, where class 1 is (1 voxel) in 0.5.
    cms = np.array([[[0.9, 0.0, 0.0], [0.0, 0.5, 0.0], [0.1, 0.5, 1.0]]])
    mass = [3.0, 1.0, 2.0]
    counts = np.zeros((1, 3, 3), np.int64)
    _, _, specificity = agreement.performance(counts, cms, lambda k: np.array([mass[k]]))
    np.testing.assert_allclose(specificity[0, 2], 1 - (3 * 0.1 + 0.5) / 4)
