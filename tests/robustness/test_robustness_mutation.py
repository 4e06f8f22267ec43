"""The command that puts faults into the package: what it draws, and what it knows of."""

import difflib
import json
import os
import subprocess
import sys

import pytest

from tests.robustness import importers, mutants, mutation


def test_faults_change_one_line_each_and_are_those_of_the_seed():
    pytest.importorskip("cosmic_ray")
    faults = mutants.draw(12, seed=3, rooms=("decisions",))
    assert len({(fault.path, fault.line, fault.after) for fault in faults}) == 12
    for fault in faults:
        source = (mutants.ROOT / fault.path).read_text(encoding="utf-8")
        lines = difflib.ndiff(source.splitlines(), fault.source.splitlines())
        changed = [line[0] + line[1:].strip() for line in lines if line[0] in "+-"]
        assert changed == [f"-{fault.before}", f"+{fault.after}"]
        compile(fault.source, fault.path, "exec")
    assert faults == mutants.draw(12, seed=3, rooms=("decisions",))
    assert faults != mutants.draw(12, seed=4, rooms=("decisions",))


def test_types_texts_and_messages_are_left_alone():
    pytest.importorskip("cosmic_ray")
    source = (
        'def f(x: list | None, *, axis: int = 0) -> list | None:\n'
        '    """Adds 1."""\n'
        '    if x is None:\n'
        '        raise ValueError(f"x: expected {1 + 2}, got {x}")\n'
        "    return [y + axis for y, _ in zip(x, x, strict=True)]\n"
    )  # fmt: skip
    places = sorted(mutants._choices(source))
    # The default, the condition and its operator, the sum and the loop.
    assert [line for line, _ in places] == [1, 3, 3, 5, 5]


def test_the_harmless_faults_are_of_lines_that_are_there():
    for path, before, after in mutation.harmless():
        lines = (mutants.ROOT / path).read_text(encoding="utf-8").splitlines()
        assert before != after
        assert before in [line.strip() for line in lines], f"{path}: {before}"


def test_the_tests_of_a_module_are_its_own_and_those_of_its_room():
    files = mutation._files_for(mutants.ROOT, "noisyjax/metrics/distribution.py")
    assert files[0] == "tests/metrics/test_metrics_distribution.py"
    assert "tests/metrics/test_metrics_sets.py" in files
    assert "tests/metrics/test_metrics_overlap.py" not in files


def test_importers_are_the_nearest_first_and_those_that_need_little(tmp_path):
    for name, source in {
        "__init__": "",
        "core/a": "import jax\n",
        "core/lone": "from noisyjax.core import absent\n",
        "losses/b": "from noisyjax.core import a, lone\n",
        "fusion/__init__": "from noisyjax.core import a\n",
        "train/d": "def f():\n    import noisyjax.losses.b\n",
        "train/e": "from noisyjax.train import d\nfrom noisyjax import fusion\n",
    }.items():
        path = tmp_path / f"noisyjax/{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    found = importers.importers(tmp_path, "noisyjax/core/a.py")
    names = ("fusion/__init__", "losses/b", "train/d", "train/e")
    assert found == [f"noisyjax/{name}.py" for name in names]
    assert importers.importers(tmp_path, "noisyjax/train/e.py") == []


def test_the_tests_of_users_come_after_those_that_mirror():
    module = "noisyjax/fusion/rows.py"
    own = mutation.MIRRORED.arguments(mutants.ROOT, module)
    users = mutation.USERS.arguments(mutants.ROOT, module)
    assert users[: len(own)] == own
    others = {"noisyjax/fusion/median.py", "tests/fusion/test_fusion_median.py"}
    assert others <= set(users) - set(own)


@pytest.mark.parametrize(
    ("stage", "found", "by"),
    [
        ("MIRRORED", {}, "time"),
        ("USERS", {}, ""),
        ("USERS", {"code": 2, "failed": [], "passed": ["a.py::test_c"]}, ""),
        ("USERS", {"code": 1, "failed": ["a.py::test_b"], "passed": []}, "a.py::test_b"),
        ("MIRRORED", {"code": 3, "failed": [], "passed": []}, "the import"),
    ],
)
def test_what_has_noticed_a_fault(tmp_path, monkeypatch, stage, found, by):
    module = tmp_path / "noisyjax/core/a.py"
    module.parent.mkdir(parents=True)
    module.write_text("x = 1\n", encoding="utf-8")
    seen = []

    def run_tests(tree, arguments, *, enough, most, known):
        seen.append((module.read_text(encoding="utf-8"), known))
        return found

    monkeypatch.setattr(mutation, "run_tests", run_tests)
    part = getattr(mutation, stage)._replace(arguments=lambda tree, path: [path])
    fault = mutants.Fault("noisyjax/core/a.py", 1, "x = 1", "x = 2", "x = 2\n")
    result = mutation._noticed(tmp_path, fault, part, ["a.py::test_a"])
    assert result == (by, found.get("passed", []))
    assert seen == [("x = 2\n", ["a.py::test_a"])]
    assert module.read_text(encoding="utf-8") == "x = 1\n"


def test_tests_that_are_known_are_left_out(tmp_path):
    (tmp_path / "test_a.py").write_text(
        "def test_a():\n    assert True\n\ndef test_ab():\n    assert False\n", encoding="utf-8"
    )
    program = (
        "import json, pathlib, sys; from tests.robustness import mutation; "
        "tree, *known = sys.argv[1:]; "
        "found = mutation.run_tests(pathlib.Path(tree), ['test_a.py'], known=known); "
        "print(json.dumps(found))"
    )
    for known, passed in (((), ["test_a.py::test_a"]), (("test_a.py::test_a",), [])):
        # In a process of its own, for JAX may have begun in this one, which then is not to fork.
        command = [sys.executable, "-c", program, os.fspath(tmp_path), *known]
        said = subprocess.run(command, cwd=mutants.ROOT, check=True, capture_output=True)
        expected = {"code": 1, "failed": ["test_a.py::test_ab"], "passed": passed}
        assert json.loads(said.stdout) == expected


@pytest.mark.parametrize("room", mutants.ROOMS)
def test_every_module_has_tests(room):
    for path in mutation._modules(mutants.ROOT, room):
        module = path.relative_to(mutants.ROOT).as_posix()
        known = mutation._TESTED_BY.get(module, (mutation._mirror(module),))
        if path.name != "__init__.py":
            assert all((mutants.ROOT / file).exists() for file in known), module
