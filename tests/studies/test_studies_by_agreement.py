"""Methods at low, medium and high agreement of the raters, of hand-made tables of cases."""

import math

import ml_collections
import numpy as np
import pytest

from noisyjax.metrics import tabulate
from noisyjax.studies import by_agreement, grid

# The raters' agreement on the test cases of seed 0 and of seed 1, drawn anew.
AGREEMENT = (
    {"a": 0.1, "b": 0.2, "c": 0.5, "d": 0.6, "e": 0.8, "f": 0.9},
    {"a": 0.9, "b": 0.2, "c": 0.5, "d": 0.6, "e": 0.8, "f": 0.1},
)


def _rows(agreement, dice):
    rows = [tabulate.Row(case, "", "rater_iou", value) for case, value in agreement.items()]
    for case in agreement:
        # Two classes, whose mean is `dice`.
        rows.append(tabulate.Row(case, "one", "dice", dice[case] - 0.1))
        rows.append(tabulate.Row(case, "two", "dice", dice[case] + 0.1))
    return [*rows, tabulate.Row("a", "", "nll", 3.0)]


def _outcome(folder, levels, seed, **data):
    data = {"name": "x", "options": {}, "panel": (), "panel_options": {}, "raters": ()} | data
    config = ml_collections.ConfigDict({"data": data})
    return grid.Outcome(grid.Cell(levels, seed, config, folder), {"test_dice": 0.5})


@pytest.fixture
def study(tmp_path):
    """Two methods and two seeds; the better method's Dice is the agreement, the other's half."""
    outcomes = []
    for method, factor in (("ours", 1.0), ("vote", 0.5)):
        for seed, agreement in enumerate(AGREEMENT):
            dice = {case: factor * value for case, value in agreement.items()}
            folder = f"{method}/seed{seed}"
            tabulate.write_rows(tmp_path / folder / "test_cases.csv", _rows(agreement, dice))
            outcomes.append(_outcome(folder, {"data": "x", "method": method}, seed))
    return tmp_path, outcomes


def test_thirds_by_hand():
    values = dict(zip("abcdefg", (0.7, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6), strict=True))
    assert by_agreement.divide(values) == {
        "b": "low", "c": "low", "d": "medium", "e": "medium", "f": "medium", "g": "high",
        "a": "high",
    }  # fmt: skip


def test_equal_numbers_stay_together():
    zeros = by_agreement.divide({"a": 0.0, "b": 0.0, "c": 0.0, "d": 0.5, "e": 1.0})
    assert zeros == {"a": "low", "b": "low", "c": "low", "d": "high", "e": "high"}
    assert by_agreement.divide({"a": 1.0, "b": 1.0}) == {"a": "medium", "b": "medium"}
    assert by_agreement.divide({"a": math.nan}) == {}


@pytest.mark.parametrize("count", [3, 10, 101])
def test_thirds_are_as_equal_as_can_be_and_in_order(count):
    values = dict(enumerate(np.random.default_rng(0).permutation(count) / count))
    division = by_agreement.divide(values)
    by_group = [
        [values[case] for case in values if division[case] == g] for g in by_agreement.GROUPS
    ]
    sizes = [len(group) for group in by_group]
    assert sum(sizes) == count
    assert max(sizes) - min(sizes) <= 1
    assert max(by_group[0]) < min(by_group[1])
    assert max(by_group[1]) < min(by_group[2])


def test_groups_read_one_metric():
    rows = _rows(AGREEMENT[0], AGREEMENT[0])
    expected = dict(zip("abcdef", np.repeat(by_agreement.GROUPS, 2), strict=True))
    assert by_agreement.groups(rows) == expected
    assert by_agreement.groups(rows, metric="nll") == {"a": "medium"}


