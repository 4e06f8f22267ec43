"""How a command on a folder ends: what it wrote, and the cases that it could not use."""

import contextlib
import sys
from collections.abc import Iterator, Sequence

import click


def end(text: str, problems: Sequence[str] = ()) -> None:
    """Says what was done; with problems, a line each on stderr, it ends with the exit code 1."""
    click.echo(text)
    for problem in problems:
        click.echo(f"Problem: {problem}", err=True)
    if problems:
        sys.exit(1)


@contextlib.contextmanager
def training() -> Iterator[None]:
    """Turns what ends a training, and is no fault of the data or of an option, into one line."""
    from noisyjax.train.workdir import lock

    try:
        yield
    except (lock.WorkdirLocked, FloatingPointError, MemoryError) as error:
        raise click.ClickException(str(error)) from error
