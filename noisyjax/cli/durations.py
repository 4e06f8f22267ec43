"""Times on the command line."""

import math
import re

import click

_SECONDS = {"s": 1, "min": 60, "h": 3600}
_FORM = re.compile(r"([0-9]+(?:\.[0-9]*)?)\s*(s|min|h)")


def seconds(text: str) -> float:
    """Reads a time such as "90s", "30min" or "1.5h"; ValueError for anything else.

    >>> [seconds(text) for text in ("90s", "30min", "1.5h")]
    [90.0, 1800.0, 5400.0]
    """
    match = _FORM.fullmatch(text.strip())
    value = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if not 0 < value < math.inf:
        raise ValueError(f"expected a time above 0 such as 90s, 30min or 2h, got {text!r}")
    return value


def option(context: click.Context, given_to: click.Option, given: str | None) -> float | None:
    """Reads the time of an option, in seconds."""
    del context, given_to
    try:
        return None if given is None else seconds(given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
