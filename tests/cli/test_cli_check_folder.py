"""A folder of one's own: the command that checks it, and the one that trains on it."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

ROOT = pathlib.Path(__file__).parents[2]


def run(command, *arguments):
    environment = {
        "JAX_COMPILATION_CACHE_DIR": ".jax_cache",
        **os.environ,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
    }
    return subprocess.run(
        [sys.executable, "-m", f"noisyjax.cli.{command}", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    root = tmp_path / "mine"
    for name in ("imagesTr", "labelsTr", "ratersTr/anna", "ratersTr/bob"):
        (root / name).mkdir(parents=True)
    description = {
        "channel_names": {"0": "photo"},
        "labels": {"background": 0, "cell": 1},
        "file_ending": ".png",
    }
    (root / "dataset.json").write_text(json.dumps(description))
    for i in range(4):
        cell = np.zeros((8, 8), np.uint8)
        cell[1 + i : 5, 2:6] = 1
        image = (100 * cell + rng.integers(0, 50, cell.shape)).astype(np.uint8)
        PIL.Image.fromarray(image).save(root / f"imagesTr/c{i}_0000.png")
        for name in ("labelsTr", "ratersTr/anna", "ratersTr/bob"):
            if (name, i) != ("ratersTr/bob", 2):
                PIL.Image.fromarray(cell).save(root / f"{name}/c{i}.png")
    return root


def test_problems_are_listed_with_remedies_and_fail_the_command(folder):
    (folder / "labelsTr/c1.png").unlink()
    for path in folder.glob("ratersTr/*/c1.png"):
        path.unlink()
    (folder / "imagesTr/c2_0000.png").write_bytes(b"")
    (folder / "imagesTr/[red]x.png").write_bytes(b"")
    done = run("check_folder", f"--root={folder}")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    output = " ".join(done.stdout.split())
    for expected in ("missing_label", "labelsTr/c1.png", "copy the file again", "[red]x.png"):
        assert expected in output
    assert "3 problems" in output
    done = run("check_folder", f"--root={folder}", "--ignore=missing_label,nonsense")
    assert done.returncode == 1
    assert "ignore: expected one of" in " ".join((done.stdout + done.stderr).split())
