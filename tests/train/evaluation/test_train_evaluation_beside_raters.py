"""What a run measures beside all raters is what `noisyjax evaluate` measures."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import noisyjax
from noisyjax.methods import base
from noisyjax.tool.evaluation import predictions
from noisyjax.train.evaluation import beside_raters, case_metrics


def _case(classes=3, raters=3, samples=4):
    """Samples of a case, of which one rater gave no label and another left out a pixel."""
    draw = np.random.default_rng(0)
    probs = draw.dirichlet(np.ones(classes), (samples, 7, 6)).astype(np.float32)
    labels = draw.integers(0, classes, (raters, 7, 6)).astype(np.uint8)
    labels[0, 0, 0] = 255
    mask = np.arange(raters) != 1
    return probs, labels, mask, draw.integers(0, classes, (7, 6)).astype(np.uint8)


def _measured():
    probs, labels, mask, truth = _case()
    prediction = base.Prediction(jnp.asarray(probs.mean(axis=0)), samples=jnp.asarray(probs))
    batch = {"labels": labels, "rater_mask": mask, "truth": truth}
    measure = functools.partial(case_metrics.case_values, num_classes=3, raters=True)
    return jax.jit(measure)(prediction, jax.tree.map(jnp.asarray, batch))


def test_the_numbers_are_those_of_the_tool():
    probs, labels, mask, truth = _case()
    given = predictions.from_probabilities(probs.mean(axis=0), probs)
    report = noisyjax.evaluate(
        given, labels, rater_masks=mask, truths=truth, num_classes=3, conventions=()
    )
    values = dict(zip(report.keys, report.values[0], strict=True))
    found = _measured()
    for name in beside_raters.CALIBRATION:
        expected = [values[name, label, "truth"] for label in ("1", "2")]
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, err_msg=name)
    for name in beside_raters.OF_CLASSES:
        expected = [values[name, label, ""] for label in ("1", "2")]
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, err_msg=name)
    # The others' thresholds are of any class of the foreground.
    for name in sorted(beside_raters.SETS.keys() - {"dice_soft", "dice_pdacvi"}):
        expected = values[name, "", ""]
        np.testing.assert_allclose(found[name], expected, rtol=2e-5, err_msg=name)
    stacked = {name: np.asarray(found[name])[None] for name in found}
    for name, derive in beside_raters.MATCHED.items():
        expected = values[name, "", ""]
        np.testing.assert_allclose(derive(stacked, axis=1), [expected], rtol=1e-5, err_msg=name)
        assert derive(stacked, dtype=np.float64) == pytest.approx(expected, rel=1e-5)


def test_thresholds_are_of_any_class():
    probs, labels, mask, _ = _case()
    found = _measured()
    mean = probs.mean(axis=0)
    binary = np.stack([mean[..., 0], 1 - mean[..., 0]], axis=-1)
    given = np.where(labels == 255, 255, labels > 0).astype(np.uint8)
    report = noisyjax.evaluate(
        binary, given, rater_masks=mask, num_classes=2, metrics=("dice_soft", "dice_pdacvi")
    )
    for name in ("dice_soft", "dice_pdacvi"):
        expected = report.line(name, "1").summary.mean
        np.testing.assert_allclose(found[name], expected, rtol=1e-5)


def test_groups_have_all_that_is_measured():
    whole = set(_measured())
    probs, labels, mask, truth = _case()
    prediction = base.Prediction(jnp.asarray(probs.mean(axis=0)), samples=jnp.asarray(probs))
    batch = {"labels": labels, "rater_mask": mask, "truth": truth}
    batch = jax.tree.map(jnp.asarray, batch)
    parts = [
        jax.eval_shape(
            functools.partial(case_metrics.case_values, num_classes=3, raters=True, names=names),
            prediction,
            batch,
        )
        for names in case_metrics.groups(raters=True)
    ]
    assert set().union(*parts) == whole
    without = case_metrics.groups()
    assert not any(beside_raters.MATCHED.keys() & names for names in without)
