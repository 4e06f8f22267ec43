r"""Evaluates a run's checkpoint on one of its splits.

Example:
  python -m noisyjax.cli.evaluate --workdir=runs/digits --split=test --checkpoint=best \
      --decisions=accuracy,dice

The table of cases and the report go into evaluations/ in the run's folder, or into --output.
"""

from absl import app, flags, logging

from noisyjax import decisions
from noisyjax.cli import options, terminal
from noisyjax.train import saved_runs


def define_flags() -> None:
    """Defines the flags; not on import, for the commands share names."""
    flags.DEFINE_string("workdir", None, "Folder of the run.")
    flags.DEFINE_enum("split", "test", ["train", "val", "test"], "What to evaluate on.")
    flags.DEFINE_enum("checkpoint", "latest", ["latest", "best"], "Which checkpoint.")
    flags.DEFINE_list(
        "decisions",
        [],
        f"How probabilities become masks, some of {', '.join(decisions.DECISIONS)}; the metrics of "
        "the first have plain names. By default those of the run.",
    )
    flags.DEFINE_multi_string(
        "option",
        [],
        "NAME=VALUE of the run's data.options that say where the data are, such as root=FOLDER, if "
        "they have been moved; repeatable.",
    )
    flags.DEFINE_string("output", None, "Folder for the results.")
    flags.mark_flags_as_required(["workdir"])


def main(argv: list[str]) -> None:
    """Evaluates what the flags name and prints the means."""
    options.expect_flags_only(argv)
    terminal.escape_output()
    logging.set_verbosity(logging.WARNING)
    given = flags.FLAGS
    with options.one_message():
        result = saved_runs.evaluate_run(
            given.workdir,
            split=given.split,
            checkpoint=given.checkpoint,
            decisions=given.decisions,
            output=given.output,
            options=dict(options.parse("option", given.option)),
        )
    for name, value in result.scalars.items():
        print(f"{given.split}_{name} {value:.4f}")


if __name__ == "__main__":
    define_flags()
    app.run(main)
