"""Patterns of votes counted on the host, and STAPLE of what was counted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import fusion
from noisyjax.fusion import patterns


def _labels(seed=0, shape=(12, 13), raters=3, classes=3):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, shape)
    wrong = rng.random((raters, *shape)) < 0.25
    labels = np.where(wrong, rng.integers(0, classes, wrong.shape), truth)
    labels[0].reshape(-1)[:5] = 255
    return labels.astype(np.uint8)


def _assert_identical(ours, expected):
    for one, other in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_counts_when_worked_by_hand():
    # Columns are voxels; the first rater's digit counts one, the second's three.
    labels = np.array([[0, 1, 1, 255], [1, 1, 1, 0]], np.uint8)
    codes = patterns.encode_on_host(labels, 2)
    assert codes.tolist() == [3, 4, 4, 2]
    tally = patterns.tally([codes], num_raters=2, num_classes=2)
    assert tally.counts.tolist() == [0, 0, 1, 1, 2, 0, 0, 0, 0]
    assert tally.votes[[2, 3, 4]].tolist() == [[2, 0], [0, 1], [1, 1]]
    absent = patterns.encode_on_host(labels, 2, rater_mask=np.array([True, False]))
    assert absent.tolist() == [6, 7, 7, 8]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_codes_are_those_of_the_device(dtype):
    labels = _labels(shape=(5, 6, 7), raters=6).astype(dtype)
    labels[1, 0] = -1 if dtype != np.uint8 else 200
    mask = np.array([1, 1, 0, 1, 1, 1], bool)
    votes = patterns.ballots(jnp.asarray(labels.reshape(6, -1)), 3, jnp.asarray(mask))
    codes = patterns.encode_on_host(labels, 3, rater_mask=mask)
    np.testing.assert_array_equal(codes.reshape(-1), patterns.encode(votes, 3))
    assert codes.dtype == np.uint16


def test_codes_have_the_narrowest_type():
    # 4^4 = 256 patterns are the most of uint8.
    for raters, classes, dtype in ((4, 3, np.uint8), (5, 3, np.uint16), (8, 3, np.uint16)):
        assert patterns.encode_on_host(np.zeros((raters, 2), np.uint8), classes).dtype == dtype


@pytest.mark.parametrize("exclude_consensus", [False, True])
def test_staple_of_all_patterns_is_staple_to_the_last_digit(exclude_consensus):
    labels = _labels()
    codes = patterns.encode_on_host(labels, 3)
    tally = patterns.tally([codes], num_raters=3, num_classes=3)
    options = {"exclude_consensus": exclude_consensus}
    fused = fusion.staple_of_patterns(tally.votes, tally.counts, 3, **options)
    probs = patterns.spread(fused.probs, tally, codes)
    _assert_identical(fused._replace(probs=probs), fusion.staple(jnp.asarray(labels), 3, **options))


def test_it_is_pooled_staple_to_the_last_digit():
    labels = np.stack([_labels(seed) for seed in range(3)])
    mask = np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]], bool)
    codes = [
        patterns.encode_on_host(image, 3, rater_mask=who)
        for image, who in zip(labels, mask, strict=True)
    ]
    tally = patterns.tally(iter(codes), num_raters=3, num_classes=3)
    fused = fusion.staple_of_patterns(tally.votes, tally.counts, 3)
    probs = np.stack([patterns.spread(fused.probs, tally, image) for image in codes])
    pooled = fusion.pooled_staple(jnp.asarray(labels), 3, rater_mask=jnp.asarray(mask))
    _assert_identical(fused._replace(probs=probs), pooled)


def test_images_of_other_shapes_are_pooled():
    labels = [_labels(0, (9, 10)), _labels(1, (20, 4)), _labels(2, (3, 4, 5))]
    codes = [patterns.encode_on_host(image, 3) for image in labels]
    tally = patterns.tally(codes, num_raters=3, num_classes=3)
    fused = fusion.staple_of_patterns(tally.votes, tally.counts, 3)
    together = np.concatenate([image.reshape(3, -1) for image in labels], axis=1)
    expected = fusion.staple(jnp.asarray(together), 3)
    np.testing.assert_array_equal(fused.cms, expected.cms)
    probs = [patterns.spread(fused.probs, tally, image).reshape(-1, 3) for image in codes]
    np.testing.assert_array_equal(np.concatenate(probs), expected.probs)


def test_many_raters_count_what_occurs():
    labels = _labels(shape=(6, 7), raters=13, classes=2)
    other = _labels(1, (5, 5), raters=13, classes=2)
    codes = [patterns.encode_on_host(image, 2) for image in (labels, other)]
    tally = patterns.tally(codes, num_raters=13, num_classes=2)
    assert tally.votes.shape == (1024, 13)
    assert tally.counts.sum() == 42 + 25
    assert (np.diff(tally.codes) >= 0).all()
    votes = patterns.spread(tally.votes, tally, codes[0])
    np.testing.assert_array_equal(np.moveaxis(votes, -1, 0), np.minimum(labels, 2))
    fused = fusion.staple_of_patterns(tally.votes, tally.counts, 2)
    probs = patterns.spread(fused.probs, tally, codes[1]).reshape(-1, 2)
    both = np.concatenate([labels.reshape(13, -1), other.reshape(13, -1)], axis=1)
    np.testing.assert_allclose(probs, fusion.staple(jnp.asarray(both), 2).probs[42:], atol=1e-5)


def test_more_raters_than_codes_hold_are_refused():
    assert patterns.encode_on_host(np.ones((39, 2), np.uint8), 2)[0] == (3**39 - 1) // 2
    assert patterns.encode_on_host(np.ones((27, 2), np.uint8), 4)[0] == (5**27 - 1) // 4
    with pytest.raises(ValueError, match=r"labels: expected at most 2\^63 patterns.*3\^40"):
        patterns.encode_on_host(np.ones((40, 2), np.uint8), 2)


def test_of_many_raters_only_those_who_labelled_an_image_make_patterns():
    labels = np.full((200, 3, 4), 255, np.uint8)
    labels[[7, 90, 199]] = _labels(shape=(3, 4), raters=3, classes=2)
    mask = np.isin(np.arange(200), [7, 90, 199])
    codes, counted = patterns.of_image(labels, 2, rater_mask=mask)
    # Of three raters of two classes.
    assert counted.votes.shape == (27, 200)
    assert counted.counts.sum() == 12
    votes = np.moveaxis(patterns.spread(counted.votes, counted, codes), -1, 0)
    np.testing.assert_array_equal(votes, np.minimum(labels, 2))
    fused = fusion.staple_of_patterns(counted.votes, counted.counts, 2)
    probs = patterns.spread(fused.probs, counted, codes)
    alone = fusion.staple(jnp.asarray(labels[mask]), 2)
    np.testing.assert_allclose(probs, alone.probs, atol=1e-5)
    np.testing.assert_allclose(np.asarray(fused.cms)[mask], alone.cms, atol=1e-5)


@pytest.mark.parametrize("raters", [3, 50])
def test_tallies_of_images_are_added(raters):
    # More than 2^63 patterns of 50 raters.
    images = [_labels(seed, (5, 6), raters=raters, classes=2) for seed in range(3)]
    absent = np.arange(raters) == 1
    masks = [None, ~absent, absent]
    parts = [patterns.of_image(each, 2, rater_mask=m)[1] for each, m in zip(images, masks)]
    added = patterns.add(parts, 2)
    given = [np.where(m is None or m[:, None], each.reshape(raters, -1), 2)
             for each, m in zip(images, [np.ones(raters, bool), *masks[1:]])]  # fmt: skip
    votes, counts = np.unique(
        np.concatenate(given, axis=1).clip(max=2).T, axis=0, return_counts=True
    )
    there = added.counts > 0
    order = np.lexsort(added.votes[there].T[::-1])
    np.testing.assert_array_equal(added.votes[there][order], votes)
    np.testing.assert_array_equal(added.counts[there][order], counts)


def test_nobody_labelled_an_image_of_many_raters():
    labels = np.zeros((60, 2, 2), np.uint8)
    codes, counted = patterns.of_image(labels, 2, rater_mask=np.zeros(60, bool))
    assert (patterns.spread(counted.votes, counted, codes) == 2).all()


def test_rows_of_count_0_change_nothing_and_whole_numbers_do_not_wrap():
    votes = np.array([[0, 0], [1, 1], [1, 0], [2, 2]], np.uint8)
    counts = np.array([5 * 2**31, 2**31, 2**31, 0])
    fused = fusion.staple_of_patterns(votes, counts, 2)
    small = fusion.staple_of_patterns(votes[:3], np.array([5.0, 1.0, 1.0]), 2)
    np.testing.assert_allclose(fused.probs[:3], small.probs, atol=1e-6)
    np.testing.assert_allclose(fused.cms, small.cms, atol=1e-6)
    np.testing.assert_allclose(fused.log_likelihood / 2.0**31, small.log_likelihood, rtol=1e-5)


def test_vmap_is_a_loop():
    votes = patterns.table(3, 2)
    counts = np.random.default_rng(0).integers(0, 50, (3, len(votes))).astype(np.float32)
    mapped = jax.vmap(lambda counts: fusion.staple_of_patterns(votes, counts, 2))(counts)
    for i, row in enumerate(counts):
        for batched, alone in zip(mapped, fusion.staple_of_patterns(votes, row, 2), strict=True):
            np.testing.assert_allclose(batched[i], alone, atol=1e-6, rtol=1e-6)


def test_the_tally_of_one_image_is_its_own():
    codes, one = patterns.of_image(np.array([[0, 1, 1], [1, 1, 255]], np.uint8), 2)
    _assert_identical(patterns.add([one], 2), one)
