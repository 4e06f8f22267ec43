"""Every fault that a folder may have is reported, in one go."""

import gzip
import json
import shutil

import folder_fakes as fakes
import nibabel as nib
import numpy as np
import PIL.Image
import pytest

from noisyjax.data.folder import checker, nnunet_layout, problem_kinds
from noisyjax.data.volumes import read_write

END = ".nii.gz"
REGIONS = {"background": 0, "whole": [1, 2]}


def _add(root, name, *, image=None, label=None, affine=fakes.AFFINE):
    """Adds a case to a folder; None for what a clean one has, False for nothing."""
    if image is not False:
        pixels = fakes.image(list(name.encode())) if image is None else image
        fakes.save(root / "imagesTr" / f"{name}_0000{END}", pixels)
    if label is not False:
        marks = fakes.label(0) if label is None else label
        fakes.save(root / "labelsTr" / f"{name}{END}", marks, affine)


def _cut(path, share=0.5):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def _moved(*values):
    affine = fakes.AFFINE.copy()
    affine[:3, 3] += values
    return affine


def _with_faults(root):
    """Builds a folder with a case for each fault; returns the kinds by case, or by file."""
    fakes.make(root, 3, raters=("anna",))
    nan = fakes.image(1).astype(np.float32)
    nan[0, 0, :2] = np.nan, np.inf
    for name, options in {
        "nan": {"image": nan},
        "constant": {"image": np.full(fakes.SHAPE, 7, np.int16)},
        "label_shape": {"label": fakes.label(0, (8, 7, 5))},
        "label_affine": {"affine": _moved(0, 0.5, 0)},
        "outside": {"label": fakes.label(0) * 3},
        "negative": {"label": -fakes.label(0).astype(np.int16)},
        "half": {"label": fakes.label(0) * np.float32(0.5)},
        "blank": {"label": np.zeros(fakes.SHAPE, np.uint8)},
        "no_label": {"label": False},
        "no_image": {"image": False},
        "flat": {"image": fakes.image(5, (8, 9)), "label": fakes.label(0, (8, 9))},
        "slice": {"image": fakes.image(6, (8, 9, 1)), "label": np.ones((8, 9, 1), np.uint8)},
        "cut": {},
        "cut_label": {},
        "corrupt": {},
        "empty": {},
        "text": {},
        "time": {},
        "complex": {},
        "absurd": {},
        "claims": {},
        "folded": {},
        "ends": {},
        "extra": {},
        "far": {"label": False},
    }.items():
        _add(root, name, **options)
    images, labels = root / "imagesTr", root / "labelsTr"
    _cut(images / f"cut_0000{END}")
    _cut(labels / f"cut_label{END}", 0.9)
    path = images / f"corrupt_0000{END}"
    content = bytearray(gzip.decompress(path.read_bytes()))
    packed = bytearray(gzip.compress(bytes(content), 0))
    packed[400] ^= 255
    path.write_bytes(packed)
    (images / f"empty_0000{END}").write_bytes(b"")
    (images / f"text_0000{END}").write_bytes(gzip.compress(b"no image at all" * 100))
    for name, array in (
        ("time", np.zeros((*fakes.SHAPE, 2), np.int16)),
        ("complex", np.zeros(fakes.SHAPE, np.complex64)),
    ):
        nib.Nifti1Image(array, fakes.AFFINE).to_filename(images / f"{name}_0000{END}")
    for name, size in (("absurd", 32767), ("claims", 512)):
        path = images / f"{name}_0000{END}"
        content = bytearray(gzip.decompress(path.read_bytes()))
        content[42:48] = np.array([size] * 3, "<i2").tobytes()
        path.write_bytes(gzip.compress(bytes(content)))
    for name, place in (("folded", bytes(48)), ("ends", np.full(12, 3e38, "<f4").tobytes())):
        path = images / f"{name}_0000{END}"
        content = bytearray(gzip.decompress(path.read_bytes()))
        content[280:328] = place
        path.write_bytes(gzip.compress(bytes(content)))
    fakes.save(images / f"extra_0003{END}", fakes.image(9))
    far = np.diag([0.001, 0.001, 0.001, 1.0])
    fakes.save(images / f"far_0000{END}", fakes.image(10), far)
    fakes.save(labels / f"far{END}", fakes.label(0), far)
    shutil.copy(images / f"case_01_0000{END}", images / f"twin_0000{END}")
    shutil.copy(labels / f"case_01{END}", labels / f"twin{END}")
    fakes.save(root / "imagesTs" / f"case_02_0000{END}", fakes.image(11))
    fakes.save(root / "labelsTs" / f"case_02{END}", fakes.label(0))
    fakes.save(images / f"unnumbered{END}", fakes.image(12))
    (images / "notes.txt").write_text("")
    fakes.save(images / f"bad[name]_0000{END}", fakes.image(13))
    fakes.save(root / "ratersTr" / "bob" / f"case_77{END}", fakes.label(0))
    (root / "ratersTr" / "anna" / "case_00.nii").write_bytes(b"x")
    (root / "ratersTr" / "stray.txt").write_text("")
    fakes.describe(root, numTraining=5, training=[{"image": "../../etc/passwd"}])
    return {
        "nan": "not_finite",
        "constant": "constant",
        "label_shape": "shape",
        "label_affine": "label_affine",
        "outside": "outside_classes",
        "negative": "outside_classes",
        "half": "not_whole",
        "blank": "empty_mask",
        "no_label": "missing_label",
        "no_image": "missing_image",
        "flat": "mixed_axes",
        "slice": "one_slice",
        "cut": "truncated",
        "cut_label": "truncated",
        "corrupt": "truncated",
        "empty": "empty",
        "text": "format",
        "time": "four_dimensional",
        "complex": "format",
        "absurd": "too_large",
        "claims": "truncated",
        "folded": "affine",
        "ends": "affine",
        "extra": "extra_channel",
        "far": "far_spacing",
        "twin": "same_image",
        "case_02": "in_both_parts",
        "case_77": "missing_image",
        "imagesTr/notes.txt": "unknown_file",
        f"imagesTr/unnumbered{END}": "misnamed",
        "ratersTr/anna/case_00.nii": "misnamed",
        f"imagesTr/bad[name]_0000{END}": "unsafe_path",
        "ratersTr/bob": "empty_rater",
        "ratersTr/stray.txt": "unknown_file",
        "dataset.json": "unsafe_path",
    }


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    root = tmp_path_factory.mktemp("faults")
    expected = _with_faults(root)
    return root, expected, checker.check(root, max_bytes=2**31)


