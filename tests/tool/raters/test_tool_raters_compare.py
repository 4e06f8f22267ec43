"""Raters beside each other and beside an estimate of the truth."""

import itertools
import math

import folder_fakes
import numpy as np
import pytest

import noisyjax
from noisyjax.metrics import surface
from noisyjax.tool import folder
from noisyjax.tool.raters import rater_tables, rater_votes


def _rows(*rows):
    return np.array([[255 if c == "?" else int(c) for c in row] for row in rows], np.uint8)


def _report(*rows, **options):
    """Of one case of one line of voxels; a vote, for STAPLE compiles anew for each number."""
    quick = {"surfaces": False, "region": "all", "reference": "majority"}
    return noisyjax.raters(_rows(*rows)[:, None], **quick | options)


def test_worked_example():
    report = _report("110", "110", "100", reference="staple")
    assert (report.kappa, report.alpha) == pytest.approx((0.55, 0.6))
    assert report.case_kappa.tolist() == pytest.approx([0.55])
    assert [report.cohen[r, s] for r, s in ((0, 1), (0, 2), (1, 2))] == pytest.approx([1, 0.4, 0.4])
    dice = report.values["dice"][0, ..., 0]
    assert dice[0, 2] == pytest.approx(2 / 3)
    # STAPLE believes the two who agree.
    assert dice[:, -1] == pytest.approx([1, 1, 2 / 3, 1])
    assert report.sensitivity[:, 0] == pytest.approx([1, 1, 0.5])
    assert report.specificity[:, 0] == pytest.approx([1, 1, 1])
    assert report.values["volume_ratio"][0, 2, -1, 0] == -1
    assert report.volumes[0, :, 0] == pytest.approx([0.002, 0.002, 0.001, 0.002])
    assert report.values["volume_difference"][0, 2, 0, 0] == pytest.approx(-0.001)


def test_conformity_is_pooled_and_a_mean_over_cases():
    one, other = _rows("1100", "1000", "1110")[:, None], _rows("1000", "1000", "1000")[:, None]
    report = noisyjax.raters([one, other], surfaces=False, reference="majority")
    assert report.case_conformity[:, 0] == pytest.approx([0.5, 1])
    assert report.conformity == pytest.approx([(4 + 3) / (8 + 3)])
    overall = rater_tables.overall(report)
    assert overall["conformity_index_mean_over_cases"] == {"1": pytest.approx(0.75)}


def test_intraclass_correlation_of_volumes():
    cases = []
    for volumes in ((10, 12), (20, 21), (30, 33)):
        label = np.zeros((2, 1, 40), np.uint8)
        for r, volume in enumerate(volumes):
            label[r, 0, :volume] = 1
        cases.append(label)
    assert noisyjax.raters(cases, surfaces=False, reference="majority").icc == pytest.approx(
        [0.9783], abs=1e-4
    )


def test_a_voxel_without_a_label_and_an_absent_rater_do_not_count():
    report = _report("1100", "1000", "111?", "????")
    assert report.kappa == pytest.approx(0.3278, abs=1e-4)
    assert report.rater_masks.tolist() == [[True, True, True, False]]
    assert np.isnan(report.values["dice"][0, 3, :4]).all()
    assert rater_tables.rater_entries(report)[3]["cases"] == 0
    assert report.values["dice"][0, 0, 2, 0] == pytest.approx(2 * 2 / (2 + 3))


@pytest.mark.parametrize(
    ("region", "margin", "size"), [("union", 0, 3), ("union-dilated", 2, 7), ("all", 0, 20)]
)
def test_the_region_is_what_it_says(region, margin, size):
    labels = np.zeros((2, 1, 20), np.uint8)
    labels[0, 0, 5:7] = labels[1, 0, 6:8] = 1
    inside = rater_votes.region(labels, 2, name=region, margin=margin, spacing=(1.0, 1.0))
    assert inside.sum() == size
    assert inside[0, 5 - margin : 8 + margin].all()


def test_distances_are_those_of_whole_images():
    rng = np.random.default_rng(0)
    labels = (rng.random((3, 7, 6, 5)) < 0.1).astype(np.uint8)
    labels[2] = 0
    spacing = (1.0, 1.5, 2.0)
    truth = labels[0]
    report = noisyjax.raters(labels, truths=truth, reference="truth", spacing=spacing)
    masks = (*labels, truth)
    for (r, one), (s, other) in itertools.permutations(enumerate(masks), 2):
        expected = surface.surface_metrics(one, other, spacing=spacing)
        for name in ("hd95", "assd", "nsd"):
            found = report.values[name][0, r, s, 0]
            assert found == pytest.approx(getattr(expected, name)), (name, r, s)


