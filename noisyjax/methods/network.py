"""How the parts of a method's network are made and run."""

from collections.abc import Mapping
from typing import Any

import jax

_STATE = "batch_stats"


def init(name: str, module: Any, key: jax.Array, *arguments) -> dict[str, dict]:
    """Initialises one named module, ``{collection: {name: tree}}``."""
    return {kind: {name: tree} for kind, tree in module.init(key, *arguments).items()}


def merge(*parts: Mapping[str, Mapping]) -> dict[str, dict]:
    """Joins the variables of several modules."""
    kinds = {kind: None for part in parts for kind in part}
    return {
        kind: {name: tree for part in parts for name, tree in part.get(kind, {}).items()}
        for kind in kinds
    }


def run(name: str, module: Any, variables: Mapping[str, Any], *arguments, **options) -> tuple:
    """Runs one named module on its part of the variables.

    Returns:
      The module's output, and its updated statistics as ``{collection: {name: tree}}``, empty when
      it has none.
    """
    own = {kind: tree[name] for kind, tree in variables.items() if name in tree}
    output, changed = module.apply(own, *arguments, mutable=[_STATE], **options)
    return output, {_STATE: {name: changed[_STATE]}} if _STATE in changed else {}
