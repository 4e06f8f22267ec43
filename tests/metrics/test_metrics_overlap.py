"""Overlap metrics against the golden file, which holds NaN for every 0/0."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.metrics import overlap

# One compilation per shape instead of one per operation.
_COUNTS = jax.jit(overlap.counts, static_argnums=2)

_FIELDS = {
    "dice": overlap.dice,
    "jaccard": overlap.jaccard,
    "accuracy": overlap.accuracy,
    "precision": overlap.precision,
    "recall": overlap.recall,
    "specificity": overlap.specificity,
    "fpr": overlap.false_positive_rate,
    "rvd_abs": overlap.relative_volume_difference,
    "rvd_signed": functools.partial(overlap.relative_volume_difference, signed=True),
}


@jax.jit
def _plain(counts):
    return {name: metric(counts, empty="nan") for name, metric in _FIELDS.items()}


def _counts(tp, fp, fn, tn):
    return overlap.Counts(*(jnp.array([value], jnp.int32) for value in (tp, fp, fn, tn)))


_BOTH_EMPTY = _counts(0, 0, 0, 9)


def _measured(pred, truth, classes):
    counts = _COUNTS(jnp.asarray(pred), jnp.asarray(truth), classes)
    return counts._asdict() | _plain(counts)


def test_golden_binary(golden):
    with np.load(golden / "overlap.npz") as file:
        for case in range(len(file["case_names"])):
            result = _measured(file[f"c{case:02d}_pred"], file[f"c{case:02d}_gt"], 2)
            for name, value in result.items():
                expected = file[f"bin_{name}"][case]
                np.testing.assert_allclose(value[1], expected, rtol=2e-6, err_msg=f"{case} {name}")


@pytest.mark.parametrize("case", range(4))
def test_golden_multiclass(golden, case):
    with np.load(golden / "overlap.npz") as file:
        result = _measured(file[f"m{case:02d}_pred"], file[f"m{case:02d}_gt"], 4)
        for name, value in result.items():
            np.testing.assert_allclose(value, file[f"m{case:02d}_{name}"], rtol=2e-6, err_msg=name)


def test_metrics_by_hand():
    counts = _counts(3, 1, 2, 4)
    expected = {
        "dice": 6 / 9,
        "jaccard": 3 / 6,
        "accuracy": 7 / 10,
        "precision": 3 / 4,
        "recall": 3 / 5,
        "specificity": 4 / 5,
        "false_positive_rate": 1 / 5,
        "false_discovery_rate": 1 / 4,
        "relative_volume_difference": 1 / 5,
    }
    assert expected.keys() == overlap.METRICS.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(overlap.METRICS[name](counts), [value], rtol=1e-6)
    signed = overlap.relative_volume_difference(counts, signed=True)
    np.testing.assert_allclose(signed, [-1 / 5], rtol=1e-6)


@pytest.mark.parametrize("name", overlap.METRICS)
def test_empty_switch_decides_zero_over_zero(name):
    nothing = _counts(0, 0, 0, 0)
    for empty, expected in {"one": 1.0, "zero": 0.0, "nan": np.nan}.items():
        value = overlap.METRICS[name](nothing, empty=empty)
        np.testing.assert_array_equal(value, np.array([expected], np.float32))
    with pytest.raises(ValueError, match="empty: expected one of 'one', 'nan', 'zero', got 'two'"):
        overlap.METRICS[name](nothing, empty="two")


def test_defaults_when_both_masks_are_empty():
    values = {name: float(metric(_BOTH_EMPTY)[0]) for name, metric in overlap.METRICS.items()}
    assert values.pop("accuracy") == 1.0
    assert values.pop("specificity") == 1.0
    assert values.pop("false_positive_rate") == 0.0
    assert values.pop("dice") == 1.0
    assert values.pop("jaccard") == 1.0
    assert values.pop("relative_volume_difference") == 0.0
    assert np.isnan(list(values.values())).all()


def test_volume_difference_is_infinite_when_only_the_truth_is_empty():
    counts = _counts(0, 2, 0, 7)
    assert np.isposinf(overlap.relative_volume_difference(counts))
    assert np.isnan(overlap.relative_volume_difference(counts, empty="nan"))


def test_where_equals_cutting_the_voxels_away():
    draw = np.random.default_rng(0)
    pred, truth = (jnp.asarray(draw.integers(0, 3, (6, 5), dtype=np.uint8)) for _ in range(2))
    keep = jnp.asarray(np.arange(6)[:, None] < np.full((1, 5), 4))
    masked = _COUNTS(pred, truth.at[4:].set(255), 3, where=keep)
    cut = _COUNTS(pred[:4], truth[:4], 3)
    for one, other in zip(masked, cut, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (sum(cut) == 20).all()


def test_a_truth_that_is_no_class_is_outside_of_all_classes():
    counts = _COUNTS(jnp.array([1, 1]), jnp.array([1, 255]), 2)
    np.testing.assert_array_equal(counts.fp, [0, 1])
    np.testing.assert_array_equal(counts.fn, [0, 0])


def test_binary_masks_count_like_class_ids():
    pred, truth = jnp.array([True, True, False]), jnp.array([True, False, False])
    np.testing.assert_array_equal(_COUNTS(pred, truth, 2).tp, [1, 1])
    np.testing.assert_array_equal(_COUNTS(pred, truth, 2).fp, [0, 1])


def test_counts_batch_and_add():
    draw = np.random.default_rng(1)
    pred, truth = (jnp.asarray(draw.integers(0, 3, (4, 3, 4, 5), dtype=np.int32)) for _ in range(2))
    together = jax.jit(jax.vmap(lambda p, t: overlap.counts(p, t, 3)))(pred, truth)
    loop = [overlap.counts(p, t, 3) for p, t in zip(pred, truth, strict=True)]
    for index, counts in enumerate(loop):
        for one, other in zip(together, counts, strict=True):
            np.testing.assert_array_equal(one[index], other)
    whole = _COUNTS(pred, truth, 3)
    added = functools.reduce(lambda a, b: jax.tree.map(jnp.add, a, b), loop)
    for one, other in zip(added, whole, strict=True):
        np.testing.assert_array_equal(one, other)
    assert overlap.dice(together).shape == (4, 3)


def test_relations_between_metrics():
    draw = np.random.default_rng(2)
    pred, truth = (jnp.asarray(draw.integers(0, 3, (8, 8), dtype=np.int32)) for _ in range(2))
    counts, swapped = _COUNTS(pred, truth, 3), _COUNTS(truth, pred, 3)
    dice, jaccard = overlap.dice(counts), overlap.jaccard(counts)
    np.testing.assert_allclose(dice, 2 * jaccard / (1 + jaccard), rtol=1e-6)
    np.testing.assert_allclose(dice, overlap.dice(swapped), rtol=1e-6)
    np.testing.assert_allclose(overlap.precision(counts), overlap.recall(swapped), rtol=1e-6)
    np.testing.assert_allclose(
        overlap.false_positive_rate(counts), 1 - overlap.specificity(counts), rtol=1e-5
    )


def test_large_counts_do_not_overflow():
    counts = _counts(2**30, 2**30, 2**30, 0)
    np.testing.assert_allclose(overlap.dice(counts), [0.5], rtol=1e-6)
