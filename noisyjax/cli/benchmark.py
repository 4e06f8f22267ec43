"""Times our training step beside PyTorch's and prints the ratios.

    python -m noisyjax.cli.benchmark
    python -m noisyjax.cli.benchmark train_step_3d --threads=2 --json=benchmark.json

Every entry runs on one core and on all of them, without and with huge pages: XLA takes and returns
its temporary memory in every step, and the page faults of that are its largest single cost. glibc
reads `GLIBC_TUNABLES=glibc.malloc.hugetlb=1` when a process starts, so every side runs in a fresh
process. The sides take turns; a ratio is the median of ours over the median of the quicker peer.
Compilation is apart. The entry conv3d_xla has our own network with XLA's convolutions as its peer.
"""

import importlib.util
import json
import os
import pathlib
import statistics
from collections.abc import Mapping, Sequence

from absl import app, flags
from rich import console, table

from noisyjax.benchmarks import harness, training_step

_JSON = flags.DEFINE_string("json", None, "File that receives the measurements.")
_THREADS = flags.DEFINE_list("threads", None, "Numbers of cores; one and all of them if not given.")
_REPEATS = flags.DEFINE_integer("repeats", 11, "Timed steps of each side.")
_SMOKE = flags.DEFINE_bool("smoke", False, "A tiny network without a peer in place of each entry.")


def measure(setup: training_step.Setup, *, threads: int, huge_pages: bool, repeats: int) -> dict:
    """Times one set-up.

    Args:
      setup: what to train.
      threads: number of cores.
      huge_pages: whether glibc takes huge pages.
      repeats: timed steps of each side.

    Returns:
      Median seconds of ours, and of the quicker peer with the ratio to it where there is one;
      the circumstances, and the seconds of every step.
    """
    timings = harness.take_turns(
        setup.sides(), threads=threads, huge_pages=huge_pages, repeats=repeats
    )
    medians = {name: statistics.median(timing.seconds) for name, timing in timings.items()}
    result = {
        "threads": threads,
        "huge_pages": huge_pages,
        "params": timings["ours"].params,
        "compile_s": timings["ours"].compile_s,
        "ours_s": medians.pop("ours"),
        "seconds": {name: timing.seconds for name, timing in timings.items()},
    }
    if medians:
        peer = min(medians, key=medians.get)
        result |= {"peer": peer, "peer_s": medians[peer]}
        result["ratio"] = result["ours_s"] / result["peer_s"]
    return result


def render(results: Sequence[Mapping]) -> table.Table:
    """Makes a table with one row per measurement."""
    headings = ("entry", "cores", "huge pages", "ours (s)", "peer (s)", "ratio", "compile (s)")
    made = table.Table(*(table.Column(heading, no_wrap=True) for heading in (*headings, "peer")))
    for result in results:
        row = [result["entry"], str(result["threads"]), "yes" if result["huge_pages"] else "no"]
        row += [f"{result[key]:.3f}" if key in result else "-" for key in ("ours_s", "peer_s")]
        row += [f"{result['ratio']:.2f}" if "ratio" in result else "-"]
        made.add_row(*row, f"{result['compile_s']:.1f}", result.get("peer", "-"))
    return made


def main(argv: Sequence[str]) -> None:
    """Times the entries named on the command line, or all of them."""
    names = list(argv[1:]) or list(training_step.SETUPS)
    unknown = sorted(set(names) - set(training_step.SETUPS))
    if unknown:
        raise app.UsageError(f"unknown entries {unknown}; known: {sorted(training_step.SETUPS)}")
    setups = {name: training_step.SETUPS[name] for name in names}
    if _SMOKE.value:
        setups = dict.fromkeys(names, training_step.SMOKE)
    if any(setup.peer == "torch" for setup in setups.values()):
        _require_torch()
    results = []
    for name, setup in setups.items():
        for threads in _thread_counts():
            for huge_pages in (False, True):
                measured = measure(
                    setup, threads=threads, huge_pages=huge_pages, repeats=_REPEATS.value
                )
                results.append({"entry": name} | measured)
    console.Console(width=120).print(render(results))
    if _JSON.value:
        _write_json(pathlib.Path(_JSON.value), results)


def run() -> None:
    """Parses the flags and calls `main`."""
    app.run(main)


def _thread_counts() -> list[int]:
    cores = len(os.sched_getaffinity(0))
    threads = [int(n) for n in _THREADS.value] if _THREADS.value else sorted({1, cores})
    if not all(0 < n <= cores for n in threads):
        raise app.UsageError(f"--threads: expected numbers from 1 to {cores}, got {threads}")
    return threads


def _require_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        raise app.UsageError("the peer is PyTorch, which is missing: pip install noisyjax[bench]")


def _write_json(path: pathlib.Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=2) + "\n")
    os.replace(temporary, path)


if __name__ == "__main__":
    run()
