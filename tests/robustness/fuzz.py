"""Damaged and forged files at every door of the package.

    python -m tests.robustness.fuzz --mutants=3000 --seed=0

Each mutant is one file of a few that belong together, changed in one place. What comes of it is

* refused: by an error of the kinds that commands show in a line, which names the file; nothing is
  half written;
* unchanged: what comes of the whole files;
* another file: what a plain reader finds in the mutant is what came of it, and its format has no
  checksum that tells the change (or its checksum was changed with it).

Everything else is a fault: other errors, silently other data, warnings of libraries, a minute
without an end, gigabytes of memory, a process that dies. ``--only=NUMBER`` tries one mutant again
and shows its error.
"""

import argparse
import collections
import contextlib
import json
import os
import pathlib
import random
import resource
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

ROOT = pathlib.Path(__file__).parents[2]
HERE = ROOT / "tests" / "robustness"
FAKES = ROOT / "tests" / "fakes"

REFUSED, UNCHANGED, VALID, FAULT = "refused", "unchanged", "another file", "fault"
_OUTCOMES = (REFUSED, UNCHANGED, VALID, FAULT)
# Beyond what the process has when it begins.
_MOST_BYTES = 4 * 2**30
_MOST_SECONDS = 60
_WITH_CHECKSUM = (".nii.gz", ".png", ".npz")


class Result(NamedTuple):
    """What came of a mutant: one of `_OUTCOMES`, and what was done and said."""

    number: int
    door: str
    outcome: str
    file: str
    change: str
    text: str
    seconds: float


def fingerprint(value: Any) -> Any:
    """Returns what is equal of equal results: arrays to the bit, NaN equal to itself."""
    if isinstance(value, dict):
        return tuple((str(k), fingerprint(v)) for k, v in sorted(value.items(), key=str))
    if isinstance(value, list | tuple):
        return tuple(map(fingerprint, value))
    if isinstance(value, float | np.floating):
        return repr(float(value))
    if hasattr(value, "dtype"):
        array = np.asarray(value)
        return str(array.dtype), array.shape, array.tobytes()
    if hasattr(value, "items"):
        return fingerprint(dict(value.items()))
    import jax

    leaves = jax.tree.leaves(value)
    return repr(value) if len(leaves) == 1 and leaves[0] is value else fingerprint(leaves)