def test_cases_of_all_seeds_in_the_groups_of_their_own_labels(study):
    ours, vote = by_agreement.summarise(*study, ["dice"])
    assert ours.levels == {"data": "x", "method": "ours"}
    # Case a is in the low group with seed 0 and in the high one with seed 1.
    expected = [tabulate.summarise([0.1, 0.2, 0.2, 0.1]), tabulate.summarise([0.8, 0.9, 0.9, 0.8])]
    for group, summary in zip(("low", "high"), expected, strict=True):
        for got in (ours.metrics["dice"][group], ours.agreement[group]):
            np.testing.assert_allclose(got, summary)
        half = vote.metrics["dice"][group]
        np.testing.assert_allclose((half.mean, half.sd), (summary.mean / 2, summary.sd / 2))
        assert vote.agreement[group] == ours.agreement[group]
    assert ours.highest == {"low": 0.2, "medium": 0.6, "high": 0.9}


def test_another_data_set_has_limits_of_its_own(study):
    workdir, outcomes = study
    agreement = {case: value / 10 for case, value in AGREEMENT[0].items()}
    tabulate.write_rows(workdir / "other/test_cases.csv", _rows(agreement, agreement))
    other = _outcome("other", {"data": "y", "method": "ours"}, 0, panel=("good", "over"))
    lines = by_agreement.summarise(workdir, [*outcomes, other], ["dice"])
    assert [line.highest["high"] for line in lines] == [0.9, 0.9, pytest.approx(0.09)]
    assert [line.agreement["low"].count for line in lines] == [4, 4, 2]


def test_report_is_a_table_and_bars(study):
    workdir, outcomes = study
    # Seeds are repetitions; a failed run has no table to read.
    failed = _outcome("none", {"data": "x", "method": "slow"}, 0)._replace(summary=None)
    headings, rows, figure = by_agreement.report(workdir, [*outcomes, failed], metrics=("dice",))
    assert headings == [
        "data", "method", "dice, low", "dice, medium", "dice, high", "cases", "IoU up to",
    ]  # fmt: skip
    assert rows[0] == [
        "x", "ours", "0.150 ± 0.058", "0.550 ± 0.058", "0.850 ± 0.058", "4 / 4 / 4",
        "0.20 / 0.60 / 0.90",
    ]  # fmt: skip
    assert [row[1] for row in rows] == ["ours", "vote"]
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_xticklabels()] == list(by_agreement.GROUPS)
    heights = [bar.get_height() for bar in axes.patches]
    np.testing.assert_allclose(heights, [0.15, 0.55, 0.85, 0.075, 0.275, 0.425])
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["ours", "vote"]
    assert axes.get_title() == "x"


def test_repeats_are_folded_and_other_axes_are_panels(study):
    workdir, outcomes = study
    folds = [
        o._replace(cell=o.cell._replace(levels={**o.cell.levels, "fold": str(o.cell.seed)}))
        for o in outcomes
    ]
    _, rows, figure = by_agreement.report(
        workdir, folds, metrics=("dice", "nll"), repeats=("fold",)
    )
    assert [row[:2] for row in rows] == [["x", "ours"], ["x", "vote"]]
    # Nobody measured nll but on case a.
    assert rows[0][5:8] == ["3.000", "–", "3.000"]
    assert len(figure.axes) == 2
    assert len(by_agreement.report(workdir, folds, metrics=("dice",))[1]) == 4


def test_without_agreement_there_are_no_groups(tmp_path):
    """One rater has nobody to agree with."""
    rows = _rows(dict.fromkeys("ab", math.nan), dict.fromkeys("ab", 0.5))
    tabulate.write_rows(tmp_path / "alone/test_cases.csv", rows)
    outcome = _outcome("alone", {"method": "ours"}, 0)
    _, rows, figure = by_agreement.report(tmp_path, [outcome], metrics=("dice",))
    assert rows == [["ours", "–", "–", "–", "0 / 0 / 0", "– / – / –"]]
    figure.canvas.draw()


def test_nothing_finished_is_an_empty_report(tmp_path):
    headings, rows, figure = by_agreement.report(tmp_path, [], metrics=("dice",))
    assert (headings, rows, figure.axes) == ([], [], [])
