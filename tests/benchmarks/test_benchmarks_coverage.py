"""Coverage of margins over random divisions of cases."""

import numpy as np
import pytest

from noisyjax.benchmarks import coverage
from noisyjax.tool.training import guarantee


def _judged(dilations, lost):
    """A case of one class that needs so many dilations, and misses all above a probability."""
    losses = [float(threshold > lost) for threshold in guarantee.THRESHOLDS]
    return guarantee.Judged(np.full((1, len(guarantee.SHARES)), dilations), np.array([losses]))


def test_every_division_calibrates_with_some_cases_and_tests_the_others():
    cases = [_judged(float(i % 10), 0.5) for i in range(40)]
    options = {"cases": 19, "splits": 3, "alphas": (0.1, 0.5), "share": 0.9, "seed": 0}
    first, second = coverage.rows(cases, cases, decision="argmax", **options)
    assert (first.label, first.alpha, second.alpha) == (1, 0.1, 0.5)
    assert len(first.covered) == len(first.dilations) == len(first.thresholds) == 3
    draw = np.random.default_rng(0)
    for split, count in enumerate(first.dilations):
        order = draw.permutation(40)
        # The ceil(20 * .9)-th smallest.
        assert count == sorted(i % 10 for i in order[:19])[17]
        assert first.covered[split] == sum(i % 10 <= count for i in order[19:])
    # 21 tests at 9 of 10.
    assert first.interval == (16, 21)
    assert first.law[0] < first.interval[0]
    # (19 * 0 + 1) / 20 is .1 at most where nothing is missed.
    assert (first.thresholds, first.missed) == ((0.5,) * 3, (0.0,) * 3)


def test_too_few_cases_are_named():
    cases = [_judged(0.0, 0.5)] * 9
    options = {"cases": 8, "splits": 1, "alphas": (0.1,), "share": 0.9, "seed": 0}
    with pytest.raises(ValueError, match=r"margin: 0\.1 needs at least 9 cases"):
        coverage.rows(cases, cases, decision="argmax", **options)
