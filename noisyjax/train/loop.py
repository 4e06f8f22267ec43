"""The training loop: the one door for the command line, tests, notebooks and studies."""

import math
import os
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from noisyjax import models
from noisyjax.core import files, rng
from noisyjax.methods import base
from noisyjax.train import (
    config_fields,
    experiments,
    out_of_memory,
    progress,
    runs,
    step,
    train_state,
)
from noisyjax.train.devices import distributed, signals
from noisyjax.train.evaluation import annotation_quality, evaluate, fusion_quality, noise_detection
from noisyjax.train.workdir import checkpoints, config_and_summary, data_facts, lock, metrics_log

CHECKPOINTS = "checkpoints"


class Window:
    """The reports of the steps since the numbers were last looked at.

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

    def close(self) -> dict[str, float]:
        """Returns the means over the steps, and begins a new window.

        Returns:
          Name to mean, "loss" among them, and "images_per_second".

        Raises:
          FloatingPointError: if a step was not finite; it names the step and its examples.
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
    """Trains from a state to the end of the run.

    Args:
      run: the run.
      state: where to start; it is used up.
      store: where checkpoints go.
      writer: where numbers go.
      stop: tells whether the run is to end early.

    Returns:
      (the final state, "seconds_compile" of this process and "seconds_train" of the whole run).

    Raises:
      FloatingPointError: if a step is not finite. The state before it is saved.
      SystemExit: on SIGTERM or SIGINT, with 128 + its number. The state is saved.
    """
    config, begun, compiled = run.config, time.perf_counter(), 0.0
    start = int(state.step)
    key = run.parallel.replicate(rng.root_key(config.seed))
    window = Window()
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
            row = _look(window, state, store)
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
                stop.obey()
    seconds = writer.seconds + time.perf_counter() - begun - compiled
    return state, {"seconds_compile": compiled, "seconds_train": seconds}


def _look(
    window: Window, state: train_state.TrainState, store: checkpoints.Checkpoints
) -> dict[str, float]:
    try:
        return window.close()
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
    """Evaluates a trained state and writes the reports and the summary.

    Args:
      run: the run.
      state: the final state.
      store: the checkpoints; ``config.evaluate.checkpoint`` says which of them is tested.
      seconds: what `train` returned.

    Returns:
      The summary: "test_*", "val_*", "train_*" and "quality_*" of the tested state, "steps",
      "parameters" and the seconds, and what else is known of the labels.
    """
    tested = state
    if run.config.evaluate.checkpoint != "latest":
        tested = run.parallel.replicate(store.restore(state, which=run.config.evaluate.checkpoint))
    variables = train_state.evaluation_variables(tested)
    summary = {"steps": float(run.num_steps), "tested_step": float(tested.step), **seconds}
    summary["parameters"] = float(models.parameter_count(variables))
    judged = ("train",) if run.config.evaluate.train else ()
    for split in (*judged, "val", "test"):
        if split in run.experiment.examples:
            result = run.evaluate(variables, split)
            evaluate.write(result, run.folder, split, run.experiment.rater_names)
            summary |= {f"{split}_{name}": value for name, value in result.scalars.items()}
    if run.experiment.skipped is not None:
        summary["skipped_cases"] = float(sum(run.experiment.skipped.values()))
    summary |= fusion_quality.measure(run.experiment)
    summary |= noise_detection.measure(run.experiment, state)
    noise_detection.write(run.experiment, state, run.folder, steps_per_epoch=run.steps_per_epoch)
    judged = (run.experiment, run.parallel, variables, run.folder)
    summary |= annotation_quality.write(*judged, batch_size=run.config.evaluate.batch_size)
    config_and_summary.write_summary(run.folder, summary)
    return summary


def train_and_evaluate(
    config: ml_collections.ConfigDict, workdir: str | os.PathLike
) -> tuple[train_state.TrainState, dict[str, float]]:
    """Trains and evaluates what a config describes, in a working directory of its own.

    Running it again in the same directory goes on from the latest good checkpoint, with the same
    result as a run that was never stopped. A finished run is not trained again: its final state and
    its summary are read.

    The directory holds the config, the versions, the facts of the data, the splits, the metrics as
    JSON lines and as TensorBoard events, checkpoints, the evaluation per case and in total, and the
    summary.

    Args:
      config: every number of the run, see ``configs/``.
      workdir: the working directory, made if it is absent.

    Returns:
      (the final state, the summary: name to number).

    Raises:
      ValueError: if the config does not fit together, or the directory holds another run.
      lock.Held: if another process trains there.
      FloatingPointError: if a loss or a gradient is not finite.
      MemoryError: if memory runs out; it says what takes less.
      OSError: if the directory cannot be written to, or its disk is full.
      SystemExit: on SIGTERM or SIGINT, with 128 + its number, after a checkpoint.
    """
    config = config_fields.resolve(config)
    folder = pathlib.Path(workdir).absolute()
    written = [folder] if distributed.is_writer() else []
    with out_of_memory.explained(config, folder / CHECKPOINTS), lock.held(written):
        for each in written:
            files.check_writable(each / CHECKPOINTS)
        return _train_and_evaluate(config, config_and_summary.prepare(config, folder))


