"""Slicer's segmentations as labels of a folder."""

import sys

import folder_fakes as fakes
import numpy as np
import pytest
import slicer_files

from noisyjax.data import sources
from noisyjax.data.folder import checker, nnunet_layout, segments
from noisyjax.data.volumes import read_write
from noisyjax.tool import folder
from noisyjax.tool.consensus import fuse
from noisyjax.tool.evaluation import evaluate

NAMES = [("Lesion", 1, 1), ("organ", 1, 0)]
END = ".seg.nrrd"


def _layers(label):
    """The lesion lies in a layer of its own, above the organ, which is around it."""
    return np.stack([label == 1, label == 2])


def _folder(root, raters=()):
    """Case 0 in layers, case 1 by values, cut to a part of its image; the others are NIfTI."""
    fakes.make(root, 4, raters=raters)
    fakes.describe(root, labels={"background": 0, "organ": 2, "lesion": 7})
    label = fakes.label(0)
    for part in ("labelsTr", *(f"ratersTr/{rater}" for rater in raters)):
        for path in (root / part).glob("*.nii.gz"):
            array = read_write.read(path).array
            name, target = path.name.removesuffix(".nii.gz"), path.parent
            path.unlink()
            if name == "case_00":
                layers = _layers(array)
                slicer_files.save(target / f"{name}{END}", layers, NAMES, affine=fakes.AFFINE)
            elif name == "case_01":
                values = np.where(array == 1, 4, np.where(array == 2, 3, 0))[1:, 1:, 1:-1]
                given = [("organ", 4, 0), ("LESION", 3, 0), ("Segment_3", 9, 0)]
                options = {"affine": fakes.AFFINE, "first": (1, 1, 1), "packed": False}
                slicer_files.save(target / f"{name}{END}", values, given, **options)
            else:
                fakes.save(path, np.array([0, 2, 7], np.uint8)[array])
    return root, label


def test_segments_are_the_classes_of_their_names(tmp_path):
    root, _ = _folder(tmp_path, raters=("anna",))
    assert checker.check(root) == []
    loaded = sources.load("folder", root=str(root))
    for i in range(4):
        example = loaded.examples[i]
        np.testing.assert_array_equal(example["truth"], fakes.label(i)[::-1, ::-1])
        np.testing.assert_array_equal(example["labels"][0], fakes.label(i)[::-1, ::-1])


def _problems(root, layers, named, **options):
    fakes.make(root, 2)
    (root / "labelsTr/case_00.nii.gz").unlink()
    options = {"affine": fakes.AFFINE, **options}
    slicer_files.save(root / f"labelsTr/case_00{END}", layers, named, **options)
    return checker.check(root)


def test_segments_that_overlap_are_counted_and_the_later_one_lies_above(tmp_path):
    layers = np.zeros((2, *fakes.SHAPE))
    layers[0, 1:5], layers[1, 3:6] = 1, 1
    named = [("organ", 1, 0), ("lesion", 1, 1)]
    (problem,) = _problems(tmp_path, layers, named)
    assert problem.kind == "overlap"
    assert problem.message.startswith(f"{2 * 7 * 6} voxels are in segments of several classes")
    layout = nnunet_layout.read(tmp_path)
    (path,) = (case.truth for case in layout.cases if case.name == "case_00")
    array = checker.read_case(layout.cases[0], layout).volumes[path].array[::-1, ::-1]
    assert array[:, 0, 0].tolist() == [0, 1, 1, 2, 2, 2, 0, 0]


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ([("liver", 1, 0), ("lesion", 2, 0)], "the segment liver is no class of dataset.json"),
        ([("organ", 1, 0)], "the segment of the value 2, without a name, is no class"),
        ([("organ", 1, 1)], "'1' and '1'"),
        ([("organ", "x", 0)], "whole numbers for LabelValue and Layer of Segment0"),
    ],
)
def test_segments_that_are_no_classes_are_named(tmp_path, named, words):
    problems = _problems(tmp_path, fakes.label(0), named)
    assert words in problems[0].message
    assert problems[0].file == f"labelsTr/case_00{END}"


def test_a_segmentation_elsewhere_or_damaged_is_refused(tmp_path):
    named, label = [("organ", 1, 0), ("lesion", 2, 0)], fakes.label(0)
    part = label[:, :, 1:]
    for first, kinds in (((0, 0, 1), []), ((0, 0, 2), ["shape"]), ((0.5, 0, 1), ["shape"])):
        problems = _problems(tmp_path / str(first), part, named, first=first)
        assert [problem.kind for problem in problems] == kinds
    path = tmp_path / "(0, 0, 1)" / f"labelsTr/case_00{END}"
    path.write_bytes(path.read_bytes()[:-9])
    (problem,) = checker.check(tmp_path / "(0, 0, 1)")
    assert problem.kind == "truncated"


def test_two_labels_of_a_case_are_one_too_many(tmp_path):
    fakes.make(tmp_path, 2)
    path = tmp_path / f"labelsTr/case_00{END}"
    slicer_files.save(path, fakes.label(0), [("organ", 1, 0)], affine=fakes.AFFINE)
    (problem,) = checker.check(tmp_path)
    assert (problem.kind, problem.file) == ("two_files", "labelsTr/case_00.seg.nrrd")
    assert "case_00.nii.gz" in problem.message


def test_the_tool_takes_segmentations_and_writes_labels(tmp_path):
    root, _ = _folder(tmp_path / "in", raters=("anna", "bob", "cem"))
    fuse.consensus(root, out=tmp_path / "out", method="majority")
    opened, made = folder.open_folder(root), folder.open_folder(tmp_path / "out")
    written = read_write.read(tmp_path / "out/labelsTr/case_00.nii.gz")
    assert written.shape == fakes.SHAPE
    assert set(np.unique(written.array)) == {0, 2, 7}
    labels = opened.read("case_00").labels
    same = (labels == labels[0]).all(axis=0)
    np.testing.assert_array_equal(made.read("case_00").truth[same], labels[0][same])
    report = evaluate.evaluate(root / "labelsTr", root, metrics=["dice"], draws=10)
    assert report.problems == ()
    assert report.line("dice", "organ", "anna").summary.count == 4


def test_the_extra_is_named_where_simpleitk_is_not_installed(tmp_path, monkeypatch):
    path = tmp_path / f"a{END}"
    slicer_files.save(path, fakes.label(0), [("organ", 1, 0)])
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(read_write.UnreadableError, match=r"a\.seg\.nrrd: .*noisyjax\[itk\]"):
        read_write.read(path)
    assert segments.is_one(path)
