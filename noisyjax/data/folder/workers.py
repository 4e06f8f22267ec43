"""Lets processes prepare the cases of a folder, each a part of them.

They write into the folder of prepared cases; who started them takes the cases from there, and says
what is wrong with those that are not.
"""

import json
import os
import pathlib
import selectors
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from noisyjax.core import progress

# Fewer voxels of all cases are prepared before a process has started; so many take as long as what
# a case takes whatever its size.
_FEW, _EACH = 2**24, 2**15
# What preparing takes in memory, by voxel of the case, and how much of the machine's it may take.
_BYTES, _SHARE = 24, 0.5


def _number(cases: int, voxels: int) -> int:
    """Returns how many processes prepare cases of so many voxels at most."""
    if cases * (voxels + _EACH) < _FEW:
        return 0
    if not hasattr(os, "sched_getaffinity"):
        # Not a Linux: what this machine has, and may be used of it, is not known.
        return 0
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    fitting = int(_SHARE * memory // max(_BYTES * voxels, 1))
    return min(len(os.sched_getaffinity(0)), cases, fitting)


def prepare(
    root: str | pathlib.Path, how: Mapping[str, Any], cases: Sequence[str], *, voxels: int
) -> None:
    """Lets processes prepare cases, by name, of so many voxels at most; few are left as they are.

    Args:
      how: the fields of `prepared.How`.
    """
    count = _number(len(cases), voxels)
    if count < 2:
        return
    tasks = [
        json.dumps({"root": os.fspath(root), "how": dict(how), "cases": cases[n::count]})
        for n in range(count)
    ]
    path = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"}
    started = []
    try:
        for task in tasks:
            process = subprocess.Popen(
                [sys.executable, "-m", "noisyjax.data.folder.prepare_part"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                text=True,
            )
            started.append(process)
            process.stdin.write(task)
            process.stdin.close()
        _follow(started, len(cases))
    finally:
        for process in started:
            process.kill()
            process.wait()
            process.stdout.close()


def _follow(started: Sequence[subprocess.Popen], cases: int) -> None:
    """Waits for processes, and shows how many cases they have done."""
    done = 0
    with (
        progress.Progress(cases, name="preparing", shown=True) as bar,
        selectors.DefaultSelector() as ready,
    ):
        for process in started:
            ready.register(process.stdout, selectors.EVENT_READ)
        while ready.get_map():
            for key, _ in ready.select():
                if key.fileobj.readline():
                    done += 1
                    bar.update(done, {})
                else:
                    ready.unregister(key.fileobj)
