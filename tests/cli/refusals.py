"""What a command says to arguments that it refuses."""

import json
import subprocess
import sys
from collections.abc import Sequence

_PROGRAM = """
import importlib, json, sys
from absl import app, flags
from absl.testing import flagsaver

command = importlib.import_module("noisyjax.cli." + sys.argv[1])
getattr(command, "define_flags", lambda: None)()
for arguments in json.loads(sys.argv[2]):
    with flagsaver.flagsaver():
        try:
            command.main(flags.FLAGS([sys.argv[1], *arguments]))
        except app.UsageError as error:
            print(json.dumps(str(error)))
"""


def messages(name: str, given: Sequence[Sequence[str]]) -> list[str]:
    """Returns the usage errors of a command, for one list of arguments after the other.

    In one process, since starting one takes longer than anything that is refused; and not in this
    one, since the commands share names of flags.
    """
    program = [sys.executable, "-c", _PROGRAM, name, json.dumps(given)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(given), done.stdout
    return lines