def test_every_fault_of_a_folder_is_reported_at_once(checked):
    _, expected, problems = checked
    reported = {(p.case or p.file, p.kind) for p in problems}
    assert set(expected.items()) - reported == set()
    # Twenty kinds at least, and nobody labelled most of these cases but the truth.
    assert len({p.kind for p in problems}) >= 20
    beside = {
        where: kind for where, kind in reported - set(expected.items()) if kind != "truth_alone"
    }
    assert beside == {"dataset.json": "count"}


def test_every_problem_says_what_is_wrong_and_what_to_do(checked):
    root, _, problems = checked
    for problem in problems:
        assert problem.kind in problem_kinds.KINDS
        assert problem.message
        assert problem.remedy
        assert "{got" not in str(problem)
        assert "{want" not in str(problem)
        assert str(root) not in problem.message
    by_case = {p.case: p for p in problems}
    assert "[3, 6]" in by_case["outside"].message
    assert "0 to 2" in by_case["outside"].message
    assert "0.5 mm away" in by_case["label_affine"].message
    assert "2 voxels of NaN" in by_case["nan"].message
    assert "gzip -t" in by_case["cut"].remedy
    assert "imagesTr/case_01_0000" in by_case["twin"].message


def test_what_is_meant_to_be_so_is_left_out(checked):
    root, _, problems = checked
    again = checker.check(root, ignore=("empty_mask", "truth_alone"), max_bytes=2**31)
    assert len(again) == sum(p.kind not in ("empty_mask", "truth_alone") for p in problems)
    with pytest.raises(ValueError, match="ignore: expected one of 'no_folder', .* got 'nonsense'"):
        checker.check(root, ignore=("nonsense",))


@pytest.mark.parametrize("end", [".nii.gz", ".png"])
def test_a_clean_folder_has_no_problem(tmp_path, end):
    shape = fakes.SHAPE if end == ".nii.gz" else (8, 9)
    fakes.make(tmp_path, 3, raters=("anna", "bob"), tests=1, end=end, shape=shape)
    assert checker.check(tmp_path) == []
    # Names alone do not tell: without the truth the raters are enough, but each case wants one.
    shutil.rmtree(tmp_path / "labelsTr")
    shutil.rmtree(tmp_path / "labelsTs")
    assert checker.check(tmp_path) == []
    (tmp_path / "ratersTr" / "anna" / f"case_01{end}").unlink()
    assert [p.kind for p in checker.check(tmp_path)] == ["no_rater"]


