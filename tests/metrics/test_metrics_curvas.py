"""Metrics of CURVAS against the golden file, by hand and by numerical integration."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from noisyjax.metrics import curvas

_DICE = jax.jit(curvas.consensus_dice, static_argnames=("num_classes", "form"))
_CONFIDENCE = jax.jit(curvas.consensus_confidence)
_CRPS = jax.jit(curvas.volume_crps, static_argnames="form")

_LABELS = jnp.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0]])
_VOLUMES = jnp.array([90.0, 100.0, 110.0])


@pytest.mark.parametrize("case", [14, 15, 16])
def test_golden(golden, case):
    with np.load(golden / "multirater.npz") as file:
        given = {
            key.partition(".")[2]: file[key] for key in file.files if key.startswith(f"{case}.")
        }
    probs, labels = jnp.asarray(given["probs"]), jnp.asarray(given["labels"])
    dice = _DICE(jnp.argmax(probs, axis=-1), labels, num_classes=4)
    np.testing.assert_allclose(dice, given["consensus_dice"], rtol=1e-5)
    confidence = _CONFIDENCE(probs, labels)
    np.testing.assert_allclose(confidence, given["consensus_confidence"], rtol=1e-5)
    volumes = jnp.asarray(given["predicted_volume"]), jnp.asarray(given["rater_volumes"])
    for form in curvas.CRPS_FORMS:
        crps = jax.vmap(functools.partial(_CRPS, form=form))(*volumes)
        np.testing.assert_allclose(crps, given[f"crps_{form}"], rtol=1e-5)


def test_by_hand():
    # Inside is pixel 1 and outside are 3 and 4; pixel 2 is taken out of the prediction.
    dice = _DICE(jnp.array([1, 1, 1, 0]), _LABELS, num_classes=2)
    np.testing.assert_allclose(dice, [2 / 3], rtol=1e-6)
    p = jnp.array([0.9, 0.5, 0.6, 0.1])
    confidence = _CONFIDENCE(jnp.stack([1 - p, p], axis=-1), _LABELS)
    np.testing.assert_allclose(confidence, [0.775], rtol=1e-6)


def test_absent_raters_and_pixels_without_a_label():
    labels = jnp.concatenate([_LABELS, jnp.array([[0, 0, 1, 1]])])
    mask = jnp.array([True, True, True, False])
    segmentation = jnp.array([1, 1, 1, 0])
    dice = _DICE(segmentation, labels, num_classes=2, rater_mask=mask)
    np.testing.assert_allclose(dice, [2 / 3], rtol=1e-6)
    # The third pixel is now neither inside nor outside.
    gap = _DICE(segmentation, _LABELS.at[0, 2].set(255), num_classes=2)
    np.testing.assert_allclose(gap, [1.0], rtol=1e-6)
    probs = jax.nn.one_hot(segmentation, 2)
    for nothing in (
        _DICE(segmentation, labels, num_classes=2, rater_mask=jnp.zeros(4, bool)),
        _CONFIDENCE(probs, labels, rater_mask=jnp.zeros(4, bool)),
        _DICE(segmentation, 0 * _LABELS, num_classes=2),
        _CONFIDENCE(probs, 0 * _LABELS),
        _CONFIDENCE(probs, 0 * _LABELS + 1),
    ):
        assert np.isnan(nothing).all()


def test_rows_of_the_challenges_script():
    # Of slice 0 the first row never counts; row 1 has Dice 2/3, row 2 Dice 1, row 3 no inside, in
    # which a false positive is free. Slice 1 has only a missed row; slice 2 none at all.
    inside, predicted = np.zeros((2, 3, 4, 2), np.int32)
    inside[0, 0], inside[0, 1, 0], inside[0, 2, 0], inside[1, 1] = 1, 1, 1, 1
    predicted[0, 1], predicted[0, 2, 0], predicted[0, 3] = 1, 1, 1
    labels = jnp.stack([jnp.asarray(inside)] * 2)
    rows = _DICE(jnp.asarray(predicted), labels, num_classes=2, form="rows")
    np.testing.assert_allclose(rows, [((2 / 3 + 1) / 2 + 0) / 2], rtol=1e-6)
    one = _DICE(jnp.asarray(predicted[0]), labels[:, 0], num_classes=2, form="rows")
    np.testing.assert_allclose(one, [(2 / 3 + 1) / 2], rtol=1e-6)


@pytest.mark.parametrize(
    ("volume", "form", "expected"),
    [
        (100.0, "curvas", 1.908),
        (100.0, "gaussian", 1.908),
        (200.0, "curvas", 19.94),
        (200.0, "gaussian", 95.39),
        (1e6, "curvas", 19.94),
    ],
)
def test_scores_of_volumes_by_hand(volume, form, expected):
    np.testing.assert_allclose(_CRPS(volume, _VOLUMES, form=form), expected, rtol=5e-4)


@pytest.mark.parametrize("z", [-3.5, -2.6, -1.1, 0.0, 0.4, 2.9])
def test_scores_equal_the_integral(z):
    mean, sd = 100.0, np.std(_VOLUMES)
    volume = mean + z * sd
    knots = np.linspace(*stats.norm.ppf([0.01, 0.99], mean, sd), 100)
    heights = stats.norm.cdf(knots, mean, sd)
    grid = np.linspace(mean - 3 * sd, mean + 3 * sd, 400_001)
    cdf = np.interp(grid, knots, heights, left=0, right=1)
    expected = integrate.trapezoid((cdf - (grid >= volume)) ** 2, grid)
    np.testing.assert_allclose(_CRPS(volume, _VOLUMES, form="curvas"), expected, rtol=2e-4)
    wide = np.linspace(mean - 12 * sd, mean + 12 * sd, 400_001)
    squares = (stats.norm.cdf(wide, mean, sd) - (wide >= volume)) ** 2
    expected = integrate.trapezoid(squares, wide)
    np.testing.assert_allclose(_CRPS(volume, _VOLUMES, form="gaussian"), expected, rtol=2e-4)


@pytest.mark.parametrize("form", curvas.CRPS_FORMS)
def test_scores_of_equal_absent_and_no_raters(form):
    crps = functools.partial(_CRPS, form=form)
    np.testing.assert_allclose(crps(7.0, jnp.full(3, 4.0)), 3.0)
    more = jnp.append(_VOLUMES, jnp.nan)
    mask = jnp.array([True, True, True, False])
    expected = crps(120.0, _VOLUMES)
    np.testing.assert_allclose(crps(120.0, more, rater_mask=mask), expected, rtol=1e-6)
    assert np.isnan(crps(120.0, _VOLUMES, rater_mask=jnp.zeros(3, bool)))
    volumes = jnp.array([60.0, 95.0, 100.0, 128.0])
    assert np.isfinite(jax.vmap(jax.grad(lambda v: crps(v, _VOLUMES)))(volumes)).all()


def test_batches_equal_loops_and_gradients_are_finite():
    draw = np.random.default_rng(0)
    labels = jnp.asarray(draw.integers(0, 3, (2, 2, 6, 5)))
    probs = jnp.asarray(draw.dirichlet([1, 1, 1], (2, 6, 5)).astype(np.float32))

    def both(probs, labels):
        segmentation = jnp.argmax(probs, axis=-1)
        return _DICE(segmentation, labels, num_classes=3), _CONFIDENCE(probs, labels)

    together = jax.vmap(both)(probs, labels)
    for case in range(2):
        for value, alone in zip(together, both(probs[case], labels[case]), strict=True):
            np.testing.assert_allclose(value[case], alone, rtol=1e-6)
    gradient = jax.grad(lambda p: _CONFIDENCE(p, labels[0]).sum())(probs[0])
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (
            lambda: curvas.volume_crps(1.0, _VOLUMES, form="script"),
            "form: expected one of 'curvas', 'gaussian', got 'script'",
        ),
        (
            lambda: curvas.consensus_dice(_LABELS[0], _LABELS, 2, form="script"),
            "form: expected one of 'volume', 'rows', got 'script'",
        ),
        (
            lambda: curvas.consensus_dice(_LABELS[0], _LABELS, 1),
            "num_classes: expected at least 2",
        ),
        (
            lambda: curvas.consensus_dice(_LABELS[0], _LABELS, 2, form="rows"),
            r"segmentation: expected 2 or 3 axes, got shape \(4,\)",
        ),
    ],
)
def test_bad_options_are_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()
