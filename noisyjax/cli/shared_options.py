"""Arguments and options that several commands have, each declared once."""

from collections.abc import Callable
from typing import Any

import click

from noisyjax.cli import completion, durations

Decorator = Callable[[Any], Any]

FOLDER = click.argument("folder", shell_complete=completion.folders)
OVERWRITE = click.option("--overwrite", is_flag=True, help="Remove what was made there otherwise.")

_TRAINING = (
    click.option(
        "-m",
        "--method",
        default="majority",
        show_default=True,
        shell_complete=completion.names("noisyjax.methods", "METHODS"),
        help="What learns, and how.",
    ),
    click.option("--epochs", type=click.IntRange(min=1), help="Of each network."),
    click.option(
        "--budget",
        metavar="TIME",
        callback=durations.option,
        help="Of all folds together, such as 90s, 30min or 2h, in place of --epochs.",
    ),
    click.option("--seed", default=0, show_default=True, help="Of the division and the networks."),
    click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="NAME=VALUE",
        help="A field of the networks' config, such as train.batch_size=4; repeatable.",
    ),
)


def out(metavar: str = "DIR") -> Decorator:
    """The folder that a command fills, and goes on with."""
    return click.option(
        "--out",
        required=True,
        metavar=metavar,
        shell_complete=completion.folders,
        help="Where to write; new, or to be gone on.",
    )


def training(command: Any) -> Any:
    """What `train_folds` is told: method, epochs, budget, seed and settings."""
    for declare in reversed(_TRAINING):
        command = declare(command)
    return command
