r"""Trains one config in several layouts and shows that the result is the same.

    python -m launch.scaling --config=configs/cm_trace.py:smoke --workdir=runs/scaling
    python -m launch.scaling --layouts=1x1,1x2,2x1 --platform=gpu --config=... --workdir=...

A layout is PROCESSESxDEVICES, of each process, and further flags of training behind colons::

    2x4    1x8:parallel=shard_map    1x8:parallel=spatial:spatial_shards=2    1x1:train.accumulate=4

Run from the repository's root. Each is a run of its own below the workdir, started by
``launch/local.sh``; one that is finished is not run again. The table compares every run with the
first: the training losses, step by step, and the final parameters. The devices of a CPU share its
cores: there the table shows that numbers agree, not how fast devices would be.
"""

import os
import pathlib
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence

import jax
import numpy as np
from absl import app, flags, logging
from rich import console

from noisyjax.cli import options
from noisyjax.core import files
from noisyjax.metrics import tabulate
from noisyjax.studies import table
from noisyjax.train import saved_runs
from noisyjax.train.workdir import config_and_summary, metrics_log

_LAYOUTS = [
    *("1x1", "1x2", "1x4", "1x8", "2x1", "2x4"),
    *("1x8:parallel=shard_map", "1x4:parallel=vmap", "1x8:parallel=spatial:spatial_shards=2"),
    *("1x1:train.accumulate=4", "1x4:train.accumulate=2"),
]
_ROOT = pathlib.Path(__file__).resolve().parents[1]
_HEADINGS = ("layout", "train loss", "test Dice", "|d loss|", "|d params|", "ms/step")


def define_flags() -> None:
    """Defines the flags; not on import, for the commands share names."""
    flags.DEFINE_string("config", None, "Config file of the runs.", required=True)
    flags.DEFINE_string("workdir", None, "Folder of the runs and the table.", required=True)
    flags.DEFINE_list("layouts", _LAYOUTS, "What to compare; the others with the first one.")
    flags.DEFINE_multi_string("change", [], "NAME=VALUE of every run's config.")
    flags.DEFINE_enum("platform", "cpu", ["cpu", "gpu"], "See launch/local.sh.")
    flags.DEFINE_bool("dry_run", False, "Print what would run.")


def command(layout: str, *, platform: str, training: Sequence[str]) -> list[str]:
    """Returns the command line of a layout.

    Args:
      layout: as in the head of this file.
      platform: "cpu" or "gpu".
      training: flags of ``noisyjax.cli.train``.

    Raises:
      ValueError: if it is no layout.
    """
    sizes, *changes = layout.split(":")
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", sizes)
    if not match:
        raise ValueError(f"layouts: expected PROCESSESxDEVICES[:FIELD=VALUE], got {layout!r}")
    start = ["bash", str(_ROOT / "launch/local.sh"), f"--processes={match[1]}"]
    start += [f"--devices={match[2]}", f"--platform={platform}", "--", *training]
    return [*start, *(f"--config.{change}" for change in changes)]


def read(folder: pathlib.Path) -> dict:
    """Returns what is compared of a finished run."""
    rows = metrics_log.read_metrics(folder / metrics_log.METRICS_FILE)
    losses = {row["step"]: row["train_loss"] for row in rows if "train_loss" in row}
    summary = config_and_summary.read_summary(folder)
    variables = saved_runs.restore_without_data(folder).variables
    return {
        "losses": np.array([losses[step] for step in sorted(losses)]),
        "params": np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(variables)]),
        "dice": summary["test_dice"],
        "ms": 1000 * summary["seconds_train"] / summary["steps"],
    }


def compare(layouts: dict[str, dict]) -> list[list[str]]:
    """Returns the table's rows: the largest differences from the first layout."""
    first = next(iter(layouts.values()))
    return [
        [
            name,
            f"{run['losses'][-1]:.6f}",
            f"{run['dice']:.4f}",
            f"{np.abs(run['losses'] - first['losses']).max():.1e}",
            f"{np.abs(run['params'] - first['params']).max():.1e}",
            f"{run['ms']:.0f}",
        ]
        for name, run in layouts.items()
    ]


def main(argv: list[str]) -> None:
    """Trains every layout and writes ``scaling.md``."""
    given = flags.FLAGS
    options.expect_flags_only(argv)
    logging.set_verbosity(logging.ERROR)
    workdir = pathlib.Path(given.workdir).absolute()
    folders = {name: workdir / name.replace(":", "-") for name in given.layouts}
    # Every step's loss is compared.
    shared = [f"--config={given.config}", "--config.log_every_steps=1"]
    options.parse("change", given.change)
    shared += [f"--config.{change}" for change in given.change]
    commands = {
        name: command(name, platform=given.platform, training=[f"--workdir={folder}", *shared])
        for name, folder in folders.items()
    }
    if given.dry_run:
        for line in commands.values():
            print(shlex.join(line))
        return
    for number, (name, line) in enumerate(commands.items(), 1):
        print(f"{number} of {len(commands)}: {name}", flush=True)
        if config_and_summary.read_summary(folders[name]) is None:
            environment = {"PYTHON": sys.executable, **os.environ}
            subprocess.run(line, check=True, env=environment, cwd=_ROOT)
    rows = compare({name: read(folder) for name, folder in folders.items()})
    console.Console(width=100).print(table.terminal(given.config, _HEADINGS, rows))
    files.write_text(
        workdir / "scaling.md", tabulate.markdown_table(_HEADINGS, rows, aligned=False)
    )


if __name__ == "__main__":
    define_flags()
    app.run(main)
