"""Times our work beside that of others and prints the ratios.

    python -m noisyjax.cli.benchmark
    python -m noisyjax.cli.benchmark train_step_3d threshold_256 --threads=2 --json=benchmark.json

Every entry runs on one core and on all of them; training steps with every way in which glibc can
treat their temporary memory (`noisyjax.core.memory`). It reads that when a process starts, so every
side runs in a fresh process. The sides take turns; the time of a side is its median. Compilation is
not part of it. The entry conv3d_xla has our own network with XLA's convolutions as its peer.
"""

import importlib.util
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from absl import app, flags
from rich import console, table

from noisyjax.benchmarks import (
    fusion,
    gaussian_field,
    harness,
    surface,
    threshold,
    training_step,
    uma_net,
)
from noisyjax.core import files, memory

SETUPS = {
    **training_step.SETUPS,
    **gaussian_field.SETUPS,
    **threshold.SETUPS,
    **fusion.SETUPS,
    **surface.SETUPS,
    **uma_net.SETUPS,
}


def define_flags() -> None:
    """Defines the flags; not on import, for the commands share names."""
    flags.DEFINE_string("json", None, "File that receives the measurements.")
    flags.DEFINE_list("threads", None, "Numbers of cores; one and all of them if not given.")
    flags.DEFINE_integer("repeats", 11, "Timed steps of each side.")
    flags.DEFINE_multi_enum(
        "allocator", None, list(memory.TUNABLES), "How training steps get memory; all if not given."
    )
    flags.DEFINE_bool("smoke", False, "A tiny network without a peer in place of each entry.")


def measure(setup: Any, *, threads: int, allocator: str, repeats: int) -> dict:
    """Times one set-up of `SETUPS` with an allocator of `memory.TUNABLES`.

    Returns:
      Median seconds of ours and of each peer over `repeats` steps, with our ratio to it (below 1,
      ours is faster); the circumstances, the seconds of every step and the most memory that each
      process held.
    """
    timings = harness.take_turns(
        setup.sides(), threads=threads, allocator=allocator, repeats=repeats
    )
    medians = {name: statistics.median(timing.seconds) for name, timing in timings.items()}
    ours = medians.pop("ours")
    return {
        "threads": threads,
        "allocator": allocator,
        "params": timings["ours"].params,
        "compile_s": timings["ours"].compile_s,
        "ours_s": ours,
        "peers_s": medians,
        "ratios": {name: ours / seconds for name, seconds in medians.items()},
        "seconds": {name: timing.seconds for name, timing in timings.items()},
        "peak_gib": {name: timing.peak_gib for name, timing in timings.items()},
    }


def render(results: Sequence[Mapping]) -> table.Table:
    """Makes a table with one row per measurement and peer."""
    headings = ("entry", "cores", "allocator", "ours (s)", "peer (s)", "ratio", "compile (s)")
    headings += ("ours (GiB)", "peer (GiB)", "peer")
    made = table.Table(*(table.Column(heading, no_wrap=True) for heading in headings))
    for result in results:
        start = [result["entry"], str(result["threads"]), result["allocator"]]
        start.append(f"{result['ours_s']:.4g}")
        memory_of = {name: f"{peak:.3g}" for name, peak in result["peak_gib"].items()}
        middle = [f"{result['compile_s']:.1f}", memory_of["ours"]]
        for name, ratio in result["ratios"].items():
            peer = [f"{result['peers_s'][name]:.4g}", f"{ratio:.3g}"]
            made.add_row(*start, *peer, *middle, memory_of[name], name)
        if not result["ratios"]:
            made.add_row(*start, "-", "-", *middle, "-", "-")
    return made


def main(argv: Sequence[str]) -> None:
    """Times the entries named on the command line, or all of them."""
    names = list(argv[1:]) or list(SETUPS)
    unknown = sorted(set(names) - set(SETUPS))
    if unknown:
        raise app.UsageError(f"unknown entries {unknown}; known: {sorted(SETUPS)}")
    setups = {name: SETUPS[name] for name in names}
    if flags.FLAGS.smoke:
        setups = dict.fromkeys(names, training_step.SMOKE)
    _require({name for setup in setups.values() for name in setup.peer.split()} - {"xla"})
    results = []
    for name, setup in setups.items():
        for threads in _thread_counts():
            for allocator in _allocators(setup):
                measured = measure(
                    setup, threads=threads, allocator=allocator, repeats=flags.FLAGS.repeats
                )
                results.append({"entry": name} | measured)
    console.Console(width=150).print(render(results))
    if flags.FLAGS.json:
        files.write_text(flags.FLAGS.json, json.dumps(results, indent=2) + "\n")


def _thread_counts() -> list[int]:
    cores = len(os.sched_getaffinity(0))
    threads = [int(n) for n in flags.FLAGS.threads] if flags.FLAGS.threads else sorted({1, cores})
    if not all(0 < n <= cores for n in threads):
        raise app.UsageError(f"--threads: expected numbers from 1 to {cores}, got {threads}")
    return threads


def _allocators(setup: Any) -> list[str]:
    if not isinstance(setup, training_step.Setup):
        return ["default"]
    return flags.FLAGS.allocator or list(memory.TUNABLES)


def _require(packages: set[str]) -> None:
    missing = sorted(name for name in packages if importlib.util.find_spec(name) is None)
    if missing:
        raise app.UsageError(f"peers are missing: {missing}; pip install noisyjax[bench]")


if __name__ == "__main__":
    define_flags()
    app.run(main)
