"""Runs a study: a grid of trainings, their table and figures.

Example:
  python -m noisyjax.cli.study --config=configs/quickstart.py --workdir=runs/quickstart
"""

from absl import flags, logging

from noisyjax.cli import allocator, options, terminal, train


def main(argv: list[str]) -> int:
    """Runs the study that the flags name; returns 1 if a cell failed."""
    options.expect_flags_only(argv)
    terminal.escape_output()
    allocator.start_anew(flags.FLAGS.allocator)
    # Imported late, for a process that starts anew would import it twice.
    from noisyjax.studies import study

    logging.set_verbosity(logging.ERROR)
    with options.one_message():
        outcomes = study.run_study(flags.FLAGS.config, flags.FLAGS.workdir)
    return int(any(outcome.error is not None for outcome in outcomes))


if __name__ == "__main__":
    train.define_flags()
    options.run(main)
