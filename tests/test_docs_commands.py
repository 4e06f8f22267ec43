"""Every command of the documentation does its work, on a small scale.

A command is run with the smoke variant of its config, on data that are made here in place of a
reader's. Entries of the benchmark are run by `tests/benchmarks`, scripts by `test_launch.py`, the
study of `configs/annotators.py` by `tests/studies/test_studies_study.py`.
"""

import json
import os
import re
import shlex
import subprocess
import sys

import fold_fakes
import folder_fakes
import numpy as np
import pages
import PIL.Image
import pytest

from noisyjax.cli import main
from noisyjax.tool.plan import plan

_COMMANDS = ("check_folder", "train", "evaluate", "predict", "study", "raters", "fit_noise")
# Data that a reader has, and what is taken in their place.
_FOLDER = ("source=folder", "option=root=FOLDER")
_DATA = {"bubil": _FOLDER, "lidc": _FOLDER}
# The quick start is a command of a script.
_FIRST = "python -m noisyjax.cli.study --config=configs/quickstart.py --workdir=runs/quickstart"

# Runs one command after the other, so that libraries are imported and programs compiled once.
_RUN = """
import importlib, json, sys
import jax
from absl import app, flags, logging

# After each cell of a study programs are forgotten, of which these small ones have few.
jax.clear_caches = lambda: None

def subcommand(words):
    from noisyjax.cli import main

    try:
        main.main(words, standalone_mode=False)
    except (Exception, SystemExit) as raised:
        return f"{type(raised).__name__}: {raised}" * (getattr(raised, "code", 1) != 0)
    return ""

for module, words in json.loads(sys.argv[1]):
    if module == "noisyjax":
        print("DONE", json.dumps(subcommand(words)), flush=True)
        continue
    command = importlib.import_module(module)
    defined = importlib.import_module("noisyjax.cli.train") if module.endswith("study") else command
    before, error = set(flags.FLAGS), ""
    defined.define_flags()
    own = set(flags.FLAGS) - before
    try:
        # Where a config's flag looks for its overrides.
        sys.argv = [module, *words]
        code = command.main(flags.FLAGS(sys.argv))
        error = f"returned {code}" if code else ""
    except (Exception, SystemExit) as raised:
        error = f"{type(raised).__name__}: {raised}"
    # Libraries that a command imports have flags of their own, which stay.
    for name in own | {name for name in set(flags.FLAGS) if name.startswith("config.")}:
        delattr(flags.FLAGS, name)
    print("DONE", json.dumps(error), flush=True)
"""


def _smoke(words):
    """The words of a command in its smoke form, with FOLDER and the like for data and results."""
    module, *arguments = words[2:]
    kept = []
    for word in arguments:
        name, _, value = word.removeprefix("--").partition("=")
        if name == "config":
            word = re.sub(r"(\.py)(:\w+)?$", r"\1:smoke", word)
            if "cm_trace.py" in word:
                # Of the example's config all variants learn alike.
                word = "--config=configs/cm_trace.py:smoke"
        elif name == "source" and value in _DATA:
            kept += [f"--{option}" for option in _DATA[value]]
            continue
        elif name == "option" and "root=FOLDER" not in value:
            continue
        elif "data.options." in name and not (module.endswith("train") and "folder.py" in kept[0]):
            # Those of data that the smoke variant does not read.
            continue
        elif name in ("config.workers", "config.seeds"):
            continue
        kept.append(word)
    if module.endswith("study"):
        kept += ["--config.workers=1", "--config.seeds=(0,)"]
        if "example.py" in kept[0]:
            kept.append("--config.base.data.options.path=EXAMPLE")
    return module, tuple(kept)


def _given():
    """The smoke forms of all commands, each once, in the order of the pages."""
    order = ["README.md", "docs/tasks.md"]
    listed = sorted(pages.PAGES, key=lambda page: (pages.name(page) not in order, pages.name(page)))
    lines = [shlex.split(_FIRST)]
    lines += [words for page in listed for words in pages.commands(page)]
    forms = {}
    for words in lines:
        if words[0] == "noisyjax" and len(words) > 2:
            out = words.index("--out") + 1 if "--out" in words else 0
            key = tuple(word for n, word in enumerate(words) if n != out)
            forms.setdefault(("noisyjax", key), tuple(words[1:]))
        if words[0] != "python" or any("configs/annotators.py" in word for word in words):
            continue
        command = words[2].rpartition(".")[2]
        if command in _COMMANDS and len(words) > 3:
            module, arguments = _smoke(words)
            # Where results go does not make another command of it.
            key = tuple(word for word in arguments if not re.match("--(workdir|out)=runs/", word))
            reads = command in ("evaluate", "predict")
            forms.setdefault((module, arguments if reads else key), arguments)
    return [(module, arguments) for (module, _), arguments in forms.items()]


_FORMS = _given()


