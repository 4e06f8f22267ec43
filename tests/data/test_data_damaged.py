import dataclasses
import errno

import numpy as np
import pytest

from noisyjax.data import damaged, source, sources, splits
from noisyjax.data.labels import assemble

IDS = np.arange(8, dtype=np.int32)


class Cases:
    """Eight small images; 2 cannot be read, 3 is of another shape, 5 is not finite."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        if index == 2:
            raise OSError("cut off,\nsomewhere")
        image = np.zeros((4, 5 if index == 3 else 4, 1), np.float32)
        if index == 5:
            image[1, 1] = np.nan
        label = np.zeros(image.shape[:-1], np.uint8)
        return {
            "image": image, "id": np.int32(index), "truth": label, "labels": label[None],
            "rater_mask": np.ones(1, bool),
        }  # fmt: skip


def data():
    return source.Source(
        name="made",
        examples=Cases(),
        num_classes=2,
        class_names=("background", "organ"),
        spacing=(1.0, 1.0),
        has_truth=True,
        rater_names=("anna",),
        case_names=[f"case {index}" for index in range(8)],
    )


def test_every_fault_is_found_and_named():
    errors = damaged.find(data(), IDS[::-1])
    assert list(errors) == [5, 3, 2]
    assert "finite" in errors[5]
    assert "(4, 5, 1)" in errors[3]
    assert errors[2] == "cut off, somewhere"


def test_what_the_system_denies_is_not_damaged(monkeypatch):
    def denied(*_):
        raise PermissionError(errno.EACCES, "Permission denied", "case.png")

    monkeypatch.setattr(Cases, "__getitem__", denied)
    with pytest.raises(source.UnreadableCase, match="case 0: .*Permission denied: 'case.png'"):
        damaged.find(data(), IDS)


def test_the_shape_of_most_cases_is_right_whichever_comes_first():
    assert list(damaged.find(data(), np.array([3, 0, 1]))) == [3]


def test_what_is_left_out_comes_back_from_the_file(tmp_path):
    parts = {"train": IDS[:4], "val": IDS[4:5], "test": IDS[5:]}
    errors = damaged.find(data(), IDS)
    path = tmp_path / "skipped.csv"
    damaged.save(path, errors, parts, data())
    header, *lines = path.read_text().splitlines()
    assert header == "id,case,split,error"
    assert [line.split(",")[:3] for line in lines] == [
        ["2", "case 2", "train"], ["3", "case 3", "train"], ["5", "case 5", "test"],
    ]  # fmt: skip
    assert damaged.load(path, data()) == errors
    left = damaged.without(parts, errors)
    assert {name: ids.tolist() for name, ids in left.items()} == {
        "train": [0, 1], "val": [4], "test": [6, 7],
    }  # fmt: skip


def test_files_of_other_cases_or_none_are_refused(tmp_path):
    path = tmp_path / "skipped.csv"
    damaged.save(path, {2: "cut off"}, {"train": IDS}, data())
    other = dataclasses.replace(data(), case_names=[f"other {index}" for index in range(8)])
    with pytest.raises(ValueError, match=r"skipped.csv: expected .*no case 'case 2'"):
        damaged.load(path, other)
    for text in ("", "id,case\n", "id,case,split,error\nx,y,z,w\n"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"skipped.csv: expected"):
            damaged.load(path, data())


def test_a_split_of_which_nothing_is_left_is_refused():
    parts = {"train": IDS[:2], "test": IDS[2:4]}
    with pytest.raises(ValueError, match="test: expected cases that can be used, got 2 .*cut off"):
        damaged.without(parts, damaged.find(data(), IDS))


def test_without_leaving_out_the_first_one_is_named():
    options = {"panel": None, "seed": 0, "include_truth": True}
    with pytest.raises(source.UnreadableCase, match="case 2: expected a case that can be read"):
        assemble.label(data(), IDS[1:], **options)
    kept = assemble.label(data(), np.array([0, 1]), **options)
    with pytest.raises(source.UnreadableCase, match="case 2: .*OSError: cut off"):
        source.read_several(kept.data, np.array([0, 2]))


def test_memory_that_runs_out_is_no_damaged_case():
    class Large(Cases):
        def __getitem__(self, index):
            return {"image": np.empty(10**15)}

    large = dataclasses.replace(data(), examples=Large())
    for function in (lambda: damaged.find(large, IDS), lambda: source.read_several(large, IDS)):
        with pytest.raises(MemoryError):
            function()


def test_a_folder_of_files_is_used_without_its_damaged_cases(tmp_path):
    import folder_fakes

    root = folder_fakes.make(tmp_path, count=6)
    image = root / "imagesTr" / "case_02_0000.nii.gz"
    image.write_bytes(image.read_bytes()[:100])
    (root / "labelsTr" / "case_04.nii.gz").unlink()
    options = {"root": str(root), "fractions": (0.5, 0.25, 0.25)}
    with pytest.raises(ValueError, match="case_04"):
        sources.load("folder", **options)
    data = sources.load("folder", skip_damaged=True, **options)
    assert len(data.examples) == 6
    errors = damaged.find(data, np.arange(6, dtype=np.int32))
    assert list(errors) == [2, 4]
    assert "case_02_0000.nii.gz" in errors[2]
    assert "no label" in errors[4]
    parts = splits.of_source(data, seed=0)
    assert sum(map(len, damaged.without(parts, errors).values())) == 4
