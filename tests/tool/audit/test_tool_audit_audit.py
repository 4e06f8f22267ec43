"""Audits of folders, from predictions as files and from networks of its own."""

import csv
import json

import click.testing
import fold_fakes
import folder_fakes
import numpy as np
import pytest
from scipy import ndimage

import noisyjax
from noisyjax.benchmarks.wrong_labels import found, wrong_folder
from noisyjax.cli import main
from noisyjax.data.volumes import read_write
from noisyjax.tool.audit import audited_folder, evidence, kinds

_SHAPE = (20, 18, 16)
_WRONG = "case_05"


def _truth(seed):
    middle = np.random.default_rng(seed).uniform(-1, 1, 3)
    away = np.indices(_SHAPE) - (np.array(_SHAPE) / 2 + middle).reshape(3, 1, 1, 1)
    inside = (away**2 / np.reshape([36, 25, 20], (3, 1, 1, 1))).sum(axis=0) < 1
    return np.where(inside, 1 + (away[0] > 2), 0).astype(np.uint8)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Twelve cases of two raters, one of whom has a mirrored label, and predictions."""
    base = tmp_path_factory.mktemp("audit")
    folder = base / "in"
    folder_fakes.describe(folder)
    for i in range(12):
        name, truth = f"case_{i:02d}", _truth(i)
        folder_fakes.save(
            folder / "imagesTr" / f"{name}_0000.nii.gz", folder_fakes.image(i, _SHAPE)
        )
        flipped = np.flip(truth, 0) if name == _WRONG else truth
        wide = np.where(ndimage.binary_dilation(truth > 0), np.maximum(truth, 1), 0)
        folder_fakes.save(folder / "ratersTr" / "anna" / f"{name}.nii.gz", flipped)
        folder_fakes.save(folder / "ratersTr" / "ben" / f"{name}.nii.gz", wide.astype(np.uint8))
        folder_fakes.save(base / "predictions" / f"{name}.nii.gz", truth)
    return base


def _run(*arguments):
    return click.testing.CliRunner().invoke(main.main, ["audit", *map(str, arguments)])


def test_the_wrong_label_is_found_and_named(root):
    report = noisyjax.audit(root / "in", predictions=root / "predictions")
    first, *others = report.doubts
    assert (first.case, first.rater, first.kind) == (_WRONG, "anna", kinds.MIRRORED)
    assert len(report.doubts) == 24
    assert [doubt.score for doubt in report.doubts] == sorted(
        (doubt.score for doubt in report.doubts), reverse=True
    )
    assert first.suspect
    assert not any(doubt.suspect for doubt in others)
    assert first.volume > 500
    # Who draws wide does so by habit.
    anna, ben = report.habits
    assert (anna.rater, anna.labels, anna.suspects) == ("anna", 12, 1)
    assert (ben.rater, ben.suspects) == ("ben", 0)
    assert ben.volume > 1.3 * anna.volume
    assert ben.offset > anna.offset + 0.4


def test_files(root, tmp_path):
    out = tmp_path / "out"
    done = _run(root / "in", "--predictions", root / "predictions", "--out", out)
    assert done.exit_code == 0, done.output
    assert "Suspects: 1 of 24 labels" in done.output
    assert sorted(path.name for path in out.iterdir()) == [
        *("audit.csv", "audit.html", "audit.json", "classes.csv", "raters.csv", "regions")
    ]
    with open(out / "audit.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert (rows[0]["case"], rows[0]["rater"], rows[0]["suspect"]) == (_WRONG, "anna", "yes")
    region = read_write.read(out / "regions" / "anna" / f"{_WRONG}.nii.gz")
    like = read_write.read(root / "in" / "ratersTr" / "anna" / f"{_WRONG}.nii.gz")
    np.testing.assert_array_equal(region.affine, like.affine)
    assert float(rows[0]["volume_mm3"]) == pytest.approx((region.array > 0).sum() * 3.0)
    # In question is where the label differs from what is right.
    wrong = np.flip(_truth(5), 0) != _truth(5)
    assert ((region.array > 0) & wrong).sum() > 0.8 * (region.array > 0).sum()
    assert json.loads((out / "audit.json").read_text())["suspects"] == [
        [_WRONG, "anna", "mirrored"]
    ]
    page = (out / "audit.html").read_text()
    assert "1 of 24 labels are probably wrong (1 mirrored)" in page
    again = _run(root / "in", "--predictions", root / "predictions", "--out", out)
    assert (again.exit_code, "was done already" in again.output) == (0, True)
    other = _run(root / "in", "--out", out)
    assert (other.exit_code, "predictions=" in other.output) == (2, True)


def test_networks_of_its_own(tmp_path):
    root, out = fold_fakes.make(tmp_path / "in", count=4, tests=0), tmp_path / "out"
    training = {"folds": 2, "epochs": 1, "changes": fold_fakes.CHANGES}
    training["plan"] = fold_fakes.tiny_plan()
    made = audited_folder.write(root, out, training=training)
    assert len(made.report.doubts) == 4
    assert {habit.rater for habit in made.report.habits} == {"truth"}
    assert (out / "run" / "summary.json").exists()
    # The page asks for a decision on the only label of each case.
    assert (out / "audit.html").read_text().count('data-name="rater"') == 1
    assert audited_folder.write(root, out, training=training).report is None
    direct = noisyjax.audit(root, predictions=out / "run")
    assert direct.doubts == made.report.doubts
    # The study of wrong labels ranks the same labels by other scores too.
    (root / wrong_folder.TABLE).write_text("case,mistake,overlap,dice\ncase_01,missing,0,0.5\n")
    rows = found.rows(root, out / "run")
    assert [row.case for row in rows] == [doubt.case for doubt in direct.doubts]
    assert [row.case for row in rows if row.mistake == "missing"] == ["case_01"]
    names = {found.OURS, found.CONFIDENT, "softmin T=0.1", "softmin T=0.1, calibrated"}
    assert all(names <= set(row.doubts) for row in rows)
    assert np.isfinite([list(row.doubts.values()) for row in rows]).all()


def test_refusals(root, tmp_path):
    assert "expected a folder of predictions" in _run(
        root / "in", "--predictions", tmp_path / "none", "--out", tmp_path / "out"
    ).output  # fmt: skip
    assert not (tmp_path / "out").exists()
    small = tmp_path / "small"
    folder_fakes.save(small / f"{_WRONG}.nii.gz", np.zeros((3, 3, 3), np.uint8))
    failed = _run(root / "in", "--predictions", small, "--out", tmp_path / "out")
    assert (failed.exit_code, f"{_WRONG}.nii.gz: expected voxels" in failed.output) == (1, True)


def test_softened_segmentations_keep_their_outline():
    ids = _truth(0)
    probs = evidence.softened(ids, 3)
    np.testing.assert_allclose(probs.sum(axis=-1), 1, atol=1e-5)
    np.testing.assert_array_equal(probs.argmax(axis=-1), ids)
