"""What it costs to predict one case of real size, alone and with how sure the run is.

The run is of two tiny networks that model three raters, trained for an epoch on made cases.
"""

import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from noisyjax.core import files
from noisyjax.data.volumes import read_write
from noisyjax.tool.plan import plan
from noisyjax.tool.training import train_folds

_RATERS = {"anna": 0.9, "ben": 1.0, "cleo": 1.1}
_CASES, _SIZE = 4, (96, 96, 80)
_PLAN = plan.Plan(
    spacing=(1.0, 1.0, 1.5),
    normalisation=("z_score",),
    intensities=((0.0, 1.0, 0.5, 0.2),),
    patch=(64, 64, 64),
    strides=((2, 2, 2),),
    kernels=((3, 3, 3), (3, 3, 3)),
    widths=(4, 8),
    convs_per_level=1,
    batch_size=2,
    mirror_axes=(),
    reasons={},
    fingerprint={"raters": dict.fromkeys(_RATERS, _CASES)},
    expected={},
)

# Name to options of noisyjax predict. Four cases allow no less than 1 / 5.
OUTPUTS = {
    "the mask alone": (),
    "entropy": ("--entropy",),
    "disagreement": ("--disagreement",),
    "raters' masks": ("--raters",),
    "margin": ("--margin=0.4",),
    "all four": ("--entropy", "--disagreement", "--raters", "--margin=0.4"),
}


class Cost(NamedTuple):
    """What a prediction took.

    Attributes:
      seconds: of the processor, from the start of the process to its end.
      peak_gib: resident memory.
    """

    seconds: float
    peak_gib: float


def make_run(root: pathlib.Path, size: Sequence[int]) -> None:
    """Makes ``root/run`` and ``root/images``, one case of a size, unless they are there."""
    labels = {"background": 0, "organ": 1, "lesion": 2}
    described = {"channel_names": {"0": "MR"}, "labels": labels, "file_ending": ".nii.gz"}
    data = root / "data"
    for case in range(_CASES):
        image, masks = _case(case, _SIZE)
        _write(data / "imagesTr" / f"case_{case}_0000.nii.gz", image)
        for rater, mask in masks.items():
            _write(data / "ratersTr" / rater / f"case_{case}.nii.gz", mask)
    files.write_json(data / "dataset.json", described)
    _write(root / "images" / "large_0000.nii.gz", _case(_CASES, size)[0])
    changes = {"progress": False}
    train_folds.train_folds(
        data, root / "run", plan=_PLAN, method="cm_trace", folds=2, epochs=1, changes=changes
    )


def _case(seed: int, size: Sequence[int]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns an image in noise, and an organ with a lesion by each rater."""
    draw = np.random.default_rng(seed)
    grid = np.ogrid[tuple(slice(n) for n in size)]
    centre = np.array(size) / 2 + draw.uniform(-0.1, 0.1, 3) * size
    away = sum(((x - c) / (0.2 * n)) ** 2 for x, c, n in zip(grid, centre, size, strict=True))
    masks = {
        rater: (away < wider).astype(np.uint8) + (away < 0.1 * wider)
        for rater, wider in _RATERS.items()
    }
    image = draw.integers(-60, 60, size, np.int16) + 100 * masks["ben"].astype(np.int16)
    return image, masks


def _write(path: pathlib.Path, array: np.ndarray) -> None:
    if not path.exists():
        read_write.write(path, read_write.Volume(array, np.diag([1.0, 1.0, 1.5, 1.0]), array.ndim))


def predict(root: pathlib.Path, options: Sequence[str]) -> Cost:
    """Predicts the case by the command line, in a process of its own."""
    command = [
        *(sys.executable, "-m", "noisyjax", "predict", root / "run", root / "images"),
        *("--out", root / "out", "--overwrite", *options),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: ended with {process.returncode}")
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20)
