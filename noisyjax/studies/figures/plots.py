"""Figures of arrays: raters and their confusion matrices, learning curves, and shared parts."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.axes
import matplotlib.figure
import matplotlib.lines
import matplotlib.patches
import numpy as np
from jaxtyping import Float, Integer, Num

from noisyjax.core import files, ignored

# Zhang et al. 2020, Figure 5: the colour of each joint outcome of the truth and the rater.
COLOURS = {
    "true positive": (1.0, 1.0, 1.0),
    "false negative": (0.0, 0.7, 0.2),
    "false positive": (0.85, 0.1, 0.1),
    "true negative": (0.0, 0.0, 0.0),
}


def error_map(
    probs: Float[np.ndarray, "*S L"], cms: Float[np.ndarray, "*S L L"]
) -> Float[np.ndarray, "*S 3"]:
    """Colours each pixel by what a rater does there, as Zhang et al. 2020, Figure 5: RGB in [0, 1].

    The colours are mixed by the joint probability ``A[i, j] p[j]`` of "the truth is (not)
    foreground" and "the label is (not) foreground", so a doubtful pixel is a blend. Class 0 is the
    background, all others are foreground.
    """
    joint = cms * probs[..., None, :]
    weights = {
        "true positive": joint[..., 1:, 1:].sum((-2, -1)),
        "false negative": joint[..., 0, 1:].sum(-1),
        "false positive": joint[..., 1:, 0].sum(-1),
        "true negative": joint[..., 0, 0],
    }
    mixed = sum(weights[name][..., None] * np.array(colour) for name, colour in COLOURS.items())
    return np.clip(mixed, 0, 1)


def labels(
    images: Float[np.ndarray, "N H W K"],
    truth: Integer[np.ndarray, "N H W"],
    given: Integer[np.ndarray, "N R H W"],
    names: Sequence[str],
) -> matplotlib.figure.Figure:
    """Draws, in a row per image, its first channel, its truth and each rater's label."""
    rows, columns = len(images), 2 + len(names)
    figure = matplotlib.figure.Figure(figsize=(1.35 * columns, 1.45 * rows))
    axes = figure.subplots(rows, columns, squeeze=False)
    truth, given = (np.where(ignored.known(ids), ids, 0) for ids in (truth, given))
    brightest = max(int(truth.max()), int(given.max()), 1)
    for n, image in enumerate(images):
        _show(axes[n, 0], _grey(scaled(image[..., 0])), "image")
        for column, (name, mask) in enumerate(zip(("truth", *names), (truth[n], *given[n])), 1):
            _show(axes[n, column], _grey(mask / brightest), name)
    figure.tight_layout(pad=0.3)
    return figure


def raters(
    images: Float[np.ndarray, "N H W K"],
    labels: Integer[np.ndarray, "N R H W"],
    truth: Integer[np.ndarray, "N H W"],
    probs: Float[np.ndarray, "N H W L"],
    cms: Float[np.ndarray, "N R H W L L"],
    names: Sequence[str],
) -> matplotlib.figure.Figure:
    """Draws, per image, three rows: raters' labels, their true and their estimated errors.

    The image (its first channel), the truth and the estimated truth `probs` stand before them.
    """
    num_classes = probs.shape[-1]
    one_hot = np.eye(num_classes)
    rows, columns = 3 * len(images), 1 + len(names)
    figure = matplotlib.figure.Figure(figsize=(1.35 * columns, 1.35 * rows + 0.7))
    axes = figure.subplots(rows, columns, squeeze=False)
    for n, image in enumerate(images):
        true_probs = one_hot[truth[n]]
        first = (
            ("image", _grey(scaled(image[..., 0]))),
            ("truth", _grey(truth[n] / (num_classes - 1))),
            ("estimated truth", _grey(1.0 - probs[n, ..., 0])),
        )
        for row, (title, shown) in enumerate(first):
            _show(axes[3 * n + row, 0], shown, title)
        for r, name in enumerate(names):
            # Of a simulated rater one column is known: the true class becomes the label.
            true_cms = np.repeat(one_hot[labels[n, r]][..., None], num_classes, axis=-1)
            _show(axes[3 * n, 1 + r], _grey(labels[n, r] / (num_classes - 1)), name)
            _show(axes[3 * n + 1, 1 + r], error_map(true_probs, true_cms), "true CM")
            _show(axes[3 * n + 2, 1 + r], error_map(probs[n], cms[n, r]), "estimated CM")
    handles = [
        matplotlib.patches.Patch(facecolor=colour, edgecolor="black", label=name)
        for name, colour in COLOURS.items()
    ]
    figure.legend(handles=handles, loc="lower center", ncols=4, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.5 / (1.35 * rows + 0.7), 1, 1), pad=0.3)
    return figure