def test_regions_name_the_classes_that_they_are_alone(tmp_path):
    """nnU-Net's lists, with the class "ignore", and lists of one class, which are classes."""
    fakes.make(tmp_path, 3)
    labels = {**REGIONS, "part": [2], "ignore": 3}
    fakes.describe(tmp_path, labels=labels, regions_class_order=[1, 2])
    layout = nnunet_layout.read(tmp_path)
    assert layout.class_names == ("background", "class_1", "part", "ignore")
    assert layout.regions.to_json() == {
        "names": ["whole", "part"],
        "members": [[1, 2], [2]],
        "order": [1, 2],
    }
    assert not layout.problems
    # By numbers of classes, where the ids have gaps.
    labels = {"background": 0, "part": 3, "whole": [300, 3]}
    fakes.describe(tmp_path, labels=labels, regions_class_order=[3, 300])
    (problem,) = nnunet_layout.read(tmp_path).problems
    assert "by which class 1 becomes 2" in problem.message
    fakes.describe(tmp_path, labels=dict(reversed(labels.items())), regions_class_order=[300, 3])
    layout = nnunet_layout.read(tmp_path)
    assert layout.class_names == ("background", "part", "class_300")
    assert (layout.regions.members, layout.regions.order) == (((1, 2), (1,)), (2, 1))
    fakes.describe(tmp_path, labels={"background": [0], "organ": [1], "lesion": 2})
    layout = nnunet_layout.read(tmp_path)
    assert (layout.class_names, layout.regions) == (("background", "organ", "lesion"), None)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (None, "no_dataset_json"),
        ("{", "bad_dataset_json"),
        ("[1]", "bad_dataset_json"),
        ({"labels": {"background": 0, "organ": 2}}, "outside_classes"),
        ({"labels": {"background": 1, "organ": 2}}, "bad_labels"),
        ({"labels": {"background": 0, "organ": 65535}}, "bad_labels"),
        ({"labels": {"background": 0, "organ": 1, "lesion": 1}}, "bad_labels"),
        ({"labels": {"0": "background", "1": "organ", "2": "lesion"}}, "old_dataset_json"),
        ({"labels": {"background": 0, "whole": [1, 2], "part": 2}}, "bad_regions"),
        ({"labels": {"background": 0, "whole": [], "part": 1}}, "bad_regions"),
        ({"labels": {"whole": [1, 2], "part": 2}, "regions_class_order": [1, 2]}, "bad_labels"),
        ({"labels": {**REGIONS, "part": 2}, "regions_class_order": [2, 1]}, "bad_regions"),
        ({"labels": ["background", "organ"]}, "bad_labels"),
        ({"labels": {"background": 0}}, "bad_labels"),
        ({"channel_names": {"1": "CT"}}, "bad_channels"),
        ({"channel_names": {"0": "T1", "1": "T2"}}, "missing_channel"),
        ({"file_ending": "/../x"}, "bad_file_ending"),
        ({"labels": {**fakes.CLASSES, "bone": 3}}, "absent_class"),
        ({"labels": {"background": 0, "organ": 1}}, "outside_classes"),
        ({"test": ["/data/a.nii.gz"]}, "unsafe_path"),
        ({"numTraining": 9}, "count"),
    ],
)
def test_faults_of_the_description(tmp_path, content, kind):
    fakes.make(tmp_path, 1)
    path = tmp_path / "dataset.json"
    if content is None:
        path.unlink()
    elif isinstance(content, str):
        path.write_text(content)
    else:
        path.write_text(json.dumps({**json.loads(path.read_text()), **content}))
    assert {p.kind for p in checker.check(tmp_path)} == {kind}


def test_a_description_saved_by_an_editor_of_windows(tmp_path):
    fakes.make(tmp_path, 1)
    path = tmp_path / "dataset.json"
    path.write_bytes(path.read_text().replace("\n", "\r\n").encode("utf-8-sig"))
    assert checker.check(tmp_path) == []


