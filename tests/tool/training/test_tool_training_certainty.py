"""How sure a run is, by hand."""

import itertools

import numpy as np

from noisyjax.tool.training import certainty


def test_disagreement_is_the_mean_over_pairs_of_different_raters():
    draw = np.random.default_rng(0)
    raters = draw.dirichlet(np.ones(3), size=(4, 5, 6)).astype(np.float32)
    pairs = list(itertools.combinations(range(4), 2))
    expected = np.mean([1 - (raters[r] * raters[s]).sum(-1) for r, s in pairs], axis=0)
    got = certainty.disagreement(raters.mean(axis=0), raters)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    # The frequency of differing labels that are drawn.
    drawn = (raters[:, 0, 0].cumsum(-1)[:, None] < draw.random((4, 20_000, 1))).sum(-1)
    differ = np.mean([drawn[r] != drawn[s] for r, s in pairs])
    assert abs(got[0, 0] - differ) < 0.01


def test_raters_who_are_sure_of_the_same_agree_and_one_has_nobody_to_differ_from():
    sure = np.eye(3, dtype=np.float32)[[[0, 1], [0, 1]]]
    np.testing.assert_array_equal(certainty.disagreement(sure[0], sure), 0)
    np.testing.assert_array_equal(certainty.disagreement(sure[0], sure[::1][:, ::-1]), 0)
    opposed = np.stack([sure[0], sure[0][::-1]])
    np.testing.assert_array_equal(certainty.disagreement(opposed.mean(axis=0), opposed), 1)
    alone = np.array([[[0.5, 0.5]]], np.float32)
    np.testing.assert_allclose(certainty.disagreement(alone[0], alone), [0.5])


def test_entropy_of_certain_and_of_even_probabilities():
    probs = np.array([[1, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0]], np.float32)
    np.testing.assert_allclose(certainty.entropy(probs), [0, np.log(4), np.log(2)], rtol=1e-6)
