"""Label files of all types of numbers, with any ids of classes."""

import json

import folder_fakes as fakes
import nibabel as nib
import numpy as np
import pytest

from noisyjax.data import sources
from noisyjax.data.folder import checker, nnunet_layout
from noisyjax.data.volumes import read_write
from noisyjax.tool import folder
from noisyjax.tool.consensus import fuse
from noisyjax.tool.evaluation import evaluate

# Of the classes 0, 1, 2 of the fakes.
GAPS = {"lesion": 500, "background": 0, "organ": 2}
IDS = np.array([0, 2, 500], np.uint16)
END = ".nii.gz"


def _with_gaps(root, raters=("anna", "bob", "cem")):
    fakes.make(root, 4, raters=raters)
    fakes.describe(root, labels=GAPS)
    for part in ("labelsTr", *(f"ratersTr/{rater}" for rater in raters)):
        for path in (root / part).glob(f"*{END}"):
            fakes.save(path, IDS[read_write.read(path).array])
    return root


@pytest.mark.parametrize(
    "dtype",
    ["i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", ">i2", ">f8"],
)
def test_labels_of_any_type_are_the_same_classes(tmp_path, dtype):
    fakes.make(tmp_path, 3)
    path = tmp_path / "labelsTr" / f"case_01{END}"
    header = nib.Nifti1Header(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(dtype)
    array = fakes.label(1).astype(dtype)
    nib.save(nib.Nifti1Image(array, fakes.AFFINE, header, dtype=np.dtype(dtype)), path)
    assert nib.load(path).get_data_dtype() == np.dtype(dtype)
    assert checker.check(tmp_path) == []
    layout = nnunet_layout.read(tmp_path)
    read = checker.read_case(layout.cases[1], layout).volumes[path].array
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, fakes.label(1)[::-1, ::-1])


def test_ids_with_gaps_are_classes_in_their_order(tmp_path):
    root = _with_gaps(tmp_path / "in")
    assert checker.check(root) == []
    loaded = sources.load("folder", root=str(root))
    assert loaded.class_names == ("background", "organ", "lesion")
    assert loaded.about["class_ids"] == (0, 2, 500)
    example = loaded.examples[3]
    np.testing.assert_array_equal(example["truth"], fakes.label(3)[::-1, ::-1])
    np.testing.assert_array_equal(example["labels"][1], fakes.label(4)[::-1, ::-1])
    loaded.examples.write(3, example["truth"], tmp_path / f"out{END}")
    written = read_write.read(tmp_path / f"out{END}").array
    assert written.dtype == np.uint16
    np.testing.assert_array_equal(written, IDS[fakes.label(3)])


def test_other_ids_are_other_cases_on_the_disk(tmp_path):
    """The same files may be named otherwise: 500 was the lesion, and is the organ."""
    root, cache = _with_gaps(tmp_path / "in"), str(tmp_path / "kept")
    before = sources.load("folder", root=str(root), cache=cache).examples[0]["truth"]
    fakes.describe(root, labels={"background": 0, "a": 2, "b": 3, "c": 500})
    after = sources.load("folder", root=str(root), cache=cache).examples[0]["truth"]
    np.testing.assert_array_equal(after, np.where(before == 2, 3, before))


def test_values_in_a_gap_are_named(tmp_path):
    root = _with_gaps(tmp_path)
    fakes.save(root / "labelsTr" / f"case_00{END}", fakes.label(0))
    (problem,) = checker.check(root)
    assert problem.kind == "outside_classes"
    assert "values [1], dataset.json has 0, 2, 500" in problem.message
    fakes.describe(root, labels={**GAPS, "vessel": 7})
    absent = [p.message for p in checker.check(root) if p.kind == "absent_class"]
    assert absent == ["no label has the class 7, vessel"]


def test_the_tool_reads_and_writes_the_ids_of_the_files(tmp_path):
    root = _with_gaps(tmp_path / "in")
    fuse.consensus(root, out=tmp_path / "out", method="majority", ties="undecided")
    content = json.loads((tmp_path / "out/dataset.json").read_text())
    assert content["labels"] == {"background": 0, "organ": 2, "lesion": 500, "ignore": 501}
    opened, made = folder.open_folder(root), folder.open_folder(tmp_path / "out")
    fused = read_write.read(tmp_path / "out/labelsTr" / f"case_03{END}").array
    assert set(np.unique(fused)) <= {0, 2, 500, 501}
    raters = np.stack([opened.read("case_03").labels[r] for r in range(3)])
    agreed = (raters == raters[0]).all(axis=0)
    assert agreed.any()
    np.testing.assert_array_equal(made.read("case_03").truth[agreed], raters[0][agreed])
    report = evaluate.evaluate(root / "ratersTr/anna", root, metrics=["dice"], draws=10)
    assert report.problems == ()
    assert report.line("dice", "lesion", "anna").summary.mean == 1
    assert report.line("dice", "organ", "bob").summary.mean < 1
