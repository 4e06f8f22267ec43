"""Which modules of the package are made of one of them: those that import it, nearest first."""

import ast
import pathlib


def _name(path: pathlib.Path, tree: pathlib.Path) -> str:
    """A module's name with dots, that of the folder for an `__init__.py`."""
    parts = path.relative_to(tree).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(source: str) -> set[str]:
    """All names that are imported anywhere in a module; `b` of `from a import b` is `a.b`."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _reached(graph: dict[str, set[str]], start: str) -> dict[str, int]:
    """How many steps away each name is that the graph leads to, without the start itself."""
    steps, ring, distance = {start: 0}, {start}, 0
    while ring:
        distance += 1
        ring = set().union(*(graph[name] for name in ring)) - steps.keys()
        steps |= dict.fromkeys(ring, distance)
    del steps[start]
    return steps


def importers(tree: pathlib.Path, module: str) -> list[str]:
    """Paths of the modules that import a module, then of those that import these, and so on.

    Of those at the same distance the ones that need the least of the package come first, for they
    are tested the most quickly.
    """
    paths = {_name(path, tree): path for path in (tree / "noisyjax").rglob("*.py")}
    needs = {
        name: (_imports(path.read_text(encoding="utf-8")) & paths.keys()) - {name}
        for name, path in paths.items()
    }
    used = {name: {user for user, those in needs.items() if name in those} for name in paths}
    away = _reached(used, _name(tree / module, tree))
    order = sorted(away, key=lambda name: (away[name], len(_reached(needs, name)), name))
    return [paths[name].relative_to(tree).as_posix() for name in order]
