"""``noisyjax raters``."""

from collections.abc import Sequence
from typing import Any

import click

from noisyjax.cli import completion, shared_options

_MAKES = ("raters.csv", "pairs.csv", "cases.csv", "raters.html")
_LENGTH: dict[str, Any] = {"show_default": True, "type": click.FloatRange(min=0)}


def _pairs(context: click.Context, option: click.Option, given: Sequence[str]) -> dict[str, str]:
    """Reads NAME=VALUE, repeated."""
    del context
    pairs = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise click.BadParameter(f"expected {option.metavar}, got {text!r}")
        if name in pairs:
            raise click.BadParameter(f"expected each name once, got {name!r} twice")
        pairs[name] = value
    return pairs


@click.command(
    epilog="Example: noisyjax raters FOLDER --out report --group seniors=anna,ben --group new=cleo"
)
@shared_options.FOLDER
@click.option(
    "--out",
    metavar="DIR",
    shell_complete=completion.folders,
    help="Where raters.html, raters.csv and so on go.",
)
@click.option(
    "-r",
    "--reference",
    default="staple",
    show_default=True,
    type=click.Choice(["staple", "majority", "truth"]),
    help="The estimate of the truth.",
)
@click.option(
    "--region",
    default="union-dilated",
    show_default=True,
    type=click.Choice(["union-dilated", "union", "all"]),
    help="The voxels on which agreement by chance is counted: of the raters' masks, or all.",
)
@click.option("--margin", default=5.0, **_LENGTH, help="By which it is dilated, in mm.")
@click.option("-t", "--tolerance", default=1.0, **_LENGTH, help="Of NSD, in mm.")
@click.option(
    "-g",
    "--group",
    multiple=True,
    metavar="NAME=RATER,RATER",
    callback=_pairs,
    help="Raters whose agreement within and between groups is reported; repeatable.",
)
@click.option(
    "--repeat",
    multiple=True,
    metavar="RATER=AGAIN",
    callback=_pairs,
    help="The folder AGAIN holds second labels of RATER; repeatable.",
)
@click.option("--no-surfaces", is_flag=True, help="Measure no distances, which is quick.")
@click.option("--overwrite", is_flag=True, help="Replace what this command made in DIR before.")
def raters(
    folder: str, out: str | None, overwrite: bool, group: dict, repeat: dict, **options: Any
) -> None:
    """Say who agrees with whom among the raters of FOLDER, and with an estimate of the truth."""
    import noisyjax
    from noisyjax.cli import outcome, tables
    from noisyjax.tool import cases, record
    from noisyjax.tool.page import page
    from noisyjax.tool.raters import rater_page, rater_tables

    surfaces = not options.pop("no_surfaces")
    groups = {name: members.split(",") for name, members in group.items()}
    options |= {"surfaces": surfaces, "groups": groups, "repeats": repeat}
    opened = noisyjax.open_folder(folder)
    made = None
    if out is not None:
        labels = {
            name: paths
            for name, paths in cases.label_files(opened).items()
            if opened.cases[name].raters
        }
        made = record.open_record(
            out,
            "raters",
            source=folder,
            digest={name: record.digest(paths, opened.root) for name, paths in labels.items()},
            options=options,
            makes=_MAKES,
            overwrite=overwrite,
        )
        if made.is_done(labels):
            outcome.end(f"{made.out}: was done already")
            return
    report = noisyjax.raters(opened, **options)
    problems = list(report.problems)
    if made is not None:
        made.begin()
        rater_tables.write_csv(report, made.out)
        results = rater_tables.to_json(report)
        problems += page.try_to_write(
            made.out / "raters.html", lambda: rater_page.make(report, opened)
        )
        made.end(problems, cases=report.cases, results=results)
    tables.show(rater_tables.tables(report))
    text = f"Agreement by chance is counted on {rater_tables.region(report.settings)}."
    outcome.end(text, problems)
