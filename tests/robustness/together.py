"""Two runs of a real network at once, again and again: in one workdir, and on one cache.

    python -m tests.robustness.together --starts=20

Of two that are begun in one workdir one trains, and the other is told who does. Two in workdirs of
their own share a cache of prepared cases, as two containers would that have their own hosts' names
and the same number of the process. Then the files are compared with those of a run left alone.
"""

import argparse
import functools
import os
import pathlib
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable

from tests.robustness import kills


def _contained(run: Callable[[pathlib.Path], None], host: str) -> Callable[[pathlib.Path], None]:
    def inside(folder: pathlib.Path) -> None:
        os.getpid, socket.gethostname = lambda: 7, lambda: host
        run(folder)

    return inside


def _both(one: Callable, other: Callable, folder: pathlib.Path, library: pathlib.Path) -> list[str]:
    """Begins two runs at once; returns what each of them ends with, "" if well."""
    begun = [
        kills.begin(run, folder, library, name=name)
        for run, name in ((one, "one"), (other, "other"))
    ]
    return [each.wait() for each in begun]


def one_workdir(
    run: Callable, folder: pathlib.Path, alone: pathlib.Path, library: pathlib.Path
) -> list[str]:
    """Begins a run twice in one workdir; returns what is wrong."""
    ends = _both(run, run, folder, library)
    wrong = [end for end in ends if end and "WorkdirLocked" not in end]
    if all(ends):
        wrong.append("both were refused")
    return wrong + kills.differences(folder, alone)


def one_cache(
    run: Callable, folder: pathlib.Path, alone: pathlib.Path, library: pathlib.Path
) -> list[str]:
    """Begins a run in two containers that share a cache alone; returns what is wrong."""
    other = functools.partial(run, workdir="run2")
    wrong = list(filter(None, _both(_contained(run, "a"), _contained(other, "b"), folder, library)))
    # Each beside the cache that they share.
    for workdir in ("run", "run2"):
        part = folder.with_name("part")
        shutil.copytree(folder / "cache", part / "cache")
        shutil.copytree(folder / workdir, part / "run")
        wrong += [f"{workdir}: {each}" for each in kills.differences(part, alone)]
        shutil.rmtree(part)
    return wrong


def main() -> None:
    """Begins runs at once and prints the outcome."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--starts", type=int, default=20, help="how often two are begun, of each kind"
    )
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not given.folder:
        with tempfile.TemporaryDirectory() as folder:
            kills.with_library("tests.robustness.together", folder)
    begun, run, folder = time.monotonic(), kills.prepare("train"), pathlib.Path(given.folder)
    library, here, alone = folder / kills.LIBRARY, folder / "here", folder / "alone"
    kills.start(run, here, library)
    here.rename(alone)
    failed = 0
    for both in (one_workdir, one_cache):
        bad = 0
        for _ in range(given.starts):
            wrong = both(run, here, alone, library)
            bad += bool(wrong)
            print(*wrong[:5], sep="\n", end="\n" * bool(wrong), flush=True)
            shutil.rmtree(here)
        print(f"{both.__name__}: {given.starts} starts of two, wrong: {bad}", flush=True)
        failed += bad
    print(f"{time.monotonic() - begun:.0f} s")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
