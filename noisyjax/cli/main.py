"""The command ``noisyjax``: a group of subcommands, and how their errors are shown."""

from typing import Any

import click

import noisyjax
from noisyjax.cli.commands import check


class _OneLine(click.Group):
    """A group whose commands end in one line for bad input, and not in a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a subcommand; exit code 1 says that the data have a problem, 2 wrong use."""
        try:
            return super().invoke(ctx)
        except (ValueError, OSError) as error:
            text = str(error)
            if isinstance(error, OSError) and error.filename is not None:
                text = f"{error.filename}: {error.strerror or error}"
            raise click.ClickException(text) from error


@click.group(
    cls=_OneLine,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: noisyjax check FOLDER. Every command has --help with an example.",
)
@click.version_option(noisyjax.__version__, prog_name="noisyjax")
def main() -> None:
    """Fuse, compare, judge and simulate the labels of several raters.

    A FOLDER has nnU-Net's raw layout, with raters beside it: dataset.json,
    imagesTr/CASE_0000.nii.gz, labelsTr/CASE.nii.gz, ratersTr/RATER/CASE.nii.gz.
    """


main.add_command(check.check)
