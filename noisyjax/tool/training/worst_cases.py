"""The pictures of a run of folds, from its files."""

import math
import pathlib

from noisyjax.data.volumes import read_write
from noisyjax.tool import folder
from noisyjax.tool.evaluation import evaluate, evaluation_page, predictions
from noisyjax.tool.training import pictures, run_files

_SHOWN = 6


def write_curves(run: pathlib.Path, count: int) -> None:
    """Writes ``curves.png`` of so many folds."""
    workdirs = [run_files.fold(run, number) for number in range(count)]
    pictures.save(pictures.curves(workdirs), run / run_files.CURVES)


def write(run: pathlib.Path, opened: folder.Folder, judged: evaluate.Report) -> None:
    """Writes ``worst.png`` of the cases with the least Dice."""
    found = predictions.find(run / run_files.OUT_OF_FOLD, opened, partial=True)
    shown = []
    for name, dice in evaluation_page.ranked(judged)[:_SHOWN]:
        if math.isnan(dice):
            continue
        labels = opened.read(name)
        image = read_write.to_ras(read_write.read(opened.cases[name].images[0])).array
        # Of colours the mean.
        image = image if image.ndim == labels.labels.ndim - 1 else image.mean(axis=-1)
        label = labels.labels[labels.rater_mask][0] if labels.truth is None else labels.truth
        shown.append(
            pictures.Shown(
                f"{name}: Dice {dice:.3f}",
                image,
                label,
                found.read(name).segmentation,
                labels.spacing,
            )
        )
    if shown:
        pictures.save(pictures.worst(shown), run / run_files.WORST)
