"""Margins and thresholds whose guarantees hold for exchangeable cases."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from noisyjax.decisions import guarantees
from noisyjax.tool.training import guarantee


def _blobs(seed, shape=(12, 11, 10), shift=1.0):
    """A label and a prediction of it that lies elsewhere by chance."""
    draw = np.random.default_rng(seed)
    grid = np.stack(np.indices(shape), axis=-1) - np.array(shape) / 2
    radius = np.linalg.norm(grid, axis=-1)
    moved = np.linalg.norm(grid - shift * draw.normal(size=3), axis=-1)
    return radius < 3, 1 / (1 + np.exp(2 * (moved - 3)))


def _judged(seed, **options):
    truth, p = _blobs(seed, **options)
    probs = np.stack([1 - p, p], axis=-1).astype(np.float32)
    ids = probs.argmax(axis=-1).astype(np.uint8)
    return guarantee.judge(ids, probs, truth[None].astype(np.uint8)), (ids == 1, probs, truth)


@pytest.mark.parametrize("seed", range(3))
def test_dilations_are_those_of_the_decisions(seed):
    judged, (mask, _, truth) = _judged(seed, shift=2.0)
    expected = [
        float(guarantees.dilations_to_cover(jnp.asarray(mask), jnp.asarray(truth), share=share))
        for share in guarantee.SHARES
    ]
    np.testing.assert_array_equal(judged.dilations, [expected])
    assert max(expected) > 0


def test_the_worst_of_several_raters_counts_and_ignored_voxels_do_not():
    truth, p = _blobs(0)
    probs = np.stack([1 - p, p], axis=-1).astype(np.float32)
    ids = probs.argmax(axis=-1).astype(np.uint8)
    wide = scipy.ndimage.binary_dilation(truth, iterations=2)
    labels = np.stack([truth, wide]).astype(np.uint8)
    both = guarantee.judge(ids, probs, labels)
    alone = guarantee.judge(ids, probs, labels[1:])
    first = guarantee.judge(ids, probs, labels[:1])
    np.testing.assert_array_equal(both.dilations, alone.dilations)
    np.testing.assert_array_equal(both.losses, np.maximum(alone.losses, first.losses))
    assert (both.dilations >= first.dilations).all()
    # Where nobody says what it is nothing is missed.
    labels[1][wide & ~truth] = 255
    np.testing.assert_array_equal(guarantee.judge(ids, probs, labels).losses, first.losses)


def test_empty_masks():
    none, one = np.zeros((4, 4), np.uint8), np.eye(4, dtype=np.uint8)
    probs = np.stack([np.ones((4, 4)), np.zeros((4, 4))], axis=-1).astype(np.float32)
    np.testing.assert_array_equal(guarantee.judge(none, probs, none[None]).dilations, 0)
    np.testing.assert_array_equal(guarantee.judge(none, probs, none[None]).losses, 0)
    lost = guarantee.judge(none, probs, one[None])
    np.testing.assert_array_equal(lost.dilations, np.inf)
    # The whole image misses nothing.
    np.testing.assert_array_equal(lost.losses, [[1.0] * (len(guarantee.THRESHOLDS) - 1) + [0]])
    found = guarantee.fit([lost] * 9, decision="argmax")
    with pytest.raises(ValueError, match=r"of class 1 9 of 9 out-of-fold masks are empty"):
        found.margins(0.1, 0.9)
    assert found.thresholds(0.1) == (0.0,)


def test_losses_by_hand():
    probs = np.array([[0.3, 0.7], [0.9, 0.1], [0.0, 1.0], [0.5, 0.5]], np.float32)
    labels = np.array([[1, 1, 0, 1]], np.uint8)
    losses = guarantee.judge(np.array([1, 0, 1, 1], np.uint8), probs, labels).losses[0]
    at = dict(zip(guarantee.THRESHOLDS, losses))
    expected = {0.99: 1, 0.7: 2 / 3, 0.71: 1, 0.5: 1 / 3, 0.1: 0, 0.11: 1 / 3, 0.0: 0}
    assert {key: at[key] for key in expected} == pytest.approx(expected)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_a_margin_is_so_many_dilations(count):
    truth, p = _blobs(1)
    mask = p > 0.7
    expected = scipy.ndimage.binary_dilation(mask, iterations=count) if count else mask
    np.testing.assert_array_equal(guarantee.dilated(mask, count), expected)
    assert not guarantee.dilated(np.zeros((3, 3), bool), count).any()


def test_exchangeable_cases_are_covered_as_often_as_is_promised():
    """Of 60 of 130 cases as many as a beta-binomial says, which ties can only raise."""
    pairs = [_judged(seed, shape=(10, 10, 10)) for seed in range(130)]
    draw = np.random.default_rng(0)
    for alpha in (0.05, 0.1, 0.2):
        covered, missed = [], []
        for _ in range(10):
            order = draw.permutation(130)
            found = guarantee.fit([pairs[i][0] for i in order[:70]], decision="argmax")
            (count,), (least,) = found.margins(alpha, 0.95), found.thresholds(alpha)
            tests = [pairs[i] for i in order[70:]]
            own = [judged.dilations[0, guarantee.SHARES.index(0.95)] for judged, _ in tests]
            covered.append(np.sum(np.array(own) <= count))
            missed.append(
                [
                    1 - (truth & (probs[..., 1] >= np.float32(least))).sum() / truth.sum()
                    for _, (_, probs, truth) in tests
                ]
            )
            # What is counted is what a dilated mask covers.
            judged, (mask, _, truth) = tests[0]
            share = (guarantee.dilated(mask, count) & truth).sum() / truth.sum()
            assert (share >= 0.95) == (own[0] <= count)
        rank = int(np.ceil(71 * (1 - alpha) - 1e-9))
        low = scipy.stats.betabinom(60, rank, 71 - rank).ppf(0.001)
        assert min(covered) >= low
        assert np.mean(covered) / 60 >= 1 - alpha - 0.03
        assert np.mean(missed) <= alpha + 0.01


def test_without_ties_the_coverage_is_that_of_the_rank():
    """Scores of the continuum: exactly ceil((n + 1)(1 - alpha)) / (n + 1) on average."""
    draw = np.random.default_rng(1)
    for alpha in (0.05, 0.1, 0.2):
        rank = int(np.ceil(71 * (1 - alpha) - 1e-9))
        scores = draw.random((400, 130)).astype(np.float32)
        limits = np.sort(scores[:, :70], axis=1)[:, rank - 1]
        assert limits[0] == guarantees.conformal_quantile(jnp.asarray(scores[0, :70]), alpha=alpha)
        covered = (scores[:, 70:] <= limits[:, None]).sum(axis=1)
        law = scipy.stats.betabinom(60, rank, 71 - rank)
        assert abs(covered.mean() - law.mean()) < 4 * law.std() / 20
        assert law.ppf(0.0001) <= covered.min()


def test_a_label_that_is_ignored_everywhere_says_nothing():
    truth, p = _blobs(3, shift=2.0)
    probs = np.stack([1 - p, p], axis=-1).astype(np.float32)
    ids, own = probs.argmax(axis=-1).astype(np.uint8), truth[None].astype(np.uint8)
    both = guarantee.judge(ids, probs, np.concatenate([own, np.full_like(own, 255)]))
    alone = guarantee.judge(ids, probs, own)
    np.testing.assert_array_equal(both.dilations, alone.dilations)
