"""Puts small faults into the package, one at a time, and counts those that a test notices.

    python -m tests.robustness.mutation --faults=300 --seed=0 [--rooms=losses,metrics] [--only=7]

It needs the extra `dev`. Each fault goes into a copy of the repository, where tests are run until
the first that fails, in two stages:

* mirrored: the module's doctests and the tests that mirror it, for 40 seconds of processor time at
  most; a run that takes 120 counts as noticed;
* users: for what these do not notice, those of them that there was no time for, and then doctests
  and mirrored tests of the modules that import it, nearest first (`importers.py`), without those
  marked slow, for 120 seconds of processor time at most; a run that takes 240 counts as not
  noticed.

What is known goes line by line into a file (`--results`), so that the same command goes on after it
was interrupted. At the end the tests that noticed something are run on the code as it is, for a
test that fails there notices nothing. Faults that change nothing are listed in
`harmless_faults.tsv`, with the reason; no user's tests are run on them.
"""

import argparse
import contextlib
import importlib
import json
import os
import pathlib
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

import pytest

from tests.robustness import importers, mutants

HARMLESS = pathlib.Path(__file__).with_name("harmless_faults.tsv")
# What takes long to import and does not import the package: each fault's process begins with it.
_IMPORTED = (
    *("jax", "flax.linen", "optax", "scipy.ndimage", "scipy.interpolate", "scipy.optimize"),
    *("scipy.stats", "sklearn.metrics", "beartype", "_pytest.doctest"),
)

# Modules that no test file mirrors, and that of those who are made of them.
_TESTED_BY = {
    f"noisyjax/{module}.py": tuple(f"tests/{n.partition('_')[0]}/test_{n}.py" for n in names)
    for module, names in {
        "core/arrays": ("noise_replacement",),
        "core/ignored": ("losses_ignored", "fusion_ignored", "metrics_ignored"),
        "core/memory": ("train_out_of_memory",),
        "fusion/local": ("fusion_spatial_staple",),
        "fusion/pooled": ("fusion_staple",),
        "fusion/rows": ("fusion_voting", "fusion_staple"),
        "methods/base": ("methods",),
        "methods/fused": ("methods",),
        "methods/network": ("methods", "methods_adl"),
        "metrics/mask_pairs": ("metrics_agreement", "metrics_matching", "metrics_distribution"),
        "metrics/nearest": ("metrics_surface",),
        "metrics/surface_elements": ("metrics_surface",),
        "noise/field_units": ("noise_gaussian_field", "noise_annotators"),
    }.items()
}


class Stage(NamedTuple):
    """Some of the tests that may notice a fault.

    Attributes:
      name: of the stage.
      arguments: of (copy of the repository, path of the module), what pytest is to run.
      options: of pytest.
      enough: seconds of processor time after which no further test is begun.
      most: seconds of processor time after which a test is given up.
      late_is_noticed: whether a run that is given up has noticed the fault.
    """

    name: str
    arguments: Callable[[pathlib.Path, str], list[str]]
    options: tuple[str, ...]
    enough: int
    most: int
    late_is_noticed: bool


class _Watch:
    """What failed and what passed; it leaves out known tests and stops after enough time."""

    def __init__(self, enough: float, known: Collection[str]):
        self.enough, self.known = enough, frozenset(known)
        self.failed: list[str] = []
        self.passed: list[str] = []

    def pytest_collection_modifyitems(self, items):
        items[:] = [item for item in items if item.nodeid not in self.known]

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed.append(report.nodeid)
        elif report.when == "call":
            self.passed.append(report.nodeid)

    def pytest_collectreport(self, report):
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_runtest_teardown(self, item):
        if _spent() > self.enough:
            item.session.shouldstop = "enough"


def _spent() -> float:
    """Processor time of this process and of those that it has started."""
    return sum(os.times()[:4])


def _modules(tree: pathlib.Path, room: str) -> list[pathlib.Path]:
    return sorted((tree / "noisyjax" / room).rglob("*.py"))


def _mirror(module: str) -> str:
    """The test file of a module, there or not."""
    parts = pathlib.PurePosixPath(module).with_suffix("").parts[1:]
    return "/".join(["tests", *parts[:-1], f"test_{'_'.join(parts)}.py"])


