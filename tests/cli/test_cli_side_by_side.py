"""The command of the side-by-side: a small study, and what it refuses."""

import csv
import os
import subprocess
import sys

import fake_sides
import folder_fakes
import numpy as np
import refusals


def test_a_study_of_a_folder_ends_in_a_table(tmp_path):
    folder_fakes.describe(tmp_path / "given")
    for case in range(3):
        part, label = ("Ts" if case == 2 else "Tr"), folder_fakes.label(case)
        image = tmp_path / "given" / f"images{part}" / f"case_{case}_0000.nii.gz"
        folder_fakes.save(image, (100 * label).astype(np.uint8))
        folder_fakes.save(tmp_path / "given" / f"labels{part}" / f"case_{case}.nii.gz", label)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {fake_sides.__file__} "$@"\n')
    python.chmod(0o755)
    command = [sys.executable, "-m", "noisyjax.cli.side_by_side"]
    command += [f"--folder={tmp_path / 'given'}", f"--out={tmp_path / 'out'}", "--seeds=0"]
    command += ["--minutes=1,2", "--labels=clean", "--sides=nnunet", f"--nnunet_python={python}"]
    environment = {**os.environ, "FAKE_NOTES": str(tmp_path / "notes")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "done: clean_nnunet_seed0_2min.json" in done.stdout
    with open(tmp_path / "out" / "table.csv", newline="") as file:
        dice = {
            row["minutes"]: row["mean"] for row in csv.DictReader(file) if row["number"] == "dice"
        }
    assert dice == {"1.0": "0.0", "2.0": "1.0"}


def test_impossible_arguments_are_refused():
    data = "--data=volumes.npz"
    given = [
        [],
        [data, "--folder=somewhere"],
        [data, "--minutes=five"],
        [data, "--minutes=0"],
        [data, "--seeds=0.5"],
        [data, "--sides=monai"],
        [data, "--out=/proc/none"],
    ]
    expected = ["--data", "--data", "--minutes", "--minutes", "--seeds", "--sides", "volumes.npz"]
    for line, message in zip(refusals.messages("side_by_side", given), expected, strict=True):
        assert message in line
