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
        "tversky": 6 / 9,
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
    assert values.pop("tversky") == 1.0
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
    counts = _COUNTS(jnp.array([1, 1]), jnp.array([1, 254]), 2)
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


# Three cases of background and two classes: both empty, predicted only, half right, missed.
_CASES = overlap.Counts(
    tp=jnp.array([[8, 0, 2], [5, 0, 1], [9, 0, 0]]),
    fp=jnp.array([[0, 0, 2], [1, 3, 2], [0, 0, 0]]),
    fn=jnp.array([[2, 0, 0], [4, 0, 0], [1, 0, 1]]),
    tn=jnp.array([[2, 12, 8], [2, 9, 9], [2, 12, 11]]),
)


@pytest.mark.parametrize(
    ("convention", "first", "mean", "count"),
    [
        # The last class alone: 2/3, 1/2 and 0.
        ("monai", [np.nan, np.nan, np.nan], (2 / 3 + 1 / 2 + 0) / 3, 3),
        # Of the cases: 2/3, (0 + 1/2) / 2 and 0.
        ("torchmetrics", [np.nan, 0, np.nan], (2 / 3 + 1 / 4 + 0) / 3, 4),
        # Of the classes: 0 and (2/3 + 1/2 + 0) / 3.
        ("nnunet", [np.nan, 0, np.nan], (0 + 7 / 18) / 2, 4),
        ("medpy", [1, 0, 1], (1 + 0 + 1 + 2 / 3 + 1 / 2 + 0) / 6, 6),
    ],
)
def test_conventions_by_hand(convention, first, mean, count):
    dice = overlap.convention_dice(_CASES, convention=convention)
    np.testing.assert_allclose(dice[:, 1], first)
    np.testing.assert_allclose(dice[:, 2], [2 / 3, 1 / 2, 0], rtol=1e-6)
    result = overlap.mean_dice(_CASES, convention=convention)
    np.testing.assert_allclose(result.mean, mean, rtol=1e-6)
    assert result.count == count
    everything = overlap.mean_dice(_CASES, convention=convention, include_background=True)
    assert everything.count == count + 3


def test_a_mean_of_nothing():
    nothing = overlap.Counts(*(jnp.full((2, 2), n) for n in (0, 0, 0, 9)))
    means = {
        name: float(overlap.mean_dice(nothing, convention=name).mean)
        for name in overlap.CONVENTIONS
    }
    expected = {"monai": 0.0, "medpy": 1.0, "nnunet": np.nan, "torchmetrics": np.nan}
    np.testing.assert_equal(means, expected)
    with pytest.raises(ValueError, match="convention: expected one of 'monai', 'medpy'"):
        overlap.mean_dice(nothing, convention="sklearn")


def test_conventions_equal_the_libraries(golden):
    with np.load(golden / "overlap.npz") as file:
        expected = {"monai": file["bin_monai_dice_ignore1"], "medpy": file["bin_medpy_dice"]}
        pairs = [
            (file[f"c{case:02d}_pred"], file[f"c{case:02d}_gt"])
            for case in range(len(file["case_names"]))
        ]
    counts = [_COUNTS(jnp.asarray(pred), jnp.asarray(truth), 2) for pred, truth in pairs]
    counts = jax.tree.map(lambda *parts: jnp.stack(parts), *counts)
    for name, values in expected.items():
        if name == "medpy":
            # It divides by zero, which newer NumPy makes NaN and no error, and would say 1.
            values = np.where(np.isnan(values), 1.0, values)
        result = overlap.convention_dice(counts, convention=name)[:, 1]
        np.testing.assert_allclose(result, values, rtol=2e-6, err_msg=name)


def test_medpy_has_one_value_for_empty_masks_of_dice_and_jaccard():
    binary = pytest.importorskip("medpy.metric.binary")
    nothing = np.zeros((4, 4), bool)
    something = nothing.copy()
    something[1, 1] = True
    # Its Jaccard does not depend on NumPy.
    assert binary.jc(nothing, nothing) == overlap.CONVENTIONS["medpy"].both
    assert binary.dc(something, nothing) == overlap.CONVENTIONS["medpy"].truth


def test_tversky_and_its_focus_by_hand():
    counts = _counts(3, 1, 2, 4)
    np.testing.assert_allclose(overlap.tversky(counts), overlap.dice(counts))
    alike = overlap.tversky(counts, alpha=1, beta=1)
    np.testing.assert_allclose(alike, overlap.jaccard(counts))
    index = 3 / (3 + 0.3 * 1 + 0.7 * 2)
    np.testing.assert_allclose(overlap.tversky(counts, alpha=0.3, beta=0.7), [index], rtol=1e-6)
    np.testing.assert_allclose(overlap.focal_tversky(counts), [(1 - index) ** 0.75], rtol=1e-6)
    plain = overlap.focal_tversky(counts, alpha=0.5, beta=0.5, gamma=1)
    np.testing.assert_allclose(plain, 1 - overlap.dice(counts), rtol=1e-6)
    assert overlap.focal_tversky(_BOTH_EMPTY) == 0
    with pytest.raises(ValueError, match="beta: expected a number >= 0, got -1"):
        overlap.tversky(counts, beta=-1)


