"""``noisyjax check``."""

import sys

import click


@click.command(epilog="Example: noisyjax check FOLDER --ignore empty_mask")
@click.argument("folder")
@click.option("--ignore", multiple=True, metavar="KIND", help="A kind that is meant to be so.")
def check(folder: str, ignore: tuple[str, ...]) -> None:
    """List what is wrong with FOLDER, and how to mend it."""
    from noisyjax.cli import problem_table
    from noisyjax.data.folder import checker

    sys.exit(problem_table.show(folder, checker.check(folder, ignore=ignore)))
