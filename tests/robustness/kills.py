"""Runs of a real network that are killed at each file they write, against one that is left alone.

    python -m tests.robustness.kills --run=train --kills=100

The run is left alone once, and each change of a file below its folder is noted: opened, written,
moved, removed, by Python or by the libraries in C++ (``kill_at.c``, compiled here). Then it is
begun in an empty folder again and again, each time killed (SIGKILL) at another of these changes, so
that every file has its turn, and the same command is given once more. What lies there then must be
what the run left alone has left: the same arrays, numbers, tables and figures, bit for bit, and no
file more. Meanwhile nothing may be committed: ``versions.json`` would have another commit.
"""

import argparse
import collections
import ctypes
import importlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

ROOT = pathlib.Path(__file__).parents[2]
SOURCE = pathlib.Path(__file__).with_name("kill_at.c")
LIBRARY = "kill_at.so"

# What differs from start to start: the time it takes, the process that holds the lock.
_TIMES = re.compile(r"seconds|images_per_second")
_DIFFERENT = re.compile(
    r".*/(run\.lock|events/.*|_CHECKPOINT_METADATA|commit_success\.txt|checkpoints/\d+/state/.*)"
)
_ANY_START = re.compile(r".*/events/events\.out\.tfevents\.\d{10}|.*/checkpoints/\d+/state/.*")


class Change(NamedTuple):
    """A change of a file.

    Attributes:
      kind: such as "write".
      path: of the file, below the run's folder.
      file: what it is a file of: without what is drawn or counted, and, while it is not finished,
        under the name that it comes to.
    """

    kind: str
    path: str
    file: str


def _file(path: str) -> str:
    path = re.sub(r"/#\d+ \(deleted\)", "/(tried out)", path)
    path = re.sub(r"[0-9a-f]{16,}", "*", path)
    path = re.sub(r"(?<=tfevents\.)\d+", "*", path)
    return re.sub(r"(?<=checkpoints/)\d+|(?<=study/)\d+|(?<=removed/)\d+", "N", path)


def _changes(journal: str) -> list[Change]:
    lines = [line.split(" ", 1) for line in journal.splitlines()]
    moved = dict(reversed(path.split("\t")) for kind, path in lines if kind == "rename")
    changes = []
    for kind, names in lines:
        path = names.split("\t")[0]
        file = _file(path)
        if "/.noisyjax-" in path:
            file = _file(moved.get(path, path)) + ", unfinished"
        changes.append(Change(kind, path, file))
    return changes


def files(folder: pathlib.Path) -> None:
    """A table, an object, prepared arrays and a list of damaged cases, without a network."""
    import numpy as np

    from noisyjax.core import files
    from noisyjax.data.store import kept

    files.write_text(folder / "out" / "table.csv", "case,dice\na,0.5\n")
    files.write_json(folder / "out" / "report.json", {"dice": 0.5})
    arrays = kept.stored(
        folder / "cache", "0" * 32, {"image": (0, 1)},
        lambda: {"image": np.arange(1200.0).reshape(30, 40), "mask": np.ones(3, bool)},
    )  # fmt: skip
    assert np.sum(arrays["image"]) == 1199 * 600
    assert arrays["mask"].all()


def train(folder: pathlib.Path, workdir: str = "run") -> None:
    """CM + trace with a U-Net, on a folder of two raters' cases of which one is damaged.

    Their images are large enough to be cached in chunks.
    """
    import folder_fakes

    import configs.folder
    from noisyjax import train
    from noisyjax.train import config_fields

    root, size = folder.parent / "data", (40, 40)
    if not root.exists():
        folder_fakes.make(root, 8, raters=("anna", "bert"), tests=2, shape=size, end=".png")
        os.truncate(root / "imagesTr" / "case_03_0000.png", 40)
    config = configs.folder.get_config("smoke")
    with config.unlocked():
        config.method = "cm_trace"
        config_fields.choose(
            config.data.options,
            root=os.fspath(root),
            cache=os.fspath(folder / "cache"),
            size=size,
        )
        config.data.skip_damaged = True
        config.train.epochs = 4
        config.evaluate.every_epochs = 2
        config.checkpoint.every_epochs = 1
    train.train_and_evaluate(config, folder / workdir)


