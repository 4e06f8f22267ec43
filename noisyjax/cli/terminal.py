"""What a terminal shows of texts that its encoding does not have."""

import io
import sys


def escape_output() -> None:
    """Lets the output escape characters that it cannot encode, where it would end in an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
