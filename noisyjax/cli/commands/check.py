"""``noisyjax check``."""

import sys

import click

from noisyjax.cli import shared_options


@click.command(epilog="Example: noisyjax check FOLDER --ignore empty_mask")
@shared_options.FOLDER
@click.option(
    "-i", "--ignore", multiple=True, metavar="KIND", help="A kind that is meant to be so."
)
@click.option(
    "--grid-tolerance",
    type=float,
    metavar="VOXELS",
    help="How far a label's corners may lie beside its image's; .25 by default.",
)
def check(folder: str, ignore: tuple[str, ...], grid_tolerance: float | None) -> None:
    """List what is wrong with FOLDER, and how to mend it."""
    from noisyjax.cli import problem_table
    from noisyjax.data.folder import checker

    tolerance = checker.TOLERANCE if grid_tolerance is None else grid_tolerance
    problems = checker.check(folder, ignore=ignore, tolerance=tolerance)
    sys.exit(problem_table.show(folder, problems))
