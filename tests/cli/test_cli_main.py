"""The command noisyjax: its help, its subcommands on small folders, and what it refuses."""

import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import click.testing
import folder_fakes
import pytest

import noisyjax
from noisyjax.cli import main
from noisyjax.tool.consensus import fusions
from noisyjax.tool.simulation import noises

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_COMMANDS = sorted(main.main.commands)


def _run(*arguments):
    return click.testing.CliRunner().invoke(main.main, [str(a) for a in arguments])


@pytest.fixture
def given(tmp_path):
    return folder_fakes.make(tmp_path / "in", raters=("anna", "ben", "cleo"))


def test_help_fits_one_screen_and_names_every_command():
    text = _run("--help").output
    assert len(text.splitlines()) <= 40
    assert all(f"\n  {name} " in text for name in _COMMANDS)
    assert all(f"\n    noisyjax {name} " in text for name in _COMMANDS)
    assert _run("-h").output == text
    assert noisyjax.__version__ in _run("--version").output


@pytest.mark.parametrize("name", _COMMANDS)
def test_every_command_has_an_example(name):
    done = _run(name, "--help")
    assert done.exit_code == 0
    assert f"Example: noisyjax {name} " in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("name", "known"), [("consensus", fusions.METHODS), ("simulate", noises.NOISES)]
)
def test_help_names_all_that_can_be_asked_for(name, known):
    text = main.main.commands[name].help.replace("\n", " ")
    listed = text.rpartition(": ")[2].rstrip(". ").split(", ")
    assert [one.strip() for one in listed] == list(known)


def test_consensus_of_a_folder(given, tmp_path):
    out = tmp_path / "out"
    command = ("consensus", given, "--out", out, "--tolerance", "1e-3", "-w", "anna=2")
    done = _run(*command, "-p", "-o", "max_iterations=50")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"{out}: 4 cases, done\n"
    assert (out / "probabilities" / "2" / "case_03.nii.gz").is_file()
    again = _run(*command, "-p", "-o", "max_iterations=50")
    assert again.stdout == f"{out}: 4 cases, was done already\n"
    other = _run(*command)
    assert other.exit_code == 2
    assert "expected another folder, or overwrite" in other.stderr
    assert _run(*command, "--overwrite").exit_code == 0
    assert not (out / "probabilities").exists()


def test_simulation_of_a_folder(given, tmp_path):
    out = tmp_path / "out"
    command = ("simulate", given, "--noise", "erode", "--noise", "good", "--out", out)
    done = _run(*command, "--dice", "0.5", "--seed", "3", "--images", "copy")
    assert done.exit_code == 0, done.stderr
    first, last = done.stdout.splitlines()
    assert first.startswith("rater_1: strength ")
    assert last == f"{out}: 4 cases, done"
    assert noisyjax.open_folder(out).rater_names == ("rater_1", "rater_2")


def test_a_damaged_case_is_listed_and_the_others_are_there(given, tmp_path):
    (given / "ratersTr" / "ben" / "case_02.nii.gz").write_bytes(b"")
    done = _run("consensus", given, "--out", tmp_path / "out", "-m", "majority")
    assert done.exit_code == 1
    assert "3 cases, done" in done.stdout
    (line,) = (line for line in done.stderr.splitlines() if "case_02" in line)
    assert line.startswith("Problem: ratersTr/ben/case_02.nii.gz: ")


