"""The cells of a study, and running them.

A study's config names a `base` (a training config), `axes` and `seeds`. An axis is an ordered
list of levels, and a level a name with the fields of the base that it changes::

    config.axes = (
        ("labels", (("all", {"data.labels_per_image": 0}), ("one", {"data.labels_per_image": 1}))),
        ("method", (("vote", {"method": "majority"}), ("ours", {"method": "cm_trace"}))),
    )
    config.seeds = (0, 1, 2)

Each cell is one `train_and_evaluate` in a folder of its own, so a study that was interrupted goes
on where it stopped, and one failed cell leaves the others alone.
"""

import concurrent.futures
import itertools
import multiprocessing
import os
import pathlib
import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import ml_collections

from noisyjax.core import user_cache


class Cell(NamedTuple):
    """One run of a study.

    Attributes:
      levels: axis name to level name.
      folder: the run's folder below the study's, the levels' names in small letters and hyphens.
    """

    levels: dict[str, str]
    seed: int
    config: ml_collections.ConfigDict
    folder: str


class Outcome(NamedTuple):
    """What became of a cell: its summary, or the error that ended it."""

    cell: Cell
    summary: dict[str, float] | None
    error: str | None = None


def cells(config: ml_collections.ConfigDict) -> list[Cell]:
    """Lists the cells of a study in the order of its table, seeds innermost.

    A level that changes a field that the base config does not have raises KeyError.
    """
    names = [name for name, _ in config.axes]
    out = []
    for choice in itertools.product(*(levels for _, levels in config.axes)):
        levels = {name: level for name, (level, _) in zip(names, choice, strict=True)}
        for seed in config.seeds:
            cell = config.base.copy_and_resolve_references()
            cell.lock()
            changes = dict(itertools.chain(*(fields.items() for _, fields in choice)))
            cell.update_from_flattened_dict({**changes, "seed": seed})
            folder = "/".join((*map(slug, levels.values()), f"seed{seed}"))
            out.append(Cell(levels, seed, cell, folder))
    return out


def slug(level: str) -> str:
    """Returns a level's name as part of a file's.

    >>> slug("CE, 1/2")
    'ce-1-2'
    """
    return re.sub(r"[^a-z0-9.]+", "-", level.lower()).strip("-")


def run(
    todo: Sequence[Cell],
    workdir: str | os.PathLike,
    *,
    workers: int,
    train: Callable[[ml_collections.ConfigDict, str], dict[str, float]],
) -> Iterator[Outcome]:
    """Runs cells and yields an `Outcome` for each as they come, with `error` for one that raises.

    With one worker the cells run here, one after the other; with more, each worker is a process
    pinned to its share of the cores: two runs of one core each finish sooner than two runs in turn
    on two cores.

    Args:
      workdir: the study's folder.
      train: ``(config, workdir) -> summary``; with several workers it must be importable.
    """
    compiled = str(pathlib.Path(workdir) / ".compiled")
    folders = [str(pathlib.Path(workdir) / cell.folder) for cell in todo]
    if workers <= 1:
        user_cache.keep_programs(compiled)
        for cell, folder in zip(todo, folders, strict=True):
            yield Outcome(cell, *_attempt(train, cell.config, folder))
        return
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    for share in core_shares(workers):
        queue.put(share)
    with concurrent.futures.ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(queue, compiled)
    ) as pool:
        futures = {
            pool.submit(_attempt, train, cell.config, folder): cell
            for cell, folder in zip(todo, folders, strict=True)
        }
        for future in concurrent.futures.as_completed(futures):
            yield Outcome(futures[future], *_result(future))


def num_cores() -> int:
    """Returns how many cores this process may use."""
    return len(_cores()) or os.cpu_count() or 1


def core_shares(workers: int) -> list[set[int]]:
    """Returns the cores of each of several workers, empty where they cannot be pinned."""
    cores = _cores()
    return [set(cores[worker::workers]) or set(cores) for worker in range(workers)]


def _cores() -> list[int]:
    # Where there is no affinity (macOS), workers share the machine.
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _start_worker(shares: Any, compiled: str) -> None:
    share = shares.get()
    if share:
        os.sched_setaffinity(0, share)
    user_cache.keep_programs(compiled)


def _attempt(
    train: Callable, config: ml_collections.ConfigDict, folder: str
) -> tuple[dict[str, float] | None, str | None]:
    try:
        return dict(train(config, folder)), None
    except Exception:  # one failed cell must not stop the study; the error is reported with it
        return None, traceback.format_exc()
    finally:
        # Every cell's programs are its own closures: kept, they would fill the memory.
        jax.clear_caches()


def _result(
    future: concurrent.futures.Future,
) -> tuple[dict[str, float] | None, str | None]:
    try:
        return future.result()
    except concurrent.futures.process.BrokenProcessPool as error:
        return None, f"the worker died: {error}"
