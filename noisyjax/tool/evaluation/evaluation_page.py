"""The report on predictions as a page."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from noisyjax.tool.evaluation import case_risk, evaluate, prediction_metrics, predictions
from noisyjax.tool.page import gallery, page

_PREDICTION = "prediction"
# What the table of cases has of the metrics, and how it calls them; the others are in the files.
_SHOWN = {
    "dice": "Dice",
    "hd95": "HD95 [mm]",
    "nsd": "NSD",
    "volume_difference": "volume diff. [ml]",
    "ece": "ECE",
    "consensus_dice": "Dice where raters agree",
    "ged2": "GED²",
    "dice_match": "Dice match",
    "own_dice": "Dice of raters' own masks",
}

_RISK = (
    page.Column("label", "class"),
    page.Column("rater", "beside"),
    page.Column("confidence", "by"),
    page.Column("mean", "mean risk", "number"),
    page.Column("aurc", "AURC", "number"),
    page.Column("e_aurc", "E-AURC", "number"),
    page.Column("augrc", "AUGRC", "number"),
    page.Column("ause", "AUSE", "number"),
    page.Column("cases", "cases", "number"),
)
_KEY = (
    page.Column("metric", "metric"),
    page.Column("label", "class"),
    page.Column("beside", "beside"),
)


def ranked(report: evaluate.Report) -> list[tuple[str, float]]:
    """Returns the cases, those of least Dice first, with it: the mean over classes and labels.

    Those whose Dice is undefined, NaN, come last.
    """
    columns = [
        i
        for i, (key, derived) in enumerate(zip(report.keys, report.derived, strict=True))
        if key.metric == "dice" and not derived
    ]
    table = report.values[:, columns]
    known = ~np.isnan(table)
    means = np.where(known, table, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    means = np.where(known.any(axis=1), means, np.nan)
    return [(report.cases[i], float(means[i])) for i in np.argsort(means, kind="stable")]


def make(
    report: evaluate.Report, predicted: predictions.Predictions, *, versus: str | None = None
) -> page.Page:
    """Returns the page of a report on predictions, the worst cases first."""
    opened = predicted.opened
    text = f"Predictions of {len(report.cases)} cases in {predicted.root} were judged by the labels"
    text += f" of {opened.root.name}. Intervals are those of a mean over cases that are drawn anew."
    tables = [case_table(report), _summary(report)]
    if risks := case_risk.of_cases(report):
        tables.append(
            page.of_entries(
                "Risk (1 − Dice) of the cases that are kept",
                [risk._asdict() for risk in risks],
                _RISK,
            )
        )
    if report.differences:
        tables.append(_differences(report, versus))
    return page.Page(
        title=f"Predictions judged by {opened.root.name}",
        done=text,
        finding=finding(report),
        tables=tables,
        cases=pictures(report, predicted),
    )


def pictures(
    report: evaluate.Report, predicted: predictions.Predictions, *, count: int = gallery.MOST_CASES
) -> list[page.Case]:
    """Returns pictures of the worst cases, with the prediction and all labels."""
    opened = predicted.opened

    def labels(name: str) -> gallery.Labels:
        case = opened.read(name)
        drawn = opened.by_rater(case)
        return gallery.Labels(
            {**drawn, _PREDICTION: predicted.read(name).segmentation}, case.spacing
        )

    return gallery.make(opened, [name for name, _ in ranked(report)[:count]], labels)


def case_table(
    report: evaluate.Report, further: Mapping[str, Mapping[str, int]] | None = None
) -> page.Table:
    """Returns the table of cases, the worst first.

    Args:
      further: title of a further column of numbers to the cell of each case.
    """
    further = further or {}
    shown = [
        (m, key)
        for m, key in enumerate(report.keys)
        if key.metric in _SHOWN and (evaluate.is_main(key, report) or _is_class(key, report))
    ]
    order = list(_SHOWN).index
    shown.sort(key=lambda item: (order(item[1].metric), not evaluate.is_main(item[1], report)))
    columns = [page.Column("case", "case")]
    columns += [page.Column(title, title, "number") for title in further]
    columns += [page.Column(key.metric, _title(key, report), "number") for _, key in shown]
    row_of = dict(zip(report.cases, report.values, strict=True))
    rows = [
        [name, *(own.get(name) for own in further.values())]
        + [float(row_of[name][m]) for m, _ in shown]
        for name, _ in ranked(report)
    ]
    return page.Table("Cases, the worst first", columns, rows)


def finding(report: evaluate.Report) -> str:
    """Returns how good the predictions are, and the worst case."""
    lines = [
        line
        for line in report.lines
        if line.key.metric == "dice" and evaluate.is_main(line.key, report)
    ]
    parts = []
    for line in lines:
        limits = "" if math.isnan(line.low) else f" ({line.low:.3f} to {line.high:.3f})"
        parts.append(f"{line.summary.mean:.3f}{limits} to {_beside(line.key)}")
    if not parts:
        return "The tables say what was measured; Dice was not."
    worst, dice = ranked(report)[0]
    return f"Mean Dice {' and '.join(parts)}; the least on {worst} ({dice:.3f})."


def _beside(key: evaluate.Key) -> str:
    named = {"truth": "the truth", evaluate.ALL_RATERS: "the raters"}
    return named.get(key.rater, key.rater)


def _is_class(key: evaluate.Key, report: evaluate.Report) -> bool:
    """Whether a Dice is of a single class: to the truth, or without one as the mean has it."""
    whole = key._replace(label=evaluate.ALL_CLASSES)
    if key.metric != "dice" or whole not in report.keys:
        return False
    has_truth = whole._replace(rater="truth") in report.keys
    return key.rater == "truth" if has_truth else evaluate.is_main(whole, report)


def _title(key: evaluate.Key, report: evaluate.Report) -> str:
    raters = {other.rater for other in report.keys if other.metric == key.metric}
    label = (
        "" if key.label == evaluate.ALL_CLASSES or len(report.settings.classes) == 1 else key.label
    )
    rater = key.rater if len(raters) > 1 else ""
    return ", ".join(filter(None, (_SHOWN[key.metric], label, rater)))


def _summary(report: evaluate.Report) -> page.Table:
    columns = [*_KEY, *_numbers("mean", "sd", "from", "to", "cases"), page.Column("about", "is")]
    rows = []
    for line in report.lines:
        if evaluate.is_main(line.key, report):
            about = prediction_metrics.METRICS[line.key.metric].about
            mean, sd, count, _ = line.summary
            rows.append([*line.key, mean, sd, line.low, line.high, count, about])
    return page.Table("Means over cases", columns, rows)


def _differences(report: evaluate.Report, versus: str | None) -> page.Table:
    columns = [*_KEY, *_numbers("difference", "sd", "p", "p (Holm)", "cases")]
    rows = []
    for key, compared, p_holm in report.differences:
        numbers = (compared.difference, compared.sd, compared.p_value, p_holm, compared.count)
        rows.append([*key, *numbers])
    return page.Table(f"Difference from {versus}", columns, rows)


def _numbers(*titles: str) -> Sequence[page.Column]:
    return [page.Column(title, title, "number") for title in titles]
