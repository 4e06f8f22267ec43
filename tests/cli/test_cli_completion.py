"""What the shell completes."""

import pytest
from click import shell_completion

from noisyjax.cli import main
from noisyjax.tool.consensus import fusions


def _completed(*arguments):
    *given, incomplete = arguments
    shell = shell_completion.ShellComplete(main.main, {}, "noisyjax", "_NOISYJAX_COMPLETE")
    return shell.get_completions(given, incomplete)


def _values(*arguments):
    return [item.value for item in _completed(*arguments)]


def test_commands_and_options():
    assert _values("sim") == ["simulate"]
    assert "--prior" in _values("consensus", "--pr")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("consensus", "--method", "st"), ["staple"]),
        (("simulate", "-n", "erode"), ["erode", "erode_or_dilate"]),
        (("evaluate", "--metric", "hm"), ["hm_iou"]),
        (("evaluate", "--empty", "med"), ["medpy"]),
    ],
)
def test_names(arguments, expected):
    assert _values(*arguments) == expected


def test_every_method():
    assert _values("consensus", "-m", "") == list(fusions.METHODS)


@pytest.mark.parametrize(
    "arguments",
    [
        *[(name,) for name in ("check", "consensus", "raters", "simulate", "evaluate")],
        ("evaluate", "predictions"),
        *[(name, "--out") for name in ("consensus", "raters", "simulate", "evaluate")],
        ("evaluate", "--versus"),
    ],
)
def test_folders_are_left_to_the_shell(arguments):
    (item,) = _completed(*arguments, "da")
    assert (item.value, item.type) == ("da", "dir")