def _files_for(tree: pathlib.Path, module: str) -> list[str]:
    """The test files of a module: that which mirrors it, then those of its room that mirror none.

    Of a module that no file mirrors those of `_TESTED_BY` come first.
    """
    room = pathlib.PurePosixPath(module).parts[1]
    own = _TESTED_BY.get(module, (_mirror(module),))
    mirrors = {_mirror(path.relative_to(tree).as_posix()) for path in _modules(tree, room)}
    paths = sorted((tree / "tests" / room).rglob("test_*.py"))
    others = [path.relative_to(tree).as_posix() for path in paths]
    files = [*own, *(file for file in others if file not in mirrors)]
    return [file for file in dict.fromkeys(files) if (tree / file).exists()]


def _mirrored(tree: pathlib.Path, module: str) -> list[str]:
    return [module, *_files_for(tree, module)]


def _users(tree: pathlib.Path, module: str) -> list[str]:
    """What mirrors a module, and then what mirrors those that import it."""
    modules = (module, *importers.importers(tree, module))
    return list(dict.fromkeys(file for name in modules for file in _mirrored(tree, name)))


MIRRORED = Stage("mirrored", _mirrored, (), 40, 120, late_is_noticed=True)
USERS = Stage("users", _users, ("-m", "not slow"), 120, 240, late_is_noticed=False)


def _in_child(tree: pathlib.Path, arguments: list[str], watch: _Watch, answer: pathlib.Path):
    """Runs pytest in this process, a fork in which neither jax has begun nor the package exists."""
    os.setsid()
    sys.path[:] = [os.fspath(tree), *(path for path in sys.path if path not in ("", os.getcwd()))]
    os.environ["PYTHONPATH"] = os.fspath(tree)
    os.chdir(tree)
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        options = ["-n0", "-q", "-p", "no:cacheprovider", "--show-capture=no"]
        code = pytest.main([*options, *arguments], plugins=[watch])
    facts = {"code": int(code), "failed": watch.failed, "passed": watch.passed}
    answer.write_text(json.dumps(facts), encoding="utf-8")


