"""The report on raters as tables, CSV files and one object for JSON."""

import itertools
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from noisyjax.core import files
from noisyjax.metrics import tabulate
from noisyjax.tool.raters import compare

# How many cases the report names as those of least agreement.
WORST = 5

_HEADS = {
    "dice": "Dice",
    "hd95": "HD95 [mm]",
    "assd": "ASSD [mm]",
    "nsd": "NSD",
    "volume_difference": "volume diff. [ml]",
    "volume_ratio": "log2 volume ratio",
}
_REGIONS = {
    "union-dilated": "the union of all masks of a case, dilated by {margin:g} mm",
    "union": "the union of all masks of a case",
    "all": "all voxels",
}


def region(settings: compare.Settings) -> str:
    """Returns on which voxels agreement by chance was counted, in words."""
    return _REGIONS[settings.region].format(margin=settings.margin)


def _mean(values: Float[np.ndarray, "... C"]) -> Float[np.ndarray, "..."]:
    """Returns the mean over the last axis of what is defined, NaN if nothing is."""
    known = ~np.isnan(values)
    total, count = np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _summary(values: Float[np.ndarray, "N C"], there: np.ndarray) -> tabulate.Summary:
    """Returns mean and standard deviation over the cases of the mean over the classes."""
    return tabulate.summarise(_mean(values)[there].tolist())


def _numbers(
    report: compare.Report, values: dict[str, Float[np.ndarray, "N C"]], there: np.ndarray
) -> dict[str, Any]:
    """Returns mean, standard deviation and number of undefined cases of each metric."""
    entry = {}
    for name, table in values.items():
        summary = _summary(table, there)
        entry |= {name: summary.mean, f"{name}_sd": summary.sd}
        entry[f"{name}_undefined"] = summary.undefined
        if len(report.classes) > 1:
            each = _mean(table[there].T)
            entry |= {
                f"{name}/{label}": float(x) for label, x in zip(report.classes, each, strict=True)
            }
    return entry


def _by_class(report: compare.Report, values: Float[np.ndarray, "C"]) -> dict[str, float]:
    return {label: float(value) for label, value in zip(report.classes, values, strict=True)}


def _others(report: compare.Report, r: int, metric: str) -> Float[np.ndarray, "N C"]:
    """Returns the mean over the other raters of the case."""
    others = [s for s in report.counted if s != r]
    return _mean(np.moveaxis(report.values[metric][:, r, others], 1, -1))


def rater_entries(report: compare.Report) -> list[dict[str, Any]]:
    """Returns the numbers of each rater over their cases: beside the reference, and to others."""
    entries = []
    for r in report.counted:
        there = report.rater_masks[:, r]
        entry = {"rater": report.raters[r], "cases": int(there.sum())}
        for name in ("sensitivity", "specificity"):
            rates = getattr(report, name)[r]
            entry[name] = float(_mean(rates))
            if len(report.classes) > 1:
                entry |= {f"{name}/{k}": v for k, v in _by_class(report, rates).items()}
        beside = {name: table[:, r, -1] for name, table in report.values.items()}
        beside["volume"] = report.volumes[:, r]
        symmetric = [name for name in report.values if not name.startswith("volume")]
        beside |= {f"{name}_to_others": _others(report, r, name) for name in symmetric}
        entries.append(entry | _numbers(report, beside, there))
    return entries


def _pair(report: compare.Report, r: int, s: int) -> dict[str, Any]:
    there = report.rater_masks[:, r] & report.rater_masks[:, s]
    values = {name: table[:, r, s] for name, table in report.values.items()}
    entry = {"first": report.raters[r], "second": report.raters[s], "cases": int(there.sum())}
    entry["cohen_kappa"] = float(report.cohen[r, s])
    return entry | _numbers(report, values, there)


def pair_entries(report: compare.Report) -> list[dict[str, Any]]:
    """Returns the numbers of each pair of raters over the cases that both labelled."""
    return [_pair(report, r, s) for r, s in itertools.combinations(report.counted, 2)]


def repeat_entries(report: compare.Report) -> list[dict[str, Any]]:
    """Returns the numbers of each rater beside their own second labels."""
    names = report.raters
    pairs = report.settings.repeats.items()
    return [_pair(report, names.index(one), names.index(again)) for one, again in pairs]


