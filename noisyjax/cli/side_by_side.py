"""Trains on one folder by this package and by nnU-Net, for equal processor time, and compares.

    pip install '.[nnunet]'
    python -m noisyjax.cli.side_by_side --data=msd_hippocampus_130.npz --out=runs/side_by_side \\
        --minutes=5,10,30,60 --seeds=0,1,2 --labels=clean,replaced,gaussian

The folder is written once: 60 cases that train, 60 that test, and the training labels once more
for each kind of noise, half of the masks replaced at a Dice of .7 ("replaced") or all moved by a
Gaussian field of a = .03 ("gaussian"). ``--folder`` takes another one in nnU-Net's raw layout, with
a truth in labelsTr and labelsTs. Each side trains on all cases of imagesTr, on one core, and is
stopped by its processor time; preparing the cases is no part of nnU-Net's. nnU-Net trains once for
all minutes; we fit the schedule to each. The files that both write are judged by the same scorer.

Every result is a file in ``OUT/results``; what is there is not run again. Cells whose
training another process has reached already can be scored meanwhile: nnU-Net's checkpoints are
used as soon as they are there. nnU-Net may be installed for another Python, ``--nnunet_python``.
A side ``noisyjax:METHOD`` is a method of `noisyjax train`.
"""

import pathlib
import sys

from absl import app, flags, logging

from noisyjax.benchmarks.side_by_side import cells, sides, study_folders
from noisyjax.cli import options, tables


def define_flags() -> None:
    """Defines the flags; not on import, for the commands share names."""
    flags.DEFINE_string("data", None, "The .npz file with hippocampus volumes.")
    flags.DEFINE_string("folder", None, "A folder in nnU-Net's raw layout in its place.")
    flags.DEFINE_string("out", "runs/side_by_side", "Where everything goes.")
    flags.DEFINE_list("minutes", ["5", "10"], "Of processor time for training.")
    flags.DEFINE_list("seeds", ["0", "1", "2"], "Of the trainings.")
    flags.DEFINE_list("labels", list(study_folders.LABELS), "Kinds of training labels.")
    flags.DEFINE_list("sides", [sides.OURS, sides.NNUNET], "What trains.")
    flags.DEFINE_string("nnunet_python", sys.executable, "The Python that has nnunetv2.")
    flags.DEFINE_string("configuration", "3d_fullres", "Of nnU-Net's plan.")
    flags.DEFINE_integer("train", 60, "Cases of --data that train.")
    flags.DEFINE_integer("test", 60, "Cases of --data that test.")
    flags.DEFINE_integer("split_seed", 0, "Of the division of --data.")
    flags.DEFINE_integer("noise_seed", 0, "Of the noisy labels.")


def main(argv: list[str]) -> None:
    """Runs what has no result yet and prints the table of all that have."""
    options.expect_flags_only(argv)
    logging.set_verbosity(logging.WARNING)
    given = flags.FLAGS
    minutes = [_number("minutes", text, float) for text in given.minutes]
    seeds = [_number("seeds", text, int) for text in given.seeds]
    for side in given.sides:
        if side not in (sides.OURS, sides.NNUNET) and not side.startswith(f"{sides.OURS}:"):
            raise app.UsageError(
                f"--sides: expected {sides.OURS}, {sides.OURS}:METHOD or {sides.NNUNET}, got {side}"
            )
    if (given.data is None) == (given.folder is None):
        raise app.UsageError("expected one of --data and --folder")
    out = pathlib.Path(given.out).absolute()
    data, results = out / "data", out / "results"
    try:
        with options.one_message():
            _write_folders(data)
            cells.fill(
                sides.Setup(data, out, given.nnunet_python, given.configuration),
                results,
                data / study_folders.CASES,
                labels=given.labels,
                of_sides=given.sides,
                seeds=seeds,
                minutes=minutes,
                done=lambda cell: print(f"done: {cell.path(results).name}", flush=True),
            )
    except sides.Failed as error:
        sys.exit(str(error))
    measured = cells.rows(results)
    cells.write(measured, out / "table")
    tables.show([("Equal processor time, one core", *cells.table(measured))])


def _write_folders(data: pathlib.Path) -> None:
    given = flags.FLAGS
    cases = data / study_folders.CASES
    if given.folder is not None:
        study_folders.link_cases(given.folder, cases)
    else:
        division = {"train": given.train, "test": given.test, "split_seed": given.split_seed}
        study_folders.write_hippocampi(given.data, cases, **division)
    study_folders.share_out(data, noise_seed=given.noise_seed, kinds=tuple(given.labels))


def _number(flag: str, text: str, kind: type) -> float | int:
    try:
        number = kind(text)
    except ValueError:
        number = -1
    if number < 0 or (kind is float and not 0 < number < 1e6):
        raise app.UsageError(f"--{flag}: expected numbers, got {text!r}")
    return number


if __name__ == "__main__":
    define_flags()
    app.run(main)
