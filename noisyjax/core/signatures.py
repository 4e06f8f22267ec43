"""Options by name, of functions that say in their signature what they take."""

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a name"}


def options(function: Callable, *, without: Collection[str] = ()) -> dict[str, Any]:
    """Returns the keyword-only parameters of a function and their defaults.

    >>> def blur(image, *, sigma=2.0, mode="edge"): ...
    >>> options(blur, without=("mode",))
    {'sigma': 2.0}
    """
    parameters = inspect.signature(function).parameters.values()
    return {
        p.name: None if p.default is p.empty else p.default
        for p in parameters
        if p.kind is p.KEYWORD_ONLY and p.name not in without
    }


def check(what: str, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raises a ValueError unless options exist and are of the kind of their defaults.

    Where the default is a number several will do, one for each axis; where it is None it stands for
    numbers as well.

    Args:
      what: has the options, for the message.

    >>> check("blur", {"sigm": 3}, {"sigma": 2.0})
    Traceback (most recent call last):
    ...
    ValueError: sigm: blur has no such option, expected one of sigma
    """
    for name, value in given.items():
        if name not in defaults:
            known = f"expected one of {', '.join(defaults)}" if defaults else "it has none"
            raise ValueError(f"{name}: {what} has no such option, {known}")
        kind = float if defaults[name] is None else type(defaults[name])
        if value is None and defaults[name] is None:
            continue
        if kind in _KINDS and not _fits(value, kind):
            raise ValueError(f"{name}: expected {_KINDS[kind]}, got {value!r}")


def _fits(value: Any, kind: type) -> bool:
    if kind in (int, float):
        several = value if isinstance(value, tuple | list) and value else [value]
        allowed = (int, float) if kind is float else (int,)
        return all(isinstance(v, allowed) and not isinstance(v, bool) for v in several)
    return isinstance(value, kind)
