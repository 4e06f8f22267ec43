"""Measures what it costs `noisyjax predict` to say how sure it is, on a case of real size.

    python -m noisyjax.cli.prediction_cost --size=256,256,160 --folder=runs/prediction_cost

Two tiny networks of the method ``cm_trace`` with three raters are trained for an epoch. Then one
case is predicted, by a process of its own for every row: processor time and resident memory.
"""

import pathlib

from absl import app, flags, logging

from noisyjax.benchmarks import prediction_cost
from noisyjax.cli import options, tables


def define_flags() -> None:
    """Defines the flags; not on import, for the commands share names."""
    flags.DEFINE_list("size", ["256", "256", "160"], "Voxels of the case.")
    flags.DEFINE_string("folder", "runs/prediction_cost", "Where run and case go.")


def main(argv: list[str]) -> None:
    """Measures, and prints a table."""
    options.expect_flags_only(argv)
    logging.set_verbosity(logging.WARNING)
    size = flags.FLAGS.size
    if len(size) != 3 or not all(text.isdecimal() and int(text) for text in size):
        raise app.UsageError(f"--size: expected three numbers, got {','.join(size)}")
    root = pathlib.Path(flags.FLAGS.folder).absolute()
    with options.one_message():
        prediction_cost.make_run(root, tuple(map(int, size)))
    body, alone = [], None
    for name, wanted in prediction_cost.OUTPUTS.items():
        cost = prediction_cost.predict(root, wanted)
        alone = alone or cost.seconds
        body.append(
            (name, f"{cost.seconds:.0f}", f"{cost.seconds / alone:.2f}", f"{cost.peak_gib:.2f}")
        )
    head = ("written", "seconds", "of the mask alone", "peak GiB")
    tables.show([(f"One case of {' x '.join(size)}", head, body)])


if __name__ == "__main__":
    define_flags()
    app.run(main)
