"""Tests between methods: SciPy does the tests, this does the bookkeeping.

Two methods that were trained on the same folds, seeds or cases are compared pair by pair; several
comparisons together are corrected after Holm.

A value that counts and is NaN shows, as in `noisyjax.losses`: callers say that undefined ones are
left out (`skip_undefined`), and `Comparison.count` says how many were not.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Float

from noisyjax.core import checks


class Comparison(NamedTuple):
    """How two sets of values differ.

    Attributes:
      difference: mean of the first less mean of the second.
      sd: standard deviation of the difference (n - 1); of the pairs' differences, or pooled.
      p_value: two-sided; NaN where the test is undefined.
      count: number of pairs, or the smaller number of values.
    """

    difference: float
    sd: float
    p_value: float
    count: int


def _t(first: np.ndarray, second: np.ndarray) -> float:
    return float(scipy.stats.ttest_rel(first, second).pvalue)


def _wilcoxon(first: np.ndarray, second: np.ndarray) -> float:
    return float(scipy.stats.wilcoxon(first, second).pvalue)


PAIRED = {"t": _t, "wilcoxon": _wilcoxon}


def paired(
    first: Sequence[float | int],
    second: Sequence[float | int],
    *,
    test: str = "t",
    skip_undefined: bool = False,
) -> Comparison:
    """Compares two methods over the same folds, seeds or cases.

    Where all differences are equal no test is defined: p is 1 if they are zero, else NaN.

    Args:
      second: values of the other, in the same order.
      skip_undefined: whether a pair with an undefined value (NaN) is left out; else it makes
        difference, sd and p NaN.
      test: "t", for differences that are roughly normal, or "wilcoxon" (signed ranks), whose
        smallest p-value is 2 / 2^n: five folds cannot be significant at 0.05 by it.

    >>> paired([0.8, 0.7, 0.9], [0.7, 0.5, 0.9]).difference
    0.1
    """
    run = checks.lookup("test", test, PAIRED)
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.shape != other.shape or one.ndim != 1:
        raise ValueError(f"second: expected {one.shape} values like first, got {other.shape}")
    known = ~(np.isnan(one) | np.isnan(other))
    if skip_undefined:
        one, other = one[known], other[known]
    elif not known.all():
        return Comparison(math.nan, math.nan, math.nan, len(one))
    if not len(one):
        return Comparison(math.nan, math.nan, math.nan, 0)
    difference = one - other
    sd = float(difference.std(ddof=1)) if len(one) > 1 else math.nan
    if len(one) < 2 or np.ptp(difference) == 0:
        p_value = 1.0 if not difference.any() and len(one) > 1 else math.nan
    else:
        p_value = run(one, other)
    return Comparison(round(float(difference.mean()), 12), sd, p_value, len(one))


def unpaired(
    first: Sequence[float | int],
    second: Sequence[float | int],
    *,
    equal_variance: bool = True,
    skip_undefined: bool = False,
) -> Comparison:
    """Compares two independent sets of values by the two-sample t-test.

    It is Student's test, or Welch's if the variances are not taken to be equal. p is NaN where a
    set has fewer than two values. Where neither set varies no test is defined: p is 1 if they are
    equal, else NaN. Undefined values (NaN) make all NaN, or are left out with `skip_undefined`.

    >>> round(unpaired([1, 2, 3], [2, 4, 6]).p_value, 4)
    0.1963
    """
    one, other = (np.asarray(values, np.float64) for values in (first, second))
    if skip_undefined:
        one, other = one[~np.isnan(one)], other[~np.isnan(other)]
    undefined = np.isnan(one).any() or np.isnan(other).any()
    if undefined or min(len(one), len(other)) < 2:
        return Comparison(math.nan, math.nan, math.nan, min(len(one), len(other)))
    difference = float(one.mean() - other.mean())
    if np.ptp(one) == 0 and np.ptp(other) == 0:
        p_value = 1.0 if one[0] == other[0] else math.nan
    else:
        # Of the moments: from values, SciPy warns of a set that does not vary.
        moments = [f for v in (one, other) for f in (v.mean(), v.std(ddof=1), len(v))]
        test = scipy.stats.ttest_ind_from_stats(*moments, equal_var=equal_variance)
        p_value = float(test.pvalue)
    squares = sum(((values - values.mean()) ** 2).sum() for values in (one, other))
    sd = math.sqrt(squares / (len(one) + len(other) - 2))
    return Comparison(difference, sd, p_value, min(len(one), len(other)))


def holm(p_values: Sequence[float | int]) -> Float[np.ndarray, "T"]:
    """Corrects p-values ``[T]`` for being several (Holm 1979): controls the family-wise error.

    The adjusted ones, ``[T]``, are to be compared with the level itself. An undefined one (NaN)
    stays so and does not count.

    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    given = np.asarray(p_values, np.float64)
    adjusted = np.full(given.shape, np.nan)
    known = np.flatnonzero(~np.isnan(given))
    rising = known[np.argsort(given[known], kind="stable")]
    factors = len(rising) - np.arange(len(rising))
    adjusted[rising] = np.minimum(np.maximum.accumulate(given[rising] * factors), 1.0)
    return adjusted


def mean_interval(
    values: Float[np.ndarray, "n *C"],
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[Float[np.ndarray, "*C"], Float[np.ndarray, "*C"]]:
    """Returns the limits of a mean over cases, by the percentiles of cases drawn anew.

    So many cases as there are are drawn with replacement (Efron 1979), the same ones for every
    column. NaN with fewer than two defined values, or infinite ones.

    Args:
      values: a row for each case, ``[n, *C]``; an undefined one (NaN) is left out of the means.
      level: of confidence.
      draws: how often.

    >>> low, high = mean_interval(np.array([0.5, 0.6, 0.7, 0.8, 0.9]))
    >>> bool(0.5 < low < 0.7 < high < 0.9)
    True
    """
    if not 0 < level < 1:
        raise ValueError(f"level: expected a number in (0, 1), got {level}")
    checks.positive("draws", draws)
    checks.positive("seed", seed, or_zero=True)
    count, *shape = values.shape
    table = values.reshape(count, -1)
    known = ~np.isnan(table)
    usable = (known.sum(axis=0) > 1) & ~np.isinf(table).any(axis=0)
    times = np.random.default_rng(seed).multinomial(count, [1 / count] * count, size=draws)
    total = times @ np.where(known & usable, table, 0.0)
    number = times @ known.astype(float)
    means = np.where(number > 0, total / np.maximum(number, 1), np.nan)
    limits = np.full((2, table.shape[1]), np.nan)
    if usable.any():
        edges = [(1 - level) / 2, (1 + level) / 2]
        limits[:, usable] = np.nanquantile(means[:, usable], edges, axis=0)
    return limits[0].reshape(shape), limits[1].reshape(shape)
