"""Raters beside a method's estimates of them: confusion matrices and contours."""

from collections.abc import Sequence

import matplotlib.axes
import matplotlib.figure
import matplotlib.patheffects
import numpy as np
from jaxtyping import Bool, Float, Integer, Num

from noisyjax.core import checks, ignored
from noisyjax.studies.figures import plots

# The colour of the truth among the raters' colours, which are matplotlib's C0, C1, ...
TRUTH_COLOUR = "yellow"
_MATRIX_COLOURS = "viridis"
# Numbers on cells darker than this are white.
_DARK = 0.6
_UNKNOWN = "0.85"
_ESTIMATED = "estimated truth"


def matrices(
    true: Float[np.ndarray, "R L L"],
    estimated: Float[np.ndarray, "R L L"],
    names: Sequence[str],
    class_names: Sequence[str] | None = None,
    *,
    titles: tuple[str, str] = ("true", "estimated"),
) -> matplotlib.figure.Figure:
    """Draws each rater's mean true confusion matrix above the mean estimated one.

    Zhang et al. 2020, Figure 5, summed up over pixels and images. Entry (i, j) is the probability
    that the rater says i where j is true, so that columns add up to one. A column of NaN is not
    known (the class does not occur) and drawn grey. The `titles` are those of the two rows.
    """
    num_classes = true.shape[-1]
    classes = [str(c) for c in range(num_classes)] if class_names is None else list(class_names)
    side = max(1.7, 0.5 * num_classes)
    figure = matplotlib.figure.Figure(
        figsize=(side * len(names) + 1.1, 2 * side + 0.7), layout="constrained"
    )
    axes = figure.subplots(2, len(names), squeeze=False, sharex=True, sharey=True)
    for row, (title, shown) in enumerate(zip(titles, (true, estimated), strict=True)):
        for column, name in enumerate(names):
            _matrix(axes[row, column], shown[column], classes)
            if row == 0:
                axes[row, column].set_title(name, fontsize=8)
        axes[row, 0].set_ylabel(f"{title}\nlabel", fontsize=8)
    for column in range(len(names)):
        axes[1, column].set_xlabel("true class", fontsize=8)
    return figure


def _matrix(axes: matplotlib.axes.Axes, cm: np.ndarray, classes: Sequence[str]) -> None:
    """Draws one matrix as a heat map with its numbers."""
    axes.set_facecolor(_UNKNOWN)
    axes.imshow(np.ma.masked_invalid(cm), cmap=_MATRIX_COLOURS, vmin=0, vmax=1)
    size = float(np.interp(len(cm), (2, 8), (9, 5)))
    for (i, j), value in np.ndenumerate(cm):
        text = "–" if np.isnan(value) else f"{value:.2f}"
        colour = "white" if value < _DARK else "black"
        axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=size)
    ticks = range(len(classes))
    axes.set_xticks(ticks, classes, fontsize=7, rotation=90 if max(map(len, classes)) > 2 else 0)
    axes.set_yticks(ticks, classes, fontsize=7)


def contours(
    images: Num[np.ndarray, "N H W K"],
    labels: Integer[np.ndarray, "N R H W"],
    rater_predictions: Integer[np.ndarray, "N R H W"],
    truth: Integer[np.ndarray, "N H W"],
    estimated: Integer[np.ndarray, "N H W"],
    names: Sequence[str],
    *,
    rater_mask: Bool[np.ndarray, "N R"] | None = None,
    truth_name: str = "truth",
    channel: int = 0,
    margin: int | None = None,
) -> matplotlib.figure.Figure:
    """Draws, per image, the contours of the raters' labels and of what a method predicts for them.

    Zhang et al. 2020, Figure 7: the image, the labels and the predictions side by side. Each rater
    has one colour, the truth and the estimated truth another. Every class is outlined. Raters
    without an outline are named in the corner.

    Args:
      rater_predictions: the labels that the method expects of the raters.
      truth: the truth, or the labels fused; `truth_name` says what it is, such as "STAPLE".
      estimated: the truth by the method.
      rater_mask: who labelled which image; the labels of others are left out.
      margin: so many pixels around what is outlined are shown; None shows the whole image.
    """
    checks.masks(rater_mask=rater_mask)
    given = np.ones(labels.shape[:2], bool) if rater_mask is None else rater_mask
    figure = matplotlib.figure.Figure(figsize=(7.0, 2.35 * len(images) + 0.5), layout="constrained")
    every_axes = figure.subplots(len(images), 3, squeeze=False)
    for n, (image, row) in enumerate(zip(images[..., channel], every_axes, strict=True)):
        view = _view(np.concatenate([truth[n, None], estimated[n, None], labels[n]]), margin)
        for axes in row:
            _show(axes, image, view)
        _panel(row[1], truth[n], labels[n], (truth_name, *names), given[n])
        everyone = np.ones_like(given[n])
        _panel(row[2], estimated[n], rater_predictions[n], (_ESTIMATED, *names), everyone)
    for axes, title in zip(every_axes[0], ("image", "raters", "predicted raters"), strict=True):
        axes.set_title(title, fontsize=9)
    colours = {name: _colour(r) for r, name in enumerate(names)}
    colours[f"{truth_name}, {_ESTIMATED}"] = TRUTH_COLOUR
    plots.legend(figure, colours, columns=5)
    return figure


