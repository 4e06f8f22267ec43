"""The command ``noisyjax raters``."""

import csv
import json

import click.testing
import folder_fakes
import pytest

from noisyjax.cli import main


def _run(*arguments):
    return click.testing.CliRunner().invoke(main.main, ["raters", *map(str, arguments)])


def _rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def root(tmp_path):
    return folder_fakes.make(tmp_path / "in", raters=("anna", "ben", "cleo"), tests=1)


def test_tables_are_printed_and_written(root, tmp_path):
    out = tmp_path / "out"
    options = ("--group=old=anna,ben", "--group=new=cleo", "--reference=truth")
    done = _run(root, "--out", out, *options)
    assert done.exit_code == 0, done.output
    for expected in ("Raters beside the reference (truth)", "anna", "Fleiss' κ", "dilated by 5 mm"):
        assert expected in done.output
    assert sorted(path.name for path in out.iterdir()) == [
        *("cases.csv", "pairs.csv", "raters.csv", "raters.html", "raters.json")
    ]
    page = (out / "raters.html").read_text()
    assert "Two raters of a case agree with a mean Dice of" in page
    assert page.count('<script type="application/json" class="case">{"name":"case_') == 4
    content = json.loads((out / "raters.json").read_text())
    assert content["finished"] is True
    assert [row["rater"] for row in _rows(out / "raters.csv")] == ["anna", "ben", "cleo"]
    for row, entry in zip(_rows(out / "pairs.csv"), content["pairs"], strict=True):
        assert float(row["dice"]) == entry["dice"]
    assert [entry["pairs"] for entry in content["groups"]] == [1, 2, 0]
    cases = _rows(out / "cases.csv")
    assert {row["metric"] for row in cases} >= {"dice", "hd95", "assd", "nsd", "fleiss_kappa"}
    again = _run(root, "--out", out, *options)
    assert (again.exit_code, "was done already" in again.output) == (0, True)
    other = _run(root, "--out", out, "--reference=majority")
    assert (other.exit_code, "expected another folder" in other.output) == (2, True)


def test_a_damaged_case_is_listed_at_the_end(root, tmp_path):
    (root / "ratersTr/anna/case_02.nii.gz").write_bytes(b"broken")
    done = _run(root, "--out", tmp_path / "out", "--no-surfaces", "--reference=majority")
    assert done.exit_code == 1
    assert done.output.splitlines()[-1].startswith("Problem: ratersTr/anna/case_02.nii.gz")
    assert json.loads((tmp_path / "out/raters.json").read_text())["finished"] is False


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--reference=mean"], 2, "'mean' is not one of 'staple', 'majority', 'truth'"),
        (["--group=anna"], 2, "expected NAME=RATER,RATER, got 'anna'"),
        (["--repeat=anna=ben", "--repeat=anna=cleo"], 2, "got 'anna' twice"),
        (["--margin=wide"], 2, "'wide' is not a valid float"),
        (["--group=old=zoe"], 2, "expected one of 'anna', 'ben', 'cleo', got 'zoe'"),
        (["--repeat=anna=zoe"], 2, "expected one of 'anna', 'ben', 'cleo', got 'zoe'"),
        (["--margin=-1"], 2, "-1.0 is not in the range x>=0"),
        (["--repeat=anna=anna"], 2, "repeats: expected second labels, got anna=anna"),
        (["--repeat=anna=cleo", "--repeat=ben=cleo"], 2, "rater's second labels, got 'cleo' twice"),
        (["--group=old=anna,anna"], 2, "old: expected each rater once, got ['anna', 'anna']"),
        (["--out=report"], 2, "out: expected a folder outside of"),
    ],
)
def test_bad_options_are_named_in_one_line(root, tmp_path, monkeypatch, arguments, code, text):
    monkeypatch.chdir(root)
    given = ["--out=" + str(tmp_path / "out"), *arguments]
    done = _run(root, *given)
    assert (done.exit_code, text in done.output) == (code, True), done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "out").exists()


def test_a_folder_without_raters_is_refused(tmp_path):
    done = _run(folder_fakes.make(tmp_path / "in"), "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert (
        "expected labels of at least 2 raters, for a folder in ratersTr/RATER, got 0" in done.output
    )
    assert _run(tmp_path / "none").exit_code == 1
    assert not (tmp_path / "out").exists()