def test_references_by_majority_and_truth():
    votes = ("1100", "1000", "0010")
    majority = _report(*votes, reference="majority")
    assert majority.values["dice"][0, :3, -1, 0] == pytest.approx([2 / 3, 1, 0])
    truth = _report(*votes, reference="truth", truths=_rows("0011")[:1])
    assert truth.values["dice"][0, :3, -1, 0] == pytest.approx([0, 0, 2 / 3])
    with pytest.raises(ValueError, match="reference: expected staple or majority, .* no truth"):
        _report(*votes, reference="truth")


def test_second_labels_are_compared_with_the_first_alone():
    options = {"rater_names": ["anna", "ben", "anna_2"], "repeats": {"anna": "anna_2"}}
    report = _report("1100", "1000", "0111", **options)
    assert report.kappa == pytest.approx(_report("1100", "1000").kappa)
    (repeat,) = rater_tables.repeat_entries(report)
    assert (repeat["first"], repeat["second"]) == ("anna", "anna_2")
    assert repeat["dice"] == pytest.approx(2 / 5)
    assert [pair["second"] for pair in rater_tables.pair_entries(report)] == ["ben"]
    assert len(rater_tables.rater_entries(report)) == 2


def test_groups_agree_within_and_between():
    groups = {"old": ["rater_1", "rater_2"], "new": ["rater_3"]}
    report = _report("110", "110", "100", groups=groups)
    within, between, alone = rater_tables.group_entries(report)
    assert (within["dice"], within["fleiss_kappa"]) == (1, 1)
    assert between["dice"] == pytest.approx(2 / 3)
    assert (alone["pairs"], "dice" in alone) == (0, False)


def test_classes_are_averaged_and_named():
    report = _report("1122", "1102")
    (pair,) = rater_tables.pair_entries(report)
    assert pair["dice/1"] == 1
    assert pair["dice"] == pytest.approx((1 + 2 / 3) / 2)


def test_a_damaged_case_is_left_out_and_named(tmp_path):
    root = folder_fakes.make(tmp_path, raters=("anna", "ben"))
    (root / "ratersTr/ben/case_02.nii.gz").write_bytes(b"broken")
    report = noisyjax.raters(root)
    assert report.cases == ("case_00", "case_01", "case_03")
    assert "ratersTr/ben/case_02.nii.gz" in report.problems[0]
    assert report.classes == ("organ", "lesion")
    worst = rater_tables.case_entries(report)
    assert worst[0]["dice"] == min(entry["dice"] for entry in worst if entry["dice"] >= 0)
    for name in (*report.cases, "case_02"):
        for path in root.glob(f"ratersTr/*/{name}.nii.gz"):
            path.write_bytes(b"broken")
    with pytest.raises(folder.FolderError, match="case_00"):
        noisyjax.raters(root)


def test_cases_without_raters_are_left_out(tmp_path):
    root = folder_fakes.make(tmp_path, 2, raters=("anna", "ben"), tests=1)
    report = noisyjax.raters(root, reference="truth", surfaces=False)
    assert report.cases == ("case_00", "case_01")
    assert report.rater_masks.tolist() == [[True, True], [True, False]]
    with pytest.raises(ValueError, match="raters: expected labels of raters, got none"):
        _report("???", "???")


def test_nobody_marked_anything():
    report = noisyjax.raters(np.zeros((2, 4, 4), np.uint8), num_classes=2, reference="majority")
    assert math.isnan(report.kappa)
    assert report.values["dice"][0, 0, 1, 0] == 1
    assert report.values["hd95"][0, 0, 1, 0] == 0
    assert math.isnan(report.values["volume_ratio"][0, 0, 1, 0])
    list(rater_tables.tables(report))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reference": "mean"}, "reference: expected one of 'staple', .* got 'mean'"),
        ({"region": "box"}, "region: expected one of"),
        ({"margin": -1}, "margin: expected a number >= 0, got -1"),
        ({"groups": {"a": ["zoe"]}}, "groups: a: expected one of 'rater_1', .* got 'zoe'"),
        ({"repeats": {"rater_1": "rater_1"}}, "repeats: expected second labels"),
        ({"num_classes": 1}, "num_classes: expected 2 to 255, got 1"),
        ({"truths": np.zeros((2, 2), int)}, "truths of case_1: expected shape"),
        ({"rater_names": ["a"]}, "labels of case_1: expected shape"),
        ({"spacing": (1, 1, 1)}, "spacing: expected shape"),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        _report("110", "100", **options)


def test_bad_labels_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"labels of case_1: expected ids below 2.*got \[7\]"):
        noisyjax.raters(np.full((2, 3, 3), 7, np.uint8), num_classes=2)
    with pytest.raises(
        ValueError, match="^labels: expected labels of at least 2 raters, .*, got 1"
    ):
        noisyjax.raters(np.zeros((1, 3, 3), np.uint8))
    root = folder_fakes.make(tmp_path, raters=("anna", "ben"))
    with pytest.raises(ValueError, match="spacing: expected None for a folder"):
        noisyjax.raters(root, spacing=(1, 1, 1))
