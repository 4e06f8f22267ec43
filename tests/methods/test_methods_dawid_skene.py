"""Stepwise EM of the model of Dawid & Skene."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import fusion
from noisyjax.losses import confusion
from noisyjax.methods import dawid_skene

CMS = np.array(
    [
        [[0.95, 0.10, 0.05], [0.03, 0.80, 0.05], [0.02, 0.10, 0.90]],
        [[0.90, 0.05, 0.10], [0.05, 0.15, 0.80], [0.05, 0.80, 0.10]],
        [[0.80, 0.10, 0.10], [0.10, 0.75, 0.30], [0.10, 0.15, 0.60]],
        [[0.97, 0.30, 0.02], [0.02, 0.60, 0.03], [0.01, 0.10, 0.95]],
    ]
)
FREQUENCY = (0.6, 0.25, 0.15)


@pytest.fixture(scope="module")
def labels():
    """Labels of four raters, one of whom exchanges two classes, and the truth."""
    draw = np.random.default_rng(0)
    truth = draw.choice(3, size=(64, 64), p=FREQUENCY)
    cumulative = CMS.cumsum(1)[:, :, truth]
    given = (draw.random((4, 1, 64, 64)) > cumulative).sum(1)
    return jnp.asarray(given.astype(np.uint8)), truth


def _em(labels, steps, min_error_rate=0.0):
    present = jnp.ones(4, bool)

    @jax.jit
    def step(counts, posterior):
        counts = dawid_skene.update_counts(
            counts, dawid_skene.joint_counts(labels, posterior, present), jnp.ones(())
        )
        cms = dawid_skene.matrices(counts, min_error_rate=min_error_rate)[:, None, None]
        scores = (
            dawid_skene.log_likelihood(cms, labels, present)
            + dawid_skene.log_prior(counts)[None, None]
        )
        return counts, jax.nn.softmax(scores)

    counts, posterior = jnp.zeros((4, 3, 3)), fusion.mean(labels, 3)
    for _ in range(steps):
        counts, posterior = step(counts, posterior)
    return counts, posterior


def test_raters_and_truth_are_estimated_from_the_mean_label(labels):
    labels, truth = labels
    counts, posterior = _em(labels, 200)
    np.testing.assert_allclose(dawid_skene.matrices(counts, min_error_rate=0), CMS, atol=0.06)
    np.testing.assert_allclose(jnp.exp(dawid_skene.log_prior(counts)), FREQUENCY, atol=0.03)
    given_all = np.prod(CMS[np.arange(4)[:, None, None], labels], axis=0) * np.array(FREQUENCY)
    best = (given_all.argmax(-1) == truth).mean()
    assert (posterior.argmax(-1) == truth).mean() > best - 0.01
    assert best > (fusion.majority(labels, 3) == truth).mean() + 0.02


def test_counts_worked_by_hand():
    labels = jnp.array([[0, 1, 1, 255], [0, 0, 1, 1]])
    posterior = jnp.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [0.0, 1.0]])
    counts = dawid_skene.joint_counts(labels, posterior, jnp.array([True, True]))
    first = [[0.25, 0.0], [0.125, 0.375]]
    np.testing.assert_allclose(counts, [first, [[0.375, 0.125], [0.0, 0.5]]])
    one_missing = dawid_skene.joint_counts(labels, posterior, jnp.array([True, False]))
    # Of three voxels, for the fourth has no label.
    np.testing.assert_allclose(one_missing, [4 / 3 * np.array(first), np.zeros((2, 2))], rtol=1e-6)


def test_no_rater_is_trusted_blindly():
    counts = jnp.array([[[8.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 2.0, 0.0]]])
    cms = dawid_skene.matrices(counts, min_error_rate=0.1)
    np.testing.assert_allclose(cms.sum(-2), 1, rtol=1e-6)
    third = 1 / 3
    expected = [[[0.9, 0.05, third], [0.05, 0.05, third], [0.05, 0.9, third]]]
    np.testing.assert_allclose(cms, expected, atol=1e-6)
    np.testing.assert_allclose(jnp.exp(dawid_skene.log_prior(counts)), [0.8, 0.2, 0], atol=1e-6)


def test_a_batch_replaces_a_tenth_and_an_empty_one_nothing():
    counts, joints = jnp.ones((1, 2, 2)), jnp.full((1, 2, 2), 6.0)
    np.testing.assert_allclose(
        dawid_skene.update_counts(counts, joints, jnp.float32(2)), 1.2, rtol=1e-6
    )
    kept = dawid_skene.update_counts(counts, jnp.zeros_like(joints), jnp.float32(0))
    np.testing.assert_array_equal(kept, counts)


def test_a_certain_imputed_label_counts_as_a_label(labels):
    labels, _ = labels
    cms = jnp.asarray(CMS, jnp.float32)[:, None, None]
    everyone, two = jnp.ones(4, bool), jnp.array([True, False, True, False])
    whole = dawid_skene.log_likelihood(cms, labels, everyone)
    np.testing.assert_allclose(whole, confusion.log_likelihood(cms, labels), rtol=1e-6)
    imputed = jax.nn.one_hot(labels, 3)
    same = dawid_skene.log_likelihood(cms, labels, two, imputed_labels=imputed)
    np.testing.assert_allclose(same, whole, rtol=1e-5)
    # Nothing is imputed for those who labelled the image.
    same = dawid_skene.log_likelihood(cms, labels, everyone, imputed_labels=imputed[::-1])
    np.testing.assert_array_equal(same, whole)
    options = {"imputed_labels": imputed, "imputed_weight": 0.5}
    half = dawid_skene.log_likelihood(cms, labels, two, **options)
    alone = dawid_skene.log_likelihood(cms, labels, two)
    np.testing.assert_allclose(half, (alone + whole) / 2, rtol=1e-5)


def test_vmap_is_a_loop(labels):
    labels, _ = labels
    images = jnp.stack([labels[:, :8], labels[:, 8:16]])
    posteriors = jax.vmap(lambda x: fusion.mean(x, 3))(images)
    masks = jnp.array([[True, True, False, True], [True, True, True, True]])
    together = jax.jit(jax.vmap(dawid_skene.joint_counts))(images, posteriors, masks)
    for index in range(2):
        one = dawid_skene.joint_counts(images[index], posteriors[index], masks[index])
        np.testing.assert_allclose(together[index], one, rtol=1e-5)
