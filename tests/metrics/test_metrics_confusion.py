"""Errors of confusion matrices and the checks of orientation that need no truth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import losses
from noisyjax.metrics import confusion

_COLUMN_ERROR = jax.jit(confusion.true_column_error)
_RMSE = jax.jit(confusion.cm_rmse)
_MEAN = jax.jit(confusion.mean_cms)


def _random(shape=(4, 3), raters=2, classes=3, seed=0):
    draw = np.random.default_rng(seed)
    cms = draw.dirichlet(np.ones(classes), (raters, *shape, classes)).astype(np.float32)
    truth = draw.integers(0, classes, shape, dtype=np.uint8)
    labels = draw.integers(0, classes, (raters, *shape), dtype=np.uint8)
    return jnp.asarray(np.swapaxes(cms, -1, -2)), jnp.asarray(truth), jnp.asarray(labels)


def test_cm_rmse_by_hand():
    estimated = jnp.array([[[1.0, 0.5], [0.0, 0.5]]])
    np.testing.assert_allclose(_RMSE(estimated, jnp.eye(2)[None]), np.sqrt(0.5 / 4), rtol=1e-6)
    columns = jnp.array([[[False, True]]])
    by_column = _RMSE(estimated, jnp.eye(2)[None], where=columns)
    np.testing.assert_allclose(by_column, 0.5, rtol=1e-6)


def test_cm_rmse_takes_matrices_or_entries_to_count():
    cms, _, _ = _random()
    keep = jnp.asarray(np.random.default_rng(1).random((2, 4, 3)) < 0.5)
    expected = np.sqrt(
        np.mean(np.square(np.asarray(cms - jnp.eye(3).reshape(1, 1, 1, 3, 3)))[keep])
    )
    identity = jnp.eye(3).reshape(1, 1, 1, 3, 3)
    np.testing.assert_allclose(_RMSE(cms, identity, where=keep), expected, rtol=1e-5)
    entries = jnp.broadcast_to(keep[..., None, None], cms.shape)
    np.testing.assert_allclose(_RMSE(cms, identity, where=entries), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="where: expected 3 or 5 axes"):
        confusion.cm_rmse(cms, identity, where=keep[0])


def test_true_column_error_by_hand():
    cms = jnp.array([[[0.75, 0.5], [0.25, 0.5]], [[0.75, 0.5], [0.25, 0.5]]])[:, None]
    error, count = _COLUMN_ERROR(cms, jnp.array([0]), jnp.array([[0], [1]]))
    np.testing.assert_allclose(error, [2 / 16, 2 * 9 / 16], rtol=1e-6)
    np.testing.assert_array_equal(count, [2, 2])


def test_true_column_error_equals_rmse_on_the_observed_column():
    cms, truth, labels = _random()
    error, count = _COLUMN_ERROR(cms, truth, labels)
    true = losses.confusion.one_hot_cms(truth, labels, 3)
    observed = jnp.asarray(np.eye(3, dtype=bool)[np.asarray(truth)][None, ..., None, :])
    expected = _RMSE(cms, true, where=observed)
    np.testing.assert_allclose(jnp.sqrt(error.sum() / count.sum()), expected, rtol=1e-5)
    exact, _ = _COLUMN_ERROR(true, truth, labels)
    np.testing.assert_array_equal(exact, 0.0)


def test_true_column_error_leaves_out_missing_raters_and_pixels():
    cms, truth, labels = _random()
    keep = jnp.asarray(np.arange(4)[:, None] < np.full((1, 3), 3))
    mask = jnp.array([True, False])
    error, count = _COLUMN_ERROR(cms, truth, labels.at[1].set(255), rater_mask=mask, where=keep)
    cut, cut_count = _COLUMN_ERROR(cms[:, :3], truth[:3], labels[:, :3])
    np.testing.assert_allclose(error, [cut[0], 0.0], rtol=1e-6)
    np.testing.assert_array_equal(count, [cut_count[0], 0.0])


def test_one_matrix_for_all_pixels_equals_the_repeated_one():
    cms, truth, labels = _random()
    one = cms[:, :1, :1]
    repeated = jnp.broadcast_to(one, cms.shape)
    for some, other in zip(
        _COLUMN_ERROR(one, truth, labels), _COLUMN_ERROR(repeated, truth, labels), strict=True
    ):
        np.testing.assert_allclose(some, other, rtol=1e-6)
    probs = jax.nn.one_hot(truth, 3)
    np.testing.assert_allclose(_MEAN(one, probs=probs), one[:, 0, 0], rtol=1e-5)
    np.testing.assert_allclose(_MEAN(one), _MEAN(repeated), rtol=1e-5)
    keep = truth > 0
    np.testing.assert_allclose(
        confusion.mean_trace(one, where=keep), confusion.mean_trace(repeated, where=keep), rtol=1e-5
    )


def test_vmap_equals_eager_loop():
    batch = [_random(seed=seed) for seed in range(3)]
    stacked = [jnp.stack(parts) for parts in zip(*batch, strict=True)]
    errors, counts = jax.jit(jax.vmap(confusion.true_column_error))(*stacked)
    loop = [confusion.true_column_error(*example) for example in batch]
    np.testing.assert_allclose(errors, [error for error, _ in loop], rtol=1e-5)
    np.testing.assert_allclose(counts, [count for _, count in loop])


def test_mean_cms_weighted_by_the_truth_are_the_rates_of_labels():
    _, truth, labels = _random((40, 30), seed=1)
    cms = losses.confusion.one_hot_cms(truth, labels, 3)
    mean = np.asarray(_MEAN(cms, probs=jax.nn.one_hot(truth, 3)))
    for rater in range(2):
        for true in range(3):
            given = np.asarray(labels[rater])[np.asarray(truth) == true]
            rates = np.bincount(given, minlength=3) / given.size
            np.testing.assert_allclose(mean[rater, :, true], rates, rtol=1e-5)
    sums, counts = confusion.cm_sums(cms, where=truth > 0)
    np.testing.assert_allclose(counts, float((truth > 0).sum()))
    np.testing.assert_allclose(sums.sum(1), np.broadcast_to(counts, (2, 3)), rtol=1e-5)


def test_mean_trace_by_hand_and_under_where():
    cms = jnp.stack([jnp.eye(2), jnp.eye(2)[::-1]])[None]
    np.testing.assert_allclose(confusion.mean_trace(cms), [0.5])
    np.testing.assert_allclose(confusion.mean_trace(cms, where=jnp.array([True, False])), [1.0])


@pytest.mark.parametrize(
    ("cm", "expected"),
    [
        ([[0.6, 0.3], [0.4, 0.7]], True),
        ([[0.4, 0.3], [0.6, 0.7]], True),
        ([[0.4, 0.5], [0.6, 0.5]], False),
        ([[0.5, 0.5], [0.5, 0.5]], False),
    ],
)
def test_diagonal_dominance_compares_along_rows(cm, expected):
    assert bool(confusion.diagonally_dominant(jnp.array(cm))) is expected


def test_class_exchange_finds_any_order_of_classes():
    healthy = np.array([[0.7, 0.2, 0.1], [0.2, 0.6, 0.2], [0.1, 0.2, 0.7]])
    for order in ([0, 1, 2], [1, 0, 2], [2, 0, 1], [1, 2, 0]):
        # If the segmentation says j where the raters mean order[j], columns have moved likewise.
        assert confusion.class_exchange(healthy[:, order]).tolist() == order


def test_class_exchange_keeps_the_identity_in_a_tie():
    assert confusion.class_exchange(np.full((3, 3), 1 / 3)).tolist() == [0, 1, 2]
    # Up to rounding.
    above = np.array([[0.5, 0.5 + 1e-8], [0.5, 0.5 - 1e-8]])
    assert confusion.class_exchange(above).tolist() == [0, 1]


def test_lock_in_and_collapse_are_distinguished():
    cms = np.array([np.eye(2), [[1.0, 1.0], [0.0, 0.0]], [[0.9, 0.2], [0.1, 0.8]]])
    right = np.trace(cms, axis1=1, axis2=2) / 2
    assert confusion.locked_in(right).tolist() == [True, False, False]
    assert confusion.uninformative(cms).tolist() == [False, True, False]


def test_orientation_warnings_name_what_is_wrong():
    healthy = np.array([[[0.9, 0.2], [0.1, 0.8]], [[0.7, 0.1], [0.3, 0.9]]])
    names = ["anna", "bert"]
    assert confusion.orientation_warnings(healthy, names) == []
    (exchanged,) = confusion.orientation_warnings(healthy[..., ::-1], names)
    assert "exchanged" in exchanged
    locked = np.array([np.eye(2), healthy[1]])
    assert ["anna" in text for text in confusion.orientation_warnings(locked, names)] == [True]
    blank = np.array([[[1.0, 1.0], [0.0, 0.0]]] * 2)
    result = confusion.orientation_warnings(blank, names)
    assert "not diagonally dominant" in result[0]
    assert ["same everywhere" in text for text in result[1:]] == [True, True]


def test_ranking_agreement():
    assert confusion.ranking_agreement(np.arange(4.0), np.arange(4.0)[::-1]) == -1.0
    np.testing.assert_allclose(
        confusion.ranking_agreement(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])), 0.5
    )
    assert np.isnan(confusion.ranking_agreement(np.ones(3), np.arange(3.0)))
    assert np.isnan(confusion.ranking_agreement(np.ones(1), np.ones(1)))
