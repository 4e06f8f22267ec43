"""The arrows between the folders, and what may be imported where."""

import ast
import collections
import io
import pathlib
import subprocess
import sys
import tokenize

import pytest

import noisyjax

_ROOT = pathlib.Path(noisyjax.__file__).parent

# folder (or file) of the package -> what it may import besides itself
_ARROWS = {
    "core": set(),
    "noise": {"core"},
    "fusion": {"core"},
    "losses": {"core"},
    "decisions": {"core"},
    "metrics": {"core"},
    "models": {"core"},
    "data": {"core", "noise", "fusion"},
    "methods": {"core", "models", "losses", "fusion", "decisions"},
    "train": {"core", "models", "data", "methods", "metrics"},
}
_ARROWS["studies"] = {"train", *_ARROWS["train"], "decisions", "fusion", "losses", "noise"}
_ARROWS["tool"] = {"train", *_ARROWS["train"], "decisions", "fusion", "noise"}
_ARROWS["benchmarks"] = {*_ARROWS} - {"benchmarks"}
_ARROWS["cli"] = {*_ARROWS} - {"cli"}
_ARROWS["__main__"] = {"cli"}

# outside package -> the folders that may import it; nothing below `train` knows of runs and flags
_CONFINED = {
    "absl": {"train", "studies", "cli", "benchmarks"},
    "absl.app": {"cli", "benchmarks"},
    "absl.flags": {"cli", "benchmarks"},
    "ml_collections": {"train", "studies", "cli", "benchmarks"},
    "orbax": {"train"},
    "flax.linen": {"models"},
}


def _folder(path):
    part = path.relative_to(_ROOT).parts[0]
    return part.removesuffix(".py")


def _modules():
    return sorted(p for p in _ROOT.rglob("*.py") if _folder(p) not in ("__init__", "__main__"))


