"""Both sides from the folders to the table, by a program that stands for them."""

import csv
import json
import pathlib
import sys

import fake_sides
import folder_fakes
import numpy as np
import pytest

from noisyjax.benchmarks.side_by_side import cells, sides, study_folders
from noisyjax.tool.evaluation import evaluate


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two cases that train and two that test, whose images are 100 times their labels."""
    root = tmp_path_factory.mktemp("data")
    folder_fakes.describe(root / "given")
    for case in range(4):
        part = "Tr" if case < 2 else "Ts"
        label = folder_fakes.label(case)
        image = root / "given" / f"images{part}" / f"case_{case}_0000.nii.gz"
        folder_fakes.save(image, (100 * label).astype(np.uint8))
        folder_fakes.save(root / "given" / f"labels{part}" / f"case_{case}.nii.gz", label)
    study_folders.link_cases(root / "given", root / "cases")
    study_folders.share_out(root, kinds=("clean",))
    return root


@pytest.fixture
def setup(data, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_NOTES", str(tmp_path / "notes"))
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {fake_sides.__file__} "$@"\n')
    python.chmod(0o755)
    return sides.Setup(data, tmp_path, str(python), python=str(python))


def _fill(setup, minutes, *, of_sides=(sides.NNUNET,), seeds=(0,)):
    done = []
    chosen = {"labels": ("clean",), "of_sides": of_sides, "seeds": seeds, "minutes": minutes}
    truth = setup.data / study_folders.CASES
    cells.fill(setup, setup.out / "results", truth, **chosen, done=done.append)
    return done


def _notes(setup):
    return pathlib.Path(setup.out / "notes").read_text().splitlines()


def test_both_sides_are_scored_alike(setup):
    done = _fill(setup, (1.0,), of_sides=(sides.OURS, sides.NNUNET))
    assert [(cell.side, cell.minutes) for cell in done] == [("noisyjax", 1.0), ("nnunet", 1.0)]
    ours = json.loads((setup.out / "results" / "clean_noisyjax_seed0_1min.json").read_text())
    assert ours["dice"] == {"organ": 1.0, "lesion": 0.0, evaluate.ALL_CLASSES: 0.5}
    assert ours["hd95"]["organ"] == 0
    # The empty prediction of a class: the diagonal of 8 x 7 x 6 voxels of 1 x 1.5 x 2 mm.
    diagonal = np.linalg.norm([8, 10.5, 12])
    assert ours["hd95"]["lesion"] == pytest.approx(diagonal, rel=0.2)
    # 7 s more than the process took until its training began.
    assert ours["updates"] == 40
    assert 7 < ours["first_step_s"] < 7 + ours["cpu_s"]
    assert 0 < ours["prediction_s"] < 60
    nnunet = json.loads((setup.out / "results" / "clean_nnunet_seed0_1min.json").read_text())
    assert nnunet["dice"][evaluate.ALL_CLASSES] == 0
    assert (nnunet["updates"], nnunet["cpu_s"], nnunet["first_step_s"]) == (10, 60, 3)
    # One core and one thread each.
    assert all(line.endswith(" 1 1") for line in _notes(setup))


def test_what_is_there_is_not_run_again(setup):
    assert len(_fill(setup, (1.0, 2.0))) == 2
    once = _notes(setup)
    assert [line.split()[1] for line in once] == ["prepare", "train", "predict", "predict"]
    assert _fill(setup, (1.0, 2.0)) == []
    assert _notes(setup) == once
    # A result that is lost is predicted anew from the checkpoint; a further time is trained.
    (setup.out / "results" / "clean_nnunet_seed0_2min.json").unlink()
    assert [cell.minutes for cell in _fill(setup, (1.0, 2.0, 4.0))] == [2, 4]
    assert _notes(setup)[len(once) :] == [
        "nnunet train 4 1 1",
        *["nnunet predict  1 1"] * 2,
    ]


def test_the_table_is_over_seeds(setup):
    _fill(setup, (1.0, 2.0), seeds=(0, 2))
    rows = cells.rows(setup.out / "results")
    assert [(row.labels, row.minutes, row.side, row.seeds) for row in rows] == [
        ("clean", 1.0, "nnunet", 2),
        ("clean", 2.0, "nnunet", 2),
    ]
    assert rows[1].numbers["dice"].mean == rows[1].numbers["dice lesion"].mean == 1
    first = rows[0].numbers["first_step_s"]
    assert (first.mean, first.sd) == (4, pytest.approx(2**0.5))
    head, body = cells.table(rows)
    line = dict(zip(head, body[1], strict=True))
    assert (line["dice"], line["hd95"], line["updates"]) == (
        "1.000 ± 0.000",
        "0.00 ± 0.00",
        "20 ± 0",
    )
    cells.write(rows, setup.out / "table")
    with open(setup.out / "table.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    (dice,) = [one for one in lines if one["number"] == "dice" and one["minutes"] == "2.0"]
    assert float(dice["mean"]) == 1
    written = json.loads((setup.out / "table.json").read_text())
    assert written[0]["numbers"]["cpu_s"]["mean"] == 60


def test_a_side_that_fails_names_its_log(setup):
    with pytest.raises(sides.Failed, match=r"failed, see .*train\.log: out of luck"):
        _fill(setup, (1.0,), seeds=(13,))


def test_no_results_give_an_empty_table(tmp_path):
    assert cells.rows(tmp_path) == []
    assert cells.table([])[1] == []
