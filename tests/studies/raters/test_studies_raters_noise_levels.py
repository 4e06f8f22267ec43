"""The strengths of the five noises: the configs' table, and how it is solved for."""

import numpy as np
import pytest

from configs import uma_net
from noisyjax.core import rng
from noisyjax.data import source, sources
from noisyjax.data.sources import bubil
from noisyjax.noise import annotation, annotators
from noisyjax.studies.raters import noise_levels


def _digits(folder):
    del folder
    return noise_levels.truths([sources.load("digits")], count=250)


def _lidc(folder):
    data = sources.load("lidc", path=str(folder / "lidc_4raters_128.npz"), crop=64, vote=True)
    return noise_levels.truths([data], count=250)


def _bubil(folder):
    path = str(folder / "bubil_multi_annotator_128.npz")
    photographs = [subset for subset, structure in bubil.SETS.items() if structure == "cell"]
    data = [
        sources.load("bubil", path=path, subset=subset, raters="crowd", shrink=2)
        for subset in photographs
    ]
    return noise_levels.truths(data, count=50)


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("name", ["digits", "lidc", "bubil"])
def test_the_table_has_the_dice_of_its_levels(name, request, monkeypatch):
    # The truths that the table was made with, with fewer labels of each.
    fewer = {"erode_or_dilate": 1, "shift": 2, "reverse_square": 4, "polygonise": 2, "erase": 8}
    monkeypatch.setattr(noise_levels, "_DRAWS", fewer)
    folder = None if name == "digits" else request.getfixturevalue("real_data")
    truths = {"digits": _digits, "lidc": _lidc, "bubil": _bubil}[name](folder)
    levels = uma_net.LEVELS[name]
    reached = noise_levels.measure(rng.purpose_key(0, "noise"), truths, list(levels.values()))
    for level, dice in zip(levels, reached, strict=True):
        assert dice.pop("erase") == pytest.approx(noise_levels.DICE[level], abs=0.02)
        assert dice == pytest.approx(dict.fromkeys(dice, noise_levels.DICE[level]), abs=0.01)


def test_the_table_is_whole_and_makes_panels():
    for levels in uma_net.LEVELS.values():
        assert levels.keys() == noise_levels.DICE.keys()
        for strengths in levels.values():
            assert list(strengths) == list(annotation.NOISES)
            annotators.panel(tuple(strengths), strengths=strengths)
        assert all(levels["HN"][noise] > levels["LN"][noise] for noise in annotation.NOISES)


@pytest.fixture(scope="module")
def discs():
    y, x = np.mgrid[:24, :24]
    radii = np.linspace(5, 9, 6)
    truths = np.stack([(y - 11) ** 2 + (x - 12) ** 2 < r * r for r in radii]).astype(np.uint8)
    return source.Source(
        name="discs",
        examples=source.ArrayExamples(np.zeros((6, 24, 24, 1), np.float32), truths=truths),
        num_classes=2,
        class_names=("background", "disc"),
        spacing=(1.0, 1.0),
        has_truth=True,
    )


@pytest.fixture
def cheap(monkeypatch):
    """Two noises of which little is drawn."""
    kept = {name: annotation.NOISES[name] for name in ("shift", "reverse_square")}
    monkeypatch.setattr(annotation, "NOISES", kept)
    monkeypatch.setattr(noise_levels, "_DRAWS", {"shift": 2, "reverse_square": 8})


def test_solved_strengths_measure_as_they_were_solved(discs, cheap):
    key = rng.root_key(1)
    truths = noise_levels.truths([discs], count=6)
    reached = [noise_levels.solve(key, truths, dice=dice) for dice in (0.8, 0.7)]
    strengths = [{name: one.strength for name, one in level.items()} for level in reached]
    measured = noise_levels.measure(key, truths, strengths)
    for level, dice, target in zip(reached, measured, (0.8, 0.7), strict=True):
        assert dice == pytest.approx({name: one.dice for name, one in level.items()}, abs=1e-6)
        assert dice == pytest.approx(dict.fromkeys(dice, target), abs=0.01)


def test_all_classes_of_the_foreground_are_one(discs, cheap):
    truths = noise_levels.truths([discs], count=3)
    several = truths.copy()
    several[:, :12] *= 3
    strengths = [{"shift": 2.0, "reverse_square": 6.0}]
    one, other = (noise_levels.measure(rng.root_key(0), t, strengths) for t in (truths, several))
    assert one == other


def test_truths_of_several_sources_follow_one_another(discs):
    truths = noise_levels.truths([discs, discs], count=2)
    np.testing.assert_array_equal(truths, np.tile(discs.examples.truths[:2], (2, 1, 1)))
    assert len(noise_levels.truths([discs], count=99)) == 6
    with pytest.raises(ValueError, match=r"data: expected truths of one shape, got \[.*24.*32"):
        noise_levels.truths([discs, sources.load("digits")], count=2)
    blind = source.Source(
        name="blind",
        examples=source.ArrayExamples(
            np.zeros((1, 4, 4, 1), np.float32), labels=np.zeros((1, 1, 4, 4), np.uint8)
        ),
        num_classes=2,
        class_names=("background", "thing"),
        spacing=(1.0, 1.0),
        has_truth=False,
        rater_names=("a",),
    )
    with pytest.raises(ValueError, match="blind: the truth is asked for"):
        noise_levels.truths([blind], count=1)