def curves(
    histories: Mapping[str, Sequence[tuple[Sequence, Sequence]]],
    *,
    xlabel: str,
    ylabel: str,
) -> matplotlib.figure.Figure:
    """Draws learning curves: one colour per method, one thin line per seed, their mean in bold.

    `histories` has for each method its seeds' ``(x, y)``.
    """
    figure = matplotlib.figure.Figure(figsize=(6, 3.6))
    axes = figure.subplots()
    for index, (name, seeds) in enumerate(histories.items()):
        colour = f"C{index}"
        for x, y in seeds:
            axes.plot(x, y, color=colour, linewidth=0.6, alpha=0.45)
        if seeds and len({tuple(x) for x, _ in seeds}) == 1:
            axes.plot(seeds[0][0], np.mean([y for _, y in seeds], 0), color=colour, label=name)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    return figure


def lines(
    panels: Mapping[str, Mapping[str, Sequence[tuple[str, Sequence[float]]]]],
    *,
    xlabel: str,
    ylabel: str,
) -> matplotlib.figure.Figure:
    """Draws a number over the levels of an axis: mean and standard deviation of its repetitions.

    `panels` has for each plot its lines' ``(level, values)``. Levels that are all numbers stand at
    their values, others side by side.
    """
    figure = matplotlib.figure.Figure(figsize=(4.2 * len(panels) + 0.6, 3.6))
    all_axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (title, drawn) in zip(all_axes, panels.items(), strict=True):
        levels = list(dict.fromkeys(level for line in drawn.values() for level, _ in line))
        at = _positions(levels)
        # Side by side, or error bars of lines that agree would hide each other.
        step = 0.012 * (max(at.values()) - min(at.values()))
        for index, (name, line) in enumerate(drawn.items()):
            shift = step * (index - (len(drawn) - 1) / 2)
            x = np.array([at[level] + shift for level, _ in line])
            mean = np.array([np.mean(values) for _, values in line])
            sd = [np.std(values, ddof=1) if len(values) > 1 else 0.0 for _, values in line]
            axes.errorbar(x, mean, sd, label=name, marker="o", markersize=3, capsize=2)
        axes.set_xticks(list(at.values()), levels)
        axes.set_xlabel(xlabel)
        axes.set_title(title, fontsize=9)
        axes.grid(alpha=0.3)
    all_axes[0].set_ylabel(ylabel)
    all_axes[0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    return figure


def scaled(image: Num[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """Returns an image ``[H, W]`` in [0, 1] for display: the middle 98 % of its values fill that.

    >>> scaled(np.array([[2.0, 3.0, 4.0]])).round()
    array([[0., 0., 1.]])
    """
    low, high = np.percentile(image, (1, 99))
    return np.clip((image - low) / (high - low if high > low else 1.0), 0.0, 1.0)


def plane(one: Integer[np.ndarray, "*S"], other: Integer[np.ndarray, "*S"]) -> tuple[int, ...]:
    """Returns the index of the plane to show: of a volume, where two masks differ most.

    It is ``()`` for a plane, otherwise its number along the first axis. Among planes that differ
    alike, one with much of the second mask is taken.

    >>> empty, ball = np.zeros((3, 2, 2), int), np.zeros((3, 2, 2), int)
    >>> ball[1] = 1
    >>> plane(empty, ball), plane(empty[0], ball[1])
    ((1,), ())
    """
    if one.ndim == 2:
        return ()
    across = tuple(range(1, one.ndim))
    differing = (one != other).sum(axis=across)
    return (int((differing + 1e-3 * (other > 0).sum(axis=across)).argmax()),)


def background(axes: matplotlib.axes.Axes, image: Num[np.ndarray, "H W"]) -> None:
    """Shows an image, ready for outlines."""
    axes.imshow(scaled(image), cmap="gray", vmin=0, vmax=1)
    # Contours would widen the limits by the frame around them.
    axes.set(autoscale_on=False, xticks=[], yticks=[])


def legend(
    figure: matplotlib.figure.Figure, colours: Mapping[str, Any], *, columns: int = 6
) -> None:
    """Names the colours of lines below a figure, on grey, as they lie on images."""
    handles = [
        matplotlib.lines.Line2D([], [], color=colour, label=name)
        for name, colour in colours.items()
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(len(handles), columns), fontsize=8,
        facecolor="0.3", labelcolor="white",
    )  # fmt: skip


def save(figure: matplotlib.figure.Figure, path: str | os.PathLike) -> None:
    """Writes a figure as PNG."""
    with files.replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=150)


def _positions(levels: Sequence[str]) -> dict[str, float]:
    try:
        return {level: float(level) for level in levels}
    except ValueError:
        return {level: float(index) for index, level in enumerate(levels)}


def _grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(np.clip(values, 0, 1)[..., None], 3, axis=-1)


def _show(axes: matplotlib.axes.Axes, rgb: np.ndarray, title: str) -> None:
    axes.imshow(rgb, interpolation="nearest")
    axes.set_title(title, fontsize=7, pad=2)
    axes.set_xticks([])
    axes.set_yticks([])
