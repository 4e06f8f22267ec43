"""A share of the labels replaced by noisy ones, the same for an example whatever its company."""

import csv
import functools

import jax
import numpy as np
import pytest

from noisyjax.core import rng
from noisyjax.data import source
from noisyjax.data.labels import assemble, frozen, replace
from noisyjax.noise import rater_pool, replacement

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
        has_truth=True,
        case_names=tuple(f"disc-{i}" for i in range(30)),
    )
    built = frozen.panel(panel, num_classes=num_classes, spacing=data.spacing)
    ids = np.asarray(ids, np.int32)
    return functools.partial(assemble.label, data, ids, panel=built, include_truth=True), truths[
        ids
    ]


def _replace(examples, *, seed=3, **options):
    options = {"share": 0.5, "overlap": 0.75, "kinds": _KINDS, **options}
    return examples(seed=seed, replacement=options)


def _labels(examples):
    return examples.take(np.arange(len(examples)))["labels"]


@pytest.fixture(scope="module")
def half():
    examples, truths = _examples(range(30))
    return examples, truths, _replace(examples)


def test_exactly_the_chosen_labels_are_other_than_the_truth(half):
    before, truths, made = half
    assert made.replacement.replaced.sum() == 15
    np.testing.assert_array_equal(_labels(before(seed=0))[:, 0], truths)
    same = (_labels(made)[:, 0] == truths).all(axis=(1, 2))
    np.testing.assert_array_equal(same, ~made.replacement.replaced | (np.arange(30) == 7))
    assert _labels(made).dtype == np.uint8
    np.testing.assert_array_equal(
        made.replacement.kinds == replace.KEPT, ~made.replacement.replaced
    )
    known = [list(replacement.KINDS).index(name) for name in _KINDS]
    assert set(made.replacement.kinds[made.replacement.replaced]) == set(known)


def test_the_overlaps_are_those_of_the_labels(half):
    _, truths, made = half
    labels = _labels(made)[:, 0]
    both = (labels & truths).sum(axis=(1, 2))
    total = np.maximum(labels.sum(axis=(1, 2)) + truths.sum(axis=(1, 2)), 1)
    expected = np.where(truths.any(axis=(1, 2)), 2 * both / total, 1)
    np.testing.assert_allclose(made.replacement.overlaps, expected, atol=1e-6)
    noisy = made.replacement.overlaps[made.replacement.replaced & (np.arange(30) != 7)]
    np.testing.assert_allclose(noisy, 0.75, atol=0.03)


def test_the_company_of_an_example_changes_nothing_and_more_are_nested(half):
    _, _, made = half
    order = np.random.default_rng(0).permutation(30)
    again = _replace(_examples(order)[0])
    np.testing.assert_array_equal(_labels(again), _labels(made)[order])
    np.testing.assert_array_equal(again.replacement.overlaps, made.replacement.overlaps[order])
    all_of_them = _replace(_examples(range(30))[0], share=1.0)
    assert all_of_them.replacement.replaced.all()
    np.testing.assert_array_equal(
        _labels(all_of_them)[made.replacement.replaced], _labels(made)[made.replacement.replaced]
    )
    other = _replace(_examples(range(30))[0], seed=4)
    assert not np.array_equal(other.replacement.replaced, made.replacement.replaced)


def test_voxels_are_counted_beside_the_truth(half):
    _, truths, made = half
    labels = _labels(made)[:, 0].astype(bool)
    kept, deleted, added = made.replacement.voxels.T
    np.testing.assert_array_equal(kept, (labels & (truths == 1)).sum(axis=(1, 2)))
    np.testing.assert_array_equal(kept + deleted, labels.sum(axis=(1, 2)))
    np.testing.assert_array_equal(kept + added, truths.sum(axis=(1, 2)))
    assert not made.replacement.voxels[~made.replacement.replaced, 1:].any()


def test_cases_of_another_share_are_nested_or_drawn_anew():
    examples, _ = _examples(range(30))
    options = {"share": 0.8, "kinds": ("erosion",)}
    half = _replace(examples, kinds=("erosion",)).replacement.replaced
    assert _replace(examples, **options).replacement.replaced[half].all()
    anew = _replace(examples, nested=False, **options).replacement.replaced
    assert anew.sum() == 24
    # Eight in ten of fifteen: that all of them are among the chosen has a chance of 1 %.
    assert not anew[half].all()


