"""Pictures of a run of folds: how it learnt, and the cases that it does worst on."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.figure
import numpy as np
from jaxtyping import Num, Shaped, UInt8

from noisyjax.core import files
from noisyjax.tool import folder
from noisyjax.train.workdir import metrics_log

_COLOURS = {"label": "tab:green", "prediction": "tab:red"}


class Shown(NamedTuple):
    """A case to be shown.

    Attributes:
      image: of one channel, ``[*S]``.
      label: class ids, ``[*S]``; `folder.NO_LABEL` where there is none.
      prediction: class ids, ``[*S]``.
      spacing: of the voxels in mm.
    """

    title: str
    image: Num[np.ndarray, "*S"]
    label: UInt8[np.ndarray, "*S"]
    prediction: UInt8[np.ndarray, "*S"]
    spacing: tuple[float, ...]


def save(figure: matplotlib.figure.Figure, path: pathlib.Path) -> None:
    """Writes a figure as PNG, at once or not at all."""
    with files.replacing(path) as unfinished:
        figure.savefig(unfinished, format="png", dpi=110)


def curves(workdirs: Sequence[pathlib.Path]) -> matplotlib.figure.Figure:
    """Draws the loss of training and the Dice of validation over the epochs, a line a fold."""
    figure = matplotlib.figure.Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for workdir in workdirs:
        rows = metrics_log.read_metrics(workdir / metrics_log.METRICS_FILE)
        epochs = {row["step"]: row["epoch"] for row in rows if "epoch" in row}
        for axes, name in ((left, "train_loss"), (right, "val_dice")):
            points = [
                (epochs[row["step"]], row[name])
                for row in rows
                if row.get(name) is not None and row["step"] in epochs
            ]
            if points:
                axes.plot(*zip(*points, strict=True), marker=".", label=workdir.name)
    for axes, title in ((left, "training loss"), (right, "Dice of the cases held out")):
        axes.set_xlabel("epoch")
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    if left.lines:
        left.legend(fontsize=8, frameon=False)
    if not right.lines:
        # A network that learns from all cases holds none out.
        figure.delaxes(right)
    return figure


def most_disagreement(
    label: UInt8[np.ndarray, "*S"], prediction: UInt8[np.ndarray, "*S"]
) -> tuple[int | slice, ...]:
    """Returns the index of the slice along the last of three axes where most voxels differ.

    >>> most_disagreement(np.zeros((2, 2, 3), np.uint8), np.ones((2, 2, 3), np.uint8))[-1]
    0
    """
    if label.ndim == 2:
        return (slice(None), slice(None))
    differ = (label != prediction) & (label != folder.NO_LABEL)
    return (slice(None), slice(None), int(differ.sum(axis=(0, 1)).argmax()))


def worst(cases: Sequence[Shown]) -> matplotlib.figure.Figure:
    """Draws of each case the slice of most disagreement, with contours of label and prediction."""
    columns = min(3, len(cases))
    rows = -(-len(cases) // columns)
    figure = matplotlib.figure.Figure(figsize=(3.2 * columns, 3.4 * rows), layout="constrained")
    all_axes = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axes in all_axes:
        axes.set_axis_off()
    for axes, case in zip(all_axes, cases, strict=False):
        chosen = most_disagreement(case.label, case.prediction)
        across, down = case.spacing[:2] if case.label.ndim == 3 else case.spacing[::-1]
        axes.imshow(_plane(case.image, chosen), cmap="gray", aspect=down / across)
        for name, ids in (("label", case.label), ("prediction", case.prediction)):
            plane = _plane(np.where(ids == folder.NO_LABEL, 0, ids), chosen)
            for number in np.unique(plane[plane > 0]):
                axes.contour(plane == number, [0.5], colors=_COLOURS[name], linewidths=1)
        axes.set_title(case.title, fontsize=8)
    figure.suptitle("green: label, red: prediction of the network that has not seen it", fontsize=9)
    return figure


def _plane(
    array: Shaped[np.ndarray, "*S"], chosen: tuple[int | slice, ...]
) -> Shaped[np.ndarray, "Y X"]:
    """Returns a slice as it is shown: of a volume from the front down, the right on the left."""
    return array if array.ndim == 2 else array[chosen].T[::-1, ::-1]
