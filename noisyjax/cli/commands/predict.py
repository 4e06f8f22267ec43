"""``noisyjax predict``."""

from typing import Any

import click

from noisyjax.cli import completion, outcome, shared_options, terminal


@click.command(epilog="Example: noisyjax predict RUN IMAGES --out DIR --decision dice")
@click.argument("run", shell_complete=completion.folders)
@click.argument("images", shell_complete=completion.folders)
@shared_options.out()
@click.option("-p", "--probabilities", is_flag=True, help="Write probabilities/CLASS/CASE too.")
@click.option(
    "--decision",
    type=click.Choice(["argmax", "accuracy", "dice"]),
    help="The most probable class, or the mask of the best Dice; by default the run's own.",
)
@click.option(
    "--mirror/--no-mirror",
    default=False,
    help="Take the mean over mirror images too, along the axes of the plan.",
)
@click.option("--entropy", is_flag=True, help="Write entropy/CASE, in nats.")
@click.option(
    "--disagreement",
    is_flag=True,
    help="Write disagreement/CASE, the probability that two raters' labels differ.",
)
@click.option("--raters", is_flag=True, help="Write raters/RATER/CASE, what each would draw.")
@click.option(
    "--samples",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Write N segmentations that the networks draw, sample_0/CASE and so on.",
)
@click.option(
    "--spread",
    is_flag=True,
    help="Write spread/CASE: how far folds and mirror images differ on the foreground.",
)
@click.option(
    "--margin",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="ALPHA",
    help="Write margin/CLASS/CASE, masks that cover the label by a probability of 1 - ALPHA.",
)
@click.option(
    "--share",
    type=click.Choice(["0.9", "0.95", "0.99", "1"]),
    default="0.95",
    show_default=True,
    callback=lambda context, option, value: float(value),
    help="Of the label, which a margin is to cover.",
)
@click.option(
    "--risk",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="ALPHA",
    help="Write risk/CLASS/CASE, masks that miss a share of ALPHA of the label on average.",
)
@click.option("--keep-components", is_flag=True, help="Remove no small components.")
@click.option(
    "--checkpoint",
    type=click.Choice(["latest", "best"]),
    default="latest",
    show_default=True,
    help="Of each network.",
)
@shared_options.OVERWRITE
def predict(run: str, images: str, out: str, **options: Any) -> None:
    """Segment the images in IMAGES by the networks of RUN.

    RUN is of noisyjax train, or the workdir of a single network. Images are named as
    those that it was trained on, and may be of any size.
    """
    import noisyjax
    from noisyjax.core import user_cache

    terminal.only_warnings()
    user_cache.keep_programs()
    made = noisyjax.predict_folder(run, images, out, **options)
    state = "was done already" if made.finished else "done"
    outcome.end(f"{made.out}: {len(made.cases)} cases, {state}", made.problems)
