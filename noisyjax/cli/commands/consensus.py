"""``noisyjax consensus``."""

from typing import Any

import click

from noisyjax.cli import completion, literals, option_flags, outcome, shared_options


@click.command(
    cls=option_flags.Command,
    module="noisyjax.tool.consensus.fusions",
    registry="METHODS",
    epilog="Example: noisyjax consensus FOLDER --method staple --out DIR",
)
@shared_options.FOLDER
@shared_options.out()
@click.option(
    "-m",
    "--method",
    default="staple",
    show_default=True,
    shell_complete=completion.names("noisyjax.tool.consensus.fusions", "METHODS"),
    help="How to fuse.",
)
@click.option("-p", "--probabilities", is_flag=True, help="Write probabilities/CLASS/CASE too.")
@click.option("-d", "--disagreement", is_flag=True, help="Write disagreement/CASE too.")
@click.option(
    "-r", "--rater", "raters", multiple=True, metavar="RATER", help="Fuse only these; repeatable."
)
@click.option(
    "-w",
    "--weight",
    "weights",
    multiple=True,
    metavar="RATER=W",
    help="What a rater's vote counts, 1 for the others; repeatable.",
)
@click.option(
    "--ties",
    type=click.Choice(["lowest", "undecided"]),
    default="lowest",
    show_default=True,
    help="Of equally probable classes: the lowest, or none.",
)
@click.option(
    "--images",
    type=click.Choice(["link", "copy", "none"]),
    default="link",
    show_default=True,
    help="How the images get there.",
)
@shared_options.OVERWRITE
def consensus(
    folder: str, weights: tuple[str, ...], options: dict[str, Any], **settings: Any
) -> None:
    """Fuse the labels of the raters of every case in FOLDER.

    Methods: majority, mean, staple, pooled_staple, spatial_staple, simple,
    jaccard_median.
    """
    from noisyjax.tool.consensus import fuse

    weighed = dict(literals.pairs("weight", weights))
    made = fuse.consensus(folder, weights=weighed, **settings, **options)
    state = "was done already" if made.finished else "done"
    text = f"{made.out}: {len(made.cases)} cases, {state}"
    if made.without_raters:
        text += f"; {len(made.without_raters)} without raters left out"
    outcome.end(text, made.problems)
