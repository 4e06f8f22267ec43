"""The arrows between the folders, and what may be imported where."""

import ast
import pathlib
import subprocess
import sys

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
_ARROWS["benchmarks"] = {*_ARROWS} - {"benchmarks"}
_ARROWS["cli"] = {*_ARROWS} - {"cli"}

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
    return sorted(p for p in _ROOT.rglob("*.py") if _folder(p) != "__init__")


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
        parts = path.relative_to(_ROOT.parent).with_suffix("").parts
        # Modules named __main__ run when they are imported.
        if parts[-1] != "__main__":
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


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
