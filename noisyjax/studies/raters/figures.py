"""Figures of a report on raters."""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.axes
import matplotlib.figure
import matplotlib.patheffects
import numpy as np
from jaxtyping import Num

from noisyjax.metrics import tabulate
from noisyjax.studies.figures import outlines, plots
from noisyjax.studies.raters import scores

# Raters whose worst image is shown.
_SHOWN = 8
_ESTIMATE = "white"
# A dark rim, so that lines show on any image.
_RIM = matplotlib.patheffects.withStroke(linewidth=2.2, foreground="black")

_QUANTITIES = {
    "sensitivity": lambda rater: (float(np.mean(rater.sensitivity)), 0.0),
    "specificity": lambda rater: (float(np.mean(rater.specificity)), 0.0),
    "Dice": lambda rater: _mean_and_sd(rater.dice),
    "log2 volume ratio": lambda rater: _mean_and_sd(rater.bias),
}


def overview(report: scores.Report) -> matplotlib.figure.Figure:
    """Draws sensitivity and specificity, Dice and volume of each rater, and the worst image.

    Three plots above, one image per rater below (the first eight). Error bars are standard
    deviations over images. Of a volume the slice is shown in which the rater and the estimate
    differ most.
    """
    shown = report.raters[:_SHOWN]
    width = max(10.5, 1.75 * len(shown))
    figure = matplotlib.figure.Figure(figsize=(width, 6.6))
    above, below = figure.subfigures(2, 1, height_ratios=(3.6, 2.4))
    plane, dice, bias = above.subplots(1, 3)
    _plane(plane, report)
    _boxes(dice, report, report.cases.dice, "Dice to the estimated truth")
    _boxes(bias, report, report.cases.bias, "log2 volume ratio")
    bias.axhline(0.0, color="black", linewidth=0.8, zorder=0)
    lines = [scores.headline(report), *(f"Note: {note}" for note in report.notes)]
    wrapped = [part for line in lines for part in textwrap.wrap(line, int(11 * width))]
    above.suptitle("\n".join(wrapped), fontsize=9)
    above.subplots_adjust(
        top=0.9 - 0.06 * len(wrapped), bottom=0.22, left=0.06, right=0.99, wspace=0.28
    )
    all_axes = below.subplots(1, len(shown), squeeze=False)[0]
    for index, (axes, rater) in enumerate(zip(all_axes, shown, strict=True)):
        _worst_image(axes, report, rater, f"C{index}")
    below.suptitle("each rater's worst image; white: the estimated truth", fontsize=9, y=0.99)
    below.subplots_adjust(top=0.78, bottom=0.02, left=0.02, right=0.98, wspace=0.08)
    return figure


def comparison(reports: Mapping[str, scores.Report]) -> matplotlib.figure.Figure:
    """Draws the same raters by several estimates of the truth (name to report), side by side.

    A plot for sensitivity, specificity, Dice and bias each (mean ± sd over images). Without
    reports, or with reports on other raters than the first, it raises ValueError.
    """
    names = {report.reference.names for report in reports.values()}
    if len(names) != 1:
        raise ValueError(f"reports: expected them on the same raters, got {sorted(names)}")
    (raters,) = names
    figure = matplotlib.figure.Figure(figsize=(3.2 * len(_QUANTITIES), 3.2))
    for axes, (title, quantity) in zip(
        figure.subplots(1, len(_QUANTITIES)), _QUANTITIES.items(), strict=True
    ):
        for index, (name, report) in enumerate(reports.items()):
            values = np.array([quantity(rater) for rater in report.raters])
            shift = 0.8 * ((index + 0.5) / len(reports) - 0.5)
            axes.bar(
                np.arange(len(raters)) + shift, values[:, 0], 0.8 / len(reports),
                yerr=values[:, 1] if values[:, 1].any() else None,
                error_kw={"linewidth": 0.8}, color=f"C{index}", label=name,
            )  # fmt: skip
        axes.set_title(title, fontsize=9)
        _name_ticks(axes, raters)
    axes.legend(frameon=False, fontsize=7)
    figure.tight_layout()
    return figure


def _mean_and_sd(summary: tabulate.Summary) -> tuple[float, float]:
    return summary.mean, 0.0 if np.isnan(summary.sd) else summary.sd


def _name_ticks(axes: matplotlib.axes.Axes, names: Sequence[str]) -> None:
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)
    axes.grid(axis="y", alpha=0.3)


def _plane(axes: matplotlib.axes.Axes, report: scores.Report) -> None:
    """Draws a point per rater with its spread over images; the boxes beside name the colours."""
    for index, rater in enumerate(report.raters):
        x, y = 1 - np.mean(rater.specificity), np.mean(rater.sensitivity)
        spread = [
            np.nan_to_num(tabulate.summarise(values[:, index].mean(axis=-1).tolist()).sd)
            for values in (report.cases.specificity, report.cases.sensitivity)
        ]
        # Rates stay between 0 and 1, and so does what is drawn of their spread.
        bars = [[[min(sd, at)], [min(sd, 1 - at)]] for at, sd in zip((x, y), spread, strict=True)]
        axes.errorbar(x, y, xerr=bars[0], yerr=bars[1], color=f"C{index}", marker="o", lw=0.8)
    axes.set_xlabel("1 - specificity")
    axes.set_ylabel("sensitivity")
    axes.grid(alpha=0.3)


def _boxes(
    axes: matplotlib.axes.Axes, report: scores.Report, values: np.ndarray, title: str
) -> None:
    """Draws a box per rater over images, undefined values left out."""
    names = report.reference.names
    columns = [column[~np.isnan(column)] for column in values.T]
    boxes = axes.boxplot(
        columns, positions=range(len(names)), widths=0.6, patch_artist=True, sym=".",
        medianprops={"color": "black"}, flierprops={"markersize": 3},
    )  # fmt: skip
    for index, box in enumerate(boxes["boxes"]):
        box.set_facecolor(f"C{index}")
        box.set_alpha(0.6)
    axes.set_ylabel(title)
    _name_ticks(axes, names)


def _worst_image(
    axes: matplotlib.axes.Axes,
    report: scores.Report,
    rater: scores.Rater,
    colour: str,
) -> None:
    """Draws the image on which a rater was worst, with their contour and that of the estimate."""
    axes.set_xticks([])
    axes.set_yticks([])
    if not rater.worst:
        axes.set_title(f"{rater.name}\nno image", fontsize=7)
        return
    reference, index = report.reference, rater.worst[0]
    column = reference.names.index(rater.name)
    example = reference.examples[index]
    label, truth = example["labels"][column], reference.truth[index]
    plane = plots.plane(label, truth)
    image: Num[np.ndarray, "H W"] = example["image"][..., 0][plane]
    axes.imshow(image, cmap="gray", interpolation="nearest")
    for mask, shade in ((truth, _ESTIMATE), (label, colour)):
        outlines.outline(axes, mask[plane], shade, effects=[_RIM], linewidths=1.1)
    axes.set_xlim(-0.5, image.shape[1] - 0.5)
    axes.set_ylim(image.shape[0] - 0.5, -0.5)
    dice = report.cases.dice[index, column]
    axes.set_title(f"{rater.name}: Dice {dice:.2f}\n{report.cases.names[index]}", fontsize=7)
