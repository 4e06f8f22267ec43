"""Figures of a study of noisy annotations, after Figures 1 and 4 to 8 of Yu et al. 2020."""

import math
from collections.abc import Mapping, Sequence

import matplotlib.axes
import matplotlib.figure
import matplotlib.lines
import numpy as np
from jaxtyping import Float

from noisyjax.metrics import tabulate
from noisyjax.studies.figures import plots
from noisyjax.studies.noise_ratio import scores

# Metric to its name and the factor of its numbers.
METRICS = {
    "dice": ("Dice", 1.0),
    "false_discovery_rate": ("false discovery rate", 1.0),
    "false_positive_rate": ("false positive rate (%)", 100.0),
}
_STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
_LEGEND = (
    "t-tests against 0 %, after Holm: * p < 0.05, ** p < 0.01, *** p < 0.001, ns not significant"
)
# Of the rows of stars above a panel, in points.
_FIRST_ROW, _NEXT_ROW = 4, 10
_NEUTRAL = "0.75"
# What a rater draws too much is a false positive, what they leave out a false negative.
_COLOURS = {
    "deleted": plots.COLOURS["false positive"],
    "added": plots.COLOURS["false negative"],
}


def stars(p_value: float) -> str:
    """Returns the mark of a p-value, nothing where there was no test.

    >>> stars(0.003), stars(0.2), stars(float("nan"))
    ('**', 'ns', '')
    """
    if math.isnan(p_value):
        return ""
    return next((mark for limit, mark in _STARS if p_value < limit), "ns")


def evaluations(results: scores.Results) -> matplotlib.figure.Figure:
    """Draws every metric of every evaluation over the ratio, as Figures 5, 6 and 7.

    A row per metric and a column per evaluation. Error bars are standard deviations over the cases,
    small dots the means of the runs. The stars above, a row per test, say where a ratio differs
    from 0 % (`scores.compare`).
    """
    metrics = [m for m in METRICS if any(m in lines for lines in results.values())]
    figure = matplotlib.figure.Figure(
        figsize=(3.6 * len(results) + 0.8, 2.7 * len(metrics) + 0.8), layout="constrained"
    )
    table = figure.subplots(len(metrics), len(results), squeeze=False, sharex=True, sharey="row")
    tests = _defined(results)
    for row, metric in zip(table, metrics, strict=True):
        for axes, lines in zip(row, results.values(), strict=True):
            _over_ratio(axes, lines.get(metric, []), METRICS[metric][1])
            _mark(axes, lines.get(metric, []), tests)
        row[0].set_ylabel(METRICS[metric][0])
        for index, test in enumerate(tests):
            _above(row[0], (-0.02, "axes fraction"), index, test, ha="right")
    for axes, evaluation in zip(table[0], results, strict=True):
        height = _FIRST_ROW + _NEXT_ROW * len(tests) + 4
        axes.set_title(evaluation.title, fontsize=10, pad=height)
    for axes in table[-1]:
        axes.set_xlabel("noisy training cases (%)")
    handles = [
        table[0, 0].errorbar([], [], [], color="C0", marker="o", markersize=4, capsize=2),
        *table[0, 0].plot([], [], ".", color="0.45", markersize=4),
        matplotlib.lines.Line2D([], [], color="0.45", linestyle=":", linewidth=1),
    ]
    names = ["mean ± sd over cases", "mean of a run", "mean at 0 %"]
    figure.legend(
        handles, names, title=_LEGEND if tests else None, title_fontsize=8, fontsize=8, ncols=3,
        frameon=False, loc="outside lower center",
    )  # fmt: skip
    return figure


def _over_ratio(axes: matplotlib.axes.Axes, lines: Sequence[scores.Scores], scale: float) -> None:
    axes.grid(alpha=0.3)
    if not lines:
        return
    ratios = [line.ratio for line in lines]
    summaries = [tabulate.summarise(line.cases.values()) for line in lines]
    means = [scale * summary.mean for summary in summaries]
    sds = np.nan_to_num([scale * summary.sd for summary in summaries])
    if lines[0].ratio == 0:
        axes.axhline(means[0], color="0.45", linestyle=":", linewidth=1)
    axes.errorbar(ratios, means, sds, color="C0", marker="o", markersize=4, capsize=2)
    # Beside the error bar, which would hide them.
    shift = 0.02 * max(max(ratios) - min(ratios), 1.0)
    for ratio, line in zip(ratios, lines, strict=True):
        values = [scale * value for value in line.runs.values()]
        axes.plot([ratio + shift] * len(values), values, ".", color="0.45", markersize=4)
    axes.set_xticks(ratios, [f"{ratio:g}" for ratio in ratios], fontsize=8)