def study(folder: pathlib.Path) -> None:
    """Two cells, one with replaced labels, and the tables and figures of a study."""
    from configs import noise_ratio
    from noisyjax.studies import study

    config = noise_ratio.get_config("smoke")
    config.seeds = (0,)
    # Without the seconds.
    config.columns = config.columns[:-1]
    config.base.checkpoint.every_epochs = 1
    config.plots = (("test_dice", "Dice", "ratio", "ratio"),)
    study.run_study(config, folder / "study")


RUNS: dict[str, Callable[[pathlib.Path], None]] = {"files": files, "train": train, "study": study}


def compiled(folder: str | os.PathLike) -> pathlib.Path:
    """Compiles ``kill_at.c`` into a folder; raises `FileNotFoundError` where there is no cc."""
    library = pathlib.Path(folder) / LIBRARY
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"]
    subprocess.run(command, check=True)
    return library


class Started(NamedTuple):
    """A run in a process of its own."""

    process: int
    journal: pathlib.Path
    log: pathlib.Path

    def wait(self) -> str:
        """Waits until it ends; returns its output unless it ends well or is killed, then ""."""
        status = os.waitpid(self.process, 0)[1]
        good = os.WTERMSIG(status) in (0, signal.SIGKILL) and not os.WEXITSTATUS(status)
        return "" if good else f"status {status}: {self.log.read_text()[-3000:]}"


def begin(
    run: Callable[[pathlib.Path], None],
    folder: pathlib.Path,
    library: pathlib.Path,
    *,
    at: int = 0,
    name: str = "run",
) -> Started:
    """Begins a run in a process of its own, which ends with its change number `at`; 0 for none.

    This process has to be one that the library is loaded in, and may not have asked JAX for its
    devices.
    """
    folder.mkdir(exist_ok=True)
    journal, log = (folder.with_name(f"{folder.name}-{name}.{end}") for end in ("changes", "log"))
    with open(journal, "wb") as changes, open(log, "wb") as output:
        child = os.fork()
        if not child:
            code = 1
            try:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                ctypes.CDLL(os.fspath(library)).kill_at(os.fsencode(folder), at, changes.fileno())
                run(folder)
                code = 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
    return Started(child, journal, log)


def start(*args: Any, **options: Any) -> list[Change]:
    """Makes a run as `begin` does; returns the changes, the last one that at which it was killed.

    Raises `RuntimeError` if it ends by itself in another way than well, with the end of its output.
    """
    started = begin(*args, **options)
    problem = started.wait()
    if problem:
        raise RuntimeError(problem)
    return _changes(started.journal.read_text())


def _without_times(content: Any) -> Any:
    if isinstance(content, list):
        return [_without_times(each) for each in content]
    if not isinstance(content, dict):
        return content
    return {k: _without_times(v) for k, v in content.items() if not _TIMES.search(k)}


def _content(path: pathlib.Path) -> Any:
    """Returns what of a file is the same in each start."""
    if path.name == "metrics.jsonl":
        return _without_times([json.loads(line) for line in path.read_text().splitlines()])
    if path.name == "summary.json":
        content = json.loads(path.read_text())
        # Of the numbers, and of the files that Orbax has written.
        del content["sha256"], content["checkpoint"]["files"]
        return _without_times(content)
    if path.suffix == ".csv":
        return [line for line in path.read_text().splitlines() if not _TIMES.search(line)]
    return path.read_bytes()


def differences(folder: pathlib.Path, alone: pathlib.Path) -> list[str]:
    """Lists what lies in a folder otherwise than where the run was left alone."""
    names = [
        {"/" + path.relative_to(each).as_posix() for path in each.rglob("*") if path.is_file()}
        for each in (folder, alone)
    ]
    found = [
        f"{name}: left behind" for name in names[0] - names[1] if not _ANY_START.fullmatch(name)
    ]
    found += [f"{name}: lost" for name in names[1] - names[0] if not _ANY_START.fullmatch(name)]
    for name in names[0] & names[1]:
        if _DIFFERENT.fullmatch(name):
            continue
        if _content(folder / name[1:]) != _content(alone / name[1:]):
            found.append(f"{name}: another content")
    return sorted(found)


def choose(changes: Sequence[Change], count: int, *, seed: int, only: str = "") -> list[int]:
    """Draws the numbers of so many changes, from 1, of each file in turn.

    Those are left out in whose kind and file the pattern `only` is not found.
    """
    draw, by_file = random.Random(seed), collections.defaultdict(list)
    for number, change in enumerate(changes, 1):
        if re.search(only, f"{change.kind} {change.file}"):
            by_file[change.file].append(number)
    for numbers in by_file.values():
        draw.shuffle(numbers)
    turns = max(map(len, by_file.values()))
    order = [n[turn] for turn in range(turns) for n in by_file.values() if turn < len(n)]
    return sorted(order[:count])


