"""The command ``noisyjax evaluate``."""

import csv
import json

import click.testing
import folder_fakes
import numpy as np
import pytest

from noisyjax.cli import main


def _run(*arguments):
    return click.testing.CliRunner().invoke(main.main, ["evaluate", *map(str, arguments)])


def _rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def _predictions(root, count=4, shift=0):
    for i in range(count):
        folder_fakes.save(root / f"case_{i:02d}.nii.gz", folder_fakes.label(i + shift))
    return root


@pytest.fixture
def root(tmp_path):
    return folder_fakes.make(tmp_path / "in", raters=("anna", "ben"), tests=1)


def test_tables_are_printed_and_written(root, tmp_path):
    given, out = _predictions(tmp_path / "p"), tmp_path / "out"
    other = _predictions(tmp_path / "q", shift=1)
    options = ("--region", "whole=1,2", "--versus", other, "--convention", "monai")
    done = _run(given, root, "--out", out, *options)
    assert done.exit_code == 0, done.output
    for expected in ("4 cases", "dice", "consensus_dice", "Difference from the other"):
        assert expected in done.output
    assert sorted(path.name for path in out.iterdir()) == [
        *("cases.csv", "evaluate.html", "evaluate.json", "summary.csv", "versus.csv")
    ]
    page = (out / "evaluate.html").read_text()
    assert "; the least on case_0" in page
    assert page.count('<script type="application/json" class="case">{"name":"case_') == 4
    dice = [row for row in _rows(out / "cases.csv") if row["metric"] == "dice"]
    assert {row["class"] for row in dice} == {"organ", "lesion", "whole"}
    assert {row["rater"] for row in dice} == {"truth", "anna", "ben"}
    assert all(float(row["value"]) == 1 for row in dice if row["rater"] == "truth")
    content = json.loads((out / "evaluate.json").read_text())
    assert content["finished"] is True
    assert len(content["summary"]) == len(_rows(out / "summary.csv"))
    found = [entry for entry in content["differences"] if entry["metric"] == "dice"]
    assert found[0]["difference"] > 0
    again = _run(given, root, "--out", out, *options)
    assert (again.exit_code, "was done already" in again.output) == (0, True)
    changed = _run(given, root, "--out", out)
    assert (changed.exit_code, "expected another folder" in changed.output) == (2, True)
    replaced = _run(given, root, "--out", out, "--overwrite", "--no-surfaces", "--metric", "dice")
    assert replaced.exit_code == 0
    assert {row["metric"] for row in _rows(out / "summary.csv")} == {"dice"}
    assert not (out / "versus.csv").exists()


def test_the_class_ignore_does_not_count(root, tmp_path):
    folder_fakes.describe(root, labels={"background": 0, "organ": 1, "ignore": 2})
    given, out = tmp_path / "p", tmp_path / "out"
    for i in range(4):
        ids = folder_fakes.label(i)
        folder_fakes.save(given / f"case_{i:02d}.nii.gz", np.where(ids == 2, 0, ids))
    done = _run(given, root, "--out", out, "--metric=dice", "--metric=precision")
    assert done.exit_code == 0, done.output
    truth = [row for row in _rows(out / "summary.csv") if row["rater"] == "truth"]
    assert [float(row["mean"]) for row in truth] == [1, 1]


def test_what_is_missing_or_damaged_is_listed_and_can_be_mended(root, tmp_path):
    given, out = _predictions(tmp_path / "p", 3), tmp_path / "out"
    (given / "case_01.nii.gz").write_bytes(b"broken")
    options = ("--out", out, "--metric=dice")
    done = _run(given, root, *options)
    assert done.exit_code == 1
    *_, first, second = done.output.splitlines()
    assert first == f"Problem: {given}: case_03: expected a prediction, got none"
    assert second.startswith(f"Problem: {given}/case_01.nii.gz: expected")
    _predictions(given)
    assert _run(given, root, *options).exit_code == 0
    assert len({row["case"] for row in _rows(out / "cases.csv")}) == 4


def _broken(given):
    for path in given.iterdir():
        path.write_bytes(b"broken")


def _empty(given):
    for path in given.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("arguments", "change", "code", "text"),
    [
        (["--empty=half"], None, 2, "'half' is not one of 'one', 'zero', 'nan', 'monai'"),
        (["--region=whole"], None, 2, "expected NAME=CLASS,CLASS, got 'whole'"),
        (["--region=whole=1,x"], None, 2, "expected NAME=CLASS,CLASS, got 'whole=1,x'"),
        (["--region=whole=7"], None, 2, "regions: whole: expected one of 0, 1, 2, got 7"),
        (["--metric=dise"], None, 2, "metrics: expected one of 'dice'"),
        (["--tolerance=-1"], None, 2, "-1.0 is not in the range x>=0"),
        (["--metric=ged2"], None, 1, "p: expected raters, samples, got none"),
        (["--seed=-1"], None, 2, "seed: expected a number >= 0, got -1"),
        (["--percentile=0"], None, 2, "0.0 is not in the range 0<x<=100"),
        (["--tversky=1"], None, 2, "'--tversky'"),
        (["--versus=none"], None, 1, "none: expected a folder of predictions, there is none"),
        ([], _empty, 1, "p: expected predictions as case_00.nii.gz, got none"),
        ([], _broken, 1, "case_00.nii.gz: expected a NIfTI file"),
    ],
)
def test_bad_input_is_named_in_one_line(root, tmp_path, arguments, change, code, text):
    given, out = _predictions(tmp_path / "p"), tmp_path / "out"
    if change:
        change(given)
    done = _run(given, root, "--out", out, "--no-surfaces", *arguments)
    assert (done.exit_code, text in done.output) == (code, True), done.output
    assert "Traceback" not in done.output
    assert not out.exists()


def test_predictions_and_results_are_kept_apart(root, tmp_path):
    given = _predictions(tmp_path / "p")
    before = sorted(tmp_path.rglob("*"))
    done = _run(given, root, "--out", given / "results")
    assert (done.exit_code, "--out: expected a folder outside of" in done.output) == (2, True)
    done = _run(tmp_path / "none", root, "--out", tmp_path / "out")
    assert (done.exit_code, "there is none" in done.output) == (1, True)
    assert sorted(tmp_path.rglob("*")) == before
