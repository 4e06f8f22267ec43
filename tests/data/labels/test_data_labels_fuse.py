"""Fused targets and gold standards of a data set."""

import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import fusion
from noisyjax.data.labels import fuse

_RANDOM = np.random.default_rng(0)
_TRUTH = np.zeros((7, 9, 8), np.uint8)
_TRUTH[:, 2:7, 3:6] = 1
_LABELS = np.stack([_TRUTH ^ (_RANDOM.random(_TRUTH.shape) < 0.1) for _ in range(4)], axis=1)
_MASKS = np.ones((7, 4), bool)
_MASKS[3, :2] = False


def test_cases_are_mapped_in_order_whatever_the_chunk():
    cases = {"x": np.arange(7.0, dtype=np.float32), "y": np.ones((7, 2), np.float32)}
    for chunk in (1, 3, 7, 50):

        def take(indices):
            return {name: array[indices] for name, array in cases.items()}

        fused = fuse.map_cases(lambda c: {"z": c["x"] + c["y"]}, take, 7, chunk=chunk)
        np.testing.assert_array_equal(fused["z"], np.arange(7.0)[:, None] + np.ones((7, 2)))


def test_targets_are_each_cases_own_fusion():
    fused = np.asarray(fuse.targets("staple", 2)(_LABELS, _MASKS))
    assert fused.dtype == np.float32
    assert fused.shape == (7, 9, 8, 2)
    for i in (0, 3):
        own = fusion.staple(jnp.asarray(_LABELS[i]), rater_mask=jnp.asarray(_MASKS[i])).probs
        np.testing.assert_allclose(fused[i], own, atol=1e-5)


def test_the_gold_standard_is_nearer_to_the_truth_than_any_rater():
    gold = np.asarray(fuse.targets("staple", 2)(_LABELS, _MASKS)).argmax(-1)
    best_rater = (_TRUTH[:, None] != _LABELS).mean(axis=(0, 2, 3)).min()
    of_gold = (gold != _TRUTH).mean()
    assert of_gold < best_rater / 2


def test_of_many_raters_those_who_labelled_a_case_are_fused():
    labels, masks = np.full((2, 40, 9, 8), 255, np.uint8), np.zeros((2, 40), bool)
    for case, own in enumerate(([3, 17, 39], [0, 20])):
        labels[case, own], masks[case, own] = _LABELS[case, : len(own)], True
    assert fuse._who_labelled(labels, masks)[0].shape == (2, 4, 9, 8)
    fused = np.asarray(fuse.targets("staple", 2)(labels, masks))
    for case, count in enumerate((3, 2)):
        own = fusion.staple(jnp.asarray(_LABELS[case, :count])).probs
        np.testing.assert_allclose(fused[case], own, atol=1e-5)


def test_unknown_fusions_are_refused():
    with pytest.raises(ValueError, match="fusion.*staple.*vote"):
        fuse.targets("vote", 2)
