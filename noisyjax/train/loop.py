"""The training loop: the one door for the command line, tests, notebooks and studies."""

import math
import os
import pathlib
import time

import jax
import ml_collections
import numpy as np
from absl import logging

from noisyjax import models
from noisyjax.core import files, progress, rng
from noisyjax.train import config_fields, experiments, out_of_memory, runs, step, train_state
from noisyjax.train.devices import distributed, signals
from noisyjax.train.evaluation import evaluate, noise_detection, reports, starvation
from noisyjax.train.workdir import (
    checkpoint_digests,
    checkpoints,
    config_and_summary,
    data_facts,
    lock,
    metrics_log,
)


class MetricsWindow:
    """The reports of the steps since the last flush.

    They stay on the device until then, so that the host runs ahead of the devices.
    """

    def __init__(self):
        self._steps: list[tuple[int, np.ndarray, step.Report]] = []
        self.restart_clock()

    def append(self, now: int, batch: dict[str, np.ndarray], report: step.Report) -> None:
        """Adds a step."""
        ids = batch["id"][batch["weight"] > 0]
        self._steps.append((now, ids, report))
        # As many as in this one; all but the last batch of an epoch are full.
        self._images += len(ids) * jax.process_count()

    def restart_clock(self) -> None:
        """Leaves what happened up to now out of the speed."""
        self._images, self._since = 0, time.perf_counter()

    def flush(self) -> dict[str, float]:
        """Returns the means over the steps by name and "images_per_second"; begins a new window.

        Raises `FloatingPointError`, with the step and its examples, if a step was not finite.
        """
        steps, self._steps = self._steps, []
        reports = jax.device_get([report for _, _, report in steps])
        for (now, ids, _), report in zip(steps, reports, strict=True):
            if not report.healthy:
                loss, norm = (np.divide(*report.metrics[name]) for name in ("loss", "grad_norm"))
                ids = distributed.gather({"ids": ids})["ids"]
                raise FloatingPointError(
                    f"step {now}: loss {loss}, norm of the gradient {norm} in the batch with the "
                    f"example ids {ids.tolist()}"
                )
        speed = self._images / (time.perf_counter() - self._since)
        self.restart_clock()
        sums = jax.tree.map(lambda *parts: sum(parts), *[report.metrics for report in reports])
        means = {name: float(total / max(count, 1e-30)) for name, (total, count) in sums.items()}
        return {**means, "images_per_second": speed}


def validate(run: runs.Run, state: train_state.TrainState) -> evaluate.Evaluation | None:
    """Evaluates on the validation split, or returns None if there is none."""
    if "val" not in run.experiment.examples:
        return None
    return run.evaluate(train_state.evaluation_variables(state), "val")


def train(
    run: runs.Run,
    state: train_state.TrainState,
    store: checkpoints.Checkpoints,
    writer: metrics_log.MetricsWriter,
    stop: signals.StopRequest,
) -> tuple[train_state.TrainState, dict[str, float]]:
    """Trains from a state, which is used up, to the end of the run.

    Returns:
      (the final state, "seconds_compile" of this process and "seconds_train" of the whole run).

    Raises:
      FloatingPointError: if a step is not finite. The state before it is saved.
      SystemExit: on SIGTERM or SIGINT, with 128 + its number. The state is saved.
    """
    config, begun, compiled = run.config, time.perf_counter(), 0.0
    start, starved = int(state.step), False
    key = run.parallel.replicate(rng.root_key(config.seed))
    window = MetricsWindow()
    shown = config.progress and distributed.is_writer()
    with progress.Progress(run.num_steps, done=start, shown=shown) as bar:
        for now, batch in enumerate(run.batches(start), start + 1):
            state, report = run.step(state, run.parallel.put(batch), key)
            window.append(now, batch, report)
            if now == start + 1:
                jax.block_until_ready(report)
                compiled = time.perf_counter() - begun
                window.restart_clock()
            validating = run.due(now, config.evaluate.every_epochs)
            saving = validating or run.due(now, config.checkpoint.every_epochs)
            stopping = stop.reached(now)
            if not (saving or stopping or now % config.log_every_steps == 0):
                continue
            row = _flush(window, state, store)
            starved = starvation.notice(now, row, noticed=starved)
            seconds = writer.seconds + time.perf_counter() - begun - compiled
            writer.write(now, training_row(run, now, row, seconds))
            bar.update(now, {"loss": row["loss"], "images/s": row["images_per_second"]})
            if validating and run.config.train.strategy != "none":
                writer.write(now, noise_detection.measure(run.experiment, state))
            result = validate(run, state) if validating else None
            if result:
                writer.write(now, {f"val_{name}": value for name, value in result.scalars.items()})
                bar.update(now, {"Dice": result.scalars.get("dice", math.nan)})
            if saving or stopping:
                score = evaluate.score(result, config.evaluate.select) if result else None
                store.save(now, state, score=score, wait=stopping)
                window.restart_clock()
            # Not if it was asked for since: nothing of this step may be saved.
            if stopping:
                stop.exit_if_requested()
    seconds = writer.seconds + time.perf_counter() - begun - compiled
    return state, {"seconds_compile": compiled, "seconds_train": seconds}