def _folder(root):
    """Four cells, each outlined by two raters and by the truth, and one to predict."""
    (root / "images").mkdir(parents=True)
    description = {
        "channel_names": {"0": "photo"},
        "labels": {"background": 0, "cell": 1},
        "file_ending": ".png",
    }
    (root / "dataset.json").write_text(json.dumps(description))
    draw = np.random.default_rng(0)
    for i in range(4):
        cell = np.zeros((8, 8), np.uint8)
        cell[1 + i : 6, 2:6] = 1
        image = (100 * cell + draw.integers(0, 50, cell.shape)).astype(np.uint8)
        labels = {"labelsTr": cell, "ratersTr/anna": cell, "ratersTr/bob": np.roll(cell, 1, axis=1)}
        for folder, array in {"imagesTr": image, "images": image, **labels}.items():
            suffix = "_0000" if folder.startswith("images") else ""
            (root / folder).mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(array).save(root / folder / f"c{i}{suffix}.png")
    (root / "images").rename(root.parent / "images")
    return root


def _volumes(root):
    """Two volumes with the labels of five raters, two classes of foreground."""
    return folder_fakes.make(root, 2, raters=("anna", "anna_2", "ben", "cleo", "dora"))


def _plan(path):
    """A plan for the volumes."""
    plan.save(path, fold_fakes.tiny_plan())
    return path


def _decisions(path):
    """What a page of the volumes may export."""
    path.write_text("case,rater,decision,weight\ncase_00,ben,drop,\ncase_01,cleo,mend,\n")
    return path


def _example(path):
    """A file like the authors' example, of 15 images."""
    draw = np.random.default_rng(0)
    arrays = {name: draw.integers(0, 2, (15, 8, 8)) for name in ("gt", "over", "under", "wrong")}
    ids = np.arange(15)
    np.savez(
        path,
        images=draw.integers(0, 256, (15, 8, 8, 1)).astype(np.uint8),
        **{name: array.astype(np.uint8) for name, array in arrays.items()},
        idx_train=ids[:10],
        idx_val=ids[10:12],
        idx_test=ids[12:],
    )
    return path


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    """What went wrong with each command, "" for nothing."""
    root = tmp_path_factory.mktemp("commands")
    real = {
        "FOLDER": _folder(root / "data"),
        "IMAGES": root / "images",
        "SEGMENTATIONS": root / "segmentations",
        "EXAMPLE": _example(root / "example.npz"),
        "CACHE": root / "cache",
    }

    volumes = _volumes(root / "volumes")
    of_tool = {
        "FOLDER": volumes,
        **dict.fromkeys(("PREDICTIONS", "OURS", "RUN", "DIR"), volumes / "labelsTr"),
        "THEIRS": volumes / "ratersTr" / "anna",
        "plan.json": _plan(root / "plan.json"),
        "decisions.csv": _decisions(root / "decisions.csv"),
        "run/out_of_fold": volumes / "labelsTr",
        "IMAGES": volumes / "imagesTr",
    }
    runs = {}

    def filled_in_of_tool(number, words):
        if words[0] == "audit" and "--predictions" not in words:
            # Networks of its own are trained by the tests of the audit.
            words = ["audit", "FOLDER", "--predictions", "DIR", "--out", "doubts"]
        out = words.index("--out") + 1 if "--out" in words else -1
        filled = [str(of_tool.get(word, word)) for word in words]
        if words[0] == "train":
            filled += ["--folds=2", "--epochs=1", "--set=progress=False"]
            runs.setdefault(words[out], str(root / f"out{number}"))
        elif words[0] == "predict":
            filled[1] = runs[words[1]]
        return [str(root / f"out{number}") if n == out else w for n, w in enumerate(filled)]

    def filled_in(word):
        name, equals, value = word.rpartition("=")
        value = str(real.get(value, value))
        return name + equals + re.sub(r"^runs/", f"{root}/runs/", value)

    commands = [
        (
            module,
            filled_in_of_tool(number, words)
            if module == "noisyjax"
            else [filled_in(word) for word in words],
        )
        for number, (module, words) in enumerate(_FORMS)
    ]
    done = subprocess.run(
        [sys.executable, "-c", _RUN, json.dumps(commands)],
        cwd=pages.ROOT,
        # As it is, the process does not start anew with another allocator.
        env={**os.environ, "GLIBC_TUNABLES": "", "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcomes = [
        json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("DONE ")
    ]
    assert len(outcomes) == len(_FORMS), done.stdout + done.stderr
    return dict(zip(_FORMS, outcomes, strict=True))


def test_every_command_has_a_smoke_form():
    ours = {module.rpartition(".")[2] for module, _ in _FORMS if module != "noisyjax"}
    assert ours == set(_COMMANDS)
    assert {words[0] for module, words in _FORMS if module == "noisyjax"} == set(main.main.commands)
    studies = {words[0] for module, words in _FORMS if module.endswith("study")}
    assert studies == {
        f"--config=configs/{path.name}:smoke"
        for path in (pages.ROOT / "configs").glob("*.py")
        if path.stem not in ("__init__", "annotators", "cm_trace", "folder")
    }


@pytest.mark.slow
@pytest.mark.parametrize("form", _FORMS, ids=lambda form: " ".join([form[0], *form[1]]))
def test_the_command_does_its_work(errors, form):
    assert errors[form] == ""
