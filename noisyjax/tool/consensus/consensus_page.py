"""The consensus of a folder as a page: what raters and the consensus say of each case."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from noisyjax.data.folder import description
from noisyjax.metrics import tabulate
from noisyjax.tool import folder
from noisyjax.tool.page import gallery, page

_CONSENSUS = "consensus"
_RATERS = (
    page.Column("rater", "rater"),
    page.Column("cases", "cases", "number"),
    page.Column("dice", "Dice to the consensus", "number"),
    page.Column("sensitivity", "sensitivity", "number"),
    page.Column("specificity", "specificity", "number"),
)
# What is a mean over a rater's cases and the classes.
_PERFORMANCE = ("dice", "sensitivity", "specificity")


def make(
    opened: folder.Folder,
    fused: Mapping[str, pathlib.Path],
    *,
    method: str,
    cases: Mapping[str, Sequence[Sequence[Any]]],
    performance: Mapping[str, Sequence[Sequence[Any]]],
) -> page.Page:
    """Returns the page of a folder whose raters were fused, cases of least agreement first.

    Args:
      opened: the folder, with the labels that counted alone.
      fused: name of each case to the consensus, as it was written.
      method: how.
      cases: of each case its row of ``agreement.csv``; likewise performance its rows.
    """
    count = opened.num_classes - 1
    numbers = {name: [_number(cell) for cell in cases[name][0]] for name in fused}
    dice = {name: _mean(own[2 : 2 + count]) for name, own in numbers.items()}
    ranked = sorted(fused, key=lambda name: (dice[name] is None, dice[name] or 0.0))
    with_fused = _beside(opened, fused)

    def labels(name: str) -> gallery.Labels:
        case = with_fused.read(name)
        drawn = opened.by_rater(dataclasses.replace(case, truth=None))
        return gallery.Labels({**drawn, _CONSENSUS: case.truth}, case.spacing)

    raters = _of_raters(performance, fused)
    return page.Page(
        title=f"Consensus of the raters of {opened.root.name}",
        done=(
            f"The labels of {len(raters)} raters on {len(fused)} cases were fused into one label "
            f"each ({method}). Pictures show the slices on which they differ most."
        ),
        finding=_finding(ranked, dice, raters),
        tables=[
            page.Table(
                "Cases, the least agreement first",
                _columns(opened.class_names[1:]),
                [[name, dice[name], *numbers[name]] for name in ranked],
            ),
            page.of_entries("Raters beside the consensus", raters, _RATERS),
        ],
        cases=gallery.make(opened, ranked, labels),
    )


def _columns(classes: Sequence[str]) -> list[page.Column]:
    columns = [
        page.Column("case", "case"),
        page.Column("dice", "Dice of pairs", "number"),
        page.Column("raters", "raters", "number"),
        page.Column("disputed", "share in dispute", "number"),
    ]
    for what, unit in (("Dice", ""), ("volume", " [mm³]")):
        columns += [page.Column(what, f"{what}, {name}{unit}", "number") for name in classes]
    return columns


def _number(cell: Any) -> float | None:
    """Returns the number of a cell of CSV."""
    return float(cell) if str(cell) else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _beside(opened: folder.Folder, fused: Mapping[str, pathlib.Path]) -> folder.Folder:
    """Returns the folder with the consensus in the place of the truth."""
    layout = opened.layout
    if description.IGNORE not in layout.class_names:
        # Voxels on which nobody decided.
        names = (*layout.class_names, description.IGNORE)
        layout = dataclasses.replace(layout, class_names=names, class_ids=opened.class_ids)
    cases = {
        name: dataclasses.replace(opened.cases[name], truth=path) for name, path in fused.items()
    }
    return folder.Folder(layout, cases)


def _of_raters(
    performance: Mapping[str, Sequence[Sequence[Any]]], names: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Returns an entry for each rater, the farthest from the consensus first."""
    found: dict[str, dict[str, list[list[float]]]] = {}
    for name in names:
        for rater, _, _, *scores in performance[name]:
            own = found.setdefault(rater, {}).setdefault(name, [])
            own.append([np.nan if not str(cell) else float(cell) for cell in scores])
    entries = []
    for rater, by_case in found.items():
        rows = np.concatenate([np.array(own) for own in by_case.values()])
        means = [tabulate.summarise(column.tolist()).mean for column in rows.T]
        entries.append(
            {"rater": rater, "cases": len(by_case)} | dict(zip(_PERFORMANCE, means, strict=True))
        )
    return sorted(entries, key=lambda entry: (np.isnan(entry["dice"]), entry["dice"]))


def _finding(
    ranked: Sequence[str], dice: Mapping[str, float | None], raters: Sequence[Mapping[str, Any]]
) -> str:
    mean = _mean(list(dice.values()))
    if mean is None:
        return "No case has the labels of two raters."
    text = (
        f"Two raters of a case agree with a mean Dice of {mean:.3f}, "
        f"least on {ranked[0]} ({dice[ranked[0]]:.3f})."
    )
    if len(raters) > 1 and not np.isnan(raters[0]["dice"]):
        own = raters[0]
        text += f" Farthest from the consensus is {own['rater']} (Dice {own['dice']:.3f})."
    return text
