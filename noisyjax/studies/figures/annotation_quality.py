"""Estimated quality of annotations: the worst cases, and where they are wrong.

UMA-Net, section IV: its Figure 7 shows uncertainty and calibration maps.
"""

import os
from typing import Any

import jax
import matplotlib.axes
import matplotlib.cm
import matplotlib.colors
import matplotlib.figure
import numpy as np
from jaxtyping import Float, Num

from noisyjax import train
from noisyjax.methods import base
from noisyjax.studies import run_tables
from noisyjax.studies.figures import case_sheet, outlines, plots
from noisyjax.train import runs
from noisyjax.train.evaluation import annotation_quality

_UNCERTAINTY_COLOURS = "magma"
_CALIBRATION_COLOURS = "viridis"
_ANNOTATION_COLOUR = case_sheet.LABEL_COLOUR
_SHORT = {"confidence": "$u_a$", "agreement": "$u_b$", "quality": "quality", "dice": "Dice"}
_TRUTH_COLOUR = outlines.TRUTH_COLOUR


def worst(workdir: str | os.PathLike, *, count: int = 20) -> matplotlib.figure.Figure:
    """Draws the training cases of the lowest quality in a finished run; see `contact_sheet`."""
    return contact_sheet(*train.restore(workdir), count=count)


def contact_sheet(run: runs.Run, variables: Any, *, count: int = 20) -> matplotlib.figure.Figure:
    """Draws the `count` training cases to look at again, the worst first, by `case_sheet.draw`.

    The title has the scores of ``quality.csv`` and, where the truth is known, the mean Dice of the
    annotations to it. Without that file in the run's folder it raises FileNotFoundError.
    """
    entries = [
        case_sheet.Entry(int(row["id"]), f"{row['case']}\n" + _scores(row, between="\n"))
        for row in _read(run)[:count]
    ]
    return case_sheet.draw(run, variables, entries)


def maps(run: runs.Run, variables: Any, *, count: int = 2) -> matplotlib.figure.Figure:
    """Draws where annotations are trusted, as Figure 7 of UMA-Net.

    Shown are the `count` best and worst training cases of ``quality.csv``, in three rows each: the
    annotations on the image, their uncertainty, and their calibration maps, one column for each
    rater (empty where it is missing). Before them stand the prediction, with the truth where it is
    known, its probability, and the mean of the calibration maps. Of several classes of the
    foreground a map shows the largest value. Of a volume the slice with most of the annotated
    foreground is shown.

    The run's method has `base.Method.assess`; without ``quality.csv`` it raises FileNotFoundError.
    """
    rows = _read(run)
    count = max(1, min(count, len(rows) // 2))
    chosen = [("best", row) for row in rows[: -count - 1 : -1]]
    chosen += [("worst", row) for row in rows[:count]]
    method, names = run.experiment.method, run.experiment.rater_names
    predict, assess = jax.jit(method.predict), jax.jit(method.assess)
    width = 1.25 * (1 + len(names)) + 0.6
    figure = matplotlib.figure.Figure(
        figsize=(width, 4.2 * len(chosen) + 0.4), layout="constrained"
    )
    parts = figure.subfigures(len(chosen), 1, squeeze=False)[:, 0]
    for part, (kind, row) in zip(parts, chosen):
        case = case_sheet.take(run, int(row["id"]))
        seen = {name: case[name] for name in ("image", "labels", "rater_mask")}
        probs = predict(variables, case["image"]).probs
        drawn = jax.device_get((probs, assess(variables, seen)))
        part.suptitle(f"{kind}: {row['case']}, {_scores(row)}", fontsize=8)
        truths = annotation_quality.truths(run.experiment, case)
        _draw(part, case, None if truths is None else truths[0], *drawn, names)
    colours = {"annotation": _ANNOTATION_COLOUR, "prediction": case_sheet.PREDICTION_COLOUR}
    if truths is not None:
        colours["truth"] = _TRUTH_COLOUR
    plots.legend(figure, colours)
    return figure


def _read(run: runs.Run) -> list[dict[str, str]]:
    return run_tables.read(
        run.folder / annotation_quality.QUALITY_FILE,
        missing="the method judges no annotations or the run has not been finished",
    )


def _scores(row: dict[str, str], *, between: str = ", ") -> str:
    """The scores and their names, two and two."""
    pairs = (("confidence", "agreement"), ("quality", "dice"))
    texts = (
        ", ".join(f"{_SHORT[name]} {float(row[name]):.2f}" for name in pair if name in row)
        for pair in pairs
    )
    return between.join(texts)


def _draw(
    figure: matplotlib.figure.SubFigure,
    case: dict[str, np.ndarray],
    truth: np.ndarray | None,
    probs: Float[np.ndarray, "1 *S L"],
    assessment: base.Assessment,
    names: tuple[str, ...],
) -> None:
    """One case: three rows, the columns of the whole image and of each rater."""
    labels, given = case["labels"][0], case["rater_mask"][0]
    plane = plots.plane(np.zeros_like(labels[0]), labels[given].max(axis=0))
    image = case["image"][0][plane][..., 0]
    probs = probs[0][plane]
    sigma, calibration = (
        values[0].max(axis=-1)[(slice(None), *plane)]
        for values in (assessment.uncertainty, assessment.calibration)
    )
    # The last column is that of the colour bars.
    widths = [1.0] * (1 + len(names)) + [0.06]
    *axes, bars = figure.subplots(3, len(widths), width_ratios=widths).T
    axes = np.stack(axes, axis=1)
    for one in axes.flat:
        one.set(xticks=[], yticks=[])
    plots.background(axes[0, 0], image)
    axes[0, 0].set_title("prediction", fontsize=7, pad=2)
    if truth is not None:
        outlines.outline(axes[0, 0], truth[plane], _TRUTH_COLOUR, linewidths=2.0)
    guess = probs.argmax(axis=-1)
    outlines.outline(axes[0, 0], guess, case_sheet.PREDICTION_COLOUR, linewidths=1.2)
    _map(axes[1, 0], 1 - probs[..., 0], "gray", "probability")
    _map(axes[2, 0], calibration[given].mean(axis=0), _CALIBRATION_COLOURS, "mean calibration")
    for rater, name in enumerate(names):
        column = axes[:, 1 + rater]
        column[0].set_title(name.replace("_", " "), fontsize=7, pad=2)
        if not given[rater]:
            for one in column:
                one.set_axis_off()
            continue
        plots.background(column[0], image)
        outlines.outline(column[0], labels[rater][plane], _ANNOTATION_COLOUR, linewidths=1.4)
        _map(column[1], sigma[rater], _UNCERTAINTY_COLOURS)
        _map(column[2], calibration[rater], _CALIBRATION_COLOURS)
    bars[0].set_axis_off()
    _scale(figure, bars[1], _UNCERTAINTY_COLOURS, "uncertainty")
    _scale(figure, bars[2], _CALIBRATION_COLOURS, "calibration")


def _map(
    axes: matplotlib.axes.Axes, values: Num[np.ndarray, "H W"], colours: str, title: str = ""
) -> None:
    axes.imshow(values, cmap=colours, vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, fontsize=7, pad=2)


def _scale(
    figure: matplotlib.figure.SubFigure, axes: matplotlib.axes.Axes, colours: str, label: str
) -> None:
    values = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(0, 1), colours)
    bar = figure.colorbar(values, cax=axes, ticks=(0, 0.5, 1))
    bar.set_label(label, fontsize=7)
    axes.tick_params(labelsize=6)
