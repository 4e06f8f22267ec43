"""Detection of noisy labels by a run with a strategy: the suspects, and how well it works."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import matplotlib.axes
import matplotlib.figure
import numpy as np

from noisyjax import train
from noisyjax.studies import run_tables
from noisyjax.studies.figures import case_sheet
from noisyjax.train import runs
from noisyjax.train.evaluation import noise_detection

_BINS = 30
# Column of the table to its name in the legend.
_SHARES = {
    "auc": "AUC of the losses",
    "precision": "precision of those left out",
    "recall": "recall of those left out",
    "estimated_rate": "estimated share of noisy labels",
}


def worst(workdir: str | os.PathLike, *, count: int = 20) -> matplotlib.figure.Figure:
    """Draws the training cases of the highest loss in a finished run; see `contact_sheet`."""
    return contact_sheet(*train.restore(workdir), count=count)


def contact_sheet(run: runs.Run, variables: Any, *, count: int = 20) -> matplotlib.figure.Figure:
    """Draws the `count` training cases of highest loss, the highest first, by `case_sheet.draw`.

    The title says what ``suspects.csv`` knows of the case, in red of a replaced label. Without that
    file in the run's folder it raises FileNotFoundError.
    """
    rows = [row for row in _read(run.folder / noise_detection.SUSPECTS_FILE) if row["loss"]][:count]
    entries = [
        case_sheet.Entry(int(row["id"]), _title(row), row.get("replaced") == "1") for row in rows
    ]
    return case_sheet.draw(run, variables, entries)


def curves(workdir: str | os.PathLike) -> matplotlib.figure.Figure:
    """Draws how well a finished run with a strategy tells noisy labels from clean ones.

    Three plots. Over the epochs: AUC, precision, recall and the estimated share, as far as they are
    known, with the true share as a dashed line; and the number of labels left out. Then the last
    losses, those of replaced labels separately where they are known. Without the run's
    ``detection.csv`` or ``suspects.csv`` it raises FileNotFoundError.
    """
    folder = pathlib.Path(workdir)
    epochs, suspects = (
        _read(folder / name)
        for name in (noise_detection.DETECTION_FILE, noise_detection.SUSPECTS_FILE)
    )
    figure = matplotlib.figure.Figure(figsize=(11.5, 3.3), layout="constrained")
    shares, removed, histogram = figure.subplots(1, 3)
    drawn = {column: name for column, name in _SHARES.items() if column in epochs[0]}
    for index, (column, name) in enumerate(drawn.items()):
        values = _numbers(epochs, column)
        shares.plot(_numbers(epochs, "epoch"), values, f"C{index}.-", label=name, clip_on=False)
    replaced = _numbers(suspects, "replaced") if "replaced" in suspects[0] else None
    if replaced is not None:
        shares.axhline(replaced.mean(), color="0.4", linestyle="--", label="true share")
    shares.set(xlabel="epoch", ylim=(0, 1))
    # Below the plots, where no line can run through it.
    handles = shares.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower left", frameon=False, fontsize=8, ncols=5)
    removed.plot(_numbers(epochs, "epoch"), _numbers(epochs, "removed"), ".-", color="0.2")
    removed.set(xlabel="epoch", ylabel="left out of the next epoch")
    removed.set_ylim(bottom=0)
    removed.yaxis.get_major_locator().set_params(integer=True)
    _histogram(histogram, _numbers(suspects, "loss"), replaced)
    for axes in (shares, removed, histogram):
        axes.grid(alpha=0.3)
    return figure


def _read(path: pathlib.Path) -> list[dict[str, str]]:
    return run_tables.read(path, missing="the run has no strategy or has not been finished")


def _numbers(rows: Sequence[dict[str, str]], column: str) -> np.ndarray:
    """A column, NaN where it is empty."""
    return np.array([float(row[column] or "nan") for row in rows])


def _title(row: dict[str, str]) -> str:
    lines = [row["case"], f"loss {float(row['loss']):.3g}"]
    if row.get("replaced") == "1":
        lines.append(f"replaced, overlap {float(row['overlap']):.2f}")
    elif "replaced" in row:
        lines.append("not replaced")
    return "\n".join(lines)


def _histogram(axes: matplotlib.axes.Axes, losses: np.ndarray, replaced: np.ndarray | None) -> None:
    known = np.isfinite(losses)
    bins = np.histogram_bin_edges(losses[known], _BINS)
    groups = {"all labels": known}
    if replaced is not None:
        groups = {"not replaced": known & (replaced == 0), "replaced": known & (replaced == 1)}
    for name, group in groups.items():
        axes.hist(losses[group], bins, alpha=0.6, label=f"{name} ({group.sum()})")
    axes.set(xlabel="last loss", ylabel="training cases")
    axes.legend(frameon=False, fontsize=8)
