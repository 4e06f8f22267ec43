import re

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from noisyjax import fusion
from noisyjax.core import checks
from noisyjax.metrics import overlap


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


@pytest.fixture
def as_users_have_it():
    """Without the type checks that only the tests switch on, which want device arrays."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def test_only_bool_is_a_mask():
    checks.masks(mask=np.zeros(2, bool), where=jnp.ones(3, bool), rater_mask=None)
    for dtype in (np.uint8, np.int32, np.float32):
        message = f"where: expected a mask (bool, such as labels == 1), got {np.dtype(dtype)}"
        with pytest.raises(ValueError, match=re.escape(message)):
            checks.masks(mask=np.zeros(2, bool), where=np.zeros(2, dtype))


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (2**32 + 1, "int64"),
        (-(2**31) - 1, "int64"),
        (2**32 + 1, "uint64"),
        (2**64 - 1, "uint64"),
    ],
)
def test_ids_of_more_than_32_bits_are_refused_and_not_cut_off(value, dtype, as_users_have_it):
    array = np.array([0, value], dtype)
    message = f"labels: expected class ids of 32 bits, got {value}"
    with pytest.raises(ValueError, match=message):
        checks.ids("labels", array)
    # JAX would make it class 1; so would a compiled function.
    for fuse in (fusion.staple, fusion.simple, fusion.jaccard_median, fusion.majority):
        with pytest.raises(ValueError, match=message):
            fuse(np.stack([array] * 3), 2)
    with pytest.raises(ValueError, match="pred: expected class ids of 32 bits"):
        overlap.counts(array, np.zeros(2, np.uint8), 2)


def test_ids_of_64_bits_in_the_range_of_32_pass():
    for value in (-(2**31), 2**31 - 1, 255):
        checks.ids("labels", np.array([0, value]))
    checks.ids("labels", np.zeros((0, 2), np.int64))
