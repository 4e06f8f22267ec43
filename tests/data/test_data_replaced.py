"""A share of the labels replaced by noisy ones, the same for an example whatever its company."""

import csv

import numpy as np
import pytest

from noisyjax.data import annotate, panels, replaced, source
from noisyjax.noise import replacement

_KINDS = ("erosion", "dilation")


def _examples(ids, *, panel=("good",), num_classes=2):
    rows, columns = np.indices((20, 16))
    truths = np.stack(
        [((rows - 9) ** 2 + (columns - 8) ** 2 <= (4 + 0.1 * i) ** 2) for i in range(30)]
    ).astype(np.uint8)
    truths[7] = 0
    if num_classes == 3:
        truths[:, 9:] *= 2
    data = source.Source(
        name="discs",
        examples=source.ArrayExamples(np.zeros((30, 20, 16, 1), np.float32), truths),
        num_classes=num_classes,
        class_names=("background", *"ab"[: num_classes - 1]),
        spacing=(1.0, 1.0),
        case_names=tuple(f"disc-{i}" for i in range(30)),
    )
    built = panels.build(panel, num_classes=num_classes, spacing=data.spacing)
    ids = np.asarray(ids, np.int32)
    return annotate.annotate(data, ids, panel=built, seed=0, include_truth=True), truths[ids]


def _replace(examples, **options):
    options = {"seed": 3, "share": 0.5, "overlap": 0.75, "kinds": _KINDS, **options}
    return replaced.replace(examples, **options)


@pytest.fixture(scope="module")
def half():
    examples, truths = _examples(range(30))
    return examples, truths, _replace(examples)


def test_exactly_the_chosen_labels_are_other_than_the_truth(half):
    before, truths, made = half
    assert made.replaced.sum() == 15
    np.testing.assert_array_equal(before.labels[:, 0], truths)
    same = (made.labels[:, 0] == truths).all(axis=(1, 2))
    np.testing.assert_array_equal(same, ~made.replaced | (np.arange(30) == 7))
    assert made.labels.dtype == np.uint8
    np.testing.assert_array_equal(made.kinds == replaced.KEPT, ~made.replaced)
    known = [list(replacement.KINDS).index(name) for name in _KINDS]
    assert set(made.kinds[made.replaced]) == set(known)


def test_the_overlaps_are_those_of_the_labels(half):
    _, truths, made = half
    labels = made.labels[:, 0]
    both = (labels & truths).sum(axis=(1, 2))
    total = np.maximum(labels.sum(axis=(1, 2)) + truths.sum(axis=(1, 2)), 1)
    expected = np.where(truths.any(axis=(1, 2)), 2 * both / total, 1)
    np.testing.assert_allclose(made.overlaps, expected, atol=1e-6)
    noisy = made.overlaps[made.replaced & (np.arange(30) != 7)]
    np.testing.assert_allclose(noisy, 0.75, atol=0.03)


def test_the_company_of_an_example_changes_nothing_and_more_are_nested(half):
    _, _, made = half
    order = np.random.default_rng(0).permutation(30)
    again = _replace(_examples(order)[0])
    np.testing.assert_array_equal(again.labels, made.labels[order])
    np.testing.assert_array_equal(again.overlaps, made.overlaps[order])
    all_of_them = _replace(_examples(range(30))[0], share=1.0)
    assert all_of_them.replaced.all()
    np.testing.assert_array_equal(all_of_them.labels[made.replaced], made.labels[made.replaced])
    other = _replace(_examples(range(30))[0], seed=4)
    assert not np.array_equal(other.replaced, made.replaced)


def test_examples_and_parts_carry_the_replaced_labels(half):
    before, _, made = half
    row = int(np.flatnonzero(made.replaced)[0])
    np.testing.assert_array_equal(made[row]["labels"], made.labels[row])
    assert not np.array_equal(made[row]["labels"][0], made[row]["truth"])
    assert before.replaced is None
    part = made.part(slice(3, 9), every_label=False, include_truth=False)
    for field in ("replaced", "kinds", "overlaps"):
        np.testing.assert_array_equal(getattr(part, field), getattr(made, field)[3:9])


def test_nothing_is_replaced_with_a_share_of_nothing():
    examples, truths = _examples(range(4))
    made = _replace(examples, share=0.0)
    np.testing.assert_array_equal(made.labels[:, 0], truths)
    assert not made.replaced.any()
    assert (made.overlaps == 1).all()


def test_dilated_classes_grow_by_their_own():
    examples, truths = _examples(range(3), num_classes=3)
    made = _replace(examples, share=1.0, kinds=("dilation",))
    grown = (made.labels[:, 0] > 0) & (truths == 0)
    assert set(made.labels[:, 0][grown]) == {1, 2}


def test_the_table_names_what_was_done(half, tmp_path):
    _, _, made = half
    replaced.save(tmp_path / "replaced.csv", made)
    with open(tmp_path / "replaced.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [path.name for path in tmp_path.iterdir()] == ["replaced.csv"]
    assert list(rows[0]) == ["id", "case", "replaced", "kind", "overlap"]
    names = list(replacement.KINDS)
    for i, row in enumerate(rows):
        assert (row["id"], row["case"]) == (str(i), f"disc-{i}")
        assert row["replaced"] == str(int(made.replaced[i]))
        assert row["kind"] == (names[made.kinds[i]] if made.replaced[i] else "")
        assert float(row["overlap"]) == pytest.approx(made.overlaps[i], abs=1e-6)


def test_more_raters_and_unknown_noises_are_refused():
    examples, _ = _examples(range(2), panel=("good", "blank"))
    with pytest.raises(ValueError, match="examples: expected the truth as one label, got 2"):
        _replace(examples)
    examples, _ = _examples(range(2))
    with pytest.raises(ValueError, match="kinds: expected one of .*got 'smear'"):
        _replace(examples, share=0.0, kinds=("smear",))
