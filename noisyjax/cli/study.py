"""Runs a study: a grid of trainings, their table and their pictures.

Example:
  python -m noisyjax.cli.study --config=configs/quickstart.py --workdir=runs/quickstart
"""

from absl import app, flags, logging
from ml_collections import config_flags

from noisyjax.studies import study

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The study's config file, for example configs/quickstart.py.", lock_config=True
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the study; running again resumes it.")


def main(argv: list[str]) -> int:
    """Runs the study that the flags name; returns 1 if a cell failed."""
    if len(argv) > 1:
        raise app.UsageError(f"expected flags only, got {argv[1:]}")
    logging.set_verbosity(logging.WARNING)
    outcomes = study.run_study(_CONFIG.value, _WORKDIR.value)
    return int(any(outcome.error is not None for outcome in outcomes))


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main)
