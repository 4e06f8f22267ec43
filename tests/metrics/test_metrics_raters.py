"""Tables of raters against hand-worked values, loops and scikit-learn."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from sklearn import metrics as peer

from noisyjax.metrics import overlap, raters


@pytest.fixture
def case():
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, (4, 6, 5), dtype=np.uint8)
    return jnp.asarray(labels), jnp.asarray(draw.integers(0, 3, (6, 5), dtype=np.uint8))


def test_tables_equal_scikit_learns_transposed(case):
    labels, truth = case
    table = raters.joint_counts(labels, truth, 3)
    for one, label in zip(table, labels, strict=True):
        expected = peer.confusion_matrix(truth.ravel(), label.ravel(), labels=range(3)).T
        np.testing.assert_array_equal(one, expected)


def test_ignored_voxels_and_absent_raters_are_not_counted():
    labels = jnp.array([[0, 1, 255, 1], [1, 1, 1, 1]], jnp.uint8)
    truth = jnp.array([0, 1, 1, 255], jnp.uint8)
    table = raters.joint_counts(labels, truth, 2, rater_mask=jnp.array([True, False]))
    np.testing.assert_array_equal(table, [[[1, 0], [0, 1]], [[0, 0], [0, 0]]])


def test_overlaps_of_a_table_are_those_of_its_masks(case):
    labels, truth = case
    counted = raters.overlap_counts(raters.joint_counts(labels, truth, 3))
    for r, label in enumerate(labels):
        expected = overlap.counts(label, truth, 3)
        for one, other in zip(counted, expected, strict=True):
            np.testing.assert_array_equal(one[r], other)


def test_matrices_have_columns_of_one_or_unknown_ones():
    table = jnp.array([[3, 0, 2], [1, 0, 2], [0, 0, 4]])
    cm = np.asarray(raters.matrices(table))
    np.testing.assert_allclose(cm[:, 0], [0.75, 0.25, 0])
    np.testing.assert_allclose(cm[:, 2], [0.25, 0.25, 0.5])
    assert np.isnan(cm[:, 1]).all()


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ([[4, 0], [4, 4]], 1.0),
        ([[4, 6], [0, 2]], -2.0),
        ([[4, 2], [2, 4]], 0.0),
        ([[4, 2], [0, 0]], np.nan),
        ([[4, 0], [2, 0]], np.nan),
        ([[4, 0], [0, 0]], np.nan),
    ],
)
def test_the_volume_ratio_is_logarithmic_and_undefined_without_volume(table, expected):
    np.testing.assert_allclose(raters.log_volume_ratio(jnp.array(table)), expected, atol=1e-6)


def test_classes_of_the_foreground_count_as_one_volume():
    # He says 1 for 2: wrong class, right volume.
    table = jnp.array([[5, 0, 0], [0, 0, 3], [0, 0, 0]])
    assert float(raters.log_volume_ratio(table)) == 0.0


def test_agreement_by_hand():
    labels = jnp.array([[1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]])
    result = raters.agreement(labels, 2, rater_mask=jnp.array([True, True, True, False]))
    np.testing.assert_allclose(result, [0.75, 0.5, 0.75, np.nan])


def test_agreement_of_a_single_rater_is_undefined_and_of_empty_labels_full():
    empty = jnp.zeros((2, 3, 3), jnp.uint8)
    np.testing.assert_array_equal(raters.agreement(empty, 2), [1, 1])
    alone = raters.agreement(empty, 2, rater_mask=jnp.array([True, False]))
    assert np.isnan(alone).all()


def test_agreement_equals_a_loop_over_pairs(case):
    labels, _ = case
    expected = []
    for r in range(4):
        others = [
            overlap.dice(overlap.counts(labels[r], labels[q], 3))[1:].mean()
            for q in range(4)
            if q != r
        ]
        expected.append(np.mean(others))
    np.testing.assert_allclose(raters.agreement(labels, 3), expected, rtol=1e-6)


def test_jit_and_vmap_change_nothing(case):
    labels, truth = case
    mask = jnp.array([True, True, False, True])

    def everything(labels, truth):
        table = raters.joint_counts(labels, truth, 3, rater_mask=mask)
        return table, raters.log_volume_ratio(table), raters.agreement(labels, 3, rater_mask=mask)

    stacked = jnp.stack([labels, labels[::-1]]), jnp.stack([truth, truth.T.reshape(truth.shape)])
    together = jax.jit(jax.vmap(everything))(*stacked)
    for n in range(2):
        alone = everything(stacked[0][n], stacked[1][n])
        for one, other in zip(together, alone, strict=True):
            np.testing.assert_allclose(one[n], other, rtol=1e-6)


def test_volumes_have_the_same_numbers_as_their_flat_voxels(case):
    labels, truth = case
    volume = raters.joint_counts(labels.reshape(4, 3, 2, 5), truth.reshape(3, 2, 5), 3)
    np.testing.assert_array_equal(volume, raters.joint_counts(labels, truth, 3))


def test_other_shapes_are_named():
    with pytest.raises((ValueError, jaxtyping.TypeCheckError), match="labels"):
        raters.joint_counts(jnp.zeros((2, 3, 4), int), jnp.zeros((3, 5), int), 2)


def test_an_id_that_is_one_beyond_the_classes_is_not_counted():
    assert not raters.joint_counts(jnp.array([[0, 1]]), jnp.array([2, 2]), 2).any()
    assert not raters.joint_counts(jnp.array([[2, 2]]), jnp.array([0, 1]), 2).any()
    assert not raters.joint_counts(jnp.array([[-1, 0]]), jnp.array([0, -1]), 2).any()