def _defined(results: scores.Results) -> list[str]:
    """The tests that there are, from the panel upwards; over runs there may be none."""
    differences = [
        difference
        for lines in results.values()
        for of_metric in lines.values()
        for difference in scores.compare(of_metric)
    ]
    return [
        test
        for test in reversed(scores.TESTS)
        if any(not math.isnan(difference.adjusted[test]) for difference in differences)
    ]


def _mark(axes: matplotlib.axes.Axes, lines: Sequence[scores.Scores], tests: Sequence[str]) -> None:
    for difference in scores.compare(lines):
        for index, test in enumerate(tests):
            _above(axes, (difference.ratio, "data"), index, stars(difference.adjusted[test]))


def _above(
    axes: matplotlib.axes.Axes, x: tuple[float, str], row: int, text: str, ha: str = "center"
) -> None:
    """Writes a text in one of the rows above a panel."""
    axes.annotate(
        text, (x[0], 1.0), (0, _FIRST_ROW + _NEXT_ROW * row), xycoords=(x[1], "axes fraction"),
        textcoords="offset points", ha=ha, fontsize=7, annotation_clip=False,
    )  # fmt: skip


def voxels(labels: scores.Labels) -> matplotlib.figure.Figure:
    """Draws the sizes of the organ and of what a correction keeps, deletes and adds, as Figure 1.

    A violin each with median (solid) and quartiles (dotted).
    """
    figure = matplotlib.figure.Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.subplots()
    _violins(axes, labels.voxels)
    axes.set_ylabel("voxels of a case")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    _count(axes, len(labels.voxels["organ"]), labels.title)
    return figure


def quality(labels: scores.Labels) -> matplotlib.figure.Figure:
    """Draws Dice and false discovery rate of the noisy labels to the clean ones, as Figure 8."""
    figure = matplotlib.figure.Figure(figsize=(4.6, 3.6), layout="constrained")
    axes = figure.subplots()
    _violins(axes, {METRICS[name][0]: values for name, values in labels.quality.items()})
    low = int((labels.quality["dice"] < scores.LOW_DICE).sum())
    axes.axhline(scores.LOW_DICE, color="0.45", linestyle=":", linewidth=1, zorder=0)
    axes.set_ylabel("to the clean labels")
    axes.set_ylim(0, 1)
    _count(
        axes,
        len(labels.quality["dice"]),
        f"{labels.title}; {low} below a Dice of {scores.LOW_DICE:g}",
    )
    return figure


def _count(axes: matplotlib.axes.Axes, count: int, rest: str) -> None:
    axes.set_title(f"{count} noisy labels of {rest}", fontsize=9)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def _violins(axes: matplotlib.axes.Axes, groups: Mapping[str, Float[np.ndarray, "N"]]) -> None:
    """Draws a violin per group with its quartiles; undefined values are left out."""
    known = {name: values[~np.isnan(values)] for name, values in groups.items()}
    known = {name: values for name, values in known.items() if len(values)}
    parts = axes.violinplot(
        list(known.values()), range(len(known)), widths=0.8, showextrema=False,
        quantiles=[(0.25, 0.5, 0.75)] * len(known),
    )  # fmt: skip
    for name, body in zip(known, parts["bodies"], strict=True):
        body.set(facecolor=_COLOURS.get(name, _NEUTRAL), edgecolor="black", alpha=0.6)
    parts["cquantiles"].set(color="black", linewidth=1.2, linestyle=[":", "-", ":"] * len(known))
    axes.set_xticks(range(len(known)), known)


def losses(curves: scores.Losses) -> matplotlib.figure.Figure:
    """Draws training and validation losses and the checkpoint that was chosen, as Figure 4."""
    figure = matplotlib.figure.Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    red = plots.COLOURS["false positive"]
    axes.plot(*curves.train, color="C0", linewidth=0.9, label="training")
    axes.plot(*curves.val, "o", color=red, markersize=4, fillstyle="none", label="validation")
    at = [loss for step, loss in zip(*curves.val, strict=True) if step == curves.chosen]
    label = f"chosen: step {curves.chosen:,.0f}" + (f", loss {at[0]:.2g}" if at else "")
    axes.axvline(curves.chosen, color="0.3", linestyle="--", linewidth=0.9, label=label)
    axes.plot([curves.chosen] * len(at), at, "o", color=red, markeredgecolor="black", markersize=6)
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.set_title(curves.title, fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    return figure