def kill_everywhere(
    run: Callable[[pathlib.Path], None],
    folder: pathlib.Path,
    library: pathlib.Path,
    *,
    kills: int,
    seed: int,
    only: str = "",
) -> list[tuple[Change, list[str]]]:
    """Kills a run so often, at changes that a pattern is found in alone.

    Returns the change that it was killed at, and what differs, each time.
    """
    here, alone = folder / "here", folder / "alone"
    changes = start(run, here, library)
    here.rename(alone)
    outcomes = []
    for at in choose(changes, kills, seed=seed, only=only):
        killed = start(run, here, library, at=at)
        while len(killed) < at:
            # Threads of Orbax write now more, now less: as far from the end of this one.
            at -= max(len(changes) - len(killed), 1)
            shutil.rmtree(here)
            killed = start(run, here, library, at=at)
        try:
            start(run, here, library)
            wrong = differences(here, alone)
        except RuntimeError as error:
            wrong = [str(error)]
        outcomes.append((_in_turn(killed[:at], changes), wrong))
        shutil.rmtree(here)
        print(
            f"{len(outcomes)}: {' '.join(outcomes[-1][0][:2])}", *wrong[:5], sep="\n  ", flush=True
        )
    return outcomes


def _in_turn(killed: Sequence[Change], changes: Sequence[Change]) -> Change:
    """Returns the last change, its file by its turn: one that was not finished has no name yet."""
    last = killed[-1]
    if "/.noisyjax-" not in last.path:
        return last
    turn = len({change.path for change in killed if "/.noisyjax-" in change.path})
    files = {change.path: change.file for change in changes if "/.noisyjax-" in change.path}
    return last._replace(file=list(files.values())[turn - 1])


def table(outcomes: Sequence[tuple[Change, list[str]]]) -> str:
    """Returns file, kinds of changes, kills and losses, a line each, and the total."""
    by_file = collections.defaultdict(list)
    for change, wrong in outcomes:
        by_file[change.file].append((change.kind, bool(wrong)))
    lines = [
        f"| {name.lstrip('/') or '.'} | {', '.join(sorted({kind for kind, _ in each}))} "
        f"| {len(each)} | {sum(lost for _, lost in each)} |"
        for name, each in sorted(by_file.items())
    ]
    lost = sum(bool(wrong) for _, wrong in outcomes)
    lines += [f"files: {len(by_file)}, kills: {len(outcomes)}, lost: {lost}"]
    return "\n".join(["| file | killed as it was to | kills | lost |", "|---|---|---|---|", *lines])


def with_library(module: str, folder: str) -> None:
    """Begins a command anew with the library loaded, and ends with it."""
    own = {
        "LD_PRELOAD": os.fspath(compiled(folder)),
        "JAX_COMPILATION_CACHE_DIR": os.path.join(folder, "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, "-m", module, *sys.argv[1:], f"--folder={folder}"]
    raise SystemExit(subprocess.run(command, cwd=ROOT, env=os.environ | own).returncode)


def prepare(run: str) -> Callable[[pathlib.Path], None]:
    """Returns a run by its name, and imports what it needs once for all of its processes."""
    sys.path.insert(0, os.fspath(ROOT / "tests" / "fakes"))
    importlib.import_module(
        "noisyjax.data.store.kept" if run == "files" else "noisyjax.studies.study"
    )
    return RUNS[run]


def main() -> None:
    """Kills runs and prints the outcome."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", choices=RUNS, default="train", help="what is run")
    parser.add_argument("--kills", type=int, default=100, help="how often it is killed, at most")
    parser.add_argument("--seed", type=int, default=0, help="of the changes at which it is killed")
    parser.add_argument("--only", default="", help="a pattern: 'remove .*checkpoints/N/'")
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not given.folder:
        with tempfile.TemporaryDirectory() as folder:
            with_library("tests.robustness.kills", folder)
    folder, run = pathlib.Path(given.folder), prepare(given.run)
    begun = time.monotonic()
    outcomes = kill_everywhere(
        run, folder, folder / LIBRARY, kills=given.kills, seed=given.seed, only=given.only
    )
    print(table(outcomes))
    print(f"{time.monotonic() - begun:.0f} s")
    sys.exit(any(wrong for _, wrong in outcomes))


if __name__ == "__main__":
    main()
