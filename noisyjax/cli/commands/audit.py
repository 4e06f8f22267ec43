"""``noisyjax audit``."""

from typing import Any

import click

from noisyjax.cli import completion, durations, literals, outcome, tables, terminal


@click.command(epilog="Example: noisyjax audit FOLDER --predictions RUN --out doubts")
@click.argument("folder", shell_complete=completion.folders)
@click.option(
    "--out",
    required=True,
    metavar="DIR",
    shell_complete=completion.folders,
    help="Where to write; new, or of the same audit.",
)
@click.option(
    "-p",
    "--predictions",
    metavar="DIR",
    shell_complete=completion.folders,
    help="A run of noisyjax train on FOLDER, or out-of-fold predictions of any program.",
)
@click.option(
    "-m",
    "--method",
    default="majority",
    show_default=True,
    shell_complete=completion.names("noisyjax.methods", "METHODS"),
    help="What learns, without --predictions.",
)
@click.option(
    "--folds",
    default=5,
    show_default=True,
    type=click.IntRange(min=2),
    help="Networks that are trained, without --predictions.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Of each network.")
@click.option(
    "--budget",
    metavar="TIME",
    callback=durations.option,
    help="Of the training, such as 90s, 30min or 2h, in place of --epochs.",
)
@click.option("--seed", default=0, show_default=True, help="Of the division and the networks.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A field of the networks' config, such as train.batch_size=4; repeatable.",
)
@click.option("--overwrite", is_flag=True, help="Remove what was made there otherwise.")
def audit(
    folder: str,
    out: str,
    predictions: str | None,
    settings: tuple[str, ...],
    overwrite: bool,
    **training: Any,
) -> None:
    """Say which labels of FOLDER are probably wrong, where, and in what way.

    Every label is held against what a network says that has not seen it. DIR gets a ranked
    list, the regions in question, and a page to decide on each label.
    """
    from noisyjax.core import user_cache
    from noisyjax.tool.audit import audit_tables, audited_folder

    terminal.only_warnings()
    user_cache.keep_programs()
    if predictions is None:
        training["changes"] = dict(literals.pairs("set", settings))
    else:
        training = {}
    made = audited_folder.write(
        folder, out, predictions=predictions, training=training, overwrite=overwrite
    )
    if made.report is None:
        outcome.end(f"{made.out}: was done already")
        return
    tables.show(audit_tables.for_terminal(made.report))
    without = len(made.report.without)
    text = f"{made.out}: {len(made.report.cases)} cases"
    text += f", {without} without a prediction" if without else ""
    outcome.end(text, made.problems)