def run_tests(
    tree: pathlib.Path,
    arguments: list[str],
    *,
    enough: float = 3600,
    most: int = 3600,
    known: Collection[str] = (),
) -> dict[str, Any]:
    """Runs pytest in a fork, without known tests: its code, what failed, what passed.

    Empty if it did not end.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = pathlib.Path(folder) / "answer.json"
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_CPU, (most, most))
            try:
                _in_child(tree, arguments, _Watch(_spent() + enough, known), answer)
            except BaseException:
                traceback.print_exc()
            os._exit(0)
        # One that waits for ever takes no processor time.
        end = time.monotonic() + 10 * most
        while (state := os.waitpid(child, os.WNOHANG)) == (0, 0):
            if time.monotonic() > end:
                os.killpg(child, signal.SIGKILL)
            time.sleep(0.02)
        if answer.exists():
            return json.loads(answer.read_text(encoding="utf-8"))
        if not os.WIFSIGNALED(state[1]):
            raise RuntimeError(f"pytest did not run: {arguments}")
        return {}


def _write(tree: pathlib.Path, module: str, source: str) -> None:
    path = tree / module
    path.write_text(source, encoding="utf-8")
    # A file of the same size, written in the same second, passes for what was compiled before.
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        compiled.unlink()


@contextlib.contextmanager
def _copy() -> Iterator[pathlib.Path]:
    """A copy of the repository, for as long as it is needed."""
    left_out = shutil.ignore_patterns(".*", "runs", "build", "dist", "__pycache__")
    with tempfile.TemporaryDirectory() as folder:
        tree = pathlib.Path(folder) / "tree"
        shutil.copytree(mutants.ROOT, tree, ignore=left_out)
        yield tree


def _noticed(
    tree: pathlib.Path, fault: mutants.Fault, stage: Stage, known: Collection[str] = ()
) -> tuple[str, list[str]]:
    """Puts a fault into a copy for as long as tests run, but for known ones that pass with it.

    Returns the first that fails, "" if none, and those that pass.
    """
    untouched = (tree / fault.path).read_text(encoding="utf-8")
    arguments = ["-x", *stage.options, *stage.arguments(tree, fault.path)]
    _write(tree, fault.path, fault.source)
    try:
        found = run_tests(tree, arguments, enough=stage.enough, most=stage.most, known=known)
    finally:
        _write(tree, fault.path, untouched)
    if not found:
        return "time" if stage.late_is_noticed else "", []
    # No test at all notices nothing, and one that was interrupted had no failure.
    other = "" if found["code"] in (0, 2, 5) else "the import"
    return (*found["failed"], other)[0], found["passed"]


def try_faults(
    faults: dict[mutants.Fault, Collection[str]], results: pathlib.Path, stage: Stage
) -> Iterator[dict[str, Any]]:
    """Tries each fault that the file of results does not know in a stage; what became of each.

    With each fault stand the tests that are known to pass with it.
    """
    lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    names = ("stage", "path", "line", "before", "after")
    done = {tuple(r[name] for name in names): r for r in map(json.loads, lines)}
    with _copy() as tree:
        for fault, known in faults.items():
            facts: dict[str, Any] = {"stage": stage.name} | fault._asdict()
            del facts["source"]
            if tuple(facts.values()) in done:
                facts = done[tuple(facts.values())]
            else:
                begun = time.monotonic()
                facts["by"], passed = _noticed(tree, fault, stage, known)
                facts["passed"] = [] if facts["by"] else passed
                facts["seconds"] = round(time.monotonic() - begun, 1)
                with open(results, "a", encoding="utf-8") as file:
                    file.write(json.dumps(facts) + "\n")
            print(f"{facts['seconds']} s {facts['path']}:{facts['line']}", end=" ")
            print(facts["by"] or f"NOT NOTICED by {stage.name}", flush=True)
            yield facts


def fail_anyway(tried: list[dict[str, Any]]) -> list[str]:
    """Of the tests that noticed something, those that fail on the code as it is."""
    names = sorted({r["by"] for r in tried if "::" in r["by"]})
    if not names:
        return []
    with _copy() as tree:
        found = run_tests(tree, names)
    # All of them, where they could not be run.
    return found["failed"] if found.get("code") in (0, 1) else names


def harmless() -> dict[tuple[str, str, str], str]:
    """Of (path, line before, line after), why the fault changes nothing that matters."""
    rows = [line.split("\t") for line in HARMLESS.read_text(encoding="utf-8").splitlines()[1:]]
    return {(path, before, after): reason for path, before, after, reason in rows}


def report(tried: list[dict[str, Any]]) -> str:
    """A table by room, and what went unnoticed."""
    reasons = harmless()
    head = ("tried", "noticed by its own tests", "by its users'", "changes nothing", "not noticed")
    lines = ["| room | " + " | ".join(head) + " |", "|---" * (1 + len(head)) + "|"]

    def outcome(facts: dict[str, Any]) -> str:
        if facts["by"]:
            return head[1] if facts["stage"] == MIRRORED.name else head[2]
        return head[3] if (facts["path"], facts["before"], facts["after"]) in reasons else head[4]

    for room in (*mutants.ROOMS, ""):
        found = [outcome(r) for r in tried if r["path"].startswith(f"noisyjax/{room}")]
        counts = [len(found), *(found.count(name) for name in head[1:])]
        lines.append(f"| {room or 'all'} | " + " | ".join(map(str, counts)) + " |")
    for r in tried:
        if outcome(r) == head[4]:
            lines += [f"{r['path']}:{r['line']}", f"  - {r['before']}", f"  + {r['after']}"]
    return "\n".join(lines)


def in_stages(faults: list[mutants.Fault], results: pathlib.Path) -> list[dict[str, Any]]:
    """Tries faults on their own tests, and what these leave on those of the users."""
    tried = dict(zip(faults, try_faults(dict.fromkeys(faults, ()), results, MIRRORED)))
    reasons = harmless()
    left = {
        fault: facts["passed"]
        for fault, facts in tried.items()
        if not facts["by"] and (fault.path, fault.before, fault.after) not in reasons
    }
    return list((tried | dict(zip(left, try_faults(left, results, USERS)))).values())


def main() -> None:
    """Draws, tries and reports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=300, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--rooms", default=",".join(mutants.ROOMS), help="folders of the package")
    parser.add_argument("--only", type=int, help="only the fault of this number, from 0")
    parser.add_argument("--results", type=pathlib.Path, help="default: runs/mutation/SEED.jsonl")
    options = parser.parse_args()
    results = options.results or mutants.ROOT / f"runs/mutation/{options.seed}.jsonl"
    results.parent.mkdir(parents=True, exist_ok=True)
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", mutants.ROOT / ".jax_cache")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = os.path.abspath(cache)
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ.setdefault("NOISYJAX_SHARED", os.fspath(mutants.ROOT.parent / "shared"))
    for name in _IMPORTED:
        importlib.import_module(name)
    faults = mutants.draw(options.faults, seed=options.seed, rooms=tuple(options.rooms.split(",")))
    if options.only is not None:
        faults = faults[options.only : options.only + 1]
    tried = in_stages(faults, results)
    print(report(tried))
    if failing := fail_anyway(tried):
        print("fail on the code as it is, and so notice nothing:", *failing, sep="\n")


if __name__ == "__main__":
    main()