def _content(folder: pathlib.Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


class _Place:
    """A door's files, whole ones and a copy to change; doors that begin alike share them."""

    def __init__(self, door, folder: pathlib.Path):
        self.door, self.work, self._whole = door, folder / "work", folder / "whole"
        if not folder.exists():
            self.work.mkdir(parents=True)
            door.make(self.work)
            shutil.copytree(self.work, self._whole)
        found = [[p for p in self._whole.glob(each) if p.is_file()] for each in door.files]
        # Parts of a checkpoint have other names each time.
        self.files = [
            sorted(paths, key=lambda p: (p.parent, p.stat().st_size, p.name)) for paths in found
        ]
        self.restore()
        self.expected = fingerprint(door.call(self.work))

    def restore(self) -> None:
        shutil.rmtree(self.work)
        shutil.copytree(self._whole, self.work)

    def choose(self, draw: random.Random) -> tuple[str, bytes, list[bytes]]:
        """Returns a file, its content, and others that may take its place."""
        path = draw.choice(draw.choice([paths for paths in self.files if paths]))
        alike = [p for p in self._whole.rglob(f"*{''.join(path.suffixes)}") if p != path]
        alike = [p.read_bytes() for p in sorted(alike) if p.is_file()]
        return path.relative_to(self._whole).as_posix(), path.read_bytes(), alike

    def matches(self, name: str, patterns: Iterable[str]) -> bool:
        return any((self._whole / name) in self._whole.glob(pattern) for pattern in patterns)

    def untouched(self, name: str) -> str:
        """Returns what the door has written though it only reads, or has left half written."""
        after = _content(self.work)
        if half := [path for path in after if ".noisyjax-" in path]:
            return f"left {half[0]}"
        before = {} if self.door.writes else _content(self._whole)
        other = [p for p in before if p != name and before[p] != after.get(p)]
        new = [p for p in after if before and p not in before and not p.startswith("out")]
        return f"changed {(other or new)[0]}" if other or new else ""


class Fuzz:
    """Makes mutants by their numbers and sees what comes of them."""

    def __init__(self, folder: pathlib.Path, seed: int):
        import doors

        self._folder, self._seed = folder, seed
        self.doors = doors.doors()
        self._places: dict[int, _Place] = {}
        cycle = [i for i, door in enumerate(self.doors) for _ in range(door.share)]
        random.Random(0).shuffle(cycle)
        self.cycle = cycle

    def place(self, number: int) -> _Place:
        index = self.cycle[number % len(self.cycle)]
        if index not in self._places:
            makes = [door.make for door in self.doors]
            folder = self._folder / str(makes.index(makes[index]))
            self._places[index] = _Place(self.doors[index], folder)
        return self._places[index]

    def run(self, number: int, *, shown: bool = False) -> Result:
        """Makes a mutant and classifies what comes of it."""
        import file_changes

        place, draw = self.place(number), random.Random(f"{self._seed}/{number}")
        name, content, others = place.choose(draw)
        what, mutant = file_changes.change(draw, name, content, others)
        place.restore()
        (place.work / name).write_bytes(mutant)
        begun = time.perf_counter()
        outcome, text = self._outcome(place, name, what, mutant, shown)
        seconds = time.perf_counter() - begun
        return Result(number, place.door.name, outcome, name, what, text, seconds)

    def _outcome(self, place, name, what, mutant, shown) -> tuple[str, str]:
        import file_changes
        import plain_readers

        kind, value, noticed = _called(place, shown)
        # What is there after a refusal.
        if touched := place.untouched(name):
            return FAULT, f"{touched} ({kind}: {value!s:.300})"
        if strange := [str(w.message) for w in noticed if not _names(str(w.message), place, name)]:
            return FAULT, f"a warning that names no file: {strange[0]}"
        if kind == "error":
            return FAULT, value
        if kind == REFUSED:
            clean = (
                what == file_changes.SWAPPED or plain_readers.rewritten(name, mutant) is not None
            )
            if _names(value, place, name) or (clean and _names(value, place, "")):
                return REFUSED, value
            return FAULT, f"the file is not named: {value}"
        if value == place.expected:
            return UNCHANGED, ""
        return self._other(place, name, what, mutant, value)

    def _other(self, place, name, what, mutant, value) -> tuple[str, str]:
        """Whether other data are rightly so."""
        import file_changes
        import plain_readers

        if place.matches(name, place.door.sealed):
            return FAULT, "other data of a file that has a checksum"
        if what == file_changes.SWAPPED:
            return VALID, ""
        if what in file_changes.BYTES and name.endswith(_WITH_CHECKSUM):
            return FAULT, "other data of a format that has a checksum"
        clean = plain_readers.rewritten(name, mutant)
        if clean is None:
            return FAULT, "other data of a file that a plain reader does not take"
        place.restore()
        (place.work / name).write_bytes(clean)
        kind, again, _ = _called(place, False)
        if kind != "read" or again != value:
            told = again if kind != "read" else "others"
            return FAULT, f"other data than a plain reader finds ({told!s:.500})"
        return VALID, ""


def _called(place: _Place, shown: bool) -> tuple[str, Any, list]:
    """Calls a door: ("read", fingerprint), ("refused", message) or ("error", what)."""
    import doors

    with warnings.catch_warnings(record=True) as noticed:
        warnings.simplefilter("always")
        try:
            return "read", fingerprint(place.door.call(place.work)), noticed
        except doors.Refused as error:
            return REFUSED, str(error), noticed
        except Exception as error:
            if shown:
                traceback.print_exc()
            if _is_told(error):
                return REFUSED, str(error), noticed
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{pathlib.Path(last.filename).name}:{last.lineno}"
            return "error", f"{type(error).__name__} at {where}: {error!s:.500}", noticed


def _is_told(error: Exception) -> bool:
    """Whether commands show an error in one line; as `noisyjax.cli.options.one_message`."""
    from absl import app

    from noisyjax.cli import options

    try:
        with options.one_message():
            raise error
    except app.UsageError:
        return True
    except Exception:
        return False


def _names(text: str, place: _Place, name: str) -> bool:
    """Whether a message names a file, or any of a door's; a checkpoint's by its folder."""
    if name:
        shown = [name.rpartition("/")[2]]
        shown += ["checkpoint"] * ("checkpoints" in name)
    else:
        shown = [p.name for paths in place.files for p in paths]
    return any(each in text for each in shown)


# --- the command -----------------------------------------------------------------------------


def prepare(patch) -> None:
    """Imports what the doors take, quietly; `patch` is a `pytest.MonkeyPatch`."""
    for folder in (FAKES, HERE):
        if os.fspath(folder) not in sys.path:
            sys.path.insert(0, os.fspath(folder))
    import train_fakes
    from absl import logging

    patch.setattr(logging, "warning", lambda *_: None)
    train_fakes.install(patch)


def _worker(seed: int, numbers: Iterable[int], shown: bool) -> None:
    """Tries mutants, and writes what came of each as a line of JSON."""
    import pytest

    told = os.fdopen(os.dup(1), "w")
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        prepare(patch)
        fuzz = Fuzz(pathlib.Path(folder).resolve(), seed)
        with contextlib.redirect_stdout(sys.stderr):
            with open("/proc/self/statm", encoding="ascii") as file:
                now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            resource.setrlimit(resource.RLIMIT_AS, (now + _MOST_BYTES,) * 2)
            for number in numbers:
                print(json.dumps(fuzz.run(number, shown=shown)), file=told, flush=True)


def _results(seed: int, numbers: list[int], cache: str) -> Iterator[Result]:
    """Tries mutants in a process of its own, and in another one after a mutant that ends it."""
    # As the tests compile, which is quick.
    environment = {
        **os.environ,
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    while numbers:
        command = [sys.executable, "-m", "tests.robustness.fuzz", "--worker", f"--seed={seed}"]
        given = json.dumps(numbers)
        with tempfile.TemporaryFile() as log, subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=log, text=True,
        ) as process:  # fmt: skip
            process.stdin.write(given)
            process.stdin.close()
            selector = selectors.DefaultSelector()
            selector.register(process.stdout, selectors.EVENT_READ)
            while numbers:
                line = process.stdout.readline() if selector.select(_MOST_SECONDS) else None
                if not line:
                    break
                numbers = numbers[1:]
                yield Result(*json.loads(line))
            if line is None:
                process.kill()
            died = process.wait()
            if numbers:
                log.seek(0)
                text = log.read()[-3000:].decode(errors="replace")
                if died > 0:
                    # This program itself.
                    raise RuntimeError(text)
                said = (
                    f"no end after {_MOST_SECONDS} s"
                    if line is None
                    else f"the process died: {text}"
                )
                yield Result(numbers[0], "?", FAULT, "", "", said, 0.0)
                numbers = numbers[1:]


def table(results: Iterable[Result]) -> str:
    """Returns how often each outcome came of each door, as a table in Markdown."""
    counts = collections.Counter((r.door, r.outcome) for r in results)
    names = list(dict.fromkeys(door for door, _ in counts))
    rows = [["door", *_OUTCOMES], ["---"] * 5]
    rows += [[name, *(str(counts[name, o]) for o in _OUTCOMES)] for name in sorted(names)]
    rows += [["all", *(str(sum(counts[n, o] for n in names)) for o in _OUTCOMES)]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """Tries mutants and lists what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=3000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of the changes")
    parser.add_argument("--only", type=int, help="the number of one mutant to try again")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        _worker(given.seed, json.loads(sys.stdin.read()), shown=False)
        return
    if given.only is not None:
        _worker(given.seed, [given.only], shown=True)
        return
    begun, results = time.monotonic(), []
    with tempfile.TemporaryDirectory() as cache:
        for result in _results(given.seed, list(range(given.mutants)), cache):
            results.append(result)
            if result.outcome == FAULT:
                print(f"{result.number}: {result.door}: {result.file}, {result.change}: "
                      f"{result.text}", flush=True)  # fmt: skip
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = used.ru_utime + used.ru_stime
    slowest = max(results, key=lambda r: r.seconds)
    faults = [r.number for r in results if r.outcome == FAULT]
    print(f"{len(results)} mutants of the seed {given.seed} in {time.monotonic() - begun:.0f} s, "
          f"{processor:.0f} s of a processor, "
          f"the slowest, {slowest.number}, in {slowest.seconds:.1f} s")  # fmt: skip
    print(table(results))
    print(f"faults: {len(faults)}, mutants {faults}")
    sys.exit(bool(faults) or len(results) < given.mutants)


if __name__ == "__main__":
    main()
