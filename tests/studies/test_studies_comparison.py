"""Paired comparisons of hand-made outcomes."""

import numpy as np
import pytest
from scipy import stats

from noisyjax.studies import comparison, grid

DICE = {("0", "x"): (0.5, 0.6, 0.7), ("0", "y"): (0.4, 0.4, 0.65), ("1", "x"): (0.1, 0.2, 0.3)}


def _outcomes():
    out = []
    for (a, method), values in DICE.items():
        for fold, value in enumerate(values):
            cell = grid.Cell({"a": a, "method": method, "fold": str(fold)}, 0, None, "")
            out.append(grid.Outcome(cell, {"dice": value}))
    return out


def _compare(outcomes, **options):
    return comparison.compare(
        outcomes, field="dice", axis="method", pairs=(("x", "y"),), repeats=("fold",), **options
    )


def test_pairs_are_the_folds_that_both_have():
    first, second = _compare(_outcomes())
    assert (first.levels, first.first, first.second) == ({"a": "0"}, "x", "y")
    expected = stats.ttest_rel(DICE["0", "x"], DICE["0", "y"]).pvalue
    np.testing.assert_allclose(first.result.p_value, expected)
    assert first.result.difference == pytest.approx((0.1 + 0.2 + 0.05) / 3)
    # Of the other strength only one method was run, so nothing is tested or corrected for.
    assert second.result.count == 0
    np.testing.assert_allclose(first.adjusted, expected)


def test_a_failed_run_leaves_its_partner_out():
    outcomes = _outcomes()
    outcomes[4] = outcomes[4]._replace(summary=None, error="no luck")
    assert _compare(outcomes)[0].result.count == 2


def test_rows_are_text():
    row = comparison.rows(_compare(_outcomes(), test="wilcoxon"))[0]
    assert row == ["0", "x − y", "3", "+0.1167", "0.0764", "0.25", "0.25"]
    assert len(row) == 1 + len(comparison.HEADINGS)
