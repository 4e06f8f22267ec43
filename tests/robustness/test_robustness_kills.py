import pathlib
import shutil
import subprocess
import sys

import kills
import pytest

ROOT = pathlib.Path(__file__).parents[2]


def _command(*arguments):
    if not shutil.which("cc"):
        pytest.skip("there is no cc to compile kill_at.c with")
    command = [sys.executable, "-m", "tests.robustness.kills", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_no_change_of_a_file_that_we_write_is_one_too_many_to_be_killed_at():
    # At each of the 32: five files that are opened, written, moved, and seven folders.
    told = _command("--run=files", "--kills=1000")
    assert "files: 14, kills: 32, lost: 0" in told
    assert "image/c/0/0, unfinished | mkdir, open, rename, write | 5 | 0 |" in told


def test_every_file_has_its_turn_before_one_has_another():
    changes = [kills.Change("write", f"/{name}", name) for name in "aaabbc"]
    for seed in range(3):
        files = [changes[at - 1].file for at in kills.choose(changes, 4, seed=seed)]
        assert set(files) == {"a", "b", "c"}
        assert kills.choose(changes, 100, seed=seed) == [1, 2, 3, 4, 5, 6]


def test_what_is_lost_left_behind_or_other_is_found(tmp_path):
    alone, other = tmp_path / "alone", tmp_path / "other"
    (alone / "run").mkdir(parents=True)
    (alone / "run" / "summary.json").write_text(
        '{"dice": 0.5, "seconds_train": 3, "checkpoint": {"files": "a"}, "sha256": "b"}'
    )
    (alone / "run" / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0, "seconds": 0.1}\n')
    (alone / "run" / "table.csv").write_text("case,dice\na,0.5\n")
    shutil.copytree(alone, other)
    (other / "run" / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0, "seconds": 0.7}\n')
    (other / "run" / "run.lock").write_text("held")
    (alone / "run" / "run.lock").write_text("held by another")
    assert kills.differences(other, alone) == []
    (other / "run" / "metrics.jsonl").write_text('{"step": 1, "loss": 2.1, "seconds": 0.1}\n')
    (other / "run" / "table.csv").rename(other / "run" / ".noisyjax-0123456789abcdef.csv")
    assert kills.differences(other, alone) == [
        "/run/.noisyjax-0123456789abcdef.csv: left behind",
        "/run/metrics.jsonl: another content",
        "/run/table.csv: lost",
    ]


def test_a_file_counts_under_the_name_that_it_comes_to():
    unfinished = "/run/.noisyjax-00ff00ff00ff00ff.json"
    journal = f"write {unfinished}\nrename /run/a.json\t{unfinished}\n"
    assert [change.file for change in kills._changes(journal)] == [
        "/run/a.json, unfinished",
        "/run/a.json",
    ]
    name = kills._file("/run/checkpoints/12/state/d/0123456789abcdef0123456789abcdef")
    assert name == "/run/checkpoints/N/state/d/*"
