"""Division into training, validation and test examples."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

from noisyjax.data import order, source, splits


def _source(n=10, groups=None, name="toy", own=None):
    return source.Source(
        name=name,
        examples=source.ArrayExamples(np.zeros((n, 2, 2, 1), np.uint8)),
        num_classes=2,
        class_names=("background", "thing"),
        spacing=(1.0, 1.0),
        has_truth=False,
        groups=groups,
        splits=own,
    )


def test_permutation_is_pinned():
    # The order of every stored run: it may never change.
    assert order.permutation(8, seed=0).tolist() == [6, 0, 5, 2, 1, 3, 7, 4]
    assert order.permutation(8, seed=0, epoch=1).tolist() == [1, 6, 5, 0, 7, 3, 2, 4]


def test_permutations_are_uniform():
    counts = np.zeros((4, 4))
    for seed in range(400):
        counts[np.arange(4), order.permutation(4, seed=seed)] += 1
    # Binomial(400, 1/4): sd 8.7.
    assert np.abs(counts - 100).max() < 40


@pytest.mark.parametrize(
    ("n", "fractions", "sizes"),
    [
        (10, (0.7, 0.1, 0.2), (7, 1, 2)),
        (100, (0.7, 0.1, 0.2), (70, 10, 20)),
        (1797, (0.6, 0.2, 0.2), (1078, 360, 359)),
        (10, (0.5, 0.0, 0.5), (5, 0, 5)),
        (5, (1.0, 0.0, 0.0), (5, 0, 0)),
    ],
)
def test_sizes_are_the_fractions_and_every_example_is_in_one_part(n, fractions, sizes):
    parts = splits.split(n, seed=1, fractions=fractions)
    assert tuple(parts) == ("train", "val", "test")
    assert tuple(len(ids) for ids in parts.values()) == sizes
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(n))


def test_division_depends_on_the_seed_alone():
    one, same, other = (splits.split(50, seed=s, fractions=(0.6, 0.2, 0.2)) for s in (4, 4, 5))
    for name in splits.NAMES:
        np.testing.assert_array_equal(one[name], same[name])
    assert set(one["test"].tolist()) != set(other["test"].tolist())


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_never_divided(seed):
    groups = np.random.default_rng(seed).integers(0, 30, 200) * 7
    parts = splits.split(200, seed=seed, fractions=(0.6, 0.2, 0.2), groups=groups)
    members = {name: set(groups[ids].tolist()) for name, ids in parts.items()}
    assert not members["train"] & members["val"]
    assert not members["train"] & members["test"]
    assert not members["val"] & members["test"]
    assert sum(len(ids) for ids in parts.values()) == 200
    assert abs(len(parts["train"]) - 120) <= 15


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ((0.5, 0.5), "three that add up to 1"),
        ((0.5, 0.5, 0.5), "three that add up to 1"),
        ((1.2, -0.1, -0.1), "three that add up to 1"),
        ((0.98, 0.01, 0.01), "val: expected a fraction of 0.01, got no example"),
    ],
)
def test_impossible_fractions_raise(fractions, message):
    with pytest.raises(ValueError, match=message):
        splits.split(10, seed=0, fractions=fractions)


def test_a_sources_own_splits_are_used_when_no_fractions_are_given():
    own = {"train": np.array([0, 1], np.int32), "test": np.array([2], np.int32)}
    assert splits.of_source(_source(own=own), seed=0)["test"].tolist() == [2]
    assert len(splits.of_source(_source(own=own), seed=0, fractions=(0.8, 0.1, 0.1))["val"]) == 1
    with pytest.raises(ValueError, match="toy: has no splits of its own"):
        splits.of_source(_source(), seed=0)


def test_saved_splits_come_back(tmp_path):
    data, path = _source(), tmp_path / "splits.json"
    parts = splits.of_source(data, seed=2, fractions=(0.6, 0.2, 0.2))
    splits.save(path, parts, data)
    loaded = splits.load(path, data)
    assert list(loaded) == list(parts)
    for name, ids in parts.items():
        np.testing.assert_array_equal(loaded[name], ids)
        assert loaded[name].dtype == np.int32
    assert [p.name for p in tmp_path.iterdir()] == ["splits.json"]


def _tampered(tmp_path, data, change):
    path = tmp_path / "splits.json"
    splits.save(path, splits.split(10, seed=2, fractions=(0.6, 0.2, 0.2)), data)
    content = json.loads(path.read_text())
    change(content)
    for part in content["splits"].values():
        part["cases"] = [f"toy[{i}]" for i in part["ids"]]
        part["size"] = len(part["ids"])
        part["sha256"] = splits.digest({name: part[name] for name in ("ids", "cases")})
    del content["sha256"]
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(source="other"), "splits of toy, got those of other"),
        (lambda c: c["splits"]["val"].update(ids=[3, 10]), r"10 cases .*removed: toy\[10\]"),
        (
            lambda c: c["splits"]["val"].update(ids=c["splits"]["val"]["ids"] * 2),
            "val: expected distinct ids",
        ),
        (
            lambda c: c["splits"]["val"]["ids"].extend(c["splits"]["test"]["ids"]),
            "val and test share examples",
        ),
        (lambda c: c.pop("source"), "expected a file of splits"),
    ],
)
def test_splits_that_do_not_fit_the_source_are_refused(tmp_path, change, message):
    data = _source()
    with pytest.raises(ValueError, match=message):
        splits.load(_tampered(tmp_path, data, change), data)


def test_parts_under_other_names_are_refused(tmp_path):
    data, path = _source(), tmp_path / "splits.json"
    splits.save(path, splits.split(10, seed=2, fractions=(0.6, 0.2, 0.2)), data)
    whole = json.loads(path.read_text())
    train, val, test = whole["splits"].values()
    for parts in (
        {"train": train, "valid": val, "test": test},
        {"train": train, "val": test, "test": val},
        {"train": train, "val": val},
    ):
        path.write_text(json.dumps(whole | {"splits": parts}))
        with pytest.raises(ValueError, match=r"splits\.json: .*the file was changed"):
            splits.load(path, data)
    # A file of before the names were sealed.
    path.write_text(json.dumps({name: whole[name] for name in whole if name != "sha256"}))
    assert list(splits.load(path, data)) == ["train", "val", "test"]


def test_splits_that_divide_a_group_are_refused(tmp_path):
    path = tmp_path / "splits.json"
    splits.save(path, splits.split(10, seed=2, fractions=(0.5, 0.0, 0.5)), _source())
    with pytest.raises(ValueError, match="train and test share groups"):
        splits.load(path, _source(groups=np.zeros(10, int)))


def test_changed_or_broken_file_is_refused(tmp_path):
    data, path = _source(), tmp_path / "splits.json"
    splits.save(path, splits.split(10, seed=2, fractions=(0.6, 0.2, 0.2)), data)
    content = json.loads(path.read_text())
    content["splits"]["train"]["ids"].reverse()
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="train: expected 6 cases with digest"):
        splits.load(path, data)
    path.write_text("{")
    with pytest.raises(ValueError, match="expected a file of splits"):
        splits.load(path, data)


def _named(names, images=None, **fields):
    """A source of cases by these names, each with an image and a truth of its own."""
    images = np.arange(len(names)) if images is None else np.asarray(images)
    arrays = np.broadcast_to(images[:, None, None, None], (len(names), 2, 2, 1)).astype(np.uint8)
    truths = arrays[..., 0] + 100 if "truths" not in fields else fields.pop("truths")
    return dataclasses.replace(
        _source(len(names), **fields),
        examples=source.ArrayExamples(arrays, truths),
        has_truth=True,
        case_names=tuple(names),
    )


_PARTS = {"train": np.array([0, 3]), "val": np.array([1]), "test": np.array([2])}


def _contents(data):
    return {i: source.content(data, i) for i in range(len(data.examples))}


def _saved(tmp_path, data):
    path = tmp_path / "splits.json"
    splits.save(path, _PARTS, data, contents=_contents(data))
    return path


@pytest.mark.parametrize(
    ("names", "images", "message"),
    [
        # By their numbers, c would train and d test.
        ("abde", [0, 1, 3, 2], r"got 4 \(1 renamed: c is e\)"),
        ("abde", [0, 1, 3, 9], r"got 4 \(1 removed: c; 1 added: e\)"),
        ("aabcd", [7, 0, 1, 2, 3], "in another order"),
        ("abbcd", [0, 7, 1, 2, 3], "in another order"),
        ("abcde", [0, 1, 2, 3, 4], r"expected the 4 cases .* got 5 \(1 added: e\)"),
        ("Aabcd", [4, 0, 1, 2, 3], r"got 5 \(1 added: A\)"),
        ("abd", [0, 1, 3], r"got 3 \(1 removed: c\)"),
        ("acbd", [0, 2, 1, 3], "in another order"),
    ],
)
def test_other_names_are_refused_and_told(tmp_path, names, images, message):
    path = _saved(tmp_path, _named("abcd"))
    assert splits.load(path, _named("abcd"))["train"].tolist() == [0, 3]
    with pytest.raises(ValueError, match=message):
        splits.load(path, _named(names, images))


def test_other_images_and_labels_are_named(tmp_path):
    data = _named("abcd")
    path = _saved(tmp_path, data)
    assert not any(splits.changes(path, data, _contents(data)))
    other = _named("abcd", [0, 7, 2, 3], truths=data.examples.truths)
    changed = splits.changes(path, other, _contents(other))
    assert changed == (["b"], [], [])
    assert str(changed) == "other images of b"
    truths = data.examples.truths.copy()
    truths[[0, 2]] = 5
    other = _named("abcd", truths=truths)
    assert splits.changes(path, other, _contents(other)) == ([], ["a", "c"], [])
    # Two files were exchanged: c would test by an image that was trained on.
    other = _named("abcd", [0, 1, 3, 2])
    assert splits.changes(path, other, _contents(other)) == (["c", "d"], ["c", "d"], ["c"])


def test_what_holds_nothing_known_has_not_changed(tmp_path):
    data = _named("abcd")
    nothing = dict.fromkeys(range(4), source.Content("", ""))
    path = _saved(tmp_path, data)
    assert not any(splits.changes(path, data, nothing))
    splits.save(path, _PARTS, data)
    assert splits.changes(path, data, _contents(data)) is None
    drawn = dataclasses.replace(data, drawn=True)
    assert _contents(drawn) == nothing


_FOLDS = [{"train": ["c", "a"], "val": ["d"]}, {"train": ["d"], "val": ["a", "c"]}]


@pytest.mark.parametrize(
    ("content", "fold", "expected"),
    [
        ({"train": ["d", "a"], "val": ["b"], "test": ["c"]}, 0, ([3, 0], [1], [2])),
        ({"train": ["d"], "test": []}, 0, ([3], [], [])),
        # As nnU-Net writes them; the case that none of them names tests.
        (_FOLDS, 0, ([2, 0], [3], [1])),
        (_FOLDS, 1, ([3], [0, 2], [1])),
        # Not those that the file names.
        ({"train": ["d", "b"], "val": ["a"]}, 0, ([3, 1], [0], [])),
    ],
)
def test_divisions_by_names_are_taken(tmp_path, content, fold, expected):
    data = _named("abcd", own={"train": np.array([0, 2, 3]), "test": np.array([1])})
    path = tmp_path / "splits_final.json"
    path.write_text(json.dumps(content))
    parts = splits.load(path, data, fold=fold)
    assert tuple(parts) == splits.NAMES
    assert tuple(ids.tolist() for ids in parts.values()) == expected
    assert {ids.dtype for ids in parts.values()} == {np.dtype(np.int32)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_FOLDS, r"expected a fold in 0\.\.1, got fold 2"),
        ({"train": ["a", "e"]}, r"train: expected names of cases of toy \(a, b, c, d\), got e"),
        ({"train": ["a"], "val": ["a"]}, "train and val share examples, for example a"),
        ({"train": ["a", "a"]}, "train: expected distinct ids"),
        ({"val": ["a"]}, "expected .*splits_final.json, got"),
        ({"train": "abcd"}, "train: expected a list of the names of cases, got 'abcd'"),
    ],
)
def test_divisions_by_names_are_checked(tmp_path, content, message):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"mine.json: {message}"):
        splits.load(path, _named("abcd"), fold=2)


def test_names_that_divide_a_patient_are_refused(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"train": ["a"], "test": ["b"]}))
    with pytest.raises(ValueError, match="train and test share groups, for example that of a"):
        splits.load(path, _named("abcd", groups=np.array([4, 4, 5, 6])))


def test_names_that_several_cases_share_say_nothing(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"train": ["a"]}))
    with pytest.raises(ValueError, match="names of their own, some share one"):
        splits.load(path, _named("aabc"))


def test_folds_test_every_group_once_and_share_their_division():
    groups = np.repeat(np.arange(11), 3)
    options = {"seed": 4, "folds": 4, "fractions": (0.8, 0.2, 0.0), "groups": groups}
    parts = [splits.cross_validation(33, fold=fold, **options) for fold in range(4)]
    tested = np.concatenate([part["test"] for part in parts])
    assert sorted(tested.tolist()) == list(range(33))
    sizes = [len(part["test"]) for part in parts]
    assert max(sizes) - min(sizes) <= 3
    for part in parts:
        assert sorted(np.concatenate(list(part.values())).tolist()) == list(range(33))
        for one, other in itertools.combinations(part.values(), 2):
            assert not set(groups[one]) & set(groups[other])
        assert len(part["val"]) > 0


def test_a_source_is_divided_into_folds():
    data = _source()
    parts = splits.of_source(data, seed=0, folds=5, fold=2)
    assert not len(parts["val"])
    assert set(parts["train"]) | set(parts["test"]) == set(range(len(data.examples)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 3, "fold": 3}, "0 <= fold < folds"),
        ({"folds": 12, "fold": 0}, "2 to 10 folds"),
        ({"folds": 2, "fold": 0, "fractions": (0.5, 0.3, 0.2)}, "and a zero"),
    ],
)
def test_impossible_folds_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        splits.cross_validation(10, seed=0, **options)
