"""Fusions beside SimpleITK's filters, and beside figures of crowd-kit 1.4.2."""

import jax.numpy as jnp
import numpy as np
import pytest
import SimpleITK

from noisyjax import fusion


def _labels(classes, raters=5):
    rng = np.random.default_rng(3)
    truth = rng.integers(0, classes, (9, 11, 12))
    wrong = rng.random((raters, *truth.shape)) < np.linspace(0.05, 0.4, raters)[:, None, None, None]
    return np.where(wrong, rng.integers(0, classes, wrong.shape), truth).astype(np.uint8)


def _run(peer, labels):
    return SimpleITK.GetArrayFromImage(
        peer.Execute([SimpleITK.GetImageFromArray(label) for label in labels])
    )


def test_staple_is_itk_s_after_as_many_iterations():
    labels = _labels(2)
    peer = SimpleITK.STAPLEImageFilter()
    peer.SetForegroundValue(1)
    peer.SetMaximumIterations(5)
    theirs = _run(peer, labels)
    fused = fusion.staple(jnp.asarray(labels), max_iterations=5, tolerance=0)
    np.testing.assert_allclose(fused.probs[..., 1], theirs, atol=1e-5)
    np.testing.assert_allclose(fused.cms[:, 1, 1], peer.GetSensitivity(), atol=1e-5)
    np.testing.assert_allclose(fused.cms[:, 0, 0], peer.GetSpecificity(), atol=1e-5)


def test_a_weight_is_a_filter_that_is_given_the_rater_twice():
    labels = _labels(2)
    peer = SimpleITK.STAPLEImageFilter()
    peer.SetForegroundValue(1)
    peer.SetMaximumIterations(5)
    theirs = _run(peer, [*labels, labels[4]])
    weights = jnp.array([1.0, 1.0, 1.0, 1.0, 2.0])
    fused = fusion.staple(jnp.asarray(labels), weights=weights, max_iterations=5, tolerance=0)
    np.testing.assert_allclose(fused.probs[..., 1], theirs, atol=1e-5)


def test_the_vote_is_itk_s_with_an_undecided_label():
    labels = _labels(4)
    peer = SimpleITK.LabelVotingImageFilter()
    peer.SetLabelForUndecidedPixels(200)
    theirs = _run(peer, labels)
    voted = fusion.majority(jnp.asarray(labels), 4, ties="undecided", undecided=200)
    np.testing.assert_array_equal(voted, theirs)
    assert (theirs == 200).any()


def test_multi_label_staple_chooses_the_same_classes():
    labels = _labels(3)
    peer = SimpleITK.MultiLabelSTAPLEImageFilter()
    peer.SetTerminationUpdateThreshold(1e-7)
    peer.SetLabelForUndecidedPixels(200)
    theirs = _run(peer, labels)
    fused = fusion.staple(jnp.asarray(labels), 3)
    # Where the two most probable classes are near each other the two may end on either side.
    clear = np.diff(np.sort(fused.probs, axis=-1)[..., -2:], axis=-1)[..., 0] > 1e-3
    assert clear.mean() > 0.99
    chosen = np.asarray(fusion.decide(fused.probs, undecided=200))
    np.testing.assert_array_equal(chosen[clear], theirs[clear])


def _crowd():
    """Sixty tasks of three classes, four workers."""
    task = np.arange(60)
    truth, labels = task % 3, []
    for step, errors in ((3, 2), (5, 3), (7, 3), (2, 4)):
        other = (truth + 1 + (task // step) % 2) % 3
        labels.append(np.where(task * step % 11 < errors, other, truth))
    return jnp.asarray(np.stack(labels))


def test_dawid_and_skene_with_an_estimated_prior_are_crowd_kit_s():
    # crowdkit.aggregation.DawidSkene(n_iter=3000, tol=-1) of crowd-kit 1.4.2: priors_, errors_ of
    # worker 0 (rows are labels) and probas_ of three tasks.
    fused = fusion.staple(_crowd(), 3, prior_update="estimated")
    prior = fused.probs.mean(0)
    np.testing.assert_allclose(prior, [0.355819, 0.336585, 0.307596], atol=2e-6)
    errors = [[0.836599, 0.052262, 0.05873], [0.060204, 0.83778, 0.097295]]
    np.testing.assert_allclose(fused.cms[0, :2], errors, atol=2e-6)
    np.testing.assert_allclose(
        fused.probs[jnp.array([40, 7, 29])],
        [[0.00641, 0.30722, 0.68636], [0.26742, 0.69221, 0.04036], [0.08034, 0.19084, 0.72882]],
        atol=1e-5,
    )
    kept = fusion.staple(_crowd(), 3)
    assert float(abs(kept.probs.mean(0) - prior).max()) > 1e-3


@pytest.mark.parametrize("method", ["simple", "jaccard_median"])
def test_other_fusions_are_near_the_vote(method):
    labels = _labels(2)
    chosen = fusion.FUSIONS[method](jnp.asarray(labels)).probs.argmax(-1)
    assert (np.asarray(chosen) == np.asarray(fusion.majority(jnp.asarray(labels), 2))).mean() > 0.85
