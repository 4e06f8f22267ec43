"""Checks of static facts about arguments (shapes, ranks, names), with one form of message.

All raise ValueError; `name` is that of the argument, for the message. They look at nothing but
shapes, dtypes and Python values, so they work under ``jit`` and ``vmap``.
"""

from collections.abc import Collection, Sequence
from typing import Any, TypeVar

import numpy as np

Value = TypeVar("Value")


def rank(name: str, array: Any, ranks: int | Collection[int]) -> None:
    """Raises unless anything with a ``shape`` has the given number of axes, or one of several."""
    allowed = (ranks,) if isinstance(ranks, int) else tuple(ranks)
    if len(array.shape) not in allowed:
        wanted = " or ".join(str(r) for r in allowed)
        raise ValueError(f"{name}: expected {wanted} axes, got shape {tuple(array.shape)}")


def shape(name: str, array: Any, expected: Sequence[int | None], *, like: str = "") -> None:
    """Raises unless an array has the expected shape, where None stands for any size.

    The message names `like`, from where the expected shape comes.

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
    """Raises unless a Python number is positive (or zero, if that is allowed) and finite."""
    if not (0 < value < float("inf") or (or_zero and value == 0)):
        bound = ">= 0" if or_zero else "> 0"
        raise ValueError(f"{name}: expected a number {bound}, got {value}")


def at_least(name: str, value: int, least: int) -> None:
    """Raises if a Python integer is smaller than the least that is allowed.

    >>> at_least("num_classes", 1, 2)
    Traceback (most recent call last):
    ...
    ValueError: num_classes: expected at least 2, got 1
    """
    if not value >= least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")


def not_empty(name: str, array: Any) -> None:
    """Raises if anything with a ``shape`` has an axis of length 0.

    >>> not_empty("image", np.zeros((0, 8, 3)))
    Traceback (most recent call last):
    ...
    ValueError: image: expected axes of at least one voxel, got shape (0, 8, 3)
    """
    if not all(array.shape):
        raise ValueError(f"{name}: expected axes of at least one voxel, got shape {array.shape}")


def masks(**arrays: Any) -> None:
    """Raises unless the arrays, by the names of the arguments, are masks: bool, or None for none.

    Nothing else is taken for a mask: ``~`` of an integer is no complement, a probability is above 0
    nearly everywhere, and of several classes one has to be chosen.

    >>> masks(where=None, mask=np.zeros(3, np.uint8))
    Traceback (most recent call last):
    ...
    ValueError: mask: expected a mask (bool, such as labels == 1), got uint8
    """
    for name, array in arrays.items():
        if array is not None and np.dtype(array.dtype) != bool:
            raise ValueError(
                f"{name}: expected a mask (bool, such as labels == 1), got {array.dtype}"
            )


def ids(name: str, array: Any, *, masks: bool = False) -> None:
    """Raises unless an array holds class ids: whole numbers, or with `masks` also bool.

    Ids have 32 bits. Those of a host array that have more are refused, for JAX would cut them off,
    which makes ``2**32 + 1`` class 1; under ``jit`` it has done so before they come here.

    >>> ids("labels", np.zeros(3))
    Traceback (most recent call last):
    ...
    ValueError: labels: expected integers (class ids), got float64
    """
    if np.dtype(array.dtype).kind not in ("biu" if masks else "iu"):
        also = " or bool (a mask)" if masks else ""
        raise ValueError(f"{name}: expected integers (class ids){also}, got {array.dtype}")
    if isinstance(array, np.ndarray) and array.dtype.itemsize > 4 and array.size:
        for value in (int(array.min()), int(array.max())):
            if not -(2**31) <= value < 2**31:
                raise ValueError(f"{name}: expected class ids of 32 bits, got {value}")


def one_of(name: str, value: Any, known: Collection[Any]) -> None:
    """Raises unless a value is one of the known ones; the message lists them.

    >>> one_of("order", 3, (0, 1))
    Traceback (most recent call last):
    ...
    ValueError: order: expected one of 0, 1, got 3
    """
    if value not in known:
        listed = ", ".join(repr(k) for k in known)
        raise ValueError(f"{name}: expected one of {listed}, got {value!r}")


def lookup(name: str, key: str, registry: dict[str, Value]) -> Value:
    """Returns ``registry[key]``, or raises an error that lists the known names, as `one_of`."""
    one_of(name, key, registry)
    return registry[key]