def test_generalised_dice_by_hand():
    # Classes of 4 and 2 voxels; the background is left out.
    counts = overlap.Counts(*(jnp.array(n) for n in ([0, 3, 1], [0, 1, 0], [0, 1, 1], [0, 5, 8])))
    expected = {
        "square": 2 * (3 / 16 + 1 / 4) / (8 / 16 + 3 / 4),
        "simple": 2 * (3 / 4 + 1 / 2) / (8 / 4 + 3 / 2),
        "uniform": 2 * 4 / 11,
    }
    for weights, value in expected.items():
        result = overlap.generalised_dice(counts, weights=weights)
        np.testing.assert_allclose(result, value, rtol=1e-6)
    one_class = jax.tree.map(lambda part: part[:2], counts)
    np.testing.assert_allclose(
        overlap.generalised_dice(one_class), overlap.dice(one_class)[1], rtol=1e-6
    )
    # A class that is only predicted has the largest weight of the others, 1/4 of two voxels.
    more = overlap.Counts(*(jnp.append(p, n) for p, n in zip(counts, (0, 2, 0, 8), strict=True)))
    value = 2 * (3 / 16 + 1 / 4) / (8 / 16 + 3 / 4 + 2 / 4)
    np.testing.assert_allclose(overlap.generalised_dice(more), value, rtol=1e-6)


def test_generalised_dice_of_empty_masks():
    nothing = overlap.Counts(*(jnp.full(3, n) for n in (0, 0, 0, 9)))
    assert overlap.generalised_dice(nothing) == 1
    assert np.isnan(overlap.generalised_dice(nothing, empty="nan"))
    predicted = nothing._replace(fp=jnp.array([0, 2, 0]))
    assert overlap.generalised_dice(predicted) == 0
    with pytest.raises(ValueError, match="weights: expected one of 'square', 'simple', 'uniform'"):
        overlap.generalised_dice(nothing, weights="cube")


def test_counts_of_probabilities():
    draw = np.random.default_rng(3)
    labels = jnp.asarray(draw.integers(0, 3, (5, 6)))
    pred = jnp.asarray(draw.integers(0, 3, (5, 6)))
    where = jnp.asarray(draw.random((5, 6)) < 0.7)
    masks, truth = jax.nn.one_hot(pred, 3), jax.nn.one_hot(labels, 3)
    soft = overlap.soft_counts(masks, truth, where=where)
    for one, other in zip(soft, overlap.counts(pred, labels, 3, where=where), strict=True):
        np.testing.assert_array_equal(one, other)
    probs = jax.nn.softmax(jnp.asarray(draw.normal(size=(5, 6, 3)), jnp.float32))
    result = overlap.dice(overlap.soft_counts(probs, truth))
    expected = 2 * (probs * truth).sum((0, 1)) / (probs.sum((0, 1)) + truth.sum((0, 1)))
    np.testing.assert_allclose(result, expected, rtol=1e-5)
    unknown = jnp.where(where[..., None], probs, jnp.nan)
    assert np.isfinite(overlap.soft_counts(unknown, truth, where=where)).all()


def test_soft_metrics_have_finite_gradients():
    truth = jax.nn.one_hot(jnp.array([[0, 1], [1, 0]]), 3)

    def total(probs):
        counts = overlap.soft_counts(probs, truth)
        classes = overlap.focal_tversky(counts) + overlap.tversky(counts)
        return jnp.sum(classes) + overlap.generalised_dice(counts)

    gradient = jax.jit(jax.grad(total))
    for probs in (truth, jnp.zeros_like(truth), 1 - truth, jnp.full_like(truth, 1 / 3)):
        assert np.isfinite(gradient(probs)).all()


def test_large_counts_do_not_overflow():
    counts = _counts(2**30, 2**30, 2**30, 0)
    np.testing.assert_allclose(overlap.dice(counts), [0.5], rtol=1e-6)


def test_a_class_that_is_nowhere_has_a_finite_gradient():
    targets = jnp.array([[1.0, 0.0], [1.0, 0.0]])

    def total(probs):
        return overlap.dice(overlap.soft_counts(probs, targets)).sum()

    np.testing.assert_array_equal(jnp.isfinite(jax.grad(total)(targets)), True)
