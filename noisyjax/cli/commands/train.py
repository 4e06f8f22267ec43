"""``noisyjax train``."""

from typing import Any

import click

from noisyjax.cli import completion, literals, outcome, shared_options, terminal


@click.command(epilog="Example: noisyjax train FOLDER --out RUN --plan plan.json --folds 5")
@shared_options.FOLDER
@shared_options.out("RUN")
@click.option(
    "--plan", metavar="FILE", help="Of noisyjax plan; by default FOLDER is planned first."
)
@shared_options.training
@click.option(
    "--folds",
    default=5,
    show_default=True,
    type=click.IntRange(min=1),
    help="Networks; each holds out other cases, but for a single one, which holds out none.",
)
@click.option("--fold", type=click.IntRange(min=0), metavar="K", help="Train this one alone.")
@click.option(
    "--decisions",
    metavar="FILE",
    help="decisions.csv of a page: what becomes of labels that were looked at.",
)
@click.option(
    "--mended",
    metavar="DIR",
    shell_complete=completion.folders,
    help="CASE.nii.gz in the place of labels to be mended; else the other raters' consensus.",
)
def train(folder: str, settings: tuple[str, ...], **options: Any) -> None:
    """Train networks on FOLDER, a fold each, which together predict new images.

    RUN holds all that predicting takes, what each network says of the cases that it
    has not seen, and how good that is. Cases of imagesTs never train.
    """
    import noisyjax
    from noisyjax.core import user_cache

    terminal.only_warnings()
    user_cache.keep_programs()
    changes = dict(literals.pairs("set", settings))
    with outcome.training():
        made = noisyjax.train_folds(folder, changes=changes, begun=_begun, **options)
    outcome.end(f"{made.out}: {_state(made)}", made.problems)


def _begun(fold: int) -> None:
    click.echo(f"training fold {fold}")


def _state(made: Any) -> str:
    """Says how far a run is, and how good its networks are on what they have not seen."""
    if made.summary is None:
        done = ", ".join(map(str, made.trained)) or "none"
        return f"trained of {made.folds} folds: {done}"
    overall = made.summary["overall"]
    for rater, by_class in overall.get("dice", {}).items():
        known = {name: dice for name, dice in by_class.items() if dice is not None}
        each = ", ".join(f"{name} {dice:.3f}" for name, dice in known.items())
        click.echo(f"Dice of {overall['cases']} cases out of fold, to {rater}: {each}")
    return f"{made.folds} folds, " + ("was done already" if made.finished else "done")
