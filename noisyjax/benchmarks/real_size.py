"""Training on made cases of real size: memory and time, and what reading patches costs a step."""

import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import nibabel
import numpy as np

from noisyjax.core import files, rng
from noisyjax.train import runs
from noisyjax.train.workdir import config_and_summary

_RATERS = ("anna", "ben")
_SPACING = np.diag([1.0, 1.0, 1.5, 1.0])


class Cost(NamedTuple):
    """What a training took.

    Attributes:
      cases: number of them.
      store_gib: of the prepared cases and their labels on the disk.
      peak_gib: resident memory of the largest of its processes.
      minutes: from start to end.
    """

    cases: int
    store_gib: float
    peak_gib: float
    minutes: float


def make_folder(root: pathlib.Path, cases: int, size: Sequence[int]) -> pathlib.Path:
    """Writes cases of one size in nnU-Net's layout: an organ in noise, its truth and two raters."""
    labels = {"background": 0, "organ": 1}
    described = {"channel_names": {"0": "MR"}, "labels": labels, "file_ending": ".nii.gz"}
    root.mkdir(parents=True, exist_ok=True)
    grid = np.ogrid[tuple(slice(n) for n in size)]
    for case in range(cases):
        name = f"case_{case:04d}"
        if (root / "labelsTr" / f"{name}.nii.gz").exists():
            continue
        draw = np.random.default_rng(case)
        centre = np.array(size) / 2 + draw.uniform(-0.1, 0.1, 3) * size
        masks = {}
        for folder, wider in (("ratersTr/anna", 0.9), ("ratersTr/ben", 1.1), ("labelsTr", 1.0)):
            axes = zip(grid, centre, size, strict=True)
            inside = sum(((x - c) / (0.2 * wider * n)) ** 2 for x, c, n in axes) < 1
            masks[folder] = inside.astype(np.uint8)
        image = draw.integers(-60, 60, size, np.int16) + 100 * masks["labelsTr"].astype(np.int16)
        _write(root / "imagesTr" / f"{name}_0000.nii.gz", image)
        for folder, mask in masks.items():
            _write(root / folder / f"{name}.nii.gz", mask)
    files.write_json(root / "dataset.json", described)
    return root


def _write(path: pathlib.Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.openers.Opener.default_compresslevel = 1
    nibabel.save(nibabel.Nifti1Image(array, _SPACING), path)


def train(root: pathlib.Path, folder: pathlib.Path, cases: int, options: Sequence[str]) -> Cost:
    """Trains on a folder by the command line, in a process of its own."""
    share = max(1, cases // 100) / cases
    settings = {
        "data.options.root": root,
        "data.options.cache": folder / "cache",
        "data.options.fractions": (1 - 2 * share, share, share),
        "data.gold": "staple",
        "train.epochs": max(1, round(20 / (cases - 2))),
        "evaluate.every_epochs": 100,
        "evaluate.overlap": 0.0,
        "evaluate.batch_size": 2,
    }
    command = [
        *(sys.executable, "-m", "noisyjax.cli.train", "--config=configs/folder.py:patches"),
        f"--workdir={folder / 'run'}",
        *(f"--config.{name}={value}" for name, value in settings.items()),
        *options,
    ]
    begun = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: ended with {process.returncode}")
    minutes = (time.perf_counter() - begun) / 60
    store = sum(path.stat().st_size for path in (folder / "cache").rglob("*") if path.is_file())
    return Cost(cases, store / 2**30, usage.ru_maxrss / 2**20, minutes)


def step_seconds(workdir: pathlib.Path, *, steps: int) -> dict[str, float]:
    """Times steps of a run whose patches are read, and the same steps on one batch that is there.

    Blocks of both take turns; each number is the median over its blocks, in seconds a step.
    """
    config = config_and_summary.load_config(workdir)
    config.train.epochs = 1000
    run = runs.set_up(config, workdir, read_only=True)
    parallel, key = run.parallel, run.parallel.replicate(rng.root_key(0))
    state, batches = parallel.replicate(run.init()), run.batches(0)
    held = parallel.put(next(batches))
    seconds = {"read": [], "held": []}
    for _ in range(6):
        for kind, each in seconds.items():
            begun = time.perf_counter()
            for _ in range(steps):
                batch = held if kind == "held" else parallel.put(next(batches))
                state, report = run.step(state, batch, key)
            jax.block_until_ready(report)
            each.append((time.perf_counter() - begun) / steps)
    # The first block compiles.
    return {kind: statistics.median(each[1:]) for kind, each in seconds.items()}
