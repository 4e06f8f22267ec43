"""Values on the command line: literals of Python or JSON, alone or as NAME=VALUE."""

import ast
import json
from collections.abc import Iterable
from typing import Any

_KINDS = (bool, int, float, str, list, tuple, dict, type(None))


def pairs(flag: str, given: Iterable[str]) -> list[tuple[str, Any]]:
    """Reads values that are NAME=VALUE each, of the flag named: (name, value) each, as by `value`.

    One without a name or an equals sign raises ValueError.
    """
    read = []
    for entry in given:
        name, equals, text = entry.partition("=")
        if not (name and equals):
            raise ValueError(f"--{flag}: expected NAME=VALUE, got {entry!r}")
        read.append((name, value(text)))
    return read


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
