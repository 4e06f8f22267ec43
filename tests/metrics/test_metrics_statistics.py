"""Comparisons against hand-worked values and published examples."""

import math

import numpy as np
import pytest
from scipy import stats

from noisyjax.metrics import statistics


def test_paired_t_is_that_of_the_differences():
    first, second = [0.91, 0.88, 0.93, 0.90], [0.89, 0.87, 0.90, 0.90]
    result = statistics.paired(first, second)
    difference = np.subtract(first, second)
    t = difference.mean() / (difference.std(ddof=1) / 2)
    assert result.p_value == pytest.approx(2 * stats.t.sf(t, 3))
    assert result.difference == pytest.approx(0.015)
    assert result.count == 4


def test_wilcoxon_of_five_folds_is_at_least_a_sixteenth():
    result = statistics.paired([1, 2, 3, 4, 5.5], [0, 0, 0, 0, 0], test="wilcoxon")
    assert result.p_value == pytest.approx(1 / 16)


def test_pairs_with_an_undefined_value_are_left_out():
    pairs = [1.0, math.nan, 3.0], [0.0, 1.0, 0.0]
    result = statistics.paired(*pairs, skip_undefined=True)
    assert (result.count, result.difference) == (2, 2.0)


def test_an_undefined_value_that_counts_shows():
    undefined = (math.nan,) * 3
    for test in statistics.PAIRED:
        result = statistics.paired([1.0, math.nan, 3.0], [0.0, 1.0, 0.0], test=test)
        np.testing.assert_equal(tuple(result), (*undefined, 3))
        # Beside a distance that both do not have, too.
        result = statistics.paired([math.inf, math.nan, 3.0], [math.inf, 1.0, 0.0], test=test)
        np.testing.assert_equal(tuple(result), (*undefined, 3))
    for pair in (([1, 2, 3], [2, math.nan]), ([math.nan, 2], [1, 2, 3])):
        np.testing.assert_equal(tuple(statistics.unpaired(*pair)), (*undefined, 2))


@pytest.mark.parametrize(
    ("first", "second", "p_value"),
    [([1, 1], [1, 1], 1.0), ([2, 2], [1, 1], math.nan), ([1], [0], math.nan), ([], [], math.nan)],
)
def test_where_no_test_is_defined(first, second, p_value):
    np.testing.assert_equal(statistics.paired(first, second).p_value, p_value)


def test_unequal_numbers_and_unknown_tests_are_refused():
    with pytest.raises(ValueError, match="second: expected"):
        statistics.paired([1, 2], [1])
    with pytest.raises(ValueError, match="wilcoxon"):
        statistics.paired([1, 2], [1, 3], test="sign")


def test_welch_and_student_differ_for_unequal_variances():
    first, second = [1.0, 2.0, 3.0, 4.0], [1.0, 11.0, 21.0]
    student = statistics.unpaired(first, second)
    welch = statistics.unpaired(first, second, equal_variance=False)
    assert student.p_value == pytest.approx(stats.ttest_ind(first, second).pvalue)
    assert welch.p_value > student.p_value
    assert student.difference == pytest.approx(2.5 - 11.0)
    assert math.isnan(statistics.unpaired([1.0], second).p_value)


def test_two_sample_t_by_hand():
    # Means 2 and 4, squares 2 and 8 over 4 degrees of freedom: t^2 = 4 / (2.5 * 2 / 3) = 2.4. For
    # four degrees of freedom p = 1 - x (3 - x^2) / 2 with x^2 = t^2 / (4 + t^2) = 0.375.
    result = statistics.unpaired([1, 2, 3, math.nan], [2, 4, 6], skip_undefined=True)
    assert result.p_value == pytest.approx(1 - 0.375**0.5 * 2.625 / 2)
    assert (result.difference, result.sd, result.count) == (-2.0, 2.5**0.5, 3)


def test_two_samples_that_do_not_vary():
    assert statistics.unpaired([0.9, 0.9], [0.9, 0.9, 0.9]).p_value == 1.0
    assert math.isnan(statistics.unpaired([1, 1], [2, 2]).p_value)
    # One that does not: the other's variance is left.
    one = statistics.unpaired([1, 1, 1], [1, 2, 3])
    assert one.p_value == pytest.approx(2 * stats.t.sf(3**0.5, 4))


def test_holm_by_hand():
    # Sorted .005 .01 .03 .04 times 4 3 2 1 = .02 .03 .06 .04, then made to rise.
    adjusted = statistics.holm([0.01, 0.04, math.nan, 0.03, 0.005])
    np.testing.assert_allclose(adjusted, [0.03, 0.06, math.nan, 0.06, 0.02])
    assert statistics.holm([0.6, 0.9]).tolist() == [1.0, 1.0]
    assert statistics.holm([]).shape == (0,)


def test_intervals_of_means_are_those_of_normal_values():
    values = np.random.default_rng(0).standard_normal(400)
    low, high = statistics.mean_interval(values, draws=4000)
    half = 1.96 * values.std() / np.sqrt(400)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)
    inner = statistics.mean_interval(values, level=0.5)
    assert low < inner[0] < inner[1] < high


def test_intervals_draw_the_same_cases_for_every_column():
    values = np.random.default_rng(0).random(20)
    low, high = statistics.mean_interval(np.stack([values, 1 - values], axis=1), draws=500)
    assert low[0] == pytest.approx(1 - high[1])
    assert statistics.mean_interval(values, draws=500)[0] == pytest.approx(low[0])


def test_undefined_values_are_left_out_of_intervals():
    table = np.array([[0.5, np.nan, np.inf, 0.2], [0.5, 1.0, 1.0, np.nan], [0.5, np.nan, 0.0, 0.4]])
    low, high = statistics.mean_interval(table)
    assert (low[0], high[0]) == pytest.approx((0.5, 0.5))
    assert np.isnan([low[1], high[1], low[2], high[2]]).all()
    assert (low[3], high[3]) == pytest.approx((0.2, 0.4))


def test_bad_options_of_intervals_are_named():
    with pytest.raises(ValueError, match=r"level: expected a number in \(0, 1\), got 1"):
        statistics.mean_interval(np.zeros(3), level=1.0)
    with pytest.raises(ValueError, match="draws: expected a number > 0, got 0"):
        statistics.mean_interval(np.zeros(3), draws=0)
