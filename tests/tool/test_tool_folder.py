"""Folders of labels, read and written on their own voxels."""

import json

import folder_fakes
import numpy as np
import pytest

import noisyjax
from noisyjax.data.volumes import read_write
from noisyjax.tool import folder


def _make(root, **options):
    return folder_fakes.make(root, raters=("anna", "ben", "cleo"), **options)


def test_a_case_has_the_labels_of_its_raters(tmp_path):
    opened = noisyjax.open_folder(_make(tmp_path))
    assert (len(opened), opened.num_classes) == (4, 3)
    assert opened.rater_names == ("anna", "ben", "cleo")
    case = opened.read("case_01")
    assert case.rater_mask.tolist() == [True, False, True]
    assert (case.labels[1] == folder.NO_LABEL).all()
    # The file's first two axes run to the left and the back.
    stored = read_write.read(tmp_path / "ratersTr" / "cleo" / "case_01.nii.gz").array
    np.testing.assert_array_equal(case.labels[2], stored[::-1, ::-1])
    np.testing.assert_array_equal(case.truth, folder_fakes.label(1)[::-1, ::-1])
    assert case.spacing == (1.0, 1.5, 2.0)


def test_what_is_written_lies_on_the_files_own_voxels(tmp_path):
    opened = noisyjax.open_folder(_make(tmp_path / "in"))
    case = opened.read("case_00")
    opened.write(tmp_path / "out.nii.gz", case.labels[0], like=case.like)
    opened.write(tmp_path / "half.nii.gz", case.labels[0] / 2, like=case.like)
    stored = read_write.read(case.like)
    written, half = (read_write.read(tmp_path / f"{name}.nii.gz") for name in ("out", "half"))
    np.testing.assert_array_equal(written.array, folder_fakes.label(0))
    assert written.array.dtype == stored.array.dtype
    np.testing.assert_array_equal(written.affine, stored.affine)
    np.testing.assert_array_equal(half.array, folder_fakes.label(0) / np.float32(2))


def test_the_class_ignore_is_no_label(tmp_path):
    _make(tmp_path)
    names = {"background": 0, "organ": 1, "ignore": 2}
    folder_fakes.describe(tmp_path, labels=names)
    opened = noisyjax.open_folder(tmp_path)
    case = opened.read("case_00")
    assert opened.class_names == ("background", "organ")
    assert set(np.unique(case.labels[0])) == {0, 1, folder.NO_LABEL}
    opened.write(tmp_path / "out.nii.gz", case.labels[0], like=case.like)
    written = read_write.read(tmp_path / "out.nii.gz").array
    np.testing.assert_array_equal(written, folder_fakes.label(0))


def test_no_rater_leaves_no_labels(tmp_path):
    case = noisyjax.open_folder(folder_fakes.make(tmp_path)).read("case_00")
    assert case.labels.shape == (0, *case.truth.shape)


@pytest.mark.parametrize(
    ("break_it", "text"),
    [
        (lambda root: (root / "dataset.json").unlink(), "there is no dataset.json"),
        (
            lambda root: [path.unlink() for path in (root / "labelsTr").iterdir()],
            "expected labels in labelsTr or ratersTr/RATER, got none",
        ),
    ],
)
def test_a_bad_folder_is_named(tmp_path, break_it, text):
    break_it(folder_fakes.make(tmp_path))
    with pytest.raises(folder.FolderError, match=text) as error:
        noisyjax.open_folder(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_a_bad_label_is_named(tmp_path):
    _make(tmp_path)
    path = tmp_path / "ratersTr" / "ben" / "case_00.nii.gz"
    folder_fakes.save(path, np.full(folder_fakes.SHAPE, 7, np.uint8))
    opened = noisyjax.open_folder(tmp_path)
    with pytest.raises(folder.FolderError, match=r"ratersTr/ben/case_00.nii.gz: .*values \[7\]"):
        opened.read("case_00")


def test_too_many_classes_are_refused(tmp_path):
    folder_fakes.make(tmp_path)
    content = json.loads((tmp_path / "dataset.json").read_text())
    content["labels"] = {f"class {i}": i for i in range(256)}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(folder.FolderError, match="expected at most 255, got 256"):
        noisyjax.open_folder(tmp_path)


def test_labels_by_who_gave_them(tmp_path):
    opened = folder.open_folder(folder_fakes.make(tmp_path / "in", 2, raters=("anna", "ben")))
    first, second = (opened.read(f"case_0{n}") for n in range(2))
    assert list(opened.by_rater(first)) == ["anna", "ben", "truth"]
    assert list(opened.by_rater(second)) == ["anna", "truth"]
    np.testing.assert_array_equal(opened.by_rater(first)["ben"], first.labels[1])
    np.testing.assert_array_equal(opened.by_rater(first)["truth"], first.truth)
    root = folder_fakes.make(tmp_path / "other", 2, raters=("anna", "truth"))
    opened = folder.open_folder(root)
    with pytest.raises(folder.FolderError, match="ratersTr/truth: expected another name"):
        opened.by_rater(opened.read("case_00"))
