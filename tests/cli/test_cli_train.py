import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import refusals

from noisyjax.cli import allocator
from noisyjax.core import memory

ROOT = pathlib.Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "noisyjax.cli.train", "--config=configs/cm_trace.py:smoke"]


def environment():
    """The processes share the suite's compilations."""
    return {"JAX_COMPILATION_CACHE_DIR": ".jax_cache", **os.environ}


def start(arguments):
    return subprocess.Popen(
        [*PROGRAM, *arguments],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(path, process, seconds=300):
    deadline = time.monotonic() + seconds
    while not (path.exists() and path.read_text().count("\n") >= 2):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"{path} has not grown"
        time.sleep(0.02)


_OWN_CONFIG = """
from noisyjax.train import config_fields

def get_config():
    config = config_fields.default().unlock()
    config.data.name = "folder"
    config_fields.choose(config.data.options, root="nowhere", size=(8, 8))
    return config
"""


@pytest.mark.slow
def test_sigterm_is_answered_with_143_and_the_run_can_go_on(tmp_path):
    arguments = [f"--workdir={tmp_path}", "--config.method=mean", "--config.train.epochs=100000"]
    with start(arguments) as process:
        try:
            wait_for(tmp_path / "metrics.jsonl", process)
            # Started anew with another allocator, and still the same process.
            if sys.platform == "linux" and memory.VARIABLE not in os.environ:
                actual = pathlib.Path(f"/proc/{process.pid}/environ").read_text()
                first = memory.TUNABLES["kept"].partition(":")[0]
                assert f"{memory.VARIABLE}={first}" in actual
        finally:
            process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 143, output
    assert list((tmp_path / "checkpoints").iterdir())
    assert not (tmp_path / "summary.json").exists()

    program = [
        sys.executable,
        "-m",
        "noisyjax.cli.evaluate",
        f"--workdir={tmp_path}",
        "--split=val",
    ]
    again = subprocess.run(
        program, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    assert "val_dice 0." in again.stdout
    assert (tmp_path / "evaluations" / "val-latest" / "val_cases.csv").exists()


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_help_shows_an_example(name):
    process = subprocess.run(
        [sys.executable, "-m", f"noisyjax.cli.{name}", "--help"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert f"python -m noisyjax.cli.{name} --" in process.stdout
    assert "--workdir" in process.stdout


def test_workers_inherit_the_whole_variable_that_glibc_has_cut(monkeypatch):
    wanted = memory.TUNABLES["kept"]
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv(memory.VARIABLE, wanted.partition(":")[0])
    allocator.start_anew("kept")
    assert os.environ[memory.VARIABLE] == wanted
    monkeypatch.setenv(memory.VARIABLE, "glibc.malloc.perturb=1")
    allocator.start_anew("kept")
    assert os.environ[memory.VARIABLE] == "glibc.malloc.perturb=1"


def test_what_cannot_be_trained_is_a_usage_error(tmp_path):
    start = ["--config=configs/cm_trace.py:smoke", f"--workdir={tmp_path}/run"]
    start += ["--allocator=default", "--num_processes=2"]
    own = tmp_path / "own.py"
    own.write_text(_OWN_CONFIG)
    alone = ["--allocator=default", "--nodetect"]
    given = [
        start,
        [f"--config={own}", f"--workdir={tmp_path}/run", *alone],
        [f"--config={own}", "--workdir=", *alone],
        [f"--config={tmp_path}/absent.py", f"--workdir={tmp_path}/run", *alone],
    ]
    first, bad_folder, no_name, absent = refusals.messages("train", given)
    assert "coordinator, process_id: expected all of" in first
    assert "there is no folder nowhere" in bad_folder
    assert no_name == "workdir: expected the name of a folder, got an empty one"
    assert f"{tmp_path}/absent.py" in absent