def group_entries(report: compare.Report) -> list[dict[str, Any]]:
    """Returns the numbers within each group of raters and between groups."""
    groups = {
        name: [report.raters.index(member) for member in members]
        for name, members in report.settings.groups.items()
    }
    entries = []
    for one, other in itertools.combinations_with_replacement(groups, 2):
        pairs = list(itertools.product(groups[one], groups[other]))
        if one == other:
            pairs = list(itertools.combinations(groups[one], 2))
        pairs = [(r, s) for r, s in pairs if r != s]
        entry = {"first": one, "second": other, "pairs": len(pairs)}
        if one == other:
            kappa, alpha = report.group_agreement[one]
            entry |= {"fleiss_kappa": kappa, "krippendorff_alpha": alpha}
        if pairs:
            first, second = zip(*pairs, strict=True)
            values = {
                name: _mean(np.moveaxis(table[:, first, second], 1, -1))
                for name, table in report.values.items()
                if not name.startswith("volume")
            }
            entry |= _numbers(report, values, np.ones(len(report.cases), bool))
        entries.append(entry)
    return entries


def case_entries(report: compare.Report) -> list[dict[str, Any]]:
    """Returns the numbers of each case, the least agreement first."""
    pairs = list(itertools.combinations(report.counted, 2))
    first, second = zip(*pairs, strict=True) if pairs else ((), ())
    dice = _mean(report.values["dice"][:, first, second])
    of_case = _mean(dice)
    entries = []
    for n in np.argsort(of_case, kind="stable"):
        entry = {
            "case": report.cases[n],
            "raters": int(report.rater_masks[n, list(report.counted)].sum()),
            "dice": float(of_case[n]),
            "fleiss_kappa": float(report.case_kappa[n]),
            "krippendorff_alpha": float(report.case_alpha[n]),
            "conformity_index": _by_class(report, report.case_conformity[n]),
        }
        if not np.isnan(of_case[n]):
            pair = pairs[int(np.nanargmin(dice[n]))]
            entry["least_alike"] = [report.raters[i] for i in pair]
        entries.append(entry)
    return entries


def overall(report: compare.Report) -> dict[str, Any]:
    """Returns the agreement of all raters: over all cases together, and as mean over cases."""
    means = _mean(report.case_conformity.T)
    return {
        "fleiss_kappa": report.kappa,
        "fleiss_kappa_mean_over_cases": tabulate.summarise(report.case_kappa.tolist()).mean,
        "krippendorff_alpha": report.alpha,
        "krippendorff_alpha_mean_over_cases": tabulate.summarise(report.case_alpha.tolist()).mean,
        "conformity_index": _by_class(report, report.conformity),
        "conformity_index_mean_over_cases": _by_class(report, means),
        "icc_of_volumes": _by_class(report, report.icc),
    }


def case_rows(report: compare.Report) -> Iterator[tuple[str, str, str, str, str, float]]:
    """Yields each number of a case: case, first, second, class, metric, value."""
    names = (*report.raters, report.settings.reference)
    present = np.pad(report.rater_masks, ((0, 0), (0, 1)), constant_values=True)
    for n, case in enumerate(report.cases):
        yield case, "", "", "", "fleiss_kappa", float(report.case_kappa[n])
        yield case, "", "", "", "krippendorff_alpha", float(report.case_alpha[n])
        for c, label in enumerate(report.classes):
            yield case, "", "", label, "conformity_index", float(report.case_conformity[n, c])
            for r in np.flatnonzero(present[n]):
                yield case, names[r], "", label, "volume", float(report.volumes[n, r, c])
            for r, s in itertools.combinations(np.flatnonzero(present[n]), 2):
                for metric, table in report.values.items():
                    yield case, names[r], names[s], label, metric, float(table[n, r, s, c])


_CASE_COLUMNS = ("case", "first", "second", "class", "metric", "value")


