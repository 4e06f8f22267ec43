"""BIDS data sets, whose derivatives are the labels of raters."""

import json

import folder_fakes as fakes
import numpy as np
import pytest

from noisyjax.data import sources
from noisyjax.data.folder import checker, layouts
from noisyjax.data.volumes import read_write
from noisyjax.tool import folder
from noisyjax.tool.consensus import fuse
from noisyjax.tool.evaluation import evaluate

IDS = np.array([0, 3, 8], np.uint8)
TABLE = "index\tname\n0\tbackground\n3\torgan\n8\tlesion\n"


def _label(root, rater, case, seed, *, pipeline="raters", suffix="dseg", **entities):
    given = "".join(f"_{key}-{value}" for key, value in entities.items())
    path = root / f"derivatives/{pipeline}" / case.replace("_", "/") / "anat"
    array = IDS[fakes.label(seed)] if suffix == "dseg" else (fakes.label(seed) > 0).astype(np.uint8)
    fakes.save(path / f"{case}{given}_desc-{rater}_{suffix}.nii.gz", array)


def _image(root, case, seed, suffix="T1w"):
    path = root / case.replace("_", "/") / "anat"
    fakes.save(path / f"{case}_{suffix}.nii.gz", fakes.image(seed))


def _make(root, cases=("sub-01", "sub-02", "sub-03", "sub-04"), raters=("anna", "bob", "cem")):
    """Of every rater but the first a case is missing."""
    for i, case in enumerate(cases):
        _image(root, case, i)
        for r, rater in enumerate(raters):
            if r == 0 or i != r:
                _label(root, rater, case, i + r)
    (root / "derivatives/raters/dseg.tsv").write_text(TABLE)
    return root


def test_derivatives_are_raters_of_the_images(tmp_path):
    root = _make(tmp_path)
    # Neither of these is a label on the image's voxels.
    _label(root, "anna", "sub-01", 1, space="MNI152NLin6Asym")
    (root / "sub-01/anat/sub-01_T1w.json").write_text("{}")
    assert checker.check(root) == []
    loaded = sources.load("folder", root=str(root), normalise="none")
    assert loaded.case_names == ("sub-01", "sub-02", "sub-03", "sub-04")
    assert loaded.rater_names == ("anna", "bob", "cem")
    assert loaded.class_names == ("background", "organ", "lesion")
    assert not loaded.has_truth
    example = loaded.examples[1]
    np.testing.assert_array_equal(example["image"][..., 0], fakes.image(1)[::-1, ::-1])
    np.testing.assert_array_equal(example["rater_mask"], [True, False, True])
    for r in (0, 2):
        np.testing.assert_array_equal(example["labels"][r], fakes.label(1 + r)[::-1, ::-1])
    loaded.examples.write(1, example["labels"][2], tmp_path / "out.nii.gz")
    written = read_write.read(tmp_path / "out.nii.gz").array
    np.testing.assert_array_equal(written, IDS[fakes.label(3)])