def test_a_folder_that_is_not_there_or_has_no_images(tmp_path):
    assert [p.kind for p in checker.check(tmp_path / "none")] == ["no_folder"]
    assert "imagesTr" in checker.check(tmp_path)[0].message
    fakes.describe(tmp_path)
    (tmp_path / "imagesTr").mkdir()
    assert [p.kind for p in checker.check(tmp_path)] == ["no_cases"]


def test_channels_must_lie_on_each_other(tmp_path):
    fakes.make(tmp_path, 2)
    fakes.describe(tmp_path, channel_names={"0": "T1", "1": "T2"})
    images = tmp_path / "imagesTr"
    fakes.save(images / f"case_00_0001{END}", fakes.image(3, (8, 7, 5)))
    fakes.save(images / f"case_01_0001{END}", fakes.image(4), _moved(3, 0, 0))
    reported = {p.case: p.kind for p in checker.check(tmp_path)}
    assert reported == {"case_00": "channel_shape", "case_01": "channel_affine"}


@pytest.mark.parametrize("degrees", [0.01, 0.03, 0.1])
def test_headers_of_one_grid_differ_by_their_rounding(tmp_path, degrees):
    fakes.make(tmp_path, 1)
    shape, turn = (40, 36, 30), np.radians(degrees)
    affine = fakes.AFFINE.copy()
    affine[:2, :2] = [[-np.cos(turn), np.sin(turn)], [-np.sin(turn), -np.cos(turn)]]
    straight = fakes.AFFINE.copy()
    straight[1, 1] = -1
    fakes.save(tmp_path / f"imagesTr/case_00_0000{END}", fakes.image(0, shape), affine)
    fakes.save(tmp_path / f"labelsTr/case_00{END}", fakes.label(0, shape), straight)
    assert checker.check(tmp_path) == []
    # A corner 39 voxels of 1 mm away turns by so much; 40 voxels may by .036.
    moved = 39 * np.sin(turn)
    found = checker.check(tmp_path, tolerance=0)
    assert [problem.kind for problem in found] == (["label_affine"] if moved > 0.036 else [])
    if found:
        assert f"{moved:.3g} voxels where 0.036 are allowed" in found[0].message


