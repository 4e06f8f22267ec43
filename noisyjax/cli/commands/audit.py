"""``noisyjax audit``."""

from typing import Any

import click

from noisyjax.cli import completion, literals, outcome, shared_options, tables, terminal


@click.command(epilog="Example: noisyjax audit FOLDER --predictions RUN --out doubts")
@shared_options.FOLDER
@shared_options.out()
@click.option(
    "-p",
    "--predictions",
    metavar="DIR",
    shell_complete=completion.folders,
    help="A run of noisyjax train on FOLDER, or out-of-fold predictions of any program.",
)
@shared_options.training
@click.option(
    "--folds",
    default=5,
    show_default=True,
    type=click.IntRange(min=2),
    help="Networks that are trained, without --predictions.",
)
@shared_options.OVERWRITE
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
    training["changes"] = dict(literals.pairs("set", settings))
    if predictions is not None:
        for name in ("epochs", "budget", "changes"):
            if training[name]:
                flag = "set" if name == "changes" else name
                raise click.UsageError(f"--{flag}: expected no training beside --predictions")
        training = {}
    with outcome.training():
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
