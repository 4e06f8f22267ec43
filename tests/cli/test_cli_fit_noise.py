"""The command that fits noise to raters, given what it cannot use."""

import re
import subprocess
import sys

import pytest

from noisyjax.cli import fit_noise


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


def test_options_are_values_and_every_combination_is_loaded():
    given = ["path=a/b.npz", "crop=64", "subset=rat", "vote=True", "subset=aorta_mri"]
    common = {"path": "a/b.npz", "crop": 64, "vote": True}
    assert fit_noise._options(given) == [
        {**common, "subset": subset} for subset in ("rat", "aorta_mri")
    ]
    assert fit_noise._options([]) == [{}]
