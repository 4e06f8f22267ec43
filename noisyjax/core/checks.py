"""Checks of static facts about arguments (shapes, ranks, names), with one form of message.

They look at nothing but shapes, dtypes and Python values, so they work under ``jit`` and ``vmap``.
"""

from collections.abc import Collection, Sequence
from typing import Any, TypeVar

import numpy as np

Value = TypeVar("Value")


def rank(name: str, array: Any, ranks: int | Collection[int]) -> None:
    """Raises unless an array has one of the given numbers of axes.

    Args:
      name: the argument's name, for the message.
      array: anything with a ``shape``.
      ranks: the allowed number of axes, or several.

    Raises:
      ValueError: if the rank is another.
    """
    allowed = (ranks,) if isinstance(ranks, int) else tuple(ranks)
    if len(array.shape) not in allowed:
        wanted = " or ".join(str(r) for r in allowed)
        raise ValueError(f"{name}: expected {wanted} axes, got shape {tuple(array.shape)}")


def shape(name: str, array: Any, expected: Sequence[int | None], *, like: str = "") -> None:
    """Raises unless an array has the expected shape.

    Args:
      name: the argument's name, for the message.
      array: anything with a ``shape``.
      expected: the shape; None stands for any size.
      like: where the expected shape comes from, for the message.

    Raises:
      ValueError: if the shape is another.

    >>> import numpy as np
    >>> shape("labels", np.zeros((3, 8, 8)), (None, 8, 9), like="logits")
    Traceback (most recent call last):
    ...
    ValueError: labels: expected shape [*, 8, 9] like logits, got [3, 8, 8]
    """
    actual = tuple(array.shape)
    fits = len(actual) == len(expected) and all(
        want is None or have == want for have, want in zip(actual, expected, strict=True)
    )
    if not fits:
        wanted = ", ".join("*" if size is None else str(size) for size in expected)
        source = f" like {like}" if like else ""
        raise ValueError(f"{name}: expected shape [{wanted}]{source}, got {list(actual)}")


def positive(name: str, value: float | int, *, or_zero: bool = False) -> None:
    """Raises unless a Python number is positive and finite.

    Args:
      name: the argument's name, for the message.
      value: a Python number.
      or_zero: whether zero is allowed as well.

    Raises:
      ValueError: if the number is negative, zero (unless allowed), infinite or not a number.
    """
    if not (0 < value < float("inf") or (or_zero and value == 0)):
        bound = ">= 0" if or_zero else "> 0"
        raise ValueError(f"{name}: expected a number {bound}, got {value}")


def at_least(name: str, value: int, least: int) -> None:
    """Raises unless a Python integer is large enough.

    Args:
      name: the argument's name, for the message.
      value: a Python integer.
      least: the smallest that is allowed.

    Raises:
      ValueError: if it is smaller.

    >>> at_least("num_classes", 1, 2)
    Traceback (most recent call last):
    ...
    ValueError: num_classes: expected at least 2, got 1
    """
    if not value >= least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")


def ids(name: str, array: Any, *, masks: bool = False) -> None:
    """Raises unless an array holds class ids: whole numbers.

    Args:
      name: the argument's name, for the message.
      array: anything with a ``dtype``.
      masks: whether a mask of bool will do as well.

    Raises:
      ValueError: if the dtype is another.

    >>> ids("labels", np.zeros(3))
    Traceback (most recent call last):
    ...
    ValueError: labels: expected integers (class ids), got float64
    """
    if np.dtype(array.dtype).kind not in ("biu" if masks else "iu"):
        also = " or bool (a mask)" if masks else ""
        raise ValueError(f"{name}: expected integers (class ids){also}, got {array.dtype}")


def one_of(name: str, value: Any, known: Collection[Any]) -> None:
    """Raises unless a value is one of the known ones.

    Args:
      name: the argument's name, for the message.
      value: what was asked for.
      known: the values that are possible.

    Raises:
      ValueError: naming what was asked for and what is known.

    >>> one_of("order", 3, (0, 1))
    Traceback (most recent call last):
    ...
    ValueError: order: expected one of 0, 1, got 3
    """
    if value not in known:
        listed = ", ".join(repr(k) for k in known)
        raise ValueError(f"{name}: expected one of {listed}, got {value!r}")


def lookup(name: str, key: str, registry: dict[str, Value]) -> Value:
    """Returns ``registry[key]``, or raises an error that lists the known names.

    Args:
      name: what the registry holds, for the message.
      key: the name asked for.
      registry: a literal dict.

    Returns:
      The entry.

    Raises:
      ValueError: if there is no such entry.
    """
    one_of(name, key, registry)
    return registry[key]