def test_sessions_are_cases_of_a_patient_and_a_truth_lies_beside_them(tmp_path):
    cases = [f"sub-{i}_ses-{s}" for i in range(4) for s in ("a", "b")]
    root = _make(tmp_path, cases, raters=("anna",))
    _label(root, "truth", cases[0], 5)
    fakes.save(root / "sub-1/ses-a/anat/sub-1_ses-a_dseg.nii.gz", IDS[fakes.label(6)])
    _label(root, "x", cases[3], 4, pipeline="bob")
    path = root / "derivatives/bob/sub-1/ses-b/anat/sub-1_ses-b_desc-x_dseg.nii.gz"
    path.rename(path.with_name("sub-1_ses-b_dseg.nii.gz"))
    layout = layouts.read(root)
    assert layout.problems == ()
    assert layout.rater_names == ("anna", "bob")
    assert layout.patients == {case: case[:5] for case in cases}
    assert [case.name for case in layout.cases if case.truth] == [cases[0], cases[2]]
    assert [case.name for case in layout.cases if "bob" in case.raters] == [cases[3]]
    loaded = sources.load("folder", root=str(root))
    np.testing.assert_array_equal(loaded.truth_mask, [i in (0, 2) for i in range(8)])
    parts = [{int(i) // 2 for i in part} for part in loaded.splits.values()]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 4


def test_dataset_json_may_name_classes_and_channels(tmp_path):
    root = _make(tmp_path, raters=("anna",))
    (root / "derivatives/raters/dseg.tsv").unlink()
    for i in range(4):
        _image(root, f"sub-0{i + 1}", 10 + i, "FLAIR")
    content = {"labels": {"background": 0, "a": 3, "b": 8}}
    (root / "dataset.json").write_text(json.dumps(content))
    assert layouts.read(root).channel_names == ("FLAIR", "T1w")
    content["channel_names"] = {"0": "t1w"}
    (root / "dataset.json").write_text(json.dumps(content))
    assert checker.check(root) == []
    layout = layouts.read(root)
    assert (layout.channel_names, layout.class_names) == (("t1w",), ("background", "a", "b"))
    assert [path.name for path in layout.cases[0].images] == ["sub-01_T1w.nii.gz"]


def test_masks_of_one_class_need_no_table(tmp_path):
    for i, case in enumerate(("sub-01", "sub-02")):
        _image(tmp_path, case, i)
        _label(tmp_path, "anna", case, i, suffix="mask", label="tumour")
    assert checker.check(tmp_path) == []
    assert layouts.read(tmp_path).class_names == ("background", "tumour")


def _no_table(root):
    (root / "derivatives/raters/dseg.tsv").unlink()


def _other_table(root):
    (root / "derivatives/raters/desc-bob_dseg.tsv").write_text(TABLE.replace("8", "9"))


def _no_columns(root):
    (root / "derivatives/raters/dseg.tsv").write_text("a\tb\n1\t2\n")


def _no_images(root):
    for path in root.glob("sub-*/anat/*"):
        path.unlink()


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (_no_table, "no_classes", "columns index and name"),
        (_other_table, "bad_classes_table", "another table has other classes"),
        (_no_columns, "bad_classes_table", "no columns index and name"),
        (_no_images, "no_bids_images", "sub-01/anat/sub-01_T1w.nii.gz"),
        (lambda root: _image(root, "sub-05", 9), "missing_label", "sub-05_desc-RATER_dseg.nii.gz"),
        (lambda root: _image(root, "sub-01", 9, "T2w"), "missing_channel", "sub-02_T2w.nii.gz"),
        (lambda root: _label(root, "dan", "sub-07", 1), "missing_image", "sub-07_T1w.nii.gz"),
        (lambda root: _label(root, "anna", "sub-01", 1, run="2"), "two_files", "sub-01_desc-anna"),
        (lambda root: _label(root, "..", "sub-01", 1), "unsafe_path", "leads out of the folder"),
    ],
)
def test_what_is_wrong_names_the_file_that_was_expected(tmp_path, change, kind, words):
    root = _make(tmp_path)
    change(root)
    problems = layouts.read(root).problems
    assert kind in {problem.kind for problem in problems}
    assert any(words in str(problem) for problem in problems if problem.kind == kind)
    with pytest.raises(ValueError, match="expected a folder without problems"):
        sources.load("folder", root=str(root))


def test_the_tool_makes_a_folder_of_nnunets_layout(tmp_path):
    root = _make(tmp_path / "in")
    fuse.consensus(root, out=tmp_path / "out", method="majority")
    made = folder.open_folder(tmp_path / "out")
    assert made.class_names == ("background", "organ", "lesion")
    assert made.layout.channel_names == ("T1w",)
    assert set(made.cases) == {"sub-01", "sub-02", "sub-03", "sub-04"}
    image = read_write.read(tmp_path / "out/imagesTr/sub-03_0000.nii.gz").array
    np.testing.assert_array_equal(image, fakes.image(2))
    report = evaluate.evaluate(tmp_path / "out/labelsTr", root, metrics=["dice"], draws=10)
    assert report.problems == ()
    assert report.line("dice", "organ", "anna").summary.count == 4