def outline(
    axes: matplotlib.axes.Axes,
    mask: Integer[np.ndarray, "H W"] | Bool[np.ndarray, "H W"],
    colour: str,
    *,
    effects: Sequence[matplotlib.patheffects.AbstractPathEffect] = (),
    **style,
) -> bool:
    """Draws the outline of each class but the background, and says whether there was any.

    Args:
      effects: drawn with the lines, such as a rim.
      **style: options of `matplotlib.axes.Axes.contour`.
    """
    classes = [c for c in np.unique(mask) if c not in (0, ignored.IGNORE)]
    x, y = (np.arange(-1, size + 1) for size in mask.shape[::-1])
    for c in classes:
        # A frame of background closes the lines at the edge of the image.
        solid = np.pad(mask == c, 1).astype(float)
        drawn = axes.contour(x, y, solid, levels=[0.5], colors=[colour], **style)
        drawn.set(path_effects=list(effects))
    return bool(classes)


def _panel(
    axes: matplotlib.axes.Axes,
    truth: np.ndarray,
    masks: np.ndarray,
    names: Sequence[str],
    given: np.ndarray,
) -> None:
    """Outlines the truth and, above it, the masks of one image; `names` begins with the truth's."""
    everything = [(names[0], truth, TRUTH_COLOUR, 2.2)]
    everything += [
        (names[1 + r], mask, _colour(r), 1.0) for r, mask in enumerate(masks) if given[r]
    ]
    missing = [
        (name, colour)
        for name, mask, colour, width in everything
        if not outline(axes, mask, colour, linewidths=width)
    ]
    for row, (name, colour) in enumerate(reversed(missing)):
        axes.text(
            0.03, 0.03 + 0.085 * row, f"nothing: {name}", transform=axes.transAxes, color=colour,
            fontsize=7, bbox={"facecolor": "black", "alpha": 0.6, "linewidth": 0, "pad": 1.5},
        )  # fmt: skip


def _colour(rater: int) -> str:
    return f"C{rater % 10}"


def _show(axes: matplotlib.axes.Axes, image: np.ndarray, view: tuple[slice, slice]) -> None:
    rows, columns = view
    plots.background(axes, image)
    axes.set_xlim(columns.start - 0.5, columns.stop - 0.5)
    axes.set_ylim(rows.stop - 0.5, rows.start - 0.5)


def _view(masks: np.ndarray, margin: int | None) -> tuple[slice, slice]:
    """The rows and columns that are shown: a square around all masks, within the image."""
    height, width = masks.shape[1:]
    points = np.argwhere(masks.any(axis=0))
    if margin is None or not len(points):
        return slice(0, height), slice(0, width)
    low, high = points.min(axis=0), points.max(axis=0) + 1
    side = int((high - low).max()) + 2 * margin
    starts = [
        int(np.clip((a + b - side) // 2, 0, max(size - side, 0)))
        for a, b, size in zip(low, high, (height, width), strict=True)
    ]
    rows, columns = (
        slice(start, min(start + side, size))
        for start, size in zip(starts, (height, width), strict=True)
    )
    return rows, columns
