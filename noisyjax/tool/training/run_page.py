"""A run of folds as a page: how it learnt, and what it says of cases that it has not seen."""

import pathlib
from collections.abc import Mapping
from typing import Any

from noisyjax.tool import folder
from noisyjax.tool.evaluation import evaluate, evaluation_page, predictions
from noisyjax.tool.page import page
from noisyjax.tool.training import run_files

# Of the worst cases: a run is looked at often, and images may be large.
_PICTURES = 30
_FOLDS = (
    page.Column("fold", "fold", "number"),
    page.Column("cases", "cases held out", "number"),
    page.Column("dice", "Dice", "number"),
    page.Column("hd95", "HD95 [mm]", "number"),
    page.Column("steps", "steps", "number"),
    page.Column("seconds_train", "seconds", "number"),
)


def make(
    run: pathlib.Path,
    opened: folder.Folder,
    judged: evaluate.Report | None,
    summary: Mapping[str, Any],
    *,
    name: str,
) -> page.Page:
    """Returns the page of a run whose folds are all trained.

    Args:
      judged: the out-of-fold predictions, as `report.judge`; None where no case was held out.
      summary: of `report.write`.
      name: of the folder that was given.
    """
    splits = run_files.read_splits(run)
    tables, cases = [], []
    text = "No case was held out: what the network is worth is not known."
    if judged is not None:
        held_out = {name: n for n, own in enumerate(splits) for name in own["val"]}
        tables.append(evaluation_page.case_table(judged, {"fold": held_out}))
        found = predictions.find(run / run_files.OUT_OF_FOLD, opened, partial=True)
        cases = evaluation_page.pictures(judged, found, count=_PICTURES)
        text = f"Each case predicted by the network that has not seen it: {_lower(judged)}"
    decided = summary["options"].get("decisions")
    name += f", with {len(decided)} decisions on its labels," if decided else ""
    folds = [{"fold": n, **_of_fold(own)} for n, own in enumerate(summary["folds"])]
    return page.Page(
        title=f"Run {run.name}",
        done=(
            f"{_networks(len(splits))} trained on {name} by the method "
            f"{summary['options']['method']}, {summary['seconds'] / 60:.0f} minutes in all. "
            f"Pictures show the worst {len(cases)} cases."
        ),
        finding=text,
        tables=[*tables, page.of_entries("Folds", folds, _FOLDS)],
        cases=cases,
        figures=[page.Figure("How it learnt", (run / run_files.CURVES).read_bytes())],
    )


def _networks(count: int) -> str:
    return "A network was" if count == 1 else f"{count} networks were"


def _lower(judged: evaluate.Report) -> str:
    text = evaluation_page.finding(judged)
    return text[0].lower() + text[1:]


def _of_fold(own: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a fold's numbers; of metrics the mean over all classes and labels."""
    entry = dict(own)
    for metric in ("dice", "hd95"):
        by_rater = own.get(metric, {})
        means = [
            by_class.get(evaluate.ALL_CLASSES, next(iter(by_class.values())))
            for rater, by_class in by_rater.items()
            if rater == evaluate.ALL_RATERS or evaluate.ALL_RATERS not in by_rater
        ]
        entry[metric] = sum(means) / len(means) if means else None
    return entry
