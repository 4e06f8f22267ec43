"""noisyjax plan: its table and file, and what it does to a plan that is there."""

import functools
import json

import click.testing
import folder_fakes
import pytest

from noisyjax.cli import main
from noisyjax.tool.plan import compiled_step, plan, planner


@pytest.fixture
def run(monkeypatch):
    """Runs the command without compiling a step."""
    compiled = compiled_step.Compiled(2**28, 1000, lambda: 0.25)
    quick = functools.partial(planner.plan, measure=lambda *given: compiled)
    monkeypatch.setattr(planner, "plan", quick)
    runner = click.testing.CliRunner()
    return lambda *arguments: runner.invoke(main.main, ["plan", *map(str, arguments)])


def test_a_plan_is_shown_and_written(tmp_path, run):
    root, out = folder_fakes.make(tmp_path / "in", raters=("anna", "ben")), tmp_path / "plan.json"
    done = run(root, "--out", out, "--memory", "2GB")
    assert done.exit_code == 0, done.output
    lines = {line.split("\u2502")[1].strip(): line for line in done.output.splitlines()[3:-2]}
    assert "1 x 1.5 x 2" in lines["spacing"]
    assert "the channel is named CT" in lines["normalisation"]
    assert "8 x 7 x 6" in lines["patch"]
    assert "a small network, for a processor" in lines["widths"]
    assert "memory gib 0.25, parameters 1000, seconds per step 0.25" in lines["expected"]
    assert done.output.endswith(f"{out}: written\n")
    planned = plan.load(out)
    assert planned.fingerprint["raters"] == {"anna": 4, "ben": 3}
    assert planned.reasons.keys() >= {"spacing", "patch", "kernels", "mirror_axes", "batch_size"}


def test_a_plan_that_is_there_stays(tmp_path, run):
    root, out = folder_fakes.make(tmp_path / "in"), tmp_path / "plan.json"
    run(root, "--out", out)
    again = run(root, "--out", out)
    assert again.output.endswith(f"{out}: was planned so already\n")
    edited = json.loads(out.read_text()) | {"batch_size": 3}
    out.write_text(json.dumps(edited))
    refused = run(root, "--out", out)
    assert refused.exit_code == 2
    assert "expected another file, or overwrite" in refused.stderr
    assert "is a plan with another batch_size" in refused.stderr
    assert plan.load(out).batch_size == 3
    assert run(root, "--out", out, "--overwrite").exit_code == 0
    assert plan.load(out).batch_size == 2


def test_a_damaged_case_is_named_at_the_end(tmp_path, run):
    root = folder_fakes.make(tmp_path / "in")
    (root / "labelsTr" / "case_02.nii.gz").write_bytes(b"")
    done = run(root, "--out", tmp_path / "plan.json")
    assert done.exit_code == 1
    assert "Problem: labelsTr/case_02.nii.gz" in done.stderr
    assert plan.load(tmp_path / "plan.json").fingerprint["cases"] == 3