# What is wrong with it: arguments (IN and OUT stand for the folders), exit code, what is said.
_REFUSED = {
    "an audit by no predictions": (
        ("audit", "IN", "--out", "OUT", "--predictions", "nowhere"),
        1,
        "nowhere: expected a folder of predictions, there is none",
    ),
    "an audit of predictions with a training": (
        ("audit", "IN", "--out", "OUT", "--predictions", "IN", "--budget", "1h"),
        2,
        "--budget: expected no training beside --predictions",
    ),
    "an audit by one network": (
        ("audit", "IN", "--out", "OUT", "--folds", "1"),
        2,
        "--folds",
    ),
    "no such command": (("fuse", "IN"), 2, "No such command 'fuse'"),
    "no such flag": (("consensus", "IN", "--out", "OUT", "--windows", "3"), 2, "--windows"),
    "no folder": (("consensus", "--out", "OUT"), 2, "Missing argument 'FOLDER'"),
    "no output": (("consensus", "IN"), 2, "Missing option '--out'"),
    "an absent folder": (("consensus", "nowhere", "--out", "OUT"), 1, "there is no folder nowhere"),
    "an unknown method": (
        ("consensus", "IN", "--out", "OUT", "-m", "best"),
        2,
        "method: expected one of 'majority'",
    ),
    "another method's option": (
        ("consensus", "IN", "--out", "OUT", "--window", "3"),
        2,
        "window: staple has no such option",
    ),
    "a text for a number": (
        ("consensus", "IN", "--out", "OUT", "--tolerance", "little"),
        2,
        "tolerance: expected a number, got 'little'",
    ),
    "an option without a value": (
        ("consensus", "IN", "--out", "OUT", "-o", "tolerance"),
        2,
        "--option: expected NAME=VALUE, got 'tolerance'",
    ),
    "an option twice": (
        ("consensus", "IN", "--out", "OUT", "-o", "tolerance=1", "--tolerance", "1"),
        2,
        "--tolerance: expected once",
    ),
    "a setting for an option": (
        ("consensus", "IN", "--out", "OUT", "-o", "method=mean"),
        2,
        "--option: expected --method",
    ),
    "a weight without a rater": (
        ("consensus", "IN", "--out", "OUT", "-w", "2"),
        2,
        "--weight: expected NAME=VALUE, got '2'",
    ),
    "a prior that is none": (
        ("consensus", "IN", "--out", "OUT", "--prior", "(-1, 1, 1)"),
        2,
        "prior: expected probabilities of sum 1, got (-1, 1, 1)",
    ),
    "a share of votes above one": (
        ("consensus", "IN", "--out", "OUT", "-m", "spatial_staple", "--consensus", "2"),
        2,
        "consensus: expected a number from 0 to 1, got 2",
    ),
    "a weight of a rater who is left out": (
        ("consensus", "IN", "--out", "OUT", "-r", "anna", "-w", "ben=2"),
        2,
        "weights: expected one of 'anna', got 'ben'",
    ),
    "an unknown rater": (
        ("consensus", "IN", "--out", "OUT", "-r", "dora"),
        2,
        "raters: expected one of 'anna', 'ben', 'cleo', got 'dora'",
    ),
    "unknown ties": (
        ("consensus", "IN", "--out", "OUT", "--ties", "random"),
        2,
        "'random' is not one of",
    ),
    "output into the input": (
        ("consensus", "IN", "--out", "IN"),
        2,
        "out: expected a folder outside of",
    ),
    "output into a file": (("consensus", "IN", "--out", "IN.txt"), 1, "IN.txt"),
    "an unknown noise": (
        ("simulate", "IN", "--out", "OUT", "-n", "fog"),
        2,
        "noise: expected one of 'good'",
    ),
    "a negative strength": (
        ("simulate", "IN", "--out", "OUT", "--a", "-1"),
        2,
        "a: expected numbers >= 0",
    ),
    "a strength too few": (
        ("simulate", "IN", "--out", "OUT", "-n", "shift"),
        2,
        "strength: expected one for the noise 'shift', or a wanted dice",
    ),
    "a share above one": (
        ("simulate", "IN", "--out", "OUT", "--share", "2"),
        2,
        "share: expected a number in [0, 1], got 2.0",
    ),
    "a Dice that cannot be": (
        ("simulate", "IN", "--out", "OUT", "-n", "blank", "--dice", "0.8"),
        2,
        "dice: expected a noise that has a strength",
    ),
    "a seed that is too large": (
        ("simulate", "IN", "--out", "OUT", "--seed", "4294967296"),
        2,
        "seed: expected a whole number from 0 to 4294967295, got 4294967296",
    ),
    "a negative seed": (("simulate", "IN", "--out", "OUT", "--seed", "-1"), 2, "seed: expected"),
    "half a rater": (("simulate", "IN", "--out", "OUT", "-r", "1.5"), 2, "'1.5'"),
    "an absent folder to report on": (
        ("raters", "nowhere", "--out", "OUT"),
        1,
        "there is no folder nowhere",
    ),
    "an absent folder to judge by": (
        ("evaluate", "IN", "nowhere", "--out", "OUT"),
        1,
        "there is no folder nowhere",
    ),
    "an absent folder to train on": (
        ("train", "nowhere", "--out", "OUT"),
        1,
        "there is no folder nowhere",
    ),
    "an absent run to predict with": (
        ("predict", "nowhere", "IN", "--out", "OUT"),
        1,
        "is no working directory of a run",
    ),
    "an absent folder to plan for": (("plan", "nowhere", "--out", "OUT"), 1, "there is no folder"),
    "a plan into the folder": (
        ("plan", "IN", "--out", "IN/plan.json"),
        2,
        "out: expected a file outside of",
    ),
    "a plan over something else": (("plan", "IN", "--out", "IN.txt"), 2, "out: expected a new"),
    "no amount of memory": (
        ("plan", "IN", "--out", "OUT", "--memory", "much"),
        2,
        "memory: expected an amount such as 8GB, got 'much'",
    ),
    "a plan for an unknown rater": (
        ("plan", "IN", "--out", "OUT", "-r", "dora"),
        2,
        "raters: expected one of 'anna', 'ben', 'cleo', got 'dora'",
    ),
    "an unknown kind of problem": (
        ("check", "IN", "--ignore", "nothing"),
        2,
        "ignore: expected one of",
    ),
}


