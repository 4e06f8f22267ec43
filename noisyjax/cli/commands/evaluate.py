"""``noisyjax evaluate``."""

import pathlib
from collections.abc import Sequence
from typing import Any

import click

from noisyjax.cli import completion, shared_options

_MAKES = ("cases.csv", "summary.csv", "risk.csv", "versus.csv", "evaluate.html")


def _regions(
    context: click.Context, option: click.Option, given: Sequence[str]
) -> dict[str, list[int]]:
    """Reads NAME=1,2, repeated."""
    del context
    regions = {}
    for text in given:
        name, _, ids = text.partition("=")
        try:
            regions[name] = [int(label) for label in ids.split(",")]
        except ValueError as error:
            raise click.BadParameter(f"expected {option.metavar}, got {text!r}") from error
        if not name:
            raise click.BadParameter(f"expected {option.metavar}, got {text!r}")
    return regions


@click.command(epilog="Example: noisyjax evaluate PREDICTIONS FOLDER --out DIR --region all=1,2")
@click.argument("given", metavar="PREDICTIONS", shell_complete=completion.folders)
@shared_options.FOLDER
@click.option(
    "--out",
    required=True,
    metavar="DIR",
    shell_complete=completion.folders,
    help="Where evaluate.html, evaluate.json and so on go.",
)
@click.option(
    "-m",
    "--metric",
    multiple=True,
    metavar="NAME",
    shell_complete=completion.names("noisyjax.tool.evaluation.prediction_metrics", "METRICS"),
    help="Repeatable; by default all.",
)
@click.option(
    "-r",
    "--region",
    multiple=True,
    metavar="NAME=CLASS,CLASS",
    callback=_regions,
    help="A union of classes that is judged beside them, by their numbers; repeatable.",
)
@click.option(
    "-e",
    "--empty",
    default="one",
    show_default=True,
    type=click.Choice(["one", "zero", "nan", "monai", "medpy", "nnunet", "torchmetrics"]),
    help="What Dice and IoU are where masks are empty: a value for 0/0, or as a library has it.",
)
@click.option(
    "--empty-distance",
    default="diagonal",
    show_default=True,
    type=click.Choice(["diagonal", "inf", "nan", "library"]),
    help="Distances where one mask is empty: the diagonal of the image, or another.",
)
@click.option(
    "-c",
    "--convention",
    multiple=True,
    default=("monai", "medpy", "deepmind"),
    type=click.Choice(["monai", "medpy", "deepmind"]),
    help="Of surfaces; repeatable, by default all three.",
)
@click.option("--no-surfaces", is_flag=True, help="Measure no distances, which is quick.")
@click.option(
    "-t",
    "--tolerance",
    default=1.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Of NSD, in mm.",
)
@click.option(
    "--percentile",
    default=100.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True, max=100),
    help="Of the distances that hd is.",
)
@click.option(
    "--tversky",
    default=(0.3, 0.7),
    show_default=True,
    nargs=2,
    type=click.FloatRange(min=0),
    metavar="FP FN",
    help="What false positives and misses weigh in tversky.",
)
@click.option(
    "-v",
    "--versus",
    metavar="DIR",
    shell_complete=completion.folders,
    help="Other predictions, to be compared with case by case.",
)
@click.option(
    "--test",
    default="wilcoxon",
    show_default=True,
    type=click.Choice(["wilcoxon", "t"]),
    help="Of the comparison, paired; p-values are corrected after Holm.",
)
@click.option("--seed", default=0, show_default=True, help="Of the draws behind the intervals.")
@click.option("--partial", is_flag=True, help="Cases may lack a prediction, as in a fold.")
@click.option("--overwrite", is_flag=True, help="Replace what this command made in DIR before.")
def evaluate(
    given: str, folder: str, out: str, overwrite: bool, versus: str | None, **options: Any
) -> None:
    """Judge PREDICTIONS of any program by the truth and the raters of FOLDER.

    PREDICTIONS holds CASE.nii.gz, probabilities/CLASS/CASE.nii.gz or nnU-Net's CASE.npz,
    several samples in sample_*/, or a mask for each rater in raters/RATER/CASE.nii.gz.
    """
    import noisyjax
    from noisyjax.cli import outcome, tables
    from noisyjax.tool import cases, record
    from noisyjax.tool.evaluation import evaluation_page, evaluation_tables, predictions
    from noisyjax.tool.page import page

    conventions = options.pop("convention")
    options["conventions"] = () if options.pop("no_surfaces") else conventions
    options["regions"] = options.pop("region")
    options["metrics"] = options.pop("metric") or None
    opened = noisyjax.open_folder(folder)
    target, labels = pathlib.Path(out).resolve(), cases.label_files(opened)
    predicted = predictions.find(given, opened, partial=options["partial"])
    inputs = {name: labels[name] for name in (*predicted.cases, *predicted.missing)}
    for root in (given, versus) if versus else (given,):
        if pathlib.Path(root).resolve() in (target, *target.parents):
            raise click.UsageError(f"--out: expected a folder outside of {root}, got {out}")
        for name, paths in predictions.files_of_cases(root).items():
            if name in inputs:
                inputs[name] += paths
    compared = {
        name: root and str(pathlib.Path(root).resolve())
        for name, root in (("predictions", given), ("versus", versus))
    }
    made = record.open_record(
        out,
        "evaluate",
        source=folder,
        digest={name: record.digest(paths, opened.root) for name, paths in inputs.items()},
        options=compared | options,
        makes=_MAKES,
        overwrite=overwrite,
    )
    if made.is_done(inputs):
        outcome.end(f"{made.out}: was done already")
        return
    report = noisyjax.evaluate(given, opened, versus=versus, **options)
    made.begin()
    evaluation_tables.write_csv(report, made.out)
    results = evaluation_tables.to_json(report)
    problems = [
        *report.problems,
        *page.try_to_write(
            made.out / "evaluate.html",
            lambda: evaluation_page.make(report, predicted, versus=versus),
        ),
    ]
    made.end(problems, cases=report.cases, results=results)
    tables.show(evaluation_tables.tables(report))
    outcome.end(f"{made.out}: {len(report.cases)} cases", problems)
