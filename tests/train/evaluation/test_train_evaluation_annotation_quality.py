"""The ranking of the training cases: its order, its numbers, and what the method sees of them."""

import csv
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import train_fakes

from noisyjax import methods, train
from noisyjax.data import sources
from noisyjax.methods import base
from noisyjax.metrics import confusion
from noisyjax.train import runs, train_state
from noisyjax.train.evaluation import annotation_quality

pytestmark = pytest.mark.usefixtures("fakes")


def _assess(variables, batch):
    """Scores that can be counted: how bright an image is, and how often its two raters differ."""
    assert "truth" not in batch
    assert not any("truth" in name for name in batch)
    brightness = batch["image"].mean(axis=(1, 2, 3))
    differing = (batch["labels"][:, 0] != batch["labels"][:, 1]).mean(axis=(1, 2))
    both = batch["rater_mask"].all(axis=1)
    maps = jnp.zeros((*batch["labels"].shape, 1))
    good = (differing < 0.4) & both
    return base.Assessment(maps, maps, brightness, differing, good.astype(jnp.float32))


@pytest.fixture
def judging(monkeypatch):
    """The fake method, which now judges annotations."""

    def method(*arguments, **options):
        return dataclasses.replace(train_fakes.method(*arguments, **options), assess=_assess)

    monkeypatch.setitem(methods.METHODS, "fake", method)


def _read(folder):
    with open(folder / annotation_quality.QUALITY_FILE, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _numbers(rows, column):
    return np.array([float(row[column]) for row in rows])


def test_a_run_ranks_its_training_cases(judging, tmp_path):
    # Batches of 3 for 16 cases on 8 devices: padding at both levels.
    _, summary = train.train_and_evaluate(train_fakes.config(), tmp_path)
    rows = _read(tmp_path)
    run, _ = train.restore(tmp_path)
    cases = run.experiment.examples["train"]
    assert list(rows[0]) == ["id", "case", "confidence", "agreement", "quality", "dice"]
    assert sorted(int(row["id"]) for row in rows) == sorted(cases.ids)
    expected = train_fakes.load()
    for row in rows:
        example = expected.examples[int(row["id"])]
        (anna, bert), truth = example["labels"], example["truth"]
        assert row["case"] == f"fake[{row['id']}]"
        assert float(row["confidence"]) == pytest.approx(example["image"].mean(), rel=1e-5)
        assert float(row["agreement"]) == pytest.approx((anna != bert).mean(), rel=1e-5)
        dice = [2 * (a & truth).sum() / (a.sum() + truth.sum()) for a in (anna, bert)]
        assert float(row["dice"]) == pytest.approx(np.mean(dice), rel=1e-5)
    # The worst first; among equals the larger sum.
    weights, sums = (
        _numbers(rows, "quality"),
        -sum(_numbers(rows, n) for n in annotation_quality.SCORES[:2]),
    )
    assert 0 < weights.mean() < 1
    assert list(zip(weights, sums)) == sorted(zip(weights, sums))
    assert summary["quality_mean"] == pytest.approx(weights.mean())
    rho = confusion.ranking_agreement(-_numbers(rows, "agreement"), _numbers(rows, "dice"))
    assert summary["quality_agreement_rank"] == pytest.approx(rho)


def _write(config, folder, *, devices=1):
    """What is written of a run before its first update."""
    config.evaluate.batch_size = 5
    run = runs.set_up(config, folder, devices=jax.devices()[:devices])
    state = run.parallel.replicate(run.init())
    variables = train_state.evaluation_variables(state)
    return run, annotation_quality.report(run, state, variables)


def test_without_a_truth_only_the_scores_are_written(judging, tmp_path):
    _, summary = _write(train_fakes.config(options={"truth": False}), tmp_path)
    assert list(_read(tmp_path)[0]) == ["id", "case", *annotation_quality.SCORES]
    assert set(summary) == {"quality_mean"}


@pytest.mark.parametrize("changes", [{"data.gold": "staple"}, {"data.labels_per_image": 1}])
def test_dice_is_that_of_the_labels_given_to_what_is_known(judging, tmp_path, changes):
    run, _ = _write(train_fakes.config(**changes), tmp_path)
    cases, known = run.experiment.examples["train"], sources.load("fake").examples
    assert not cases.has_truth
    for row in _read(tmp_path):
        index = cases.ids.tolist().index(int(row["id"]))
        truth = known[int(row["id"])]["truth"]
        if "data.gold" in changes:
            truth = cases.truths(np.array([index]))[0]
        given = cases[index]["labels"][cases[index]["rater_mask"]]
        assert len(given) == (2 if "data.gold" in changes else 1)
        dice = [2 * (label & truth).sum() / (label.sum() + truth.sum()) for label in given]
        assert float(row["dice"]) == pytest.approx(np.mean(dice), rel=1e-5)


def test_dice_is_a_mean_over_the_classes_of_the_foreground(judging, monkeypatch, tmp_path):
    data = train_fakes.load()
    examples = data.examples
    halves = np.where(np.arange(train_fakes.SIDE) < 3, 1, 2).astype(np.uint8)
    # Both raters mark the left half of a truth of two classes.
    truths = np.broadcast_to(halves, examples.truths.shape)
    labels = np.broadcast_to(np.where(halves == 1, 1, 0).astype(np.uint8), examples.labels.shape)
    examples = dataclasses.replace(examples, truths=truths, labels=labels)
    names = (*data.class_names, "other")
    data = dataclasses.replace(data, examples=examples, num_classes=3, class_names=names)
    monkeypatch.setitem(sources.SOURCES, "fake", lambda: data)
    _write(train_fakes.config(), tmp_path)
    assert set(_numbers(_read(tmp_path), "dice")) == {0.5}


def test_one_device_and_eight_rank_alike(judging, tmp_path):
    config, folders = train_fakes.config(), (tmp_path / "one", tmp_path / "eight")
    for folder, devices in zip(folders, (1, 8)):
        folder.mkdir()
        _write(config, folder, devices=devices)
    one, eight = (_read(folder) for folder in folders)
    assert [row["case"] for row in one] == [row["case"] for row in eight]
    for name in (*annotation_quality.SCORES, "dice"):
        np.testing.assert_allclose(_numbers(one, name), _numbers(eight, name), rtol=1e-6)


def test_methods_that_do_not_judge_write_nothing(tmp_path):
    _, summary = _write(train_fakes.config(), tmp_path)
    assert not (tmp_path / annotation_quality.QUALITY_FILE).exists()
    assert summary == {}
