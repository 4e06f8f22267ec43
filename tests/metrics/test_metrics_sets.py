"""What is asked of samples and labels as sets, against the golden file and by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.core import slabs
from noisyjax.metrics import distribution, mask_pairs

_GED = jax.jit(distribution.ged_squared, static_argnames=("num_classes", "estimator", "empty"))
_DIVERSITY = jax.jit(distribution.diversity, static_argnames="num_classes")
_SOFT = jax.jit(distribution.soft_threshold_dice, static_argnames="thresholds")
_NCC = jax.jit(distribution.ncc)
_INSIGHT = jax.jit(distribution.collective_insight)

_MANY = jnp.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1]])
_TWO = jnp.array([[1, 1, 0, 0], [1, 0, 0, 0]])


def _maps(seed, count, shape=(6, 5), classes=3):
    draw = np.random.default_rng(seed)
    return jnp.asarray(draw.integers(0, classes, (count, *shape), dtype=np.uint8))


@functools.partial(jax.jit, static_argnames="num_classes")
def _of_a_set(samples, probs, labels, rater_mask, *, num_classes):
    """All that is golden and jitted, compiled together."""
    ged = functools.partial(
        distribution.ged_squared, samples, labels, num_classes=num_classes, rater_mask=rater_mask
    )
    result = {
        "ged_iou": ged(),
        "ged_dice": ged(distance="dice"),
        "ged_iou_unbiased": ged(estimator="unbiased"),
        "ged_iou_empty_far": ged(empty="far"),
        "diversity_samples": distribution.diversity(samples, num_classes=num_classes),
        "diversity_raters": distribution.diversity(
            labels, num_classes=num_classes, mask=rater_mask
        ),
        "ncc_phiseg": distribution.ncc(probs, labels, rater_mask=rater_mask),
    }
    if num_classes == 2:
        mean = probs[..., 1].mean(axis=0)
        for number, thresholds in ((5, distribution.D_PERSONA_5), (9, distribution.QUBIQ_9)):
            result[f"dice_soft_{number}"] = distribution.soft_threshold_dice(
                mean, labels, thresholds=thresholds, rater_mask=rater_mask
            )
        result["ncc_variance"] = distribution.ncc_variance(probs, labels, rater_mask=rater_mask)
    return result


@pytest.mark.parametrize("case", range(10))
def test_golden(golden, case):
    with np.load(golden / "multirater.npz") as file:
        given = {
            key.partition(".")[2]: file[key] for key in file.files if key.startswith(f"{case:02d}.")
        }
    names = ("sample_maps", "sample_probs", "labels", "rater_mask")
    arrays = [jnp.asarray(given[name]) for name in names]
    result = _of_a_set(*arrays, num_classes=given["sample_probs"].shape[-1])
    for name, value in result.items():
        np.testing.assert_allclose(value, given[name], rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("samples", "labels", "options", "expected"),
    [
        ([[1, 1, 0]], [[1, 0, 0], [1, 1, 0]], {}, 0.25),
        ([[1, 1, 0]] * 2, [[1, 0, 0], [1, 1, 0]], {"estimator": "unbiased"}, 0.0),
        ([[1, 1, 0]], [[1, 0, 0], [1, 1, 0]], {"estimator": "unbiased"}, np.nan),
        ([[0, 0, 0]], [[0, 0, 0], [1, 1, 0]], {}, 0.5),
        ([[0, 0, 0]], [[0, 0, 0], [1, 1, 0]], {"empty": "far"}, 0.25),
        ([[0, 0, 0]] * 2, [[0, 0, 0]], {}, 0.0),
        ([[0, 0, 0]] * 2, [[0, 0, 0]], {"empty": "far"}, 0.0),
    ],
)
def test_estimators_and_empty_masks_by_hand(samples, labels, options, expected):
    ged = _GED(jnp.array(samples), jnp.array(labels), **options)
    np.testing.assert_allclose(ged, expected, atol=1e-6)


def test_the_biased_estimator_is_larger_by_the_spread_over_the_size():
    samples, labels = _maps(0, 4), _maps(1, 3)
    biased, unbiased = (
        _GED(samples, labels, num_classes=3, estimator=estimator)
        for estimator in ("biased", "unbiased")
    )
    # Diversity of n maps is (n - 1) / n of the mean distance of different ones.
    spreads = [_DIVERSITY(maps, num_classes=3) / (len(maps) - 1) for maps in (samples, labels)]
    np.testing.assert_allclose(biased - unbiased, sum(spreads), rtol=1e-4)


def test_diversities_are_the_last_terms_of_the_distance():
    samples, labels = _maps(2, 3), _maps(3, 3)
    across = np.mean(
        [
            [float(_GED(one[None], other[None], num_classes=3)) / 2 for other in labels]
            for one in samples
        ]
    )
    spread = sum(_DIVERSITY(maps, num_classes=3) for maps in (samples, labels))
    np.testing.assert_allclose(_GED(samples, labels, num_classes=3), 2 * across - spread, rtol=1e-4)
    assert np.isnan(_DIVERSITY(labels, num_classes=3, mask=jnp.zeros(3, bool)))
    assert np.isnan(_DIVERSITY(labels, num_classes=3, where=jnp.zeros((6, 5), bool)))


def test_collective_insight_by_hand():
    # Sensitivity 1, best Dice (1 + 2/3) / 2, variances 1 and .1875 against .1875 twice.
    parts = np.array([1, 5 / 6, 1 - 0.5 * 0.8125])
    expected = 3 * parts.prod() / parts.sum()
    np.testing.assert_allclose(_INSIGHT(_MANY, _TWO), expected, rtol=1e-6)
    three = jnp.concatenate([_TWO, 1 - _TWO[:1]])
    masked = _INSIGHT(_MANY, three, rater_mask=jnp.array([True, True, False]))
    np.testing.assert_allclose(masked, expected, rtol=1e-6)
    assert _INSIGHT(0 * _MANY, 0 * _TWO) == 1
    assert _INSIGHT(_MANY, 0 * _TWO) == 0
    assert np.isnan(_INSIGHT(_MANY, _TWO[:1]))


@pytest.mark.parametrize(
    ("thresholds", "expected"),
    [
        (distribution.D_PERSONA_5, (0.8 + 1 + 2 / 3 + 1 + 0) / 5),
        (distribution.QUBIQ_9, 0.7185),
        ((0.5,), 2 / 3),
    ],
)
def test_soft_threshold_dice_by_hand(thresholds, expected):
    probability = jnp.array([0.8, 0.6, 0.2, 0.0])
    soft = _SOFT(probability, _TWO, thresholds=thresholds)
    np.testing.assert_allclose(soft, expected, atol=1e-4)


@pytest.mark.parametrize("raters", [5, 7, 10])
def test_a_share_of_votes_that_equals_a_threshold_is_not_above(raters):
    labels = jnp.tri(raters, raters + 1, -1, dtype=jnp.uint8)
    for votes in range(1, raters):
        # Pixels with more votes than this, and no other, are foreground at this threshold.
        above = (labels.sum(axis=0) > votes).astype(jnp.float32)
        soft = distribution.soft_threshold_dice(above, labels, thresholds=(votes / raters,))
        assert soft == 1


def test_thresholds_of_pdacvi_are_even():
    np.testing.assert_allclose(distribution.CURVAS_PDACVI_6, np.linspace(0.1, 0.8, 6), rtol=1e-12)


def test_pixels_without_a_label_count_for_no_pair():
    draw = np.random.default_rng(4)
    samples, labels = jnp.asarray(_maps(0, 3, (30,), 2)), _maps(1, 4, (30,), 2)
    probs = jnp.asarray(draw.dirichlet([1, 1], (3, 30)).astype(np.float32))
    mask = jnp.array([True, True, False, True])
    # The absent rater's own gaps do not count.
    gaps = labels.at[0, 20:25].set(255).at[1, 25:].set(255).at[2, :9].set(255)
    for gap, cut in zip(
        _every(samples, probs, gaps, mask),
        _every(samples[:, :20], probs[:, :20], labels[:, :20], mask),
        strict=True,
    ):
        np.testing.assert_allclose(gap, cut, rtol=1e-5, atol=1e-6)
    nothing = _every(samples, probs, labels.at[0].set(255), mask)
    assert np.isnan(nothing).all()
    nobody = _every(samples, probs, labels, jnp.zeros(4, bool))
    assert np.isnan(nobody).all()


@jax.jit
def _every(samples, probs, labels, mask):
    options = {"rater_mask": mask}
    return jnp.stack(
        [
            distribution.ged_squared(samples, labels, **options),
            distribution.ged_squared(samples, labels, estimator="unbiased", **options),
            distribution.diversity(labels, mask=mask),
            distribution.collective_insight(samples, labels, **options),
            distribution.soft_threshold_dice(probs.mean(0)[:, 1], labels, **options),
            distribution.ncc(probs, labels, **options),
            distribution.ncc_variance(probs, labels, **options),
            distribution.agreement(labels, **options),
        ]
    )


def test_batches_equal_loops():
    draw = np.random.default_rng(5)
    samples, labels = (
        jnp.stack([_maps(seed, 3, (30,), 2) for seed in seeds]) for seeds in ((0, 1), (2, 3))
    )
    probs = jnp.asarray(draw.dirichlet([1, 1], (2, 3, 30)).astype(np.float32))
    mask = jnp.array([[True, True, False], [True, True, True]])
    together = jax.vmap(_every)(samples, probs, labels, mask)
    for case in range(2):
        alone = _every(samples[case], probs[case], labels[case], mask[case])
        np.testing.assert_allclose(together[case], alone, rtol=1e-5)


def test_the_correlation_is_one_of_a_map_with_itself_and_undefined_of_a_constant_one():
    # One sample that is as sure of its classes as the rater: both maps are its entropy, or twice.
    probs = jnp.array([[[0.9, 0.1], [0.6, 0.4], [0.7, 0.3]]])
    np.testing.assert_allclose(
        _NCC(probs, jnp.array([[0, 0, 0]])),
        np.corrcoef(*_maps_of(probs, [0, 0, 0]))[0, 1],
        rtol=1e-5,
    )
    assert np.isnan(_NCC(jnp.full((1, 3, 2), 0.5), jnp.array([[0, 1, 0]])))
    gradient = jax.grad(lambda p: _NCC(p, jnp.array([[0, 1, 0]])))(probs.at[0, 0].set([1.0, 0.0]))
    assert np.isfinite(gradient).all()


def _maps_of(probs, label):
    p = np.asarray(probs[0], np.float64)
    return -np.sum(p * np.log(p), axis=-1), -np.log(p[np.arange(len(p)), label])


def test_counts_do_not_depend_on_pieces(monkeypatch):
    masks = _maps(0, 4, (30,), 2) > 0
    whole = mask_pairs.intersections(masks)
    monkeypatch.setattr(slabs, "MOST", 8)
    np.testing.assert_array_equal(mask_pairs.intersections(masks), whole)
    dense = np.asarray(masks, np.int64)
    np.testing.assert_array_equal(whole, dense @ dense.T)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (
            lambda: distribution.ged_squared(_maps(0, 2), _maps(1, 2), estimator="best"),
            "estimator: expected one of 'biased', 'unbiased', got 'best'",
        ),
        (
            lambda: distribution.ged_squared(_maps(0, 2), _maps(1, 2), empty="none"),
            "empty: expected one of 'equal', 'far', got 'none'",
        ),
        (
            lambda: distribution.soft_threshold_dice(jnp.ones(4), _TWO, thresholds=(0.5, 1.0)),
            r"thresholds: expected numbers in \[0, 1\), got 1.0",
        ),
        (
            lambda: distribution.soft_threshold_dice(jnp.ones(4), _TWO, thresholds=()),
            "thresholds: expected at least 1, got 0",
        ),
    ],
)
def test_bad_options_are_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_one_pixel_against_none_is_no_overlap():
    maps = jnp.array([[1, 0], [0, 0]])
    for distance in ("iou", "dice"):
        alike = mask_pairs.similarities(maps, jnp.arange(1, 2), distance=distance)
        np.testing.assert_array_equal(alike, [[1, 0], [0, 1]])
