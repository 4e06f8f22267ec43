"""The source of one's own folder."""

import os
import shutil

import folder_fakes as fakes
import numpy as np
import PIL.Image
import pytest

from noisyjax.core import ignored
from noisyjax.data import sources
from noisyjax.data.folder import checker, workers
from noisyjax.data.labels import assemble
from noisyjax.data.store import kept
from noisyjax.data.volumes import preprocess, read_write

RAS = np.diag([1.0, 1.5, 2.0, 1.0])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three raters; the second lacks case 1, the third case 2; two cases test."""
    folder = tmp_path_factory.mktemp("clean")
    return fakes.make(folder, 5, raters=("anna", "bob", "cem"), tests=2)


def test_examples_in_ras_with_truth_raters_and_masks(root):
    loaded = sources.load("folder", root=str(root), normalise="none")
    assert loaded.name == "folder"
    assert loaded.class_names == ("background", "organ", "lesion")
    assert loaded.spacing == (1.0, 1.5, 2.0)
    assert loaded.rater_names == ("anna", "bob", "cem")
    assert loaded.persistent_raters
    assert loaded.case_names == tuple(f"case_{i:02d}" for i in range(7))
    for i in range(7):
        example = loaded.examples[i]
        assert example["image"].dtype == np.float32
        assert example["id"] == i
        # The files run to the left and the back.
        np.testing.assert_array_equal(example["image"][..., 0], fakes.image(i)[::-1, ::-1])
        np.testing.assert_array_equal(example["truth"], fakes.label(i)[::-1, ::-1])
        present = [i < 5 and (r == 0 or i != r) for r in range(3)]
        np.testing.assert_array_equal(example["rater_mask"], present)
        for r in range(3):
            expected = fakes.label(i + r)[::-1, ::-1] * present[r]
            np.testing.assert_array_equal(example["labels"][r], expected)


def test_cases_of_the_test_folder_test(root):
    loaded = sources.load("folder", root=str(root), seed=3, fractions=(0.6, 0.2, 0.2))
    assert loaded.splits["test"].tolist() == [5, 6]
    assert sorted(loaded.splits["train"].tolist() + loaded.splits["val"].tolist()) == [*range(5)]
    assert len(loaded.splits["val"]) == 1


def test_without_a_test_folder_the_cases_are_divided(tmp_path):
    fakes.make(tmp_path, 6)
    loaded = sources.load("folder", root=str(tmp_path))
    assert {name: len(ids) for name, ids in loaded.splits.items()} == {
        "train": 4,
        "val": 1,
        "test": 1,
    }
    assert sorted(np.concatenate(list(loaded.splits.values())).tolist()) == [*range(6)]
    # The labels are all there is to learn from.
    assert loaded.rater_names == ("labels",)
    example = loaded.examples[0]
    np.testing.assert_array_equal(example["labels"][0], example["truth"])
    with pytest.raises(ValueError, match=r"fractions: expected cases left .* 6 cases in all"):
        sources.load("folder", root=str(tmp_path), fractions=(0.0, 0.5, 0.5))
    with pytest.raises(ValueError, match="fractions: expected three that add up to 1"):
        sources.load("folder", root=str(tmp_path), fractions=(0.5, 0.5))


def test_cases_of_a_patient_stay_together(tmp_path):
    fakes.make(tmp_path, 7)
    # Case 6 is not the patient of the same name.
    whose = {0: "anna", 3: "anna", 1: "case_06", 2: "case_06", 5: "case_06"}
    fakes.describe(tmp_path, patients={f"case_{i:02d}": name for i, name in whose.items()})
    divisions = set()
    for seed in range(6):
        loaded = sources.load("folder", root=str(tmp_path), seed=seed, fractions=(0.5, 0.25, 0.25))
        assert loaded.groups.tolist() == [0, 1, 1, 0, 2, 1, 3]
        parts = {name: sorted(ids.tolist()) for name, ids in loaded.splits.items()}
        assert sorted(sum(parts.values(), [])) == [*range(7)]
        patients = {name: set(loaded.groups[ids].tolist()) for name, ids in parts.items()}
        assert {name: len(own) for name, own in patients.items()} == {
            "train": 2,
            "val": 1,
            "test": 1,
        }
        divisions.add(tuple(parts["test"]))
    assert len(divisions) > 1
    with pytest.raises(ValueError, match="expected patients left to train on, got 4 patients"):
        sources.load("folder", root=str(tmp_path), fractions=(0.1, 0.4, 0.5))


def test_raters_without_a_truth(root, tmp_path):
    shutil.copytree(root / "imagesTr", tmp_path / "imagesTr")
    shutil.copytree(root / "ratersTr", tmp_path / "ratersTr")
    shutil.copy(root / "dataset.json", tmp_path)
    loaded = sources.load("folder", root=str(tmp_path))
    assert "truth" not in loaded.examples[0]
    options = {"panel": None, "seed": 0, "raters": ("cem", "anna"), "include_truth": False}
    annotated = assemble.label(loaded, np.arange(5), **options)
    assert annotated.rater_masks.tolist() == [[i != 2, True] for i in range(5)]


def test_experts_who_label_the_test_alone(tmp_path):
    fakes.make(tmp_path, 5, raters=("anna", "bob"), tests=2, end=".png", shape=(8, 9))
    shutil.rmtree(tmp_path / "labelsTr")
    loaded = sources.load("folder", root=str(tmp_path))
    assert loaded.truth_mask.tolist() == [False] * 5 + [True] * 2
    assert loaded.splits["test"].tolist() == [5, 6]
    assert loaded.examples[0]["rater_mask"].tolist() == [True, True]
    options = {"panel": None, "seed": 0}
    labelled = assemble.assemble(loaded, loaded.splits, **options)
    assert {split: e.has_truth for split, e in labelled.items()} == {
        "train": False, "val": False, "test": True,
    }  # fmt: skip
    np.testing.assert_array_equal(labelled["test"][1]["truth"], fakes.label(6, (8, 9)))
    assert labelled["train"].truths(np.array([0])) is None
    with pytest.raises(ValueError, match=r"truth is asked for, but it is not known of case_0\d"):
        assemble.assemble(loaded, loaded.splits, **options, train_truth=True)


def test_who_labelled_what_may_differ_from_case_to_case(tmp_path):
    """Raters of test cases, a truth of some, and a training case that has nothing but its truth."""
    fakes.make(tmp_path, 6, raters=("anna", "bob"), tests=3, end=".png", shape=(8, 9))
    for name in ("labelsTr/case_01", "labelsTr/case_02", "labelsTs/case_07"):
        (tmp_path / f"{name}.png").unlink()
    (tmp_path / "ratersTs/bob").mkdir(parents=True)
    shutil.copy(tmp_path / "labelsTs/case_06.png", tmp_path / "ratersTs/bob/case_07.png")
    for rater in ("anna", "bob"):
        (tmp_path / f"ratersTr/{rater}/case_04.png").unlink()
    (problem,) = checker.check(tmp_path)
    assert (problem.kind, problem.case) == ("truth_alone", "case_04")
    loaded = sources.load("folder", root=str(tmp_path))
    assert loaded.truth_mask.tolist() == [i not in (1, 2, 7) for i in range(9)]
    assert loaded.splits["test"].tolist() == [6, 7, 8, 4]
    assert sorted([*loaded.splits["train"], *loaded.splits["val"]]) == [0, 1, 2, 3, 5]
    labelled = assemble.label(loaded, loaded.splits["test"], panel=None, seed=0, include_truth=True)
    assert labelled.truth_mask.tolist() == [True, False, True, True]
    assert labelled.rater_masks.tolist() == [[False] * 2, [False, True], [False] * 2, [False] * 2]
    # A patient is in one part, if it be in none.
    fakes.describe(tmp_path, end=".png", patients={"case_04": "eve", "case_03": "eve"})
    loaded = sources.load("folder", root=str(tmp_path))
    assert loaded.splits["test"].tolist() == [6, 7, 8]
    # One that nobody labelled is of no use.
    (tmp_path / "labelsTr/case_04.png").unlink()
    with pytest.raises(ValueError, match="case_04_0000.png: the case has an image and no label"):
        sources.load("folder", root=str(tmp_path))


@pytest.mark.parametrize("truth", [False, True])
def test_raters_who_label_the_test_alone(tmp_path, truth):
    fakes.make(tmp_path, 4, tests=2, end=".png", shape=(8, 9))
    shutil.copytree(tmp_path / "labelsTs", tmp_path / "ratersTs/anna")
    if not truth:
        shutil.rmtree(tmp_path / "labelsTs")
    (tmp_path / "ratersTs/anna/case_05.png").unlink(missing_ok=truth)
    if not truth:
        shutil.copy(tmp_path / "labelsTr/case_00.png", tmp_path / "ratersTs/anna/case_05.png")
    assert checker.check(tmp_path) == []
    loaded = sources.load("folder", root=str(tmp_path))
    assert loaded.rater_names == ("anna", "labels")
    assert loaded.splits["test"].tolist() == [4, 5]
    masks = [loaded.examples[i]["rater_mask"].tolist() for i in range(6)]
    assert masks == [[False, True]] * 4 + [[True, False], [not truth, truth]]
    np.testing.assert_array_equal(loaded.examples[2]["labels"][1], fakes.label(2, (8, 9)))
    np.testing.assert_array_equal(loaded.examples[4]["labels"][0], fakes.label(4, (8, 9)))


def test_of_many_raters_the_labels_that_they_gave_are_read_and_kept(tmp_path):
    root, names = tmp_path / "root", [f"rater_{r:02d}" for r in range(40)]
    fakes.make(root, 4, truth=False, shape=(8, 9), end=".png")
    for r, name in enumerate(names):
        path = root / "ratersTr" / name / f"case_{r % 4:02d}.png"
        fakes.save(path, fakes.label(r, (8, 9)))
    data = sources.load("folder", root=str(root), cache=str(tmp_path / "cache"))
    for i in range(4):
        example = data.examples[i]
        assert example["labels"].shape == (40, 8, 9)
        np.testing.assert_array_equal(np.flatnonzero(example["rater_mask"]), range(i, 40, 4))
        np.testing.assert_array_equal(example["labels"].any(axis=(1, 2)), example["rater_mask"])
        given = read_write.to_ras(
            read_write.read(root / f"ratersTr/{names[i + 4]}/case_{i:02d}.png")
        )
        np.testing.assert_array_equal(example["labels"][i + 4], given.array)
    assert [arrays["labels"].shape for arrays in data.examples.prepared] == [(10, 8, 9)] * 4


def test_the_class_ignore_is_left_out(tmp_path):
    root, cache = tmp_path / "data", str(tmp_path / "cache")
    fakes.make(root, 3, end=".png", shape=(8, 9), raters=("anna",))
    learnt = sources.load("folder", root=str(root), cache=cache)
    assert learnt.num_classes == 3
    labels = {"background": 0, "organ": 1, "ignore": 2}
    fakes.describe(root, end=".png", labels=labels)
    # Of the same files, and not what was kept of them as a class.
    loaded = sources.load("folder", root=str(root), cache=cache)
    assert loaded.class_names == ("background", "organ")
    stored = fakes.label(0, (8, 9))
    expected = np.where(stored == 2, ignored.IGNORE, stored)
    example = loaded.examples[0]
    np.testing.assert_array_equal(example["truth"], expected)
    np.testing.assert_array_equal(example["labels"][0], expected)


def test_what_is_ignored_is_not_what_a_case_is_cut_to(tmp_path):
    fakes.make(tmp_path, 3, end=".png", shape=(8, 9))
    fakes.describe(tmp_path, end=".png", labels={"background": 0, "organ": 1, "ignore": 2})
    marks = np.zeros((8, 9), np.uint8)
    marks[0], marks[3:5, 3:6] = 2, 1
    for case in range(3):
        fakes.save(tmp_path / f"labelsTr/case_{case:02d}.png", marks)
    loaded = sources.load("folder", root=str(tmp_path), box="labels", margin=1)
    assert loaded.examples[0]["truth"].shape == (4, 5)


def test_the_class_ignore_has_the_highest_number(tmp_path):
    fakes.make(tmp_path, 1, end=".png", shape=(8, 9))
    fakes.describe(tmp_path, end=".png", labels={"background": 0, "ignore": 1, "organ": 2})
    with pytest.raises(ValueError, match='the highest to "ignore"'):
        sources.load("folder", root=str(tmp_path))


def test_cases_of_other_sizes_and_spacings_come_to_one(tmp_path):
    fakes.make(tmp_path, 4)
    pixels, marks = fakes.image(9, (12, 6, 6)), np.ones((12, 6, 6), np.uint8)
    for folder, array in (("imagesTr/case_03_0000", pixels), ("labelsTr/case_03", marks)):
        fakes.save(tmp_path / f"{folder}.nii.gz", array, RAS @ np.diag([0.5, 1, 1, 1]))
    loaded = sources.load("folder", root=str(tmp_path), normalise="none")
    # The median of the spacings; case 3 is six of its voxels long, the others eight.
    assert loaded.spacing == (1.0, 1.5, 2.0)
    example = loaded.examples[3]
    assert example["image"].shape == (8, 7, 6, 1)
    np.testing.assert_array_equal(example["image"][0], example["image"].min())
    np.testing.assert_array_equal(example["image"][1], example["image"][1].clip(pixels.min()))
    assert example["truth"].sum() == 6 * 6 * 6
    options = {"spacing": (0.5, 1.5, 2), "size": (20, 4, 6)}
    with pytest.warns(UserWarning, match=r"cuts off .* in 2 of 4 cases: case_01"):
        finer = sources.load("folder", root=str(tmp_path), **options)
    assert finer.spacing == (0.5, 1.5, 2.0)
    assert finer.examples[0]["image"].shape == (20, 4, 6, 1)
    assert finer.examples[3]["truth"].sum() == 12 * 4 * 6
    with pytest.raises(ValueError, match="size: expected one for each of 3 axes, got"):
        sources.load("folder", root=str(tmp_path), size=(8, 8))


@pytest.mark.parametrize(
    "options",
    [{}, {"size": (16, 16, 16)}, {"spacing": (0.5, 0.75, 1)}, {"box": "labels", "margin": 1}],
)
def test_a_segmentation_comes_back_to_the_file_of_its_image(root, tmp_path, options):
    loaded = sources.load("folder", root=str(root), **options)
    path = tmp_path / "case_01.nii.gz"
    loaded.examples.write(1, loaded.examples[1]["truth"], path)
    written, image = read_write.read(path), read_write.read(root / "imagesTr/case_01_0000.nii.gz")
    np.testing.assert_array_equal(written.array, fakes.label(1))
    np.testing.assert_array_equal(written.affine, image.affine)
    assert written.spacing == image.spacing
    with pytest.raises(ValueError, match="labels: expected shape .* like the examples"):
        loaded.examples.write(1, np.zeros((2, 2, 2), np.uint8), path)


def test_prepared_cases_are_kept_and_read_again(root, tmp_path, monkeypatch):
    options = {"root": str(root), "cache": str(tmp_path / "kept")}
    first = sources.load("folder", **options)
    count = len(list((tmp_path / "kept").iterdir()))
    monkeypatch.setattr(preprocess, "prepare", None)
    again = sources.load("folder", **options)
    for i in range(7):
        one, other = first.examples[i], again.examples[i]
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    assert len(list((tmp_path / "kept").iterdir())) == count
    # Another option is another preparation.
    with pytest.raises(TypeError):
        sources.load("folder", **options, normalise="none")


def test_a_start_from_the_store_reads_each_record_once_and_no_voxel(root, tmp_path, monkeypatch):
    options = {"root": str(root), "cache": str(tmp_path / "kept")}
    sources.load("folder", **options)
    records, read = [], kept.read
    monkeypatch.setattr(kept, "read", lambda path: records.append(path) or read(path))
    monkeypatch.setattr(read_write, "read", None)
    sources.load("folder", **options)
    assert len(records) == len(set(records)) == 7


def test_many_small_cases_are_prepared_by_processes_and_few_are_not(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert workers._number(3000, 64 * 64) == 2
    assert workers._number(100, 64 * 64) == 0


def test_channels_and_colours(tmp_path):
    fakes.make(tmp_path, 4, end=".png", shape=(8, 9))
    fakes.describe(tmp_path, end=".png", channel_names={"0": "photo", "1": "depth"})
    rng = np.random.default_rng(0)
    for i in range(4):
        photo = rng.integers(0, 255, (8, 9, 3), dtype=np.uint8)
        PIL.Image.fromarray(photo).save(tmp_path / f"imagesTr/case_{i:02d}_0000.png")
        depth = rng.integers(0, 60_000, (8, 9), dtype=np.uint16)
        PIL.Image.fromarray(depth).save(tmp_path / f"imagesTr/case_{i:02d}_0001.png")
    loaded = sources.load("folder", root=str(tmp_path), normalise="none")
    image = loaded.examples[3]["image"]
    assert image.shape == (8, 9, 4)
    np.testing.assert_array_equal(image, np.concatenate([photo, depth[..., None]], axis=-1))
    assert loaded.spacing == (1.0, 1.0)


def test_a_folder_with_faults_is_refused_with_the_command_that_lists_them(tmp_path):
    fakes.make(tmp_path, 4)
    fakes.save(tmp_path / "labelsTr/case_01.nii.gz", fakes.label(0, (8, 7, 5)))
    with pytest.raises(ValueError, match=r"labelsTr/case_01.*export the label again") as error:
        sources.load("folder", root=str(tmp_path))
    assert f"python -m noisyjax.cli.check_folder --root={tmp_path}" in str(error.value)
    (tmp_path / "labelsTr/case_01.nii.gz").unlink()
    with pytest.raises(ValueError, match="the case has an image and no label"):
        sources.load("folder", root=str(tmp_path))
    path = tmp_path / "imagesTr/case_02_0000.nii.gz"
    path.write_bytes(path.read_bytes()[:60])
    fakes.save(tmp_path / "labelsTr/case_01.nii.gz", fakes.label(0))
    with pytest.raises(ValueError, match=r"imagesTr/case_02_0000.*cut off"):
        sources.load("folder", root=str(tmp_path))
    with pytest.raises(ValueError, match="normalise: expected one of"):
        sources.load("folder", root=str(tmp_path), normalise="minmax")
    with pytest.raises(ValueError, match="there is no folder"):
        sources.load("folder", root=str(tmp_path / "none"))


def test_what_is_harmless_does_not_stop_training(tmp_path):
    fakes.make(tmp_path, 4)
    fakes.save(tmp_path / "labelsTr/case_01.nii.gz", np.zeros(fakes.SHAPE, np.uint8))
    (tmp_path / "imagesTr/notes.txt").write_text("")
    assert not sources.load("folder", root=str(tmp_path)).examples[1]["truth"].any()


def test_the_unit_of_a_ct_is_asked_for(tmp_path):
    fakes.make(tmp_path, 4)
    loaded = sources.load("folder", root=str(tmp_path), normalise="bone", cut=900)
    values = loaded.examples[0]["image"][..., 0][fakes.image(0)[::-1, ::-1] > 900]
    np.testing.assert_allclose([values.mean(), values.std()], [0, 1], atol=1e-4)
    with pytest.raises(ValueError, match=r"case_00_0000.nii.gz: cut: expected voxels above 5000"):
        sources.load("folder", root=str(tmp_path), normalise="bone", cut=5000)


def test_a_structure_too_small_for_the_new_voxels_is_named(tmp_path):
    fakes.make(tmp_path, 4)
    affine = np.diag([-0.25, -0.375, 0.5, 1.0])
    shape = (32, 28, 24)
    organ = np.zeros(shape, np.uint8)
    organ[8:24, 8:24, 8:20] = 1
    organ[12:14, 12:14, 12:14] = 2
    fakes.save(tmp_path / "imagesTs/case_09_0000.nii.gz", fakes.image(9, shape), affine)
    fakes.save(tmp_path / "labelsTs/case_09.nii.gz", organ, affine)
    words = r"case_09.nii.gz: 1 of 1 parts of lesion have no voxel of 1 x 1.5 x 2 mm"
    with pytest.warns(UserWarning, match=words):
        loaded = sources.load("folder", root=str(tmp_path))
    assert 2 not in loaded.examples[4]["truth"]