def test_the_label_of_a_case_can_be_the_same_for_other_seeds():
    examples, _ = _examples(range(30))
    one, other = (_replace(examples, seed=seed, label_seed=5) for seed in (1, 2))
    assert not np.array_equal(one.replacement.replaced, other.replacement.replaced)
    both = one.replacement.replaced & other.replacement.replaced
    assert both.any()
    np.testing.assert_array_equal(_labels(one)[both], _labels(other)[both])
    again = _replace(examples, seed=1, label_seed=6)
    assert not np.array_equal(_labels(one)[both], _labels(again)[both])


def test_the_rater_pool_labels_cases_as_its_raters_do():
    examples, truths = _examples(range(6))
    made = _replace(examples, share=1.0, kinds=("rater_pool",))
    cases_key, labels_key = jax.random.split(rng.purpose_key(3, "replacement"))
    raters = np.asarray(rater_pool.assign(cases_key, made.ids))
    annotate_one = jax.jit(rater_pool.annotate)
    for i in range(6):
        label = annotate_one(rng.example_key(labels_key, i), truths[i], rater=raters[i])
        np.testing.assert_array_equal(_labels(made)[i, 0], label)
        assert replace.NAMES[made.replacement.kinds[i]] == f"rater_{raters[i]}"
    assert len(set(made.replacement.overlaps)) > 3


def test_examples_carry_the_replaced_labels(half):
    before, _, made = half
    row = int(np.flatnonzero(made.replacement.replaced)[0])
    np.testing.assert_array_equal(made[row]["labels"], _labels(made)[row])
    assert not np.array_equal(made[row]["labels"][0], made[row]["truth"])
    assert before(seed=0).replacement is None


def test_nothing_is_replaced_with_a_share_of_nothing():
    examples, truths = _examples(range(4))
    made = _replace(examples, share=0.0)
    np.testing.assert_array_equal(_labels(made)[:, 0], truths)
    assert not made.replacement.replaced.any()
    assert (made.replacement.overlaps == 1).all()


def test_dilated_classes_grow_by_their_own():
    examples, truths = _examples(range(3), num_classes=3)
    made = _replace(examples, share=1.0, kinds=("dilation",))
    grown = (_labels(made)[:, 0] > 0) & (truths == 0)
    assert set(_labels(made)[:, 0][grown]) == {1, 2}


def test_the_table_names_what_was_done(half, tmp_path):
    _, _, made = half
    replace.save(tmp_path / "replaced.csv", made.replacement, data=made.data, ids=made.ids)
    with open(tmp_path / "replaced.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [path.name for path in tmp_path.iterdir()] == ["replaced.csv"]
    columns = ["id", "case", "replaced", "kind", "overlap", "kept", "deleted", "added"]
    assert list(rows[0]) == columns
    names = list(replacement.KINDS)
    for i, row in enumerate(rows):
        assert (row["id"], row["case"]) == (str(i), f"disc-{i}")
        assert row["replaced"] == str(int(made.replacement.replaced[i]))
        assert row["kind"] == (
            names[made.replacement.kinds[i]] if made.replacement.replaced[i] else ""
        )
        assert float(row["overlap"]) == pytest.approx(made.replacement.overlaps[i], abs=1e-6)
        assert [int(row[name]) for name in columns[5:]] == made.replacement.voxels[i].tolist()


def test_more_raters_and_unknown_noises_are_refused():
    examples, _ = _examples(range(2), panel=("good", "blank"))
    with pytest.raises(ValueError, match="examples: expected the truth as one label, got 2"):
        _replace(examples)
    examples, _ = _examples(range(2))
    with pytest.raises(ValueError, match="kinds: expected one of .*got 'smear'"):
        _replace(examples, share=0.0, kinds=("smear",))


def test_the_rater_pool_labels_one_organ_and_stands_alone():
    examples, _ = _examples(range(2), num_classes=3)
    with pytest.raises(ValueError, match="kinds: rater_pool labels one organ, .*got 3"):
        _replace(examples, kinds=("rater_pool",))
    with pytest.raises(ValueError, match="kinds: expected rater_pool alone"):
        _replace(examples, kinds=("rater_pool", "erosion"))


def test_dice_of_replaced_labels_by_hand():
    # Voxels in both, in the label only, in the truth only.
    voxels = np.array([[0, 0, 0], [0, 1, 0], [3, 1, 1], [2, 0, 0]])
    np.testing.assert_allclose(replace._dice(voxels), [1, 0, 0.75, 1])
