"""Mean label and majority vote."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from noisyjax.fusion import voting

# Five raters (rows) at four pixels.
LABELS = jnp.array(
    [
        [0, 1, 2, 0],
        [0, 1, 2, 1],
        [1, 1, 0, 2],
        [0, 2, 1, 1],
        [2, 2, 1, 0],
    ],
    jnp.uint8,
)


def test_mean_when_worked_by_hand():
    expected = [[0.6, 0.2, 0.2], [0.0, 0.6, 0.4], [0.2, 0.4, 0.4], [0.4, 0.4, 0.2]]
    np.testing.assert_allclose(voting.mean(LABELS, 3), expected, rtol=1e-6)


def test_majority_when_worked_by_hand_takes_the_lowest_class_in_a_tie():
    result = voting.majority(LABELS, 3)
    assert result.tolist() == [0, 1, 1, 0]
    assert result.dtype == jnp.int32


def test_missing_raters_have_no_vote():
    mask = jnp.array([True, False, True, False, False])
    expected = [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [0.5, 0.0, 0.5]]
    np.testing.assert_array_equal(voting.mean(LABELS, 3, rater_mask=mask), expected)
    assert voting.majority(LABELS, 3, rater_mask=mask).tolist() == [0, 1, 0, 0]
    alone = jnp.array([False, False, False, True, False])
    assert voting.majority(LABELS, 3, rater_mask=alone).tolist() == LABELS[3].tolist()


def test_no_rater_at_all_leaves_everything_out():
    nobody = jnp.zeros(5, bool)
    np.testing.assert_array_equal(voting.mean(LABELS, 3, rater_mask=nobody), np.zeros((4, 3)))
    for ties in ({}, {"key": jax.random.key(0)}):
        assert voting.majority(LABELS, 3, rater_mask=nobody, **ties).tolist() == [255] * 4


def test_a_tie_of_all_classes_gives_each_the_same_chance():
    labels = jnp.tile(jnp.arange(3, dtype=jnp.uint8)[:, None], (1, 3000))
    drawn = voting.majority(labels, 3, key=jax.random.key(0))
    counts = np.bincount(drawn, minlength=3)
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int32])
def test_an_ignore_label_is_no_vote(dtype):
    labels = jnp.array([[255, 255], [1, 255], [0, 255], [1, 255]], dtype)
    np.testing.assert_allclose(voting.mean(labels, 2), [[1 / 3, 2 / 3], [0, 0]], rtol=1e-6)
    assert voting.majority(labels, 2).tolist() == [1, 255]


def test_the_key_breaks_ties_uniformly_and_decides_nothing_else():
    pixels = 4000
    labels = jnp.array([[0, 3, 1], [0, 1, 1], [2, 1, 1], [2, 3, 0], [1, 0, 1]], jnp.uint8)
    labels = jnp.repeat(labels, pixels, axis=1)
    drawn = np.asarray(voting.majority(labels, 4, key=jax.random.key(5))).reshape(3, pixels)
    for row, tied in zip(drawn, ([0, 2], [1, 3], [1]), strict=True):
        counts = np.bincount(row, minlength=4)
        assert counts.sum() == counts[tied].sum()
        assert stats.chisquare(counts[tied]).pvalue > 1e-3 or len(tied) == 1
    again = voting.majority(labels, 4, key=jax.random.key(5)).reshape(3, pixels)
    np.testing.assert_array_equal(again, drawn)
    other = voting.majority(labels, 4, key=jax.random.key(6)).reshape(3, pixels)
    assert (other[0] != drawn[0]).any()


@pytest.mark.parametrize("shape", [(6, 7), (3, 4, 5)])
def test_votes_agree_with_numpy_in_any_number_of_axes(shape):
    labels = np.random.default_rng(0).integers(0, 4, (5, *shape))
    counts = np.stack([(labels == c).sum(0) for c in range(4)], axis=-1)
    labels = jnp.asarray(labels, jnp.int32)
    np.testing.assert_allclose(voting.mean(labels, 4), counts / 5, rtol=1e-6)
    np.testing.assert_array_equal(voting.majority(labels, 4), counts.argmax(-1))
    np.testing.assert_array_equal(
        voting.majority(labels, 4), stats.mode(np.asarray(labels), axis=0).mode
    )


def test_golden_vote_counts(golden):
    archive = np.load(golden / "staple_multi.npz", allow_pickle=False)
    for case in range(3):
        labels = jnp.asarray(archive[f"c{case:02d}_labels"])
        counts = np.moveaxis(archive[f"c{case:02d}_vote_counts"], 0, -1)
        expected = counts / counts.sum(-1, keepdims=True)
        np.testing.assert_allclose(voting.mean(labels, 3), expected, rtol=1e-6)
        np.testing.assert_array_equal(voting.majority(labels, 3), counts.argmax(-1))


def test_jit_and_vmap_change_nothing():
    key = jax.random.key(1)
    labels = jax.random.randint(key, (3, 4, 6, 5), 0, 3)
    masks = jnp.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]], bool)
    keys = jax.random.split(key, 3)

    def both(labels, mask, key):
        return (
            voting.mean(labels, 3, rater_mask=mask),
            voting.majority(labels, 3, rater_mask=mask, key=key),
        )

    mapped = jax.jit(jax.vmap(both))(labels, masks, keys)
    for i in range(3):
        for batched, alone in zip(mapped, both(labels[i], masks[i], keys[i]), strict=True):
            np.testing.assert_allclose(batched[i], alone, rtol=1e-6)


def test_mean_is_a_distribution_and_does_not_depend_on_the_order_of_raters():
    labels = jax.random.randint(jax.random.key(2), (6, 20), 0, 5)
    result = voting.mean(labels, 5)
    np.testing.assert_allclose(result.sum(-1), 1, rtol=1e-6)
    np.testing.assert_array_equal(result, voting.mean(labels[::-1], 5))


def test_a_rater_of_weight_2_counts_like_two():
    weights = jnp.array([1.0, 2.0, 1.0, 1.0, 0.0])
    twice = LABELS[jnp.array([0, 1, 1, 2, 3])]
    ours = voting.mean(LABELS, 3, weights=weights)
    np.testing.assert_array_equal(ours, voting.mean(twice, 3))
    ours = voting.majority(LABELS, 3, weights=weights, undecided=9)
    np.testing.assert_array_equal(ours, voting.majority(twice, 3, undecided=9))


def test_ties_are_undecided_also_of_weights_that_are_not_whole():
    assert voting.majority(LABELS, 3, undecided=255).tolist() == [0, 1, 255, 255]
    labels = jnp.array([[0], [0], [0], [1]])
    weights = jnp.array([0.1, 0.1, 0.1, 0.3])
    assert voting.majority(labels, 2, weights=weights, undecided=7).tolist() == [7]
    assert voting.majority(jnp.full((2, 1), 255), 2, undecided=7).tolist() == [7]


def test_probabilities_within_rounding_are_a_tie():
    probs = jnp.array([[0.5, 0.5 + 2e-7], [0.5, 0.5001], [0.0, 0.0]])
    assert voting.decide(probs, ties="lowest").tolist() == [0, 1, 255]
    assert voting.decide(probs, undecided=2).tolist() == [2, 1, 2]
    drawn = voting.decide(jnp.tile(probs[:1], (1000, 1)), key=jax.random.key(0))
    assert 400 < int(drawn.sum()) < 600


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ties": "highest"}, "ties: expected one of"),
        ({"ties": "random"}, 'key: expected one where ties are "random"'),
        ({"ties": "undecided"}, 'undecided: expected one where ties are "undecided"'),
        ({"ties": "lowest", "undecided": 3}, 'undecided: expected none where ties are "lowest"'),
    ],
)
def test_a_rule_for_ties_has_what_it_needs(options, message):
    with pytest.raises(ValueError, match=message):
        voting.majority(LABELS, 3, **options)
