"""Distances on the host, beside what the device measures of the same segmentations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from noisyjax.methods import base
from noisyjax.train.evaluation import case_metrics, surfaces


def test_empty_masks_are_measured_as_misses():
    nothing, something = np.zeros((2, 3, 3), np.uint8)
    something[1, 1] = 1
    probs = jax.nn.one_hot(jnp.stack([nothing, something]), 3)
    batch = {
        "truth": jnp.stack([something, something]),
        "labels": jnp.zeros((2, 1, 3, 3), jnp.uint8),
        "rater_mask": jnp.ones((2, 1), bool),
    }
    values = jax.vmap(functools.partial(case_metrics.case_values, num_classes=3, surface=True))(
        base.Prediction(probs), batch
    )
    measured = surfaces.measure(
        jax.device_get(values),
        np.stack([something, something]),
        num_classes=3,
        spacing=(3.0, 4.0),
        tolerance=1.0,
    )
    assert case_metrics.SEGMENTATION not in measured
    assert measured.keys() >= {name for name, m in case_metrics.METRICS.items() if m.surface}
    for name in ("hd", "hd95", "asd_pred", "asd_truth", "assd"):
        np.testing.assert_allclose(measured[name], [[15.0, 0.0], [0.0, 0.0]])
    for name in ("nsd", "dbd_g", "dbd_m", "sbd"):
        np.testing.assert_allclose(measured[name], [[0.0, 1.0], [1.0, 1.0]])
    np.testing.assert_allclose(measured["rvd"], [[1.0, 0.0], [0.0, 0.0]])
