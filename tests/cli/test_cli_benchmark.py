"""The benchmark command in its smallest form."""

import json
import subprocess
import sys

import pytest


def _run(*arguments):
    command = [sys.executable, "-m", "noisyjax.cli.benchmark", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_smoke_run_prints_a_table_and_writes_json(tmp_path):
    path = tmp_path / "benchmark.json"
    done = _run("train_step_3d", "--smoke", "--threads=1", "--repeats=2", f"--json={path}")
    assert done.returncode == 0, done.stderr
    assert "train_step_3d" in done.stdout
    results = json.loads(path.read_text())
    assert [result["allocator"] for result in results] == ["default", "huge pages", "kept"]
    for result in results:
        assert result["entry"] == "train_step_3d"
        assert len(result["seconds"]["ours"]) == 2
        assert result["ours_s"] > 0


def test_unknown_entries_are_refused_by_name():
    done = _run("train_step_4d")
    assert done.returncode != 0
    assert "train_step_4d" in done.stdout + done.stderr


def test_impossible_numbers_of_cores_are_refused():
    done = _run("--smoke", "--threads=0")
    assert done.returncode != 0
    assert "--threads" in done.stdout + done.stderr
