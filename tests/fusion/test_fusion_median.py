"""The median under the Jaccard distance."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import fusion
from noisyjax.fusion import patterns


@jax.jit
def _median(labels, **options):
    return fusion.jaccard_median(labels, **options).probs[..., 1] > 0


def _mask(labels, **options):
    return np.asarray(_median(jnp.asarray(labels), **options))


def _distances(mask, labels):
    axes = tuple(range(1, labels.ndim))
    both = (labels & mask).sum(axes)
    either = (labels | mask).sum(axes)
    return 1 - np.where(either > 0, both / np.maximum(either, 1), 1)


@pytest.mark.parametrize("case", [29, 30])
def test_golden(golden, case):
    archive = np.load(golden / "multirater.npz", allow_pickle=False)
    get = lambda name: archive[f"{case}.{name}"]  # noqa: E731
    assert get("kind") == "consensus"
    labels = get("labels").astype(np.int32)
    mask = _mask(labels)
    np.testing.assert_array_equal(mask, get("jaccard_median_mask"))
    distances = _distances(mask, labels > 0)
    np.testing.assert_allclose(distances.sum(), get("jaccard_median_value"), rtol=1e-5)
    np.testing.assert_allclose((distances**2).sum(), get("median_p2"), rtol=1e-5)
    strict = np.asarray(fusion.majority(jnp.asarray(labels), 2)) > 0
    np.testing.assert_array_equal(strict, get("majority_strict"))
    undecided = np.asarray(fusion.majority(jnp.asarray(labels), 2, undecided=2)) > 0
    np.testing.assert_array_equal(undecided, get("majority_ties_in"))
    np.testing.assert_allclose(_distances(strict, labels > 0).sum(), get("strict_p1"), rtol=1e-5)
    squares = (_distances(strict, labels > 0) ** 2).sum()
    np.testing.assert_allclose(squares, get("strict_p2"), rtol=1e-5)


def test_when_worked_by_hand():
    # The sum is 1/3 + 1/2 for 0011, 1/3 + 2/3 for 0111, 2/3 + 1/2 for 0010.
    labels = np.array([[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 0]])
    assert _mask(labels).tolist() == [False, False, True, True]
    # One large mask of three: the small ones win, and the other way about with its weight.
    labels = np.array([[1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]])
    assert _mask(labels).sum() == 1
    assert _mask(labels, weights=jnp.array([3.0, 1.0, 1.0])).sum() == 6


def test_no_background_changes_it():
    labels = np.random.default_rng(0).random((4, 6, 7)) < 0.4
    larger = np.pad(labels, ((0, 0), (20, 3), (0, 9)))
    mask = np.pad(_mask(labels.astype(np.int32)), ((20, 3), (0, 9)))
    np.testing.assert_array_equal(_mask(larger.astype(np.int32)), mask)


def test_nothing_is_better_than_an_exact_median():
    rng = np.random.default_rng(1)
    labels = rng.random((3, 7)) < 0.5
    least = min(
        _distances(np.array(mask), labels).sum()
        for mask in itertools.product([False, True], repeat=7)
    )
    mask = _mask(labels.astype(np.int32))
    np.testing.assert_allclose(_distances(mask, labels).sum(), least, atol=1e-6)


def test_of_many_raters_no_pattern_changes_sides_to_advantage():
    rng = np.random.default_rng(2)
    truth = rng.random(400) < 0.3
    labels = truth ^ (rng.random((7, 400)) < np.linspace(0.02, 0.4, 7)[:, None])
    mask = _mask(labels.astype(np.int32))
    value = _distances(mask, labels).sum()
    assert value <= _distances(labels.mean(0) > 0.5, labels).sum() + 1e-6
    for pattern in np.unique(labels, axis=1).T:
        flipped = mask ^ (labels == pattern[:, None]).all(0)
        assert _distances(flipped, labels).sum() > value - 1e-5


def test_absent_raters_ignored_voxels_and_empty_labels():
    labels = np.random.default_rng(3).integers(0, 2, (4, 30))
    who = np.array([1, 0, 1, 1], bool)
    np.testing.assert_array_equal(_mask(labels, rater_mask=jnp.asarray(who)), _mask(labels[who]))
    ignored = np.where(who[:, None], labels, 255)
    np.testing.assert_array_equal(_mask(ignored), _mask(labels[who]))
    np.testing.assert_array_equal(_mask(labels[:1]), labels[0] > 0)
    assert not _mask(labels, rater_mask=jnp.zeros(4, bool)).any()
    assert not _mask(np.zeros((3, 30), int)).any()
    # A rater's distance does not count voxels they left out: here both agree with the median.
    assert _mask(np.array([[1, 1, 255, 0], [1, 255, 1, 0]])).tolist() == [True, True, True, False]


def test_classes_are_medians_against_the_rest():
    # Jaccard of class 1 with 11000: 1, 1/2, 1; of class 2 with 00101: 1, 2/3, 1/3.
    labels = np.array([[1, 1, 2, 0, 2], [1, 2, 2, 0, 2], [1, 1, 2, 2, 0]])
    fused = fusion.jaccard_median(jnp.asarray(labels), 3)
    assert fused.probs.argmax(-1).tolist() == [1, 1, 2, 0, 2]
    np.testing.assert_allclose(fused.cms[1], [[1, 0, 0], [0, 0.5, 0], [0, 0.5, 1]], atol=1e-6)


def test_of_patterns_and_vmap_are_the_same():
    labels = np.random.default_rng(4).integers(0, 3, (2, 3, 40))
    mapped = jax.jit(jax.vmap(lambda x: fusion.jaccard_median(x, 3)))(jnp.asarray(labels))
    for image, probs in zip(labels, mapped.probs, strict=True):
        codes = patterns.encode_on_host(image, 3)
        tally = patterns.tally([codes], num_raters=3, num_classes=3)
        fused = fusion.jaccard_median_of_patterns(tally.votes, tally.counts, 3)
        np.testing.assert_array_equal(patterns.spread(fused.probs, tally, codes), probs)


def test_more_raters_than_ten_are_counted_on_the_host():
    labels = np.random.default_rng(5).integers(0, 2, (11, 20))
    with pytest.raises(ValueError, match="labels: expected at most 10 raters, got 11"):
        fusion.jaccard_median(jnp.asarray(labels))
    codes = patterns.encode_on_host(labels, 2)
    tally = patterns.tally([codes], num_raters=11, num_classes=2)
    fused = fusion.jaccard_median_of_patterns(tally.votes, tally.counts)
    mask = patterns.spread(fused.probs, tally, codes)[..., 1] > 0
    best = min(_distances(labels.sum(0) > k, labels > 0).sum() for k in range(11))
    assert _distances(mask, labels > 0).sum() <= best + 1e-5
