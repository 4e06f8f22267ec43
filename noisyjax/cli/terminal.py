"""What a terminal shows of texts that its encoding does not have."""

import io
import sys


def escape_output() -> None:
    """Lets the output escape characters that it cannot encode, where it would end in an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def only_warnings() -> None:
    """Shows of what libraries log their warnings, but for those of checkpoints that are only read.

    Orbax warns that they are.
    """
    from absl import logging

    logging.set_verbosity(logging.WARNING)
    logging.get_absl_logger().addFilter(lambda record: "/orbax/" not in record.pathname)
