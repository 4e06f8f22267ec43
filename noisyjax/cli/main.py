"""The command ``noisyjax``: a group of subcommands, and how their errors are shown."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import click

import noisyjax
from noisyjax.cli import allocator, terminal
from noisyjax.cli.commands import (
    audit,
    check,
    consensus,
    evaluate,
    plan,
    predict,
    raters,
    simulate,
    train,
)


class _OneLine(click.Group):
    """A group whose commands end in one line for bad input, and not in a traceback."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Reads the arguments before the subcommand's name."""
        with _one_line():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a subcommand; exit code 1 says that the data have a problem, 2 wrong use."""
        with _one_line():
            return super().invoke(ctx)


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """Turns errors into those of click, shown in a line without the usage."""
    try:
        yield
    except click.UsageError as error:
        error.ctx = None
        raise
    except OSError as error:
        text = str(error) if error.filename is None else f"{error.filename}: {error.strerror}"
        raise click.ClickException(text) from error
    except ValueError as error:
        # Of the data: each with a message of its own. Any other is of an argument.
        from noisyjax.data.volumes import read_write
        from noisyjax.tool import folder

        of_data = isinstance(error, folder.FolderError | read_write.UnreadableError)
        kind = click.ClickException if of_data else click.UsageError
        raise kind(str(error)) from error


# As they stand, without new line breaks.
_EXAMPLES = """\b
Examples:
  noisyjax check FOLDER
  noisyjax consensus FOLDER --method staple --out fused
  noisyjax raters FOLDER --out report
  noisyjax audit FOLDER --out doubts
  noisyjax plan FOLDER --out plan.json
  noisyjax train FOLDER --plan plan.json --out run
  noisyjax predict run IMAGES --out segmentations
  noisyjax evaluate PREDICTIONS FOLDER --out scores
  noisyjax simulate FOLDER --noise gaussian --a 0.02 --raters 5 --out noisy
"""


# What works long on arrays of a network's size.
_WORK_LONG = ("audit", "predict", "train")


def run() -> None:
    """Runs the command as a process of its own, which may begin anew with another allocator."""
    if any(word in _WORK_LONG for word in sys.argv[1:2]):
        allocator.start_anew("kept")
    main()


@click.group(
    cls=_OneLine,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EXAMPLES,
)
@click.version_option(noisyjax.__version__, prog_name="noisyjax")
def main() -> None:
    """Fuse, compare, audit, judge and simulate labels of raters; plan and train on them.

    A FOLDER has nnU-Net's raw layout, with raters beside it: dataset.json,
    imagesTr/CASE_0000.nii.gz, labelsTr/CASE.nii.gz, ratersTr/RATER/CASE.nii.gz.
    Or it is a BIDS data set with the raters' labels as derivatives.
    """
    terminal.escape_output()


main.add_command(audit.audit)
main.add_command(check.check)
main.add_command(consensus.consensus)
main.add_command(evaluate.evaluate)
main.add_command(plan.plan)
main.add_command(predict.predict)
main.add_command(raters.raters)
main.add_command(simulate.simulate)
main.add_command(train.train)
