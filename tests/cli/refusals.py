"""What a command says to arguments that it refuses."""

import functools
import json
import subprocess
import sys
from collections.abc import Sequence

_PROGRAM = """
import importlib, json, sys
from absl import app, flags
from absl.testing import flagsaver

for line in sys.stdin:
    name, given = json.loads(line)
    command = importlib.import_module("noisyjax.cli." + name)
    before = set(flags.FLAGS)
    command.define_flags()
    own = set(flags.FLAGS) - before
    said = []
    for arguments in given:
        with flagsaver.flagsaver():
            try:
                command.main(flags.FLAGS([name, *arguments]))
            except app.UsageError as error:
                said.append(str(error))
    # Libraries that a command imports have flags of their own, which stay.
    for flag in own | {flag for flag in set(flags.FLAGS) if flag.startswith("config.")}:
        delattr(flags.FLAGS, flag)
    print("SAID", json.dumps(said), flush=True)
"""


@functools.cache
def _process() -> subprocess.Popen:
    """One process for all commands, since starting one takes longer than anything it refuses."""
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def messages(name: str, given: Sequence[Sequence[str]]) -> list[str]:
    """Returns the usage errors of a command, for one list of arguments after the other.

    Not in this process, since the commands share names of flags.
    """
    process = _process()
    print(json.dumps([name, given]), file=process.stdin, flush=True)
    printed = []
    for line in process.stdout:
        if line.startswith("SAID "):
            lines = json.loads(line[5:])
            assert len(lines) == len(given), lines
            return lines
        printed.append(line)
    raise AssertionError("".join(printed))
