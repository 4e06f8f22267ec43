"""How a command on a folder ends: what it wrote, and the cases that it could not use."""

import sys
from collections.abc import Sequence

import click


def end(text: str, problems: Sequence[str] = ()) -> None:
    """Says what was done; with problems, a line each on stderr, it ends with the exit code 1."""
    click.echo(text)
    for problem in problems:
        click.echo(f"Problem: {problem}", err=True)
    if problems:
        sys.exit(1)
