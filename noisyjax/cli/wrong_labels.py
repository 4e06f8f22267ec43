"""Makes labels wrong on purpose and looks how many an audit finds, beside other scores.

    python -m noisyjax.cli.wrong_labels --data=msd_hippocampus_130.npz --out=runs/wrong_labels \\
        --seeds=0,1,2 --budget=15min

For each seed a tenth of the labels is made wrong in seven ways, networks of five folds learn from
all labels as they are, and each is held against the network that has not seen it. ``--folder``
takes any folder in nnU-Net's raw layout in place of the volumes of the hippocampus. What is there
already is not made again.
"""

import pathlib

import numpy as np
from absl import app, flags, logging

from noisyjax.benchmarks.side_by_side import study_folders
from noisyjax.benchmarks.wrong_labels import found, wrong_folder
from noisyjax.cli import durations, options, tables
from noisyjax.core import files, user_cache
from noisyjax.tool import folder
from noisyjax.tool.training import train_folds

_CASES = 130


def define_flags() -> None:
    """Defines the flags; not on import, for the commands share names."""
    flags.DEFINE_string("data", None, "The .npz file with hippocampus volumes.")
    flags.DEFINE_string("folder", None, "A folder in nnU-Net's raw layout in its place.")
    flags.DEFINE_string("out", "runs/wrong_labels", "Where everything goes.")
    flags.DEFINE_list("seeds", ["0", "1", "2"], "Of the mistakes and the networks.")
    flags.DEFINE_string("budget", "15min", "For the training of all folds of a seed.")
    flags.DEFINE_integer("folds", 5, "Networks of a seed.")


def main(argv: list[str]) -> None:
    """Runs what is missing, and prints the tables."""
    options.expect_flags_only(argv)
    logging.set_verbosity(logging.WARNING)
    given = flags.FLAGS
    if (given.data is None) == (given.folder is None):
        raise app.UsageError("expected one of --data and --folder")
    seeds = [_seed(text) for text in given.seeds]
    out = pathlib.Path(given.out).absolute()
    user_cache.keep_programs()
    with options.one_message():
        cases = pathlib.Path(given.folder) if given.folder else out / "cases"
        if given.data:
            study_folders.write_hippocampi(given.data, cases, train=_CASES, test=0)
        each = {seed: _one(cases, out, seed) for seed in seeds}
    _write(out / "labels.csv", each)
    tables.show([_by_score(each), _by_mistake(each)])


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise app.UsageError(f"--seeds: expected numbers, got {text!r}")
    return int(text)


def _one(cases: pathlib.Path, out: pathlib.Path, seed: int) -> list[found.Row]:
    """Makes labels wrong, trains on them, and audits."""
    given, root, run = flags.FLAGS, out / f"wrong_{seed}", out / f"run_{seed}"
    wrong_folder.write(cases, root, seed=seed)
    budget = durations.seconds(given.budget)
    made = train_folds.train_folds(root, run, folds=given.folds, budget=budget, seed=seed)
    if made.problems:
        raise folder.FolderError(list(made.problems))
    return found.rows(root, run)


def _by_score(each: dict[int, list[found.Row]]) -> tables.Table:
    every = next(iter(each.values()))[0].doubts
    body = []
    for name in every:
        areas = [found.area(rows, name) for rows in each.values()]
        precisions = [found.average_precision(rows, name) for rows in each.values()]
        body.append((name, *map(_shown, (areas, precisions))))
    return "All wrong labels; seeds, and their mean", ("score", "ROC AUC", "AP"), body


def _by_mistake(each: dict[int, list[found.Row]]) -> tables.Table:
    """Seeds together: a kind of mistake has few labels in each."""
    together = [row for rows in each.values() for row in rows]
    body = []
    for mistake in sorted({row.mistake for row in together} - {""}):
        own = [row for row in together if row.mistake == mistake]
        # Scores are comparable between seeds only as ranks.
        areas = [
            found.area(rows, found.OURS, mistake)
            for rows in each.values()
            if any(row.mistake == mistake for row in rows)
        ]
        suspects = sum(row.suspect for row in own)
        named = sum(row.kind == found.NAMED[mistake.split(" ")[0]] for row in own)
        numbers = (f"{np.mean(areas):.3f}", f"{suspects} of {len(own)}", f"{named} of {len(own)}")
        body.append((mistake, *numbers))
    for text, suspects in (("all", False), ("all suspects", True)):
        shares = [found.named_rightly(rows, suspects=suspects) for rows in each.values()]
        marked = [sum(row.suspect for row in rows) for rows in each.values()]
        body.append((f"{text}: share named rightly", "", _shown(marked, "g"), _shown(shares)))
    head = ("mistake", "mean ROC AUC", "suspect", "named rightly")
    return "The audit by kind of mistake", head, body


def _shown(values: list[float], form: str = ".3f") -> str:
    return f"{np.mean(values):{form}} ({', '.join(format(value, form) for value in values)})"


def _write(path: pathlib.Path, each: dict[int, list[found.Row]]) -> None:
    names = list(next(iter(each.values()))[0].doubts)
    rows = [
        (seed, row.case, row.mistake, int(row.suspect), row.kind, *map(row.doubts.get, names))
        for seed, own in each.items()
        for row in own
    ]
    header = ("seed", "case", "mistake", "suspect", "kind", *names)
    files.write_text(path, files.to_csv(header, rows))


if __name__ == "__main__":
    define_flags()
    app.run(main)
