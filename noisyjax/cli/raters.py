r"""Reports on raters: sensitivity, specificity, Dice to the estimated truth, bias, worst images.

The estimate of the truth is that of a trained run which models its raters, or is made from the
labels of a data set.

Examples:
  python -m noisyjax.cli.raters --run=runs/digits --split=test
  python -m noisyjax.cli.raters --source=bubil --option=path=bubil.npz --option=subset=aorta_mri \
      --fusion=staple --out=runs/aorta
  python -m noisyjax.cli.raters --source=digits --panel=good,over,under --out=runs/panel

Prints the table, and writes raters.md, raters.csv (a row per rater), raters_cases.csv (each image)
and raters.png.
"""

import pathlib

import rich.console
from absl import app, flags, logging

from noisyjax.cli import options, terminal
from noisyjax.core import files
from noisyjax.studies.raters import references, report, scores


def define_flags() -> None:
    """Defines the flags; not on import, for the commands share names."""
    flags.DEFINE_string("run", None, "Folder of a run whose method models its raters.")
    flags.DEFINE_enum("split", "test", ["train", "val", "test"], "Which images of the run.")
    flags.DEFINE_enum("checkpoint", "latest", ["latest", "best"], "Which checkpoint of the run.")
    flags.DEFINE_enum(
        "estimate",
        "network",
        references.ESTIMATES,
        "The run's truth: its network's, or with the labels.",
    )
    flags.DEFINE_string("source", None, "A data set, instead of a run.")
    flags.DEFINE_multi_string(
        "option",
        [],
        "NAME=VALUE of the data set's options, of a run's those that say where it is; repeatable.",
    )
    flags.DEFINE_enum(
        "fusion", "staple", references.FUSIONS, "How the data set's truth is estimated."
    )
    flags.DEFINE_list("panel", [], "Simulated annotators instead of the data set's own raters.")
    flags.DEFINE_integer("seed", 0, "Seed of the simulated annotators.")
    flags.DEFINE_integer("images", 0, "The first so many of the data set, 0 for all.", 0)
    flags.DEFINE_string("out", None, "Folder for the report; by default raters/ of the run.")


def _reference(given: flags.FlagValues) -> references.Reference:
    chosen = dict(options.parse("option", given.option))
    if given.run is not None:
        return references.from_run(
            given.run,
            split=given.split,
            estimate=given.estimate,
            checkpoint=given.checkpoint,
            options=chosen,
        )
    data = options.load_source(given.source, chosen)
    ids = range(min(given.images or len(data.examples), len(data.examples)))
    return references.from_source(
        data, ids=ids, by=given.fusion, panel=given.panel, seed=given.seed
    )


def _folder(given: flags.FlagValues) -> pathlib.Path:
    if given.out is not None:
        return files.named("--out", given.out)
    return files.named("--run", given.run) / "raters" / given.split


def main(argv: list[str]) -> None:
    """Makes the report that the flags ask for, prints and writes it."""
    options.expect_flags_only(argv)
    terminal.escape_output()
    given = flags.FLAGS
    if (given.run is None) == (given.source is None):
        raise app.UsageError("expected one of --run and --source")
    if given.run is None and given.out is None:
        raise app.UsageError("--out: expected a folder, for --source has none")
    logging.set_verbosity(logging.WARNING)
    with options.one_message():
        folder = _folder(given)
        result = scores.build(_reference(given))
        report.write(result, folder)
    console = rich.console.Console()
    if not console.is_terminal:
        # A file has no width.
        console.width = 140
    console.print(report.terminal(result))
    for note in result.notes:
        console.print(f"Note: {note}", style="yellow")
    console.print(f"{folder}/raters.md, raters.csv, raters_cases.csv, raters.png")


if __name__ == "__main__":
    define_flags()
    app.run(main)