def test_what_a_quaternion_turns_is_no_shift_by_half_a_voxel():
    def volume(turn=0.0, shift=0.0):
        affine = np.diag([0.7, 0.7, 3.0, 1.0])
        affine[:2, :2] = 0.7 * np.array(
            [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        )
        affine[0, 3] = 0.7 * shift
        return read_write.Volume(np.broadcast_to(np.uint8(0), (512, 512, 9)), affine, 3)

    assert checker.elsewhere(volume(turn=8.6e-4), volume()) == ""
    assert "0.5 voxels where 0.45 are allowed" in checker.elsewhere(volume(shift=0.5), volume())


def test_the_tolerance_is_in_voxels(tmp_path):
    # An axis has voxels of 1.5 mm.
    like = read_write.Volume(fakes.image(0), fakes.AFFINE, 3)
    for moved, away in (((0, 0.3, 0), False), ((0.3, 0, 0), True), ((0, 0, 0.49), False)):
        volume = read_write.Volume(fakes.label(0), _moved(*moved), 3)
        assert bool(checker.elsewhere(volume, like)) == away
        assert bool(checker.elsewhere(volume, like, tolerance=0.1)) is True
        assert checker.elsewhere(volume, like, tolerance=0.4) == ""
    with pytest.raises(ValueError, match="tolerance: expected a number >= 0, got nan"):
        checker.check("nowhere", tolerance=float("nan"))


def test_colours(tmp_path):
    fakes.make(tmp_path, 2, end=".png", shape=(8, 9))
    pixels = np.random.default_rng(0).integers(0, 255, (8, 9, 4), dtype=np.uint8)
    PIL.Image.fromarray(pixels[..., :3]).save(tmp_path / "imagesTr/case_01_0000.png")
    PIL.Image.fromarray(pixels[..., :3]).save(tmp_path / "labelsTr/case_00.png")
    reported = {p.case: p.kind for p in checker.check(tmp_path)}
    assert reported == {"case_01": "number_of_channels", "case_00": "label_colours"}
    PIL.Image.fromarray(pixels).save(tmp_path / "imagesTr/case_01_0000.png")
    problems = checker.check(tmp_path, ignore=("label_colours",))
    assert ["RGBA" in p.message for p in problems] == [True]


@pytest.mark.parametrize("end", [".png", ".tif"])
def test_colours_may_be_the_channels_of_one_file(tmp_path, end):
    fakes.make(tmp_path, 3, end=end, shape=(8, 9))
    fakes.describe(tmp_path, end=end, channel_names={"0": "R", "1": "G", "2": "B"})
    pixels = np.random.default_rng(0).integers(0, 255, (3, 8, 9, 3), dtype=np.uint8)
    images = tmp_path / "imagesTr"
    for i in range(2):
        PIL.Image.fromarray(pixels[i]).save(images / f"case_0{i}_0000{end}")
    # A file for each of them is as good.
    for k in range(3):
        fakes.save(images / f"case_02_000{k}{end}", pixels[2, ..., k])
    assert checker.check(tmp_path) == []
    read = checker.read_case(nnunet_layout.read(tmp_path).cases[0], nnunet_layout.read(tmp_path))
    np.testing.assert_array_equal(read.volumes[read.case.images[0]].array, pixels[0])
    fakes.save(images / f"case_01_0000{end}", pixels[1, ..., 0])
    (images / f"case_02_0001{end}").unlink()
    reported = {p.case: p.kind for p in checker.check(tmp_path)}
    assert reported == {"case_01": "no_colours", "case_02": "missing_channel"}


def test_the_spacing_of_a_tiff_is_beside_it(tmp_path):
    fakes.make(tmp_path, 2, end=".tif", raters=("anna",), shape=(4, 8, 9))
    beside = [tmp_path / f"imagesTr/case_0{i}.json" for i in range(2)]
    for path in beside:
        path.write_text('{"spacing": [5, 0.5, 0.25]}')
    (tmp_path / "labelsTr/case_00.json").write_text('{"spacing": [5, 0.5, 0.25]}')
    assert checker.check(tmp_path) == []
    layout = nnunet_layout.read(tmp_path)
    for read in (checker.read_case, checker.read_labels):
        case = read(layout.cases[0], layout)
        assert {volume.spacing for volume in case.volumes.values()} == {(5.0, 0.5, 0.25)}
    (tmp_path / "labelsTr/case_00.json").write_text('{"spacing": [1, 0.5, 0.25]}')
    (tmp_path / "ratersTr/anna/case_99.json").write_text("{}")
    for content in ('{"spacing": [5, 1]}', '{"spacing": [5, 1, -1]}', '{"spacing": 5}', "{"):
        beside[1].write_text(content)
        reported = {p.file: (p.kind, p.message) for p in checker.check(tmp_path)}
        kinds = {file: kind for file, (kind, _) in reported.items()}
        assert kinds == {
            "imagesTr/case_01.json": "sidecar",
            "labelsTr/case_00.tif": "label_affine",
            "ratersTr/anna/case_99.json": "unknown_file",
        }
        assert reported["imagesTr/case_01.json"][1].startswith("expected ")


def test_names_may_end_in_four_digits(tmp_path):
    images, end = tmp_path / "images", ".nii.gz"
    for name in ("scan_2023", "scan_2024", "a_0001_0000", "b_0000", "b_0001"):
        fakes.save(images / f"{name}{end}", fakes.image(0))
    layout = nnunet_layout.read_images(
        images, ending=end, class_names=("background", "a"), channel_names=("CT",)
    )
    assert [case.name for case in layout.cases] == ["a_0001", "b", "scan_2023", "scan_2024"]
    assert [(p.case, p.kind) for p in layout.problems] == [("b", "extra_channel")]
    root = fakes.make(tmp_path / "folder", 1)
    fakes.save(root / f"imagesTr/scan_2023{end}", fakes.image(0))
    (problem,) = nnunet_layout.read(root).problems
    assert problem.kind == "misnamed"
    assert f"save it as scan_2023_0000{end}" in problem.remedy


def test_the_layout_takes_what_is_there(tmp_path):
    fakes.make(tmp_path, 3, raters=("anna", "bob"), tests=1)
    (tmp_path / "imagesTr" / ".DS_Store").write_text("")
    layout = nnunet_layout.read(tmp_path)
    assert layout.problems == ()
    assert layout.class_names == ("background", "organ", "lesion")
    assert layout.rater_names == ("anna", "bob")
    assert [(case.name, case.part) for case in layout.cases] == [
        ("case_00", "Tr"),
        ("case_01", "Tr"),
        ("case_02", "Tr"),
        ("case_03", "Ts"),
    ]
    assert [sorted(case.raters) for case in layout.cases] == [
        ["anna", "bob"],
        ["anna"],
        ["anna", "bob"],
        [],
    ]
    # Images to be predicted have no label.
    shutil.rmtree(tmp_path / "labelsTs")
    assert len(nnunet_layout.read(tmp_path).cases) == 3


def test_labels_with_a_slope_are_whole_up_to_rounding(tmp_path):
    fakes.make(tmp_path, 2)
    path = tmp_path / f"labelsTr/case_00{END}"
    for slope, kind in ((0.0999, "rounded"), (0.099, "not_whole")):
        image = nib.Nifti1Image(10 * fakes.label(0).astype(np.int16), fakes.AFFINE)
        image.header.set_slope_inter(slope, 0)
        path.write_bytes(gzip.compress(image.to_bytes()))
        (problem,) = checker.check(tmp_path)
        assert (problem.kind, problem.case) == (kind, "case_00")
        assert ("rounded" in problem_kinds.HARMLESS) > ("not_whole" in problem_kinds.HARMLESS)
        layout = nnunet_layout.read(tmp_path)
        read = checker.read_case(layout.cases[0], layout)
        if kind == "rounded":
            assert "such as 1.998" in problem.message
            # The file runs to the left and the back.
            ids = read.volumes[path].array
            np.testing.assert_array_equal(ids[::-1, ::-1], fakes.label(0))


def test_patients_are_checked(tmp_path):
    fakes.make(tmp_path, 2, tests=1)
    patients = {"case_00": "anna", "case_01": "bob", "case_02": "anna", "case_2": "bob"}
    fakes.describe(tmp_path, patients=patients)
    reported = {p.kind: str(p) for p in checker.check(tmp_path)}
    assert reported.keys() == {"unknown_case", "divided_patient"}
    assert "patients names the case case_2" in reported["unknown_case"]
    assert "the patient anna has cases in imagesTr and in imagesTs" in reported["divided_patient"]
    # An image that is to be predicted is of any patient.
    shutil.rmtree(tmp_path / "labelsTs")
    del patients["case_2"]
    fakes.describe(tmp_path, patients=patients)
    assert checker.check(tmp_path) == []
    for wrong in (["anna"], {"case_00": 1}):
        fakes.describe(tmp_path, patients=wrong)
        assert [p.kind for p in checker.check(tmp_path)] == ["bad_patients"]


def test_weights_are_checked(tmp_path):
    fakes.make(tmp_path, 2)
    fakes.describe(tmp_path, weights={"case_00": 0.5, "case_2": 2})
    (problem,) = checker.check(tmp_path)
    assert "weights names the case case_2" in str(problem)
    for wrong in ([0.5], {"case_00": 0}, {"case_00": "half"}, {"case_00": True}):
        fakes.describe(tmp_path, weights=wrong)
        assert [p.kind for p in checker.check(tmp_path)] == ["bad_weights"]


def test_harmless_kinds_are_kinds():
    assert set(problem_kinds.HARMLESS) < set(problem_kinds.KINDS)


def test_how_far_two_grids_are_apart_by_hand():
    def volume(shape, *columns, origin=(0.0, 0.0, 0.0)):
        affine = np.eye(4)
        affine[:3, :3] = np.diag(columns)
        affine[:3, 3] = origin
        return read_write.Volume(np.zeros(shape), affine, len(shape))

    # Alike in voxel 10, 1 mm apart in voxel 0.
    like = volume((11, 4), 1.0, 1.0, 1.0)
    far = checker.elsewhere(volume((11, 4), 1.1, 1.0, 1.0, origin=(-1.0, 0.0, 0.0)), like)
    assert far.startswith("its corners are up to 1 mm away")
    # An image has no thickness.
    assert checker.elsewhere(volume((11, 4), 1.0, 1.0, 5.0), like) == ""
    assert checker.elsewhere(volume((11, 4, 2), 1.0, 1.0, 5.0), volume((11, 4, 2), 1, 1, 1)) != ""


def test_a_finite_float_image_is_no_fault(tmp_path):
    fakes.make(tmp_path, 2)
    _add(tmp_path, "floats", image=fakes.image(1).astype(np.float32) / 3)
    assert "not_finite" not in {problem.kind for problem in checker.check(tmp_path)}
