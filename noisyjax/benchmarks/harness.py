"""Times several implementations of one piece of work in turn, each in a process of its own.

A process of its own separates thread pools, allocators and libraries, as in use; taking turns
lets a disturbance of the machine meet all of them.
"""

import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Mapping
from multiprocessing import connection
from typing import Any, NamedTuple

from noisyjax.core import memory

_WARM_UP = 2


class Work(NamedTuple):
    """What a side does over and over.

    Attributes:
      step: does the work once and returns when it is done.
      params: number of trained scalars, which all sides must share.
      compile_s: seconds that went by before the first step could start.
    """

    step: Callable[[], Any]
    params: int
    compile_s: float


class Timing(NamedTuple):
    """What was measured of one side.

    Attributes:
      seconds: of every timed step.
      compile_s: see `Work`.
      params: see `Work`.
      peak_gib: the most memory that the side's process held, packages and compilation included.
    """

    seconds: list[float]
    compile_s: float
    params: int
    peak_gib: float


def compiled(jitted: Any, *args: Any) -> tuple[Callable[..., Any], float]:
    """Compiles a jitted function for some arguments; returns the program and the seconds taken."""
    start = time.perf_counter()
    program = jitted.lower(*args).compile()
    return program, time.perf_counter() - start


def take_turns(
    sides: Mapping[str, Callable[[int], Work]], *, threads: int, allocator: str, repeats: int
) -> dict[str, Timing]:
    """Times sides on the first cores this process may use.

    Args:
      sides: by name, a picklable function from the number of threads to the work.
      threads: number of cores of each side; only one side runs at any time.
      allocator: one of `memory.TUNABLES`, which glibc reads when a process starts.
      repeats: timed steps of each side, after two that are not.

    Returns:
      The timings by name.

    Raises:
      RuntimeError: if a side fails; its own message stands above, on the standard error.
      ValueError: if the sides differ in their number of parameters.
    """
    pipes = {name: _start(make, threads, allocator) for name, make in sides.items()}
    try:
        facts = {name: _receive(name, pipe) for name, pipe in pipes.items()}
        params = {name: fact[1] for name, fact in facts.items()}
        if len(set(params.values())) > 1:
            raise ValueError(f"sides: expected equal numbers of parameters, got {params}")
        seconds, peaks = {name: [] for name in sides}, {}
        for _ in range(_WARM_UP + repeats):
            for name, pipe in pipes.items():
                pipe.send(True)
                elapsed, peaks[name] = _receive(name, pipe)
                seconds[name].append(elapsed)
    finally:
        for pipe in pipes.values():
            pipe.close()
    return {name: Timing(seconds[name][_WARM_UP:], *facts[name], peaks[name]) for name in sides}


def _start(make: Callable[[int], Work], threads: int, allocator: str) -> connection.Connection:
    """Starts a side; it ends when the pipe closes."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    before = os.environ.pop(memory.VARIABLE, None)
    try:
        if memory.TUNABLES[allocator]:
            os.environ[memory.VARIABLE] = memory.TUNABLES[allocator]
        context.Process(target=_serve, args=(theirs, make, threads), daemon=True).start()
    finally:
        os.environ.pop(memory.VARIABLE, None)
        if before is not None:
            os.environ[memory.VARIABLE] = before
    theirs.close()
    return ours


def _serve(pipe: connection.Connection, make: Callable[[int], Work], threads: int) -> None:
    # The affinity bounds XLA's thread pool; it must stand before the backend starts.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    work = make(threads)
    pipe.send((work.compile_s, work.params))
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        start = time.perf_counter()
        work.step()
        elapsed = time.perf_counter() - start
        # Linux counts in KiB.
        pipe.send((elapsed, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20))


def _receive(name: str, pipe: connection.Connection) -> Any:
    try:
        return pipe.recv()
    except EOFError as error:
        raise RuntimeError(f"{name}: the process of this side ended early") from error
