"""Looks how often margins cover and what masks of bounded risk miss, on a run's own cases.

    python -m noisyjax.cli.coverage --run=RUN --folder=FOLDER --cases=70 --splits=10

The out-of-fold predictions of a run of ``noisyjax train`` are held against the labels of FOLDER.
Its cases are divided at random: some calibrate the margins and thresholds of ``noisyjax predict``,
the others test them. With ``--truth`` the labels of another folder of the same cases test.
"""

import pathlib

import numpy as np
from absl import app, flags, logging

from noisyjax.benchmarks import coverage
from noisyjax.cli import options, tables
from noisyjax.core import user_cache
from noisyjax.tool.training import guarantee


def define_flags() -> None:
    """Defines the flags; not on import, for the commands share names."""
    flags.DEFINE_string("run", None, "Of noisyjax train, with folds.", required=True)
    flags.DEFINE_string("folder", None, "With the labels of its cases.", required=True)
    flags.DEFINE_string("truth", None, "A folder whose labels test in place of these.")
    flags.DEFINE_integer("cases", 70, "That calibrate; the others test.", lower_bound=1)
    flags.DEFINE_integer("splits", 10, "Random divisions.", lower_bound=1)
    flags.DEFINE_list("alphas", ["0.05", "0.1", "0.2"], "Of margins and risks.")
    flags.DEFINE_float("share", guarantee.DEFAULT_SHARE, "Of a label that a margin covers.")
    flags.DEFINE_integer("seed", 0, "Of the divisions.")


def main(argv: list[str]) -> None:
    """Prints a table of margins, and one of risks."""
    options.expect_flags_only(argv)
    logging.set_verbosity(logging.WARNING)
    given = flags.FLAGS
    user_cache.keep_programs()
    with options.one_message():
        run = pathlib.Path(given.run).absolute()
        decision, calibrating = coverage.judge(run, pathlib.Path(given.folder))
        testing = calibrating
        if given.truth:
            _, testing = coverage.judge(run, pathlib.Path(given.truth))
        names = [name for name in calibrating if name in testing]
        if given.cases >= len(names):
            raise ValueError(f"cases: expected fewer than all {len(names)}, got {given.cases}")
        rows = coverage.rows(
            [calibrating[name] for name in names],
            [testing[name] for name in names],
            cases=given.cases,
            splits=given.splits,
            alphas=[float(text) for text in given.alphas],
            share=given.share,
            seed=given.seed,
            decision=decision,
        )
    tests = len(names) - given.cases
    tables.show([_margins(rows, tests, given.share), _risks(rows)])


def _margins(rows: list[coverage.Row], tests: int, share: float) -> tables.Table:
    head = ("class", "alpha", "dilations", f"covered of {tests}", "mean")
    head += ("binomial", "below", "above", "beta-binomial", "below", "above")
    body = []
    for row in rows:
        covered = np.array(row.covered)
        cells = [str(row.label), f"{row.alpha:g}", _span(row.dilations), _span(row.covered)]
        cells.append(f"{covered.mean() / tests:.3f}")
        for low, high in (row.interval, row.law):
            cells += [f"{low}..{high}", str((covered < low).sum()), str((covered > high).sum())]
        body.append(cells)
    return f"Margins that are to cover {share:g} of a label", head, body


def _risks(rows: list[coverage.Row]) -> tables.Table:
    body = [
        (
            str(row.label),
            f"{row.alpha:g}",
            f"{min(row.thresholds):g}..{max(row.thresholds):g}",
            f"{min(row.missed):.3f}..{max(row.missed):.3f}",
            f"{np.mean(row.missed):.3f}",
        )
        for row in rows
    ]
    return "Masks of bounded risk", ("class", "alpha", "probability", "missed", "mean"), body


def _span(values: tuple[int, ...]) -> str:
    return f"{min(values)}..{max(values)}"


if __name__ == "__main__":
    define_flags()
    app.run(main)
