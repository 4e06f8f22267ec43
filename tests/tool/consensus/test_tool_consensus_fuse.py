"""Consensus of arrays and of folders."""

import json
import re

import folder_fakes
import jax.numpy as jnp
import numpy as np
import pytest

import noisyjax
from noisyjax import fusion
from noisyjax.core import ignored
from noisyjax.data.volumes import read_write
from noisyjax.tool import data_set, folder
from noisyjax.tool.consensus import fused_folder, fusions

NO = folder.NO_LABEL
# Three raters of five voxels; nobody has labelled the last, and one of them not the one before.
LABELS = np.array([[0, 1, 1, 0, NO], [0, 1, 0, 1, NO], [0, 1, 1, NO, NO]], np.uint8)
SHAPE = folder_fakes.SHAPE


def _several(seed=0, raters=4, shape=(9, 8), num_classes=3):
    """A truth and raters who are right about three times in four, of whom some leave voxels out."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, num_classes, shape)
    other = rng.integers(0, num_classes, (raters, *shape))
    labels = np.where(rng.random((raters, *shape)) < 0.75, truth, other)
    return np.where(rng.random(labels.shape) < 0.05, NO, labels).astype(np.uint8)


def _make(root, **options):
    return folder_fakes.make(root, raters=("anna", "ben", "cleo"), **options)


def _read(path):
    return read_write.to_ras(read_write.read(path)).array


def test_most_votes_win_and_equal_ones_are_decided_as_asked():
    fused = noisyjax.consensus(LABELS, method="majority")
    assert fused.label.tolist() == [0, 1, 1, 0, NO]
    np.testing.assert_allclose(fused.disagreement, [0, 0, 1 / 3, 0.5, 0], atol=1e-6)
    assert fused.probs.tolist() == [[1, 0], [0, 1], [0, 1], [0.5, 0.5], [0, 0]]
    assert fused.cms is None
    undecided = noisyjax.consensus(LABELS, method="majority", ties="undecided")
    assert undecided.label.tolist() == [0, 1, 1, NO, NO]
    mean = noisyjax.consensus(LABELS, method="mean")
    np.testing.assert_allclose(mean.probs[:, 1], [0, 1, 2 / 3, 0.5, 0], rtol=1e-6)


def test_a_weight_counts_like_as_many_raters():
    weighed = noisyjax.consensus(LABELS, method="mean", weights=[1, 2, 0])
    again = noisyjax.consensus(LABELS[[0, 1, 1]], method="mean")
    np.testing.assert_allclose(weighed.probs, again.probs, rtol=1e-6)
    assert weighed.label.tolist() == [0, 1, 0, 1, NO]
    # Where nobody but one who does not count has a vote there is none.
    alone = noisyjax.consensus(LABELS, method="mean", weights=[0, 0, 1])
    assert alone.label.tolist() == [0, 1, 1, NO, NO]


def test_who_did_not_label_the_case_has_no_vote():
    mask = np.array([True, False, True])
    masked = noisyjax.consensus(LABELS, method="staple", rater_mask=mask)
    alone = noisyjax.consensus(LABELS[mask], method="staple")
    np.testing.assert_allclose(masked.probs, alone.probs, atol=1e-6)
    np.testing.assert_allclose(masked.cms[1], np.eye(2))


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("staple", {}),
        ("staple", {"exclude_consensus": True, "tolerance": 1e-3}),
        ("staple", {"prior": [0.5, 0.3, 0.2], "max_iterations": 3}),
        ("pooled_staple", {}),
        ("spatial_staple", {"window": 3, "bias": 0.25}),
        ("simple", {"alpha": 0.5}),
        ("jaccard_median", {}),
    ],
)
def test_fusions_are_those_of_the_library(method, options):
    labels = _several(shape=(20, 20))
    fused = noisyjax.consensus(labels, 3, method=method, **options)
    given = {n: jnp.asarray(v) if isinstance(v, list) else v for n, v in options.items()}
    name = "staple" if method == "pooled_staple" else method
    expected = getattr(fusion, name)(jnp.asarray(labels), 3, **given)
    np.testing.assert_allclose(fused.probs, expected.probs, atol=1e-6)
    np.testing.assert_allclose(fused.cms, expected.cms, atol=1e-6)
    np.testing.assert_array_equal(fused.label, ignored.argmax(expected.probs))
    assert (fused.label[(labels == NO).all(axis=0)] == NO).all()


def test_many_raters_leave_more_patterns_than_are_counted_in_a_table():
    labels = _several(shape=(30, 30), raters=9)
    fused = noisyjax.consensus(labels, 3, method="staple")
    expected = fusion.staple(jnp.asarray(labels), 3)
    np.testing.assert_allclose(fused.probs, expected.probs, atol=1e-5)
    mean = noisyjax.consensus(labels, 3, method="mean")
    np.testing.assert_allclose(mean.probs, fusion.mean(jnp.asarray(labels), 3), atol=1e-6)
    np.testing.assert_allclose(mean.disagreement, 1 - mean.probs.max(axis=-1), atol=1e-6)


def test_files_of_every_case_are_the_fusion_of_its_arrays(tmp_path):
    _make(tmp_path / "in")
    settings = {"method": "staple", "probabilities": True, "disagreement": True}
    written = noisyjax.consensus(tmp_path / "in", out=tmp_path / "out", **settings)
    assert written.cases == ("case_00", "case_01", "case_02", "case_03")
    assert (written.problems, written.finished) == ((), False)
    opened, out = noisyjax.open_folder(tmp_path / "in"), tmp_path / "out"
    for case in opened:
        labels, mask = jnp.asarray(case.labels), jnp.asarray(case.rater_mask)
        expected = fusion.staple(labels, 3, rater_mask=mask)
        file = f"{case.name}.nii.gz"
        label = read_write.read(out / "labelsTr" / file)
        stored = read_write.read(case.like)
        assert label.array.dtype == stored.array.dtype
        np.testing.assert_array_equal(label.affine, stored.affine)
        np.testing.assert_array_equal(
            _read(out / "labelsTr" / file), np.argmax(expected.probs, axis=-1)
        )
        for k in (1, 2):
            probs = _read(out / "probabilities" / str(k) / file)
            np.testing.assert_array_equal(probs, expected.probs[..., k])
        shares = fusion.mean(labels, 3, rater_mask=mask).max(axis=-1)
        np.testing.assert_allclose(_read(out / "disagreement" / file), 1 - shares, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"ties": "undecided", "images": "none"}])
def test_the_page_shows_the_raters_and_the_consensus(tmp_path, options):
    _make(tmp_path / "in")
    out = tmp_path / "out"
    written = noisyjax.consensus(tmp_path / "in", out=out, method="majority", **options)
    assert written.problems == ()
    text = (out / "consensus.html").read_text()
    cases = re.findall(r'<script type="application/json" class="case">(.*?)</script>', text)
    shown = {case["name"]: case["views"] for case in map(json.loads, cases)}
    assert sorted(shown) == list(written.cases)
    assert "consensus" in shown["case_01"][0]["outlines"]
    # The truth of the folder counts in nothing, and is not shown.
    assert "truth" not in shown["case_01"][0]["outlines"]
    assert f"least on {next(iter(shown))}" in text


def test_cases_pooled_are_those_of_the_library(tmp_path):
    _make(tmp_path / "in")
    noisyjax.consensus(
        tmp_path / "in", out=tmp_path / "out", method="pooled_staple", probabilities=True
    )
    cases = list(noisyjax.open_folder(tmp_path / "in"))
    labels = jnp.stack([case.labels for case in cases])
    masks = jnp.stack([case.rater_mask for case in cases])
    expected = fusion.pooled_staple(labels, 3, rater_mask=masks)
    for case, probs in zip(cases, expected.probs, strict=True):
        written = _read(tmp_path / "out" / "probabilities" / "1" / f"{case.name}.nii.gz")
        np.testing.assert_allclose(written, probs[..., 1], atol=1e-6)


def test_the_result_is_a_folder_to_train_on(tmp_path):
    _make(tmp_path / "in", tests=1)
    written = noisyjax.consensus(tmp_path / "in", out=tmp_path / "out", method="mean")
    assert written.without_raters == ("case_04",)
    opened = noisyjax.open_folder(tmp_path / "out")
    assert sorted(opened.cases) == ["case_00", "case_01", "case_02", "case_03"]
    assert opened.class_names == ("background", "organ", "lesion")
    old, new = (tmp_path / name / "imagesTr" / "case_00_0000.nii.gz" for name in ("in", "out"))
    assert old.samefile(new)
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["numTraining"] == 4


def test_tables_say_how_raters_agree(tmp_path):
    root = folder_fakes.make(tmp_path / "in", count=1, raters=("anna",), truth=False)
    label = np.zeros(SHAPE, np.uint8)
    label[:2, :2, :2] = 1
    for rater, planes in (("anna", 2), ("ben", 1), ("cleo", 2)):
        one = label.copy()
        one[planes:] = 0
        folder_fakes.save(root / "ratersTr" / rater / "case_00.nii.gz", one)
    noisyjax.consensus(root, out=tmp_path / "out", method="majority")
    # 8 and 4 voxels of 3 mm^3: Dice 8/12 for two pairs and 1 for the third. Nobody has a lesion.
    assert (tmp_path / "out" / fused_folder.CASES).read_text().splitlines() == [
        "case,raters,disputed,dice_organ,dice_lesion,volume_organ,volume_lesion",
        f"case_00,3,{4 / label.size:.6g},0.777778,,24,0",
    ]
    assert (tmp_path / "out" / fused_folder.RATERS).read_text().splitlines() == [
        "case,rater,class,volume,dice,sensitivity,specificity",
        "case_00,anna,organ,24,1,1,1",
        "case_00,anna,lesion,0,,,1",
        "case_00,ben,organ,12,0.666667,0.5,1",
        "case_00,ben,lesion,0,,,1",
        "case_00,cleo,organ,24,1,1,1",
        "case_00,cleo,lesion,0,,,1",
    ]


def test_performance_is_that_of_the_matrices(tmp_path):
    _make(tmp_path / "in", count=1)
    noisyjax.consensus(tmp_path / "in", out=tmp_path / "out", method="staple")
    case = noisyjax.open_folder(tmp_path / "in").read("case_00")
    cms = fusion.staple(jnp.asarray(case.labels), 3).cms
    rows = (tmp_path / "out" / fused_folder.RATERS).read_text().splitlines()[1:]
    found = [float(row.split(",")[5]) for row in rows]
    np.testing.assert_allclose(found, [cms[r, k, k] for r in range(3) for k in (1, 2)], rtol=1e-4)


def test_undecided_voxels_become_the_class_ignore(tmp_path):
    _make(tmp_path / "in", count=1)
    settings = {"method": "majority", "ties": "undecided", "raters": ("anna", "ben")}
    noisyjax.consensus(tmp_path / "in", out=tmp_path / "out", **settings)
    case = noisyjax.open_folder(tmp_path / "in").read("case_00")
    opened = noisyjax.open_folder(tmp_path / "out")
    assert opened.layout.class_names[-1] == "ignore"
    one, other = case.labels[:2]
    expected = np.where(one == other, one, NO)
    np.testing.assert_array_equal(opened.read("case_00").truth, expected)


def test_voxels_without_a_label_stay_so(tmp_path):
    _make(tmp_path / "in", count=1)
    folder_fakes.describe(tmp_path / "in", labels={"background": 0, "organ": 1, "ignore": 2})
    noisyjax.consensus(tmp_path / "in", out=tmp_path / "out", method="majority")
    before = noisyjax.open_folder(tmp_path / "in").read("case_00").labels
    label = noisyjax.open_folder(tmp_path / "out").read("case_00").truth
    np.testing.assert_array_equal(label == NO, (before == NO).all(axis=0))
    assert (label == NO).any()


@pytest.mark.parametrize("end", [".png", ".mha", ".tif"])
def test_formats_stay(tmp_path, end):
    if end == ".mha":
        pytest.importorskip("SimpleITK")
    shape = SHAPE if end == ".mha" else (8, 7)
    _make(tmp_path / "in", count=2, end=end, shape=shape)
    written = noisyjax.consensus(tmp_path / "in", out=tmp_path / "out", method="majority")
    assert written.cases == ("case_00", "case_01")
    read = noisyjax.open_folder(tmp_path / "out").read("case_01").truth
    case = noisyjax.open_folder(tmp_path / "in").read("case_01")
    expected = noisyjax.consensus(case.labels, 3, method="majority", rater_mask=case.rater_mask)
    np.testing.assert_array_equal(read, expected.label)


def test_a_damaged_case_is_named_and_can_be_mended(tmp_path):
    root, out = _make(tmp_path / "in"), tmp_path / "out"
    broken = root / "ratersTr" / "anna" / "case_01.nii.gz"
    content = broken.read_bytes()
    broken.write_bytes(content[:40])
    written = noisyjax.consensus(root, out=out)
    assert written.cases == ("case_00", "case_02", "case_03")
    assert len(written.problems) == 1
    assert "ratersTr/anna/case_01.nii.gz" in written.problems[0]
    assert json.loads((out / "dataset.json").read_text())["numTraining"] == 3
    before = (out / "labelsTr" / "case_00.nii.gz").stat().st_mtime_ns
    broken.write_bytes(content)
    again = noisyjax.consensus(root, out=out)
    assert len(again.cases) == 4
    assert (out / "labelsTr" / "case_00.nii.gz").stat().st_mtime_ns == before
    assert noisyjax.consensus(root, out=out).finished
    (out / "labelsTr" / "case_00.nii.gz").unlink()
    assert not noisyjax.consensus(root, out=out).finished
    assert noisyjax.consensus(root, out=out).finished


def test_what_was_cut_short_goes_on(tmp_path, monkeypatch):
    root, out = _make(tmp_path / "in"), tmp_path / "out"
    place = data_set.place_images

    def until_the_disk_is_full(case, *arguments, **options):
        if case.name == "case_02":
            raise OSError(28, "No space left on device", "out")
        place(case, *arguments, **options)

    monkeypatch.setattr(data_set, "place_images", until_the_disk_is_full)
    with pytest.raises(OSError, match="No space left"):
        noisyjax.consensus(root, out=out, method="mean", probabilities=True)
    assert not json.loads((out / "consensus.json").read_text())["finished"]
    assert not (out / "dataset.json").exists()
    monkeypatch.setattr(data_set, "place_images", place)
    written = noisyjax.consensus(root, out=out, method="mean", probabilities=True)
    assert len(written.cases) == 4
    whole = noisyjax.consensus(root, out=tmp_path / "whole", method="mean", probabilities=True)
    for path in sorted(whole.out.rglob("*.*")):
        if path.is_file() and path.name != "consensus.json":
            assert (out / path.relative_to(whole.out)).read_bytes() == path.read_bytes()


def test_other_options_need_another_folder(tmp_path):
    root, out = _make(tmp_path / "in", count=1), tmp_path / "out"
    noisyjax.consensus(root, out=out, max_iterations=5)
    with pytest.raises(ValueError, match="expected another folder, or overwrite.*=5"):
        noisyjax.consensus(root, out=out)
    noisyjax.consensus(root, out=out, method="mean", probabilities=True, overwrite=True)
    assert (out / "probabilities").is_dir()
    noisyjax.consensus(root, out=out, method="mean", overwrite=True)
    assert not (out / "probabilities").exists()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"method": "best"}, "^method: expected one of 'majority', .*, got 'best'"),
        ({"window": 3}, "^window: staple has no such option, expected one of prior"),
        ({"method": "mean", "window": 3}, "^window: mean has no such option, it has none"),
        ({"tolerance": "little"}, "^tolerance: expected a number, got 'little'"),
        ({"tolerance": -1.0}, "^tolerance: expected a number >= 0"),
        ({"tolerance": (1.0, 2.0)}, "^staple: expected other options, got {'tolerance': "),
        ({"prior": "even"}, "^prior: expected a number, got 'even'"),
        ({"prior": [1.0]}, r"^prior: expected shape \[2\]"),
        (
            {"method": "spatial_staple", "bias": (0.0, 1.0)},
            "^spatial_staple: expected other options",
        ),
        ({"ties": "random"}, "^ties: expected one of 'lowest', 'undecided'"),
        ({"weights": [1, 1]}, r"^weights: expected shape \[3\] like raters"),
        ({"weights": [1, -1, 1]}, "^weights: expected numbers >= 0"),
        ({"weights": [0, 0, 0]}, "^weights: expected numbers >= 0, not all of them 0"),
        (
            {"method": "spatial_staple", "weights": [1, 1, 1]},
            "^weights: expected none with the method 'spatial_staple'",
        ),
        ({"num_classes": 1}, "^num_classes: expected one of"),
    ],
)
def test_bad_options_are_named(options, match):
    with pytest.raises(ValueError, match=match):
        noisyjax.consensus(LABELS, **options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"out": None}, "^out: expected a folder to write to, got None"),
        ({"raters": ("dora",)}, "^raters: expected one of 'anna', 'ben', 'cleo', got 'dora'"),
        ({"weights": {"dora": 2}}, "^weights: expected one of 'anna', 'ben', 'cleo', got 'dora'"),
        ({"weights": [1, 1, 1]}, "^weights: expected numbers by the name of a rater"),
        ({"images": "moved"}, "^images: expected one of 'link', 'copy', 'none'"),
        ({"window": 3}, "^window: staple has no such option"),
        ({"tolerance": -1.0}, "^tolerance: expected a number >= 0"),
    ],
)
def test_bad_options_of_a_folder_leave_nothing(tmp_path, options, match):
    _make(tmp_path / "in", count=1)
    with pytest.raises(ValueError, match=match):
        noisyjax.consensus(tmp_path / "in", **{"out": tmp_path / "out", **options})
    assert not (tmp_path / "out").exists()


def test_a_folder_without_raters_is_refused(tmp_path):
    folder_fakes.make(tmp_path / "in", count=1)
    with pytest.raises(folder.FolderError, match="expected labels in ratersTr/RATER, got none"):
        noisyjax.consensus(tmp_path / "in", out=tmp_path / "out")
    _make(tmp_path / "pictures", count=1, end=".png", shape=(8, 7))
    with pytest.raises(ValueError, match="^probabilities: .*png"):
        noisyjax.consensus(tmp_path / "pictures", out=tmp_path / "out", probabilities=True)


def test_every_method_has_options_of_its_own_function():
    for method in fusions.METHODS:
        fusions.check(method, fusions.options(method), ties="lowest")
