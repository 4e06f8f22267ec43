"""``noisyjax simulate``."""

from typing import Any

import click

from noisyjax.cli import completion, option_flags, outcome, shared_options


@click.command(
    cls=option_flags.Command,
    module="noisyjax.tool.simulation.noises",
    registry="NOISES",
    epilog="Example: noisyjax simulate FOLDER --noise gaussian --a 0.02 --raters 5 --out DIR",
)
@shared_options.FOLDER
@shared_options.out()
@click.option(
    "-n",
    "--noise",
    multiple=True,
    default=("gaussian",),
    show_default=True,
    metavar="NOISE",
    shell_complete=completion.names("noisyjax.tool.simulation.noises", "NOISES"),
    help="What a rater does; several times for a rater each.",
)
@click.option("-r", "--raters", type=int, default=0, help="How many, all with the same noise.")
@click.option("-d", "--dice", type=float, help="Mean Dice to the truth, in place of a strength.")
@click.option(
    "--share", type=float, default=1.0, help="Of the cases with noise.", show_default=True
)
@click.option("-s", "--seed", type=int, default=0, show_default=True)
@click.option(
    "--place",
    type=click.Choice(["raters", "truth"]),
    default="raters",
    show_default=True,
    help="Where noisy labels go: to ratersTr, or to labelsTr in place of the truth.",
)
@click.option(
    "--images",
    type=click.Choice(["link", "copy", "none"]),
    default="link",
    show_default=True,
    help="How the images get there.",
)
@shared_options.OVERWRITE
def simulate(folder: str, options: dict[str, Any], **settings: Any) -> None:
    """Write FOLDER with labels of simulated raters, drawn from its truth.

    Noises: good, over, under, wrong, blank, swap, gaussian, elastic, erode, dilate,
    erode_or_dilate, shift, reverse_square, polygonise, erase, replacement, rater_pool.
    """
    from noisyjax.tool.simulation import simulate

    made = simulate.simulate(folder, **settings, **options)
    for number, strength in enumerate(made.strengths, 1):
        if strength is not None:
            click.echo(
                f"rater_{number}: strength {strength.strength:.6g}, Dice {strength.dice:.3f}"
            )
    state = "was done already" if made.finished else "done"
    outcome.end(f"{made.out}: {len(made.cases)} cases, {state}", made.problems)