def _flush(
    window: MetricsWindow, state: train_state.TrainState, store: checkpoints.Checkpoints
) -> dict[str, float]:
    try:
        return window.flush()
    except FloatingPointError as error:
        good = int(state.step)
        store.save(good, state, wait=True)
        raise FloatingPointError(f"{error}; the state after step {good} is saved") from None


def training_row(
    run: runs.Run, now: int, row: dict[str, float], seconds: float
) -> dict[str, float]:
    """Returns what is written of a window of training steps."""
    return {
        "epoch": now / run.steps_per_epoch,
        **{f"train_{name}": value for name, value in row.items()},
        "learning_rate": float(run.schedule(now - 1)),
        "seconds": seconds,
    }


def finish(
    run: runs.Run,
    state: train_state.TrainState,
    store: checkpoints.Checkpoints,
    seconds: dict[str, float],
) -> dict[str, float]:
    """Evaluates a trained state and writes the reports and the summary, which it returns.

    The summary comes last, when the last checkpoint has been read back.

    It has "steps", "parameters", the seconds of `train`, and what each of `reports.REPORTS`
    measures; ``config.evaluate.checkpoint`` says which checkpoint is tested.
    """
    tested = state
    if run.config.evaluate.checkpoint != "latest":
        tested = run.parallel.replicate(store.restore(state, which=run.config.evaluate.checkpoint))
    variables = train_state.evaluation_variables(tested)
    summary = {"steps": float(run.num_steps), "tested_step": float(tested.step), **seconds}
    summary["parameters"] = float(models.parameter_count(variables))
    lock.check(run.folder)
    for report in reports.REPORTS:
        summary |= report(run, state, variables)
    # Written beside the evaluation. A summary says that nothing is left to train.
    store.read_back(run.num_steps, jax.eval_shape(run.init))
    config_and_summary.write_summary(run.folder, summary, _last(run, store))
    return summary


def _last(run: runs.Run, store: checkpoints.Checkpoints) -> config_and_summary.Last:
    path = run.folder / checkpoints.FOLDER / str(run.num_steps)
    return config_and_summary.Last(run.num_steps, store.best(), checkpoint_digests.of_files(path))


def train_and_evaluate(
    config: ml_collections.ConfigDict, workdir: str | os.PathLike
) -> tuple[train_state.TrainState, dict[str, float]]:
    """Trains and evaluates what a config describes, in a working directory of its own.

    Running it again in the same directory goes on from the latest good checkpoint, with the same
    result as a run that was never stopped. A finished run is not trained again: its final state and
    its summary are read. Where its last checkpoint is gone, what is missing is trained again.

    Returns:
      (the final state, the summary: name to number).

    Raises:
      ValueError: if the config does not fit together, the directory holds another run, or none of
        its checkpoints is good.
      lock.WorkdirLocked: if another process trains there.
      lock.WorkdirReplaced: if the directory is moved while it is written.
      FloatingPointError: if a loss or a gradient is not finite.
      MemoryError: if memory runs out; it says what takes less.
      OSError: if the directory cannot be written to, or its disk is full.
      SystemExit: on SIGTERM or SIGINT, with 128 + its number, after a checkpoint.
    """
    config = config_fields.resolve(config)
    folder = config_and_summary.absolute(workdir)
    written = [folder] if distributed.is_writer() else []
    with out_of_memory.explain(config, folder / checkpoints.FOLDER), lock.held(written):
        for each in written:
            files.check_writable(each / checkpoints.FOLDER)
        return _train_and_evaluate(config, config_and_summary.prepare(config, folder))


def _train_and_evaluate(
    config: ml_collections.ConfigDict, folder: pathlib.Path
) -> tuple[train_state.TrainState, dict[str, float]]:
    run = runs.set_up(config, folder)
    store = checkpoints.Checkpoints(
        folder / checkpoints.FOLDER,
        keep=config.checkpoint.keep,
        config=config_and_summary.digest(folder),
    )
    with signals.StopRequest() as stop, store:
        restored = store.restore(jax.eval_shape(run.init))
        if restored is None or not (folder / data_facts.FILE).exists():
            data_facts.write(folder, run.facts)
        else:
            data_facts.check_same(folder, run.facts)
        experiments.keep(run.experiment, folder)
        config_and_summary.keep_locations(config, folder)
        state = run.parallel.replicate(run.init() if restored is None else restored)
        summary, last = _finished(run, restored)
        if summary is None:
            with metrics_log.MetricsWriter(folder, step=int(state.step)) as writer:
                state, seconds = train(run, state, store, writer, stop)
            summary = finish(run, state, store, seconds)
        elif last.files != (files_now := _last(run, store).files):
            # The same arrays, in files that another program has touched.
            config_and_summary.write_summary(folder, summary, last._replace(files=files_now))
        stop.exit_if_requested()
    return state, summary


def _finished(
    run: runs.Run, restored: train_state.TrainState | None
) -> tuple[dict[str, float] | None, config_and_summary.Last | None]:
    """Returns the summary of a run whose last checkpoint is there, and which ones it has left."""
    last = config_and_summary.read_last(run.folder)
    step = 0 if restored is None else int(restored.step)
    if last is None or step == last.latest:
        return last and config_and_summary.read_summary(run.folder), last
    logging.warning(
        "%s: the run was finished at step %d, and its newest good checkpoint is of step %d; what "
        "is missing is trained again",
        run.folder, last.latest, step,
    )  # fmt: skip
    return None, last
