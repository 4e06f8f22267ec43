"""Options given as NAME=VALUE mean the same in every command."""

import json
import subprocess
import sys

import numpy as np
import pytest
from absl import app

from noisyjax.cli import literals, options
from noisyjax.core import files
from noisyjax.train.workdir import lock

_LITERALS = {
    "True": True, "true": True, "False": False, "false": False, "None": None, "null": None,
    "3": 3, "-3": -3, "0.5": 0.5, "1e-3": 1e-3, "(3, 4)": (3, 4), "[3, 4]": [3, 4],
    "[true, null]": [True, None], '{"a": true}': {"a": True}, "'3'": "3", '"true"': "true",
}  # fmt: skip
_TEXTS = ("rat", "a/b.npz", "../x", "1-2", "0012", "0:30:00", "node[1-4]", "a=b", "", "...", "1j")


@pytest.mark.parametrize("text", _LITERALS)
def test_literals_of_python_and_json_are_values(text):
    read = literals.value(text)
    assert read == _LITERALS[text]
    assert type(read) is type(_LITERALS[text])


@pytest.mark.parametrize("text", _TEXTS)
def test_anything_else_is_the_text_itself(text):
    assert literals.value(text) == text


def test_names_end_at_the_first_equals_sign():
    assert options.parse("option", ["size=3", "note=a=b"]) == [("size", 3), ("note", "a=b")]


def _raise(error):
    raise error


def test_a_field_that_is_not_there_is_one_line(monkeypatch, capsys):
    text = "no field 'epoch'"
    for error in (AttributeError(text), KeyError(text), KeyError(repr("no field\n'epoch'"))):
        monkeypatch.setattr(app, "parse_flags_with_usage", lambda _, e=error: _raise(e))
        with pytest.raises(SystemExit) as ended:
            options._parse_flags(["train.py"])
        assert ended.value.code == 1
        assert capsys.readouterr().err == "train.py: --config: no field 'epoch'\n"


def test_errors_of_what_was_given_are_one_message(tmp_path):
    told = (FileNotFoundError(2, "not there", "x"), lock.WorkdirLocked("x: held"))
    for error in told:
        with pytest.raises(app.UsageError, match="x"), options.one_message():
            _raise(error)
    with pytest.raises(app.UsageError, match="out: expected"), options.one_message():
        files.named("out", "")
    # What a library raises has its traceback.
    with pytest.raises(ValueError, match="could not convert"), options.one_message():
        np.float64("x")
    with pytest.raises(RuntimeError, match="x"), options.one_message():
        _raise(RuntimeError("x"))


@pytest.mark.parametrize("entry", ["size", "=3", ""])
def test_what_is_no_pair_is_refused_by_the_name_of_the_flag(entry):
    with pytest.raises(app.UsageError, match=f"--slurm: expected NAME=VALUE, got '{entry}'"):
        options.parse("slurm", ["a=1", entry])


_PROGRAM = """
import importlib, json, sys
from absl import app, flags
from noisyjax.data import sources

def load(name, **given):
    print(json.dumps(given))
    raise ValueError("seen")

sources.load = load
command = importlib.import_module("noisyjax.cli." + sys.argv[1])
command.define_flags()
for text in ("False", "false"):
    given = [sys.argv[1], "--source=digits", "--option=vote=" + text, *sys.argv[2:]]
    try:
        command.main(flags.FLAGS(given))
    except app.UsageError:
        pass
    flags.FLAGS.option = []
"""


@pytest.mark.parametrize("command", [("raters", "--out=x"), ("fit_noise",)])
def test_false_is_false_in_every_command(command):
    program = [sys.executable, "-c", _PROGRAM, *command]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == [{"vote": False}] * 2
