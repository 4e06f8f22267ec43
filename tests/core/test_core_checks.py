import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.core import checks


def test_what_is_right_passes():
    array = np.zeros((2, 3, 4))
    checks.rank("x", array, 3)
    checks.rank("x", array, (2, 3))
    checks.shape("x", array, (None, 3, 4))
    checks.positive("x", 0.5)
    checks.positive("x", 0, or_zero=True)
    checks.one_of("x", "a", ("a", "b"))
    assert checks.lookup("x", "a", {"a": 1}) == 1


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (
            lambda: checks.rank("mask", np.zeros((2, 3)), (3, 4)),
            "mask: expected 3 or 4 axes, got shape (2, 3)",
        ),
        (
            lambda: checks.shape("labels", np.zeros((2, 3)), (None, 4), like="logits"),
            "labels: expected shape [*, 4] like logits, got [2, 3]",
        ),
        (
            lambda: checks.shape("labels", np.zeros((2, 3)), (2, 3, 1)),
            "labels: expected shape [2, 3, 1], got [2, 3]",
        ),
        (lambda: checks.positive("width", 0), "width: expected a number > 0, got 0"),
        (lambda: checks.positive("width", -1, or_zero=True), "width: expected a number >= 0"),
        (lambda: checks.positive("width", float("nan")), "width: expected a number > 0, got nan"),
        (lambda: checks.one_of("order", 3, (0, 1)), "order: expected one of 0, 1, got 3"),
        (
            lambda: checks.lookup("names", "bad", {"good": 1, "over": 2}),
            "names: expected one of 'good', 'over', got 'bad'",
        ),
    ],
)
def test_what_is_wrong_raises_naming_argument_expectation_and_value(check, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check()


def test_checks_work_while_tracing():
    @jax.jit
    def traced(x):
        checks.rank("x", x, 2)
        checks.shape("x", x, (2, None))
        return x

    assert traced(jnp.zeros((2, 3))).shape == (2, 3)
    with pytest.raises(ValueError, match="x: expected shape"):
        traced(jnp.zeros((3, 3)))