def _train_and_evaluate(
    config: ml_collections.ConfigDict, folder: pathlib.Path
) -> tuple[train_state.TrainState, dict[str, float]]:
    run = runs.set_up(config, folder)
    store = checkpoints.Checkpoints(folder / CHECKPOINTS, keep=config.checkpoint.keep)
    with signals.StopRequest() as stop, store:
        restored = store.restore(jax.eval_shape(run.init))
        if restored is None or not (folder / data_facts.FILE).exists():
            data_facts.write(folder, run.facts)
        else:
            data_facts.check_same(folder, run.facts)
        state = run.parallel.replicate(run.init() if restored is None else restored)
        summary = config_and_summary.read_summary(folder)
        if summary is None or restored is None:
            with metrics_log.MetricsWriter(folder, step=int(state.step)) as writer:
                state, seconds = train(run, state, store, writer, stop)
            summary = finish(run, state, store, seconds)
        stop.obey()
    return state, summary


class Trained(NamedTuple):
    """What a run has come to, without its data.

    Attributes:
      config: the run's config.
      facts: of its data.
      method: the method, which predicts whole images.
      variables: those to evaluate with.
    """

    config: ml_collections.ConfigDict
    facts: data_facts.DataFacts
    method: base.Method
    variables: Any


def _config(folder: pathlib.Path) -> ml_collections.ConfigDict:
    """Reads the config of a run that has checkpoints."""
    config = config_and_summary.load_config(folder)
    if not (folder / CHECKPOINTS).is_dir():
        raise FileNotFoundError(f"{folder / CHECKPOINTS}: not there, the run has no checkpoint yet")
    return config


def _restored(
    folder: pathlib.Path, init: Callable[[], train_state.TrainState], checkpoint: str
) -> train_state.TrainState:
    """Reads a checkpoint of a run, and changes nothing."""
    # Nothing is written, so that it does not matter how many are kept.
    with checkpoints.Checkpoints(folder / CHECKPOINTS, keep=1, read_only=True) as store:
        restored = store.restore(jax.eval_shape(init), which=checkpoint)
    if restored is None:
        raise FileNotFoundError(f"{folder / CHECKPOINTS}: empty, the run has no checkpoint yet")
    return restored


def restore(workdir: str | os.PathLike, *, checkpoint: str = "latest") -> tuple[runs.Run, Any]:
    """Takes up a run that need not be finished, to look at it.

    Args:
      workdir: the run's working directory; nothing in it is changed.
      checkpoint: "latest" or "best".

    Returns:
      (the run, the variables to evaluate with).

    Raises:
      FileNotFoundError: if there is no such run, or it has no checkpoint.
      ValueError: if no validation has chosen a best checkpoint.
    """
    folder = pathlib.Path(workdir).absolute()
    run = runs.set_up(_config(folder), folder)
    restored = _restored(folder, run.init, checkpoint)
    return run, train_state.evaluation_variables(run.parallel.replicate(restored))


def restore_without_data(workdir: str | os.PathLike, *, checkpoint: str = "latest") -> Trained:
    """Takes up a run to predict with it, from its working directory alone.

    Args:
      workdir: the run's working directory; nothing in it is changed.
      checkpoint: "latest" or "best".

    Returns:
      What was trained.

    Raises:
      FileNotFoundError: if there is no such run, it has no checkpoint, or it is from before the
        facts of the data were kept.
      ValueError: if no validation has chosen a best checkpoint.
    """
    folder = pathlib.Path(workdir).absolute()
    config = _config(folder)
    facts = data_facts.read(folder)
    sizes = {"num_raters": len(facts.rater_names), "num_classes": len(facts.class_names)}
    method = experiments.build_method(config, axis_name=None, **sizes)
    method = experiments.with_strategy(config, method, num_examples=facts.num_examples)
    state = _restored(folder, runs.start(config, method, facts).init, checkpoint)
    return Trained(config, facts, method, train_state.evaluation_variables(state))


def evaluate_run(
    workdir: str | os.PathLike,
    *,
    split: str = "test",
    checkpoint: str = "latest",
    decisions: Sequence[str] = (),
    output: str | os.PathLike | None = None,
) -> evaluate.Evaluation:
    """Evaluates a checkpoint of a run, which need not be finished.

    Args:
      workdir: the run's working directory; nothing of the run is changed.
      split: "train", "val" or "test".
      checkpoint: "latest" or "best".
      decisions: how probabilities become masks, see `evaluate.case_values`; the run's if empty.
      output: where the reports go, by default ``evaluations/<split>-<checkpoint>`` in the workdir.

    Returns:
      The evaluation.

    Raises:
      FileNotFoundError: if there is no such run, or it has no checkpoint.
      ValueError: if there is no such split, or no validation has chosen a best checkpoint.
    """
    run, variables = restore(workdir, checkpoint=checkpoint)
    judge = run.evaluate
    if decisions:
        given = run.config.evaluate
        judge = evaluate.build(
            run.experiment,
            run.parallel,
            batch_size=given.batch_size,
            decisions=tuple(decisions),
            surface=given.surface,
            tolerance=given.tolerance,
        )
    result = judge(variables, split)
    target = pathlib.Path(output) if output else run.folder / f"evaluations/{split}-{checkpoint}"
    evaluate.write(result, target, split, run.experiment.rater_names)
    return result
