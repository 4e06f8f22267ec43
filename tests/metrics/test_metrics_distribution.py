"""Generalised energy distance against the golden file, and its properties."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.metrics import distribution

_GED = jax.jit(
    distribution.ged_squared,
    static_argnames=("distance", "num_classes", "include_background", "estimator"),
)

_AGREEMENT = jax.jit(distribution.agreement)
_INSIGHT = jax.jit(distribution.collective_insight)

_SETS = [
    "blobs",
    "random",
    "identical_sets",
    "single_vs_single",
    "one_empty_label",
    "all_empty",
    "empty_samples",
    "disjoint",
]


def _maps(seed, count, shape=(6, 5), classes=3):
    draw = np.random.default_rng(seed)
    return jnp.asarray(draw.integers(0, classes, (count, *shape), dtype=np.uint8))


@pytest.mark.parametrize("name", _SETS)
def test_golden_sets(golden, name):
    with np.load(golden / "golden_ged.npz") as file:
        samples, labels = jnp.asarray(file[f"{name}/samples"]), jnp.asarray(file[f"{name}/labels"])
        iou, dice = file[f"{name}/ged2_iou"], file[f"{name}/ged2_dice"]
        macro = file[f"{name}/ged2_macrodice"]
    np.testing.assert_allclose(_GED(samples, labels), iou, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(_GED(samples, labels, distance="dice"), dice, rtol=1e-5, atol=1e-6)
    both = _GED(samples, labels, distance="dice", include_background=True)
    np.testing.assert_allclose(both, macro, rtol=1e-5, atol=1e-6)


def test_golden_multiclass(golden):
    with np.load(golden / "golden_ged.npz") as file:
        samples = jnp.asarray(file["multiclass3/samples"])
        labels = jnp.asarray(file["multiclass3/labels"])
        expected = {name: file[f"multiclass3/ged2_{name}"] for name in ("iou", "dice")}
    for distance, value in expected.items():
        ged = _GED(samples, labels, distance=distance, num_classes=3)
        np.testing.assert_allclose(ged, value, rtol=1e-5)


def test_by_hand():
    # d(S, Y) = 1/2 and 1; no spread among one sample; d(Y, Y') = 1 for half of the ordered pairs
    samples, labels = jnp.array([[1, 1, 0]]), jnp.array([[1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(_GED(samples, labels), 2 * 0.75 - 0.5, rtol=1e-6)


@pytest.mark.parametrize("distance", ["iou", "dice"])
@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 2)])
def test_zero_for_equal_sets_symmetric_and_not_negative(distance, shape):
    ged = functools.partial(_GED, distance=distance, num_classes=3)
    for seed in range(5):
        one, other = _maps(seed, 4, shape), _maps(seed + 100, 4, shape)
        np.testing.assert_allclose(ged(one, one[::-1]), 0.0, atol=1e-6)
        np.testing.assert_allclose(ged(one, other), ged(other, one), rtol=1e-4, atol=1e-6)
        assert 0.0 <= ged(one, other) <= 2.0


@pytest.mark.parametrize("estimator", distribution.ESTIMATORS)
def test_missing_raters_are_left_out(estimator):
    samples, labels = _maps(0, 3), _maps(1, 4)
    mask = jnp.array([True, False, True, False])
    ged = functools.partial(_GED, num_classes=3, estimator=estimator)
    cut = ged(samples, labels[::2])
    for given in (labels, labels.at[1::2].set(255)):
        np.testing.assert_allclose(ged(samples, given, rater_mask=mask), cut, rtol=1e-5)
    assert np.isnan(ged(samples, labels, rater_mask=jnp.zeros(4, bool)))


def test_an_unknown_distance_is_refused():
    with pytest.raises(ValueError, match="distance: expected one of 'iou', 'dice', got 'l2'"):
        distribution.ged_squared(_maps(0, 2), _maps(1, 2), distance="l2")


def test_vmap_equals_eager_loop():
    samples = jnp.stack([_maps(seed, 3) for seed in range(3)])
    labels = jnp.stack([_maps(seed, 2) for seed in range(10, 13)])
    loop = [distribution.ged_squared(*pair) for pair in zip(samples, labels, strict=True)]
    together = jax.jit(jax.vmap(distribution.ged_squared))(samples, labels)
    np.testing.assert_allclose(together, loop, rtol=1e-5)


def test_rater_samples_take_the_likeliest_class():
    probs = jnp.array([[[0.2, 0.8], [0.5, 0.5]], [[0.9, 0.1], [0.4, 0.6]]])
    np.testing.assert_array_equal(distribution.rater_samples(probs), [[1, 0], [0, 1]])


def test_agreement_by_hand():
    labels = jnp.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 0]])
    # Pairs of the first three: 1/2, 0, 0.
    mask = jnp.array([True, True, True, False])
    np.testing.assert_allclose(_AGREEMENT(labels, rater_mask=mask), 1 / 6, rtol=1e-6)
    np.testing.assert_allclose(_AGREEMENT(labels), 1 / 12, rtol=1e-6)
    empty = jnp.zeros((2, 4), jnp.uint8)
    assert _AGREEMENT(empty) == 1
    assert jnp.isnan(_AGREEMENT(labels, rater_mask=jnp.arange(4) == 1))


def test_samples_that_find_what_nobody_marked_have_no_insight():
    samples = jnp.array([[0, 0], [1, 0]])
    assert _INSIGHT(samples, jnp.zeros((2, 2), jnp.uint8)) == 0


def test_collective_insight_is_of_what_any_rater_and_any_sample_marks():
    samples = jnp.array([[1, 0, 0, 0], [0, 1, 0, 0]])
    labels = jnp.array([[1, 1, 0, 0], [0, 1, 1, 0]])
    # Two of three pixels are found, Dice 2/3 for both raters, and all variances are 1/2.
    score = _INSIGHT(samples, labels)
    np.testing.assert_allclose(score, 3 * (2 / 3) ** 2 / (2 / 3 + 2 / 3 + 1), rtol=1e-6)