def to_json(report: compare.Report) -> dict[str, Any]:
    """Returns all numbers of a report in dicts and lists."""
    return {
        "settings": vars(report.settings) | {"region_in_words": region(report.settings)},
        "classes": report.classes,
        "overall": overall(report),
        "raters": rater_entries(report),
        "pairs": pair_entries(report),
        "repeats": repeat_entries(report),
        "groups": group_entries(report),
        "cases": case_entries(report),
        "values": [dict(zip(_CASE_COLUMNS, row, strict=True)) for row in case_rows(report)],
    }


def _csv(entries: Sequence[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for entry in entries for name in entry))
    return files.to_csv(columns, ([entry.get(name, "") for name in columns] for entry in entries))


def write_csv(report: compare.Report, out: str | os.PathLike) -> None:
    """Writes ``raters.csv`` (a row per rater), ``pairs.csv`` and ``cases.csv``."""
    out = pathlib.Path(out)
    files.write_text(out / "raters.csv", _csv(rater_entries(report)))
    files.write_text(out / "pairs.csv", _csv(pair_entries(report)))
    files.write_text(out / "cases.csv", files.to_csv(_CASE_COLUMNS, case_rows(report)))


def _cell(entry: dict[str, Any], name: str, digits: int = 3) -> str:
    value, sd = entry.get(name, np.nan), entry.get(f"{name}_sd", np.nan)
    if np.isnan(value):
        return "–"
    return f"{value:.{digits}f}" + ("" if np.isnan(sd) else f" ± {sd:.{digits}f}")


def tables(report: compare.Report) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Yields what the terminal shows: title, headings and rows of one table after the other."""
    metrics = [name for name in _HEADS if name in report.values]
    digits = {"hd95": 2, "assd": 2, "volume_difference": 2, "volume_ratio": 2}

    def cells(entry: dict[str, Any]) -> list[str]:
        return [_cell(entry, name, digits.get(name, 3)) for name in metrics]

    heads = [_HEADS[name] for name in metrics]
    body = [
        [entry["rater"], str(entry["cases"]), _cell(entry, "sensitivity")]
        + [_cell(entry, "specificity"), *cells(entry), _cell(entry, "dice_to_others")]
        for entry in rater_entries(report)
    ]
    title = f"Raters beside the reference ({report.settings.reference}), mean ± sd over cases"
    head = ["rater", "cases", "sensitivity", "specificity", *heads, "Dice to others"]
    yield title, head, body
    for title, entries in (("Pairs", pair_entries(report)), ("Repeats", repeat_entries(report))):
        if entries:
            body = [
                [entry["first"], entry["second"], str(entry["cases"]), *cells(entry)]
                + [_cell(entry, "cohen_kappa")]
                for entry in entries
            ]
            yield title, ["first", "second", "cases", *heads, "Cohen's κ"], body
    if groups := group_entries(report):
        body = [
            [entry["first"], entry["second"], str(entry["pairs"]), *cells(entry)]
            + [_cell(entry, "fleiss_kappa"), _cell(entry, "krippendorff_alpha")]
            for entry in groups
        ]
        head = ["group", "group", "pairs", *heads, "Fleiss' κ", "Krippendorff's α"]
        yield "Groups, within and between", head, body
    yield "Agreement of all raters", ["", "all cases together", "mean over cases"], _all(report)
    worst = [
        [entry["case"], str(entry["raters"]), _cell(entry, "dice"), _cell(entry, "fleiss_kappa")]
        + [" and ".join(entry.get("least_alike", ()))]
        for entry in case_entries(report)[:WORST]
    ]
    yield "Cases of least agreement", ["case", "raters", "Dice", "Fleiss' κ", "least alike"], worst


def _all(report: compare.Report) -> list[list[str]]:
    numbers = overall(report)
    body = [
        [title, _cell(numbers, name), _cell(numbers, f"{name}_mean_over_cases")]
        for title, name in (
            ("Fleiss' κ", "fleiss_kappa"),
            ("Krippendorff's α", "krippendorff_alpha"),
        )
    ]
    for label in report.classes:
        pooled, mean = numbers["conformity_index"], numbers["conformity_index_mean_over_cases"]
        body.append([f"conformity index, {label}", _cell(pooled, label), _cell(mean, label)])
    for label in report.classes:
        body.append([f"ICC(2,1) of volumes, {label}", _cell(numbers["icc_of_volumes"], label), ""])
    return body
