"""How right fused labels are, against labels whose quality is known."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import train_fakes

from noisyjax import fusion, methods
from noisyjax.train import experiments
from noisyjax.train.evaluation import fusion_quality

pytestmark = pytest.mark.usefixtures("fakes")


def _measure(monkeypatch, target, **changes):
    def build(*args, **options):
        return dataclasses.replace(train_fakes.method(*args, **options), target=target)

    monkeypatch.setitem(methods.METHODS, "fake", build)
    experiment = experiments.build(train_fakes.config(**changes))
    return experiment, fusion_quality.measure(experiment)


@pytest.mark.parametrize("name", list(fusion.FUSIONS))
def test_labels_that_one_rater_gave_are_taken_as_they_are(monkeypatch, name):
    # One rater is believed, so that their matrix is the identity: wrong where they are.
    changes = {"data.labels_per_image": 1}
    experiment, quality = _measure(monkeypatch, name, **changes)
    train = experiment.examples["train"]
    truth = np.stack([experiment.data.examples[int(i)]["truth"] for i in train.ids])
    batch = train.take(np.arange(len(train)))
    given = batch["labels"][batch["rater_mask"]]
    both, sizes = ((given & truth).sum((1, 2)), given.sum((1, 2)) + truth.sum((1, 2)))
    np.testing.assert_allclose(quality["fused_dice"], (2 * both / sizes).mean(), rtol=1e-5)
    wrong = (given != truth).mean()
    # Both entries of the column of a wrong pixel are off by one.
    np.testing.assert_allclose(quality["fused_cm_rmse"], np.sqrt(wrong), atol=1e-3)


def test_matrices_are_compared_with_what_raters_did(monkeypatch):
    experiment, quality = _measure(monkeypatch, "staple")
    train, errors = experiment.examples["train"], []
    for row, i in enumerate(train.ids):
        truth = experiment.data.examples[int(i)]["truth"]
        labels = train[row]["labels"]
        cms = np.asarray(fusion.staple(jnp.asarray(labels)).cms)
        for rater in range(2):
            label = np.eye(2)[labels[rater]]
            errors.append(np.square(np.moveaxis(cms[rater][:, truth], 0, -1) - label))
    np.testing.assert_allclose(quality["fused_cm_rmse"], np.sqrt(np.mean(errors)), rtol=1e-4)


def test_nothing_is_measured_without_a_fusion_or_a_truth(monkeypatch):
    assert _measure(monkeypatch, "")[1] == {}
    assert _measure(monkeypatch, "staple", options={"truth": False})[1] == {}


def test_a_gold_standard_judges_where_there_is_no_truth(monkeypatch):
    changes = {"options": {"truth": False}, "data.gold": "staple"}
    _, quality = _measure(monkeypatch, "staple", **changes)
    np.testing.assert_allclose(quality["fused_dice"], 1)
