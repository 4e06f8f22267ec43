"""The report on raters as a page."""

import math

from noisyjax.tool import folder
from noisyjax.tool.page import gallery, page
from noisyjax.tool.raters import compare, rater_tables, rater_votes

_CASES = (
    page.Column("case", "case"),
    page.Column("raters", "raters", "number"),
    page.Column("dice", "Dice of pairs", "number"),
    page.Column("fleiss_kappa", "Fleiss' κ", "number"),
    page.Column("krippendorff_alpha", "Krippendorff's α", "number"),
    page.Column("least", "least alike"),
)
_NUMBERS = (
    page.Column("cases", "cases", "number"),
    page.Column("dice", "Dice", "number"),
    page.Column("hd95", "HD95 [mm]", "number"),
    page.Column("assd", "ASSD [mm]", "number"),
    page.Column("nsd", "NSD", "number"),
    page.Column("volume_difference", "volume diff. [ml]", "number"),
)
_RATERS = (
    page.Column("rater", "rater"),
    *_NUMBERS,
    page.Column("sensitivity", "sensitivity", "number"),
    page.Column("specificity", "specificity", "number"),
    page.Column("dice_to_others", "Dice to others", "number"),
)
_PAIRS = (
    page.Column("first", "first"),
    page.Column("second", "second"),
    *_NUMBERS,
    page.Column("cohen_kappa", "Cohen's κ", "number"),
)


def make(report: compare.Report, opened: folder.Folder) -> page.Page:
    """Returns the page of a report on a folder, its cases of least agreement first."""
    reference = f"reference ({report.settings.reference})"

    def labels(name: str) -> gallery.Labels:
        case = opened.read(name)
        drawn = opened.by_rater(case)
        drawn[reference] = report.reference.of_image(*rater_votes.with_truth(case))
        return gallery.Labels(drawn, case.spacing)

    entries = rater_tables.case_entries(report)
    return page.Page(
        title=f"Agreement of the raters of {opened.root.name}",
        done=_done(report),
        finding=_finding(report, entries),
        tables=_tables(report, entries),
        cases=gallery.make(opened, [entry["case"] for entry in entries], labels),
    )


def _done(report: compare.Report) -> str:
    return (
        f"The labels of {len(report.counted)} raters on {len(report.cases)} cases were compared "
        f"with each other and with an estimate of the truth ({report.settings.reference}). "
        f"Agreement beyond chance is counted on {rater_tables.region(report.settings)}."
    )


def _finding(report: compare.Report, entries: list[dict]) -> str:
    known = [entry for entry in entries if not math.isnan(entry["dice"])]
    if not known:
        return "No case has the labels of two raters."
    mean = sum(entry["dice"] for entry in known) / len(known)
    text = f"Two raters of a case agree with a mean Dice of {mean:.3f}"
    if not math.isnan(report.kappa):
        text += f" (Fleiss' κ {report.kappa:.3f})"
    text += f", least on {known[0]['case']} ({known[0]['dice']:.3f})."
    raters = [e for e in rater_tables.rater_entries(report) if not math.isnan(e["dice_to_others"])]
    if len(raters) > 2:
        least = min(raters, key=lambda entry: entry["dice_to_others"])
        text += f" Farthest from the others is {least['rater']} ({least['dice_to_others']:.3f})."
    return text


def _tables(report: compare.Report, entries: list[dict]) -> list[page.Table]:
    shown = [{**entry, "least": " and ".join(entry.get("least_alike", ()))} for entry in entries]
    tables = [
        page.of_entries("Cases, the least agreement first", shown, _CASES),
        page.of_entries(
            "Raters beside the reference",
            rater_tables.rater_entries(report),
            _measured(report, _RATERS),
        ),
    ]
    for title, own in (
        ("Pairs of raters", rater_tables.pair_entries(report)),
        ("Raters beside their own second labels", rater_tables.repeat_entries(report)),
    ):
        if own:
            tables.append(page.of_entries(title, own, _measured(report, _PAIRS)))
    return tables


def _measured(report: compare.Report, columns: tuple[page.Column, ...]) -> list[page.Column]:
    """Leaves out distances that were not measured."""
    left_out = set(compare.DISTANCES) - set(report.values)
    return [column for column in columns if column.name not in left_out]