def _imports(source):
    """Every name a source imports, `from a import b` as both a and a.b."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _violations(folder, names):
    """The imports that a module in a folder may not have."""
    wrong = []
    for name in sorted(names):
        package, *rest = name.split(".")
        allowed = {folder, "__version__", *_ARROWS[folder]}
        if package == "noisyjax" and rest and rest[0] not in allowed:
            wrong.append(name)
        for outside, folders in _CONFINED.items():
            if (name + ".").startswith(outside + ".") and folder not in folders:
                wrong.append(name)
    return wrong


def test_the_table_has_no_cycle():
    for folder, targets in _ARROWS.items():
        for target in targets:
            assert folder not in _ARROWS[target], f"{folder} <-> {target}"


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(_ROOT)))
def test_no_arrow_runs_back(path):
    folder = _folder(path)
    assert folder in _ARROWS, f"the table of folders does not know {folder!r}"
    assert _violations(folder, _imports(path.read_text())) == []


@pytest.mark.parametrize(
    ("folder", "source"),
    [
        ("core", "from noisyjax.noise import annotators"),
        ("noise", "import noisyjax.data.source"),
        ("losses", "from noisyjax import models"),
        ("metrics", "def f():\n    from noisyjax.methods import fused"),
        ("models", "from noisyjax import train"),
        ("train", "from absl import flags"),
        ("data", "import ml_collections"),
        ("methods", "import orbax.checkpoint as ocp"),
        ("methods", "from flax import linen as nn"),
        ("benchmarks", "from noisyjax.cli import train"),
    ],
)
def test_an_arrow_that_runs_back_is_found(folder, source):
    assert _violations(folder, _imports(source))


def test_files_stay_readable():
    for path in _modules():
        lines = len(path.read_text().splitlines())
        assert lines <= 400, f"{path}: {lines} lines"


# What is imported when it is asked for.
_PUBLIC = set(noisyjax.__all__) - {"__version__"}
# Modules that nothing of the package imports, and who does.
_ENTRANCES = {
    "noisyjax.losses.latent": "users",
    "noisyjax.losses.student_t": "users",
    "noisyjax.studies.study_fields": "configs/",
    "noisyjax.studies.figures.gaussian_noise": "colabs/gaussian_noise.ipynb",
    "noisyjax.data.folder.prepare_part": "noisyjax.data.folder.workers",
}


def _module_name(path):
    parts = path.relative_to(_ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _needs(path, names):
    """The modules that a module imports, for a name the one that holds it."""
    needed, imported = set(), {}
    nodes = list(ast.walk(ast.parse(path.read_text())))
    for node in nodes:
        if isinstance(node, ast.Import):
            needed |= {alias.name for alias in node.names} & names
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                imported[alias.name] = inner if inner in names else node.module
    needed |= set(imported.values()) & names
    # What is reached through its package: `losses.overlap` after `from noisyjax import losses`.
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            needed |= {f"{imported.get(node.value.id)}.{node.attr}"} & names
    return needed


def _graph():
    paths = {_module_name(path): path for path in _ROOT.rglob("*.py")}
    return {name: _needs(path, set(paths)) for name, path in paths.items()}


def _cycle(graph):
    """Returns modules that import each other in a circle, or nothing."""
    left = {name: set(needs) - {name} for name, needs in graph.items()}
    while True:
        free = {name for name, needs in left.items() if not needs}
        if not free:
            return sorted(left)
        left = {name: needs - free for name, needs in left.items() if name not in free}


def _offered(path):
    """The modules that a package imports for others alone."""
    tree = ast.parse(path.read_text())
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return {
        f"{_module_name(path)}.{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name not in used
    }


def test_no_module_is_without_a_caller():
    graph = _graph()
    for path in _ROOT.rglob("__init__.py"):
        graph[_module_name(path)] -= _offered(path)
    called = set().union(*(needs - {name} for name, needs in graph.items()))
    packages = {_module_name(path.parent / "__init__.py") for path in _ROOT.rglob("*.py")}
    commands = {name for name in graph if name.startswith(("noisyjax.cli.", "noisyjax.__main__"))}
    offered = {getattr(noisyjax, name).__module__ for name in _PUBLIC}
    assert sorted(set(graph) - called - packages - commands - offered - set(_ENTRANCES)) == []
    assert sorted(called & set(_ENTRANCES)) == []


def test_type_checkers_know_the_public_names():
    stub = ast.parse((_ROOT / "__init__.pyi").read_text())
    listed = {
        alias.name: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert listed == {name: getattr(noisyjax, name).__module__ for name in _PUBLIC}


def test_no_modules_import_each_other():
    assert _cycle(_graph()) == []


def test_a_circle_is_noticed():
    assert _cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]
    assert _cycle({"a": {"b"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize("folder", ["noisyjax", "tests", "launch", "configs"])
def test_our_own_modules_have_one_name(folder):
    ours = ("noisyjax", "launch", "configs")
    for path in sorted((_ROOT.parent / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                module = getattr(node, "module", None)
                for alias in node.names:
                    ours_too = (module or alias.name).split(".")[0] in ours
                    assert not (ours_too and alias.asname not in (None, alias.name)), (
                        f"{path}: {alias.name} as {alias.asname}"
                    )


_LAYOUT = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
)


def _long_functions(source, limit=60):
    """Names of the functions with more lines of code, without docstring, comments, blank lines."""
    code = collections.Counter()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _LAYOUT:
            code.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = {line for line in code if node.lineno <= line <= node.end_lineno}
            if ast.get_docstring(node) is not None:
                lines -= {*range(node.body[0].lineno, node.body[0].end_lineno + 1)}
            if len(lines) > limit:
                yield f"{node.name}: {len(lines)} lines of code"


def test_functions_stay_short():
    for path in _modules():
        assert list(_long_functions(path.read_text())) == [], path


def test_a_long_function_is_noticed():
    short = 'def f():\n    """One.\n\n    Two.\n    """\n' + "    # Three.\n\n    x = 4\n" * 59
    assert list(_long_functions(short)) == []
    assert list(_long_functions(short + "    return x\n")) == ["f: 61 lines of code"]


_IMPORT_EVERYTHING = """
import importlib, sys
from jax._src import xla_bridge

def refuse(*args, **kwargs):
    raise AssertionError("a device was touched during import")

xla_bridge.backends = refuse
xla_bridge.get_backend = refuse
for name in sys.argv[1:]:
    importlib.import_module(name)
assert not xla_bridge._backends, sorted(xla_bridge._backends)
"""


def _module_names():
    for path in _modules():
        # Modules named __main__ run when they are imported.
        if path.stem != "__main__":
            yield _module_name(path)


def test_importing_every_module_touches_no_device():
    command = [sys.executable, "-c", _IMPORT_EVERYTHING, *_module_names()]
    result = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT.parent, check=False)
    assert result.returncode == 0, result.stderr


def test_the_device_check_notices_an_array_made_at_import(tmp_path):
    (tmp_path / "touches.py").write_text("import jax.numpy as jnp\nX = jnp.zeros(3)\n")
    command = [sys.executable, "-c", _IMPORT_EVERYTHING, "touches"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode != 0
    assert "a device was touched" in result.stderr
