"""The command that fits noise to raters, given what it cannot use."""

import re
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--source=lidc",), "--option: lidc: .*path"),
        (("--source=digits", "--option=size"), "expected NAME=VALUE, got .*size"),
        (("--source=digits", "--option=sise=3"), "--option: digits: .*sise"),
    ],
)
def test_wrong_options_are_named(arguments, message):
    command = [sys.executable, "-m", "noisyjax.cli.fit_noise", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    output = " ".join((done.stdout + done.stderr).split())
    assert re.search(message, output), output
