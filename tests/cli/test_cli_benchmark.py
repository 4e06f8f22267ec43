"""The benchmark command in its smallest form."""

import json
import subprocess
import sys

import pytest
import refusals


def _run(*arguments):
    command = [sys.executable, "-m", "noisyjax.cli.benchmark", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_smoke_run_prints_a_table_and_writes_json(tmp_path):
    path = tmp_path / "benchmark.json"
    allocators = ("--allocator=default", "--allocator=kept")
    options = ("--smoke", "--threads=1", "--repeats=2", *allocators, f"--json={path}")
    done = _run("train_step_3d", *options)
    assert done.returncode == 0, done.stderr
    assert "train_step_3d" in done.stdout
    results = json.loads(path.read_text())
    assert [result["allocator"] for result in results] == ["default", "kept"]
    for result in results:
        assert result["entry"] == "train_step_3d"
        assert len(result["seconds"]["ours"]) == 2
        assert result["ours_s"] > 0
        assert 0.05 < result["peak_gib"]["ours"] < 4


def test_unknown_entries_and_impossible_numbers_of_cores_are_refused():
    lines = refusals.messages("benchmark", [["train_step_4d"], ["--smoke", "--threads=0"]])
    for line, message in zip(lines, ("train_step_4d", "--threads"), strict=True):
        assert message in line
