"""What the commands share: how they read their arguments and say what is wrong with them."""

import ast
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from absl import app

_KINDS = (bool, int, float, str, list, tuple, dict, type(None))


def expect_flags_only(argv: Sequence[str]) -> None:
    """Raises app.UsageError for what follows the command's name without being a flag."""
    if len(argv) > 1:
        raise app.UsageError(f"expected flags only, got {argv[1:]}")


def parse(flag: str, given: Iterable[str]) -> list[tuple[str, Any]]:
    """Reads values that are NAME=VALUE each, of the flag named: (name, value) each, as by `value`.

    One without a name or an equals sign raises app.UsageError.
    """
    pairs = []
    for entry in given:
        name, equals, text = entry.partition("=")
        if not (name and equals):
            raise app.UsageError(f"--{flag}: expected NAME=VALUE, got {entry!r}")
        pairs.append((name, value(text)))
    return pairs


def value(text: str) -> Any:
    """Reads a literal of Python or JSON; what is neither is the text itself.

    >>> [value(text) for text in ("True", "true", "null", "(3, 4)", "0.5", "'0.5'", "rat")]
    [True, True, None, (3, 4), 0.5, '0.5', 'rat']
    """
    for read in (ast.literal_eval, json.loads):
        try:
            literal = read(text)
        except (SyntaxError, ValueError):
            continue
        # Python reads "..." and "1j" as well, which no option means.
        return literal if isinstance(literal, _KINDS) else text
    return text


def load_source(name: str, given: Mapping[str, Any]) -> Any:
    """Loads a data set, a `source.Source`.

    An unknown name or an option that the data set does not take raises app.UsageError.
    """
    from noisyjax.data import sources

    try:
        return sources.load(name, **given)
    except TypeError as error:
        raise app.UsageError(f"--option: {name}: {error}") from error
    except (OSError, ValueError) as error:
        raise app.UsageError(str(error)) from error
