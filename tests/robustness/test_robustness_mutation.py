"""The command that puts faults into the package: what it draws, and what it knows of."""

import difflib

import pytest

from tests.robustness import mutants, mutation


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


@pytest.mark.parametrize("room", mutants.ROOMS)
def test_every_module_has_tests(room):
    for path in mutation._modules(mutants.ROOT, room):
        module = path.relative_to(mutants.ROOT).as_posix()
        known = mutation._TESTED_BY.get(module, (mutation._mirror(module),))
        if path.name != "__init__.py":
            assert all((mutants.ROOT / file).exists() for file in known), module