@pytest.mark.parametrize("name", _REFUSED)
def test_bad_input_is_refused_in_one_line(given, tmp_path, name):
    arguments, code, text = _REFUSED[name]
    (tmp_path / "in.txt").write_text("")
    paths = {"IN": given, "OUT": tmp_path / "out", "IN.txt": tmp_path / "in.txt"}
    paths["IN/plan.json"] = given / "plan.json"
    before = sorted(tmp_path.rglob("*"))
    done = _run(*(paths.get(argument, argument) for argument in arguments))
    assert done.exit_code == code, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert text.replace("IN.txt", "in.txt") in line
    assert sorted(tmp_path.rglob("*")) == before


def test_every_command_refuses_something():
    assert {arguments[0] for arguments, _, _ in _REFUSED.values()} >= set(_COMMANDS)


def _process(arguments, cwd, **environment):
    done = subprocess.run(
        arguments,
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_process_ends_as_it_should(given, tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "noisyjax", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    out = tmp_path / "out"
    done = run("consensus", given, "-m", "majority", "--out", out)
    assert (done.returncode, done.stdout) == (0, f"{out}: 4 cases, done\n")
    done = run("consensus", given, "-m", "best", "--out", out)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: method: expected one of 'majority'")
    assert done.stderr.count("\n") == 1


def test_the_wheel_works_far_from_the_checkout(given, tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    build = "from setuptools import build_meta; build_meta.build_wheel(SYS)"
    # A copy, for a build leaves folders behind.
    copied = tmp_path / "source"
    shutil.copytree(_ROOT / "noisyjax", copied / "noisyjax")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(_ROOT / name, copied)
    _process([sys.executable, "-c", build.replace("SYS", repr(str(tmp_path)))], copied)
    (wheel,) = tmp_path.glob("*.whl")
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
        (entry,) = (name for name in packed.namelist() if name.endswith("entry_points.txt"))
        assert "noisyjax = noisyjax.cli.main:run" in packed.read(entry).decode()

    def run(*arguments):
        command = [sys.executable, "-m", "noisyjax", *map(str, arguments)]
        return _process(command, empty, PYTHONPATH=str(site))

    seen = "import noisyjax; print(noisyjax.__file__); from noisyjax.cli import main; "
    program = [sys.executable, "-c", seen + "main.main(['--help'])"]
    found = _process(program, empty, PYTHONPATH=str(site))
    assert found.startswith(str(site))
    assert "consensus" in found
    noisy, fused = empty / "noisy", empty / "fused"
    run("simulate", given, "--noise", "erode", "--raters", 3, "--out", noisy)
    run("consensus", noisy, "--method", "majority", "--out", fused)
    assert len(list((fused / "labelsTr").iterdir())) == 4
