"""The command that reports on raters: what it writes, and what it refuses."""

import re
import subprocess
import sys

import refusals


def run(*arguments):
    command = [sys.executable, "-m", "noisyjax.cli.raters", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_a_simulated_panel_is_reported_on(tmp_path):
    done = run(
        "--source=digits",
        "--images=4",
        "--panel=under,blank",
        "--fusion=truth",
        f"--out={tmp_path}",
    )
    assert done.returncode == 0, done.stderr
    assert "compared with the known truth" in done.stdout
    assert len((tmp_path / "raters.csv").read_text().splitlines()) == 3
    assert (tmp_path / "raters.png").exists()


_REFUSED = [
    ((), "expected one of --run and --source"),
    (("--run=a", "--source=digits"), "expected one of --run and --source"),
    (("--source=digits",), "--out: expected a folder"),
    (("--source=digits", "--out=x", "--option=size"), "expected NAME=VALUE, got .*size"),
    (("--source=digits", "--out=x", "--option=sise=3"), "--option: digits: .*sise"),
]


def test_what_does_not_fit_is_named():
    lines = refusals.messages("raters", [arguments for arguments, _ in _REFUSED])
    for line, (_, message) in zip(lines, _REFUSED, strict=True):
        assert re.search(message, line), line
