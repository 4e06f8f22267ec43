"""Runs that differ by their seed only, trained as one program.

A small network leaves most of an accelerator idle, and a study asks for every number several times.
Here the update is mapped over a leading axis of seeds: each seed has its own state, batches, labels
and keys, and comes to the numbers of a run of its own up to the rounding of batched arithmetic. The
seeds are dealt out to the devices. It is meant for accelerators: a CPU has no idle parts to fill,
and convolutions with other kernels for every seed are slow there, so that seeds take longer
together than one after the other.
"""

import contextlib
import os
import pathlib
import shutil
import time
from collections.abc import Sequence
from typing import Any

import jax
import ml_collections
import numpy as np

from noisyjax.core import rng
from noisyjax.train import config_fields, loop, out_of_memory, progress, runs, train_state
from noisyjax.train.devices import parallelism
from noisyjax.train.evaluation import evaluate, noise_detection
from noisyjax.train.workdir import checkpoints, config_and_summary, data_facts, lock, metrics_log


def train_seeds(
    configs: Sequence[ml_collections.ConfigDict], workdirs: Sequence[str | os.PathLike]
) -> list[dict[str, float]]:
    """Trains and evaluates several runs side by side on all devices of this process.

    Each workdir holds what `loop.train_and_evaluate` would have left there. Runs that are all
    finished are not trained again; otherwise all start anew, for they go in step.

    Args:
      configs: equal but for the seed.
      workdirs: one each.

    Returns:
      The runs' summaries. "seconds_train" of each is that of all together.

    Raises:
      ValueError: if the configs differ in more than the seed, a directory holds another run, or
        there are several processes.
      lock.Held: if another process trains in one of the directories.
      FloatingPointError: if a loss or a gradient is not finite.
    """
    _check(configs)
    if jax.process_count() > 1:
        raise ValueError(f"train_seeds: expected one process, got {jax.process_count()}")
    configs = [config_fields.resolve(config) for config in configs]
    pairs = list(zip(configs, workdirs, strict=True))
    summaries = [config_and_summary.finished(config, folder) for config, folder in pairs]
    if None not in summaries:
        return summaries
    folder = pathlib.Path(workdirs[0]).absolute() / loop.CHECKPOINTS
    with out_of_memory.explained(configs[0], folder), lock.held(workdirs):
        return _train_seeds(pairs)


def _train_seeds(
    pairs: Sequence[tuple[ml_collections.ConfigDict, str | os.PathLike]],
) -> list[dict[str, float]]:
    configs = [config for config, _ in pairs]
    folders = [config_and_summary.prepare(config, folder) for config, folder in pairs]
    device = jax.local_devices()[:1]
    group = [runs.set_up(*pair, devices=device) for pair in zip(configs, folders, strict=True)]
    keep = configs[0].checkpoint.keep
    with contextlib.ExitStack() as stack:
        stores, logs = [], []
        for folder, run in zip(folders, group, strict=True):
            # Of a group that was interrupted: its runs need not have stopped at the same step.
            shutil.rmtree(folder / loop.CHECKPOINTS, ignore_errors=True)
            data_facts.write(folder, run.facts)
            store = checkpoints.Checkpoints(folder / loop.CHECKPOINTS, keep=keep)
            stores.append(stack.enter_context(store))
            logs.append(stack.enter_context(metrics_log.MetricsWriter(folder)))
        finals, seconds = _train(group, stores, logs)
        return [loop.finish(*one, seconds) for one in zip(group, finals, stores, strict=True)]


def _check(configs: Sequence[ml_collections.ConfigDict]) -> None:
    plain = [config.to_dict() | {"seed": None} for config in configs]
    for config in plain[1:]:
        wrong = config_and_summary.differences(plain[0], config)
        if wrong:
            raise ValueError(f"configs: expected the same but for the seed, got {wrong}")


def _train(
    group: Sequence[runs.Run],
    stores: Sequence[checkpoints.Checkpoints],
    logs: Sequence[metrics_log.MetricsWriter],
) -> tuple[list[train_state.TrainState], dict[str, float]]:
    """Trains all runs from the start to the end; see `loop.train`."""
    first, config, begun, compiled = group[0], group[0].config, time.perf_counter(), 0.0

    def update(state: train_state.TrainState, batch: Any, seed: Any) -> Any:
        return first.update(state, batch, rng.root_key(seed))

    update_all, stack = parallelism.side_by_side(update, len(group))
    together = stack([jax.device_get(run.init()) for run in group])
    seeds = stack([run.config.seed for run in group])
    windows = [loop.Window() for _ in group]
    held: list[tuple[int, tuple, Any]] = []
    with progress.Progress(first.num_steps, shown=config.progress) as bar:
        batches = zip(*(run.batches(0) for run in group), strict=True)
        for now, parts in enumerate(batches, 1):
            parts = tuple(parallelism.pad(part, config.train.accumulate) for part in parts)
            together, report = update_all(together, stack(parts), seeds)
            held.append((now, parts, report))
            if now == 1:
                jax.block_until_ready(report)
                compiled = time.perf_counter() - begun
            validating = first.due(now, config.evaluate.every_epochs)
            if not (validating or now % config.log_every_steps == 0):
                continue
            seconds = time.perf_counter() - begun - compiled
            rows = _rows(windows, held)
            held = []
            for run, log, row in zip(group, logs, rows, strict=True):
                log.write(now, loop.training_row(run, now, row, seconds))
            bar.update(now, {"loss": float(np.mean([row["loss"] for row in rows]))})
            if validating:
                for one in zip(group, _apart(together, group), stores, logs, strict=True):
                    _validate(now, *one)
    seconds = time.perf_counter() - begun - compiled
    return _apart(together, group), {"seconds_compile": compiled, "seconds_train": seconds}


def _rows(windows: Sequence[loop.Window], held: Sequence[tuple]) -> list[dict[str, float]]:
    """Hands the reports since the last look to each seed's window."""
    for now, parts, report in held:
        report = jax.device_get(report)
        for place, (window, part) in enumerate(zip(windows, parts, strict=True)):
            own = jax.tree.map(lambda leaf, place=place: leaf[place], report)
            window.append(now, part, own)
    return [window.close() for window in windows]


def _validate(
    now: int,
    run: runs.Run,
    state: train_state.TrainState,
    store: checkpoints.Checkpoints,
    log: metrics_log.MetricsWriter,
) -> None:
    if run.config.train.strategy != "none":
        log.write(now, noise_detection.measure(run.experiment, state))
    result = loop.validate(run, state)
    score = None
    if result:
        log.write(now, {f"val_{name}": value for name, value in result.scalars.items()})
        score = evaluate.score(result, run.config.evaluate.select)
    store.save(now, state, score=score)


def _apart(
    together: train_state.TrainState, group: Sequence[runs.Run]
) -> list[train_state.TrainState]:
    """Returns each run's own state, where the run evaluates."""
    fetched = jax.device_get(together)
    return [
        run.parallel.replicate(jax.tree.map(lambda leaf, place=place: leaf[place], fetched))
        for place, run in enumerate(group)
    ]
