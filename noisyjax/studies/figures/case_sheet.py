"""Training cases side by side: each with its labels and with what a network takes for the truth."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import matplotlib.axes
import matplotlib.figure
import matplotlib.patheffects
import numpy as np
from jaxtyping import Integer, Num

from noisyjax.studies.figures import outlines, plots
from noisyjax.train import runs

LABEL_COLOUR = "orange"
PREDICTION_COLOUR = "dodgerblue"
# A dark rim, so that lines show on any image; the rims of several labels would hide each other.
_RIM = matplotlib.patheffects.withStroke(linewidth=3.2, foreground="black")
_COLUMNS = 5


class Entry(NamedTuple):
    """One training case of the sheet, its title, and whether that is `marked` in red."""

    id: int
    title: str
    marked: bool = False


def take(run: runs.Run, example_id: int) -> dict[str, np.ndarray]:
    """Returns the batch of one training example."""
    cases = run.experiment.examples["train"]
    return cases.take(np.flatnonzero(cases.ids == example_id))


def draw(run: runs.Run, variables: Any, entries: Sequence[Entry]) -> matplotlib.figure.Figure:
    """Draws training cases in the order given, five to a row.

    Each with its label (one colour per rater, if there are several) and with what the network takes
    for the truth. Of a volume the slice is shown in which the two differ most.
    """
    predict, colours = jax.jit(run.experiment.method.predict), _colours(run)
    height = max(1, -(-len(entries) // _COLUMNS))
    figure = matplotlib.figure.Figure(
        figsize=(1.9 * _COLUMNS, 2.35 * height + 0.4), layout="constrained"
    )
    all_axes = figure.subplots(height, _COLUMNS, squeeze=False).ravel()
    for axes, entry in zip(all_axes, entries):
        case = take(run, entry.id)
        guess = np.asarray(predict(variables, case["image"]).probs[0].argmax(axis=-1))
        given = zip(colours.values(), case["labels"][0], case["rater_mask"][0])
        labels = [(colour, label) for colour, label, present in given if present]
        _draw(axes, case["image"][0, ..., 0], labels, guess)
        axes.set_title(
            entry.title, fontsize=7, pad=3, color="firebrick" if entry.marked else "black"
        )
    for axes in all_axes[len(entries) :]:
        axes.set_axis_off()
    plots.legend(figure, {**colours, "prediction": PREDICTION_COLOUR})
    return figure


def _colours(run: runs.Run) -> dict[str, str]:
    """Name to colour of each rater's label; a single one is called "label"."""
    names = run.experiment.rater_names
    if len(names) == 1:
        return {"label": LABEL_COLOUR}
    # The first colour is too much like the prediction's.
    return {name.replace("_", " "): f"C{(r + 1) % 10}" for r, name in enumerate(names)}


def _draw(
    axes: matplotlib.axes.Axes,
    image: Num[np.ndarray, "*S"],
    labels: Sequence[tuple[str, Integer[np.ndarray, "*S"]]],
    guess: Integer[np.ndarray, "*S"],
) -> None:
    plane = plots.plane(labels[0][1], guess)
    plots.background(axes, image[plane])
    # The prediction is thin and above, so that both show where they agree.
    style = {"effects": [_RIM], "linewidths": 2.4} if len(labels) == 1 else {"linewidths": 1.2}
    for colour, label in labels:
        outlines.outline(axes, label[plane], colour, **style)
    outlines.outline(axes, guess[plane], PREDICTION_COLOUR, linewidths=1.2)
