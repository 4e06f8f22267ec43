"""Labels made wrong on purpose, and how well they are found."""

import folder_fakes
import numpy as np
import pytest

from noisyjax.benchmarks.wrong_labels import found, wrong_folder
from noisyjax.data.volumes import read_write
from noisyjax.noise import mistakes
from noisyjax.tool import folder


def test_every_mistake_has_a_kind():
    assert set(found.NAMED) == set(mistakes.MISTAKES) == {kind for kind, _ in wrong_folder.KINDS}


def test_some_labels_are_wrong_and_the_others_as_they_were(tmp_path):
    root = folder_fakes.make(tmp_path / "in", count=4, shape=(12, 11, 10))
    kinds = (("missing", 0.0), ("erosion", 0.7))
    made = wrong_folder.write(root, tmp_path / "out", seed=1, share=0.5, kinds=kinds)
    assert sorted(one.mistake for one in made.values()) == ["erosion", "missing"]
    read = wrong_folder.read(tmp_path / "out")
    assert {name: one._replace(dice=round(one.dice, 6)) for name, one in made.items()} == read
    before, after = folder.open_folder(root), folder.open_folder(tmp_path / "out")
    for name in before.cases:
        same = (before.read(name).truth == after.read(name).truth).all()
        assert same == (name not in made)
        first, second = (opened.cases[name].images[0] for opened in (before, after))
        np.testing.assert_array_equal(read_write.read(first).array, read_write.read(second).array)
    # There it stays as it is, and is not taken for another.
    again = wrong_folder.write(root, tmp_path / "out", seed=1, share=0.5, kinds=kinds)
    assert again == read
    with pytest.raises(ValueError, match="expected the mistakes of the same options"):
        wrong_folder.write(root, tmp_path / "out", seed=2, share=0.25, kinds=kinds)
    with pytest.raises(ValueError, match="share: expected"):
        wrong_folder.write(root, tmp_path / "other", seed=2, share=2.0)


def _row(mistake, doubt, kind="", *, suspect=False):
    return found.Row("", mistake, suspect, kind, {"x": doubt})


def test_numbers_by_hand():
    rows = [
        _row("erosion 0.8", 0.9, "too narrow", suspect=True),
        _row("missing", 0.3, "too narrow"),
        _row("", 0.5),
        _row("", 0.1),
    ]
    assert found.area(rows, "x") == 0.75
    assert found.area(rows, "x", "erosion") == 1.0
    assert found.area(rows, "x", "missing") == 0.5
    # The second wrong label is the third of all.
    assert found.average_precision(rows, "x") == pytest.approx((1 + 2 / 3) / 2)
    assert found.named_rightly(rows, suspects=False) == 0.5
    assert found.named_rightly(rows, suspects=True) == 1.0
