"""Which training examples a strategy takes for noisy, and how right it is.

What is measured stands in ``metrics.jsonl`` under names that begin with "noise_". At the end of a
run ``detection.csv`` has it epoch by epoch, and ``suspects.csv`` lists every training example.
"""

import math
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from noisyjax.core import files
from noisyjax.methods import adl, noise_rate
from noisyjax.metrics import detection
from noisyjax.train import experiments, runs, train_state
from noisyjax.train.devices import distributed
from noisyjax.train.workdir import metrics_log

DETECTION_FILE = "detection.csv"
SUSPECTS_FILE = "suspects.csv"

_COLUMNS = ("removed", "estimated_rate", "precision", "recall", "auc")
_PREFIX = "noise_"


@jax.jit
def _judge(losses: jax.Array, removed: jax.Array, noisy: jax.Array) -> dict[str, jax.Array]:
    return {
        "precision": detection.precision(removed, noisy),
        "recall": detection.recall(removed, noisy),
        # Before its first epoch an example has no loss.
        "auc": detection.auc(losses, noisy, where=~jnp.isnan(losses)),
    }


_estimate = jax.jit(noise_rate.estimate_noise_rate)


def _records(state: train_state.TrainState) -> dict[str, np.ndarray] | None:
    kept = state.model_state.get(adl.COLLECTION)
    return None if kept is None else jax.device_get(kept)


def measure(experiment: experiments.Experiment, state: train_state.TrainState) -> dict[str, float]:
    """Measures what a strategy takes for noisy.

    Returns:
      "noise_removed", the number of examples that the coming epoch leaves out, and
      "noise_estimated_rate", told from the losses on record. Where it is known which labels have
      been replaced, also "noise_precision" and "noise_recall" of the examples left out, and
      "noise_auc" of the losses. What is undefined is left out, as the precision is where nothing is
      left out. Empty for a run without a strategy.
    """
    kept = _records(state)
    if kept is None:
        return {}
    losses, removed = jnp.asarray(kept["losses"]), jnp.asarray(kept["removed"])
    values: dict[str, Any] = {"removed": removed.sum(), "estimated_rate": _estimate(losses).rate}
    replacement = experiment.examples["train"].replacement
    if replacement is not None:
        values |= _judge(losses, removed, jnp.asarray(replacement.replaced))
    numbers = {f"{_PREFIX}{name}": float(value) for name, value in jax.device_get(values).items()}
    return {name: value for name, value in numbers.items() if not math.isnan(value)}


def report(run: runs.Run, state: train_state.TrainState, variables: Any) -> dict[str, float]:
    """Writes ``detection.csv`` and ``suspects.csv``, if the run has a strategy.

    The first has a row for each validation: the epochs done and what `measure` returned then. The
    second has a row for each training example, the one of highest loss first: its last loss, the
    probability that it is noisy (`methods.noise_rate`), whether it is left out at the end, and,
    where they are known, whether its label was replaced and the overlap of the two.

    Returns what `measure` returns of the final state.
    """
    _write(run, state)
    return measure(run.experiment, state)


@distributed.writer_only
def _write(run: runs.Run, state: train_state.TrainState) -> None:
    kept = _records(state)
    if kept is None:
        return
    rows = metrics_log.read_metrics(run.folder / metrics_log.METRICS_FILE)
    measured = [row for row in rows if f"{_PREFIX}removed" in row]
    columns = [name for name in _COLUMNS if any(f"{_PREFIX}{name}" in row for row in measured)]
    epochs = (
        [
            f"{row['step'] / run.steps_per_epoch:g}",
            *(_number(row.get(_PREFIX + name, math.nan)) for name in columns),
        ]
        for row in measured
    )
    files.write_text(run.folder / DETECTION_FILE, files.to_csv(["epoch", *columns], epochs))
    _write_suspects(run.experiment, kept, run.folder / SUSPECTS_FILE)


def _write_suspects(
    experiment: experiments.Experiment, kept: dict[str, np.ndarray], path: pathlib.Path
) -> None:
    train, losses = experiment.examples["train"], kept["losses"]
    posterior = jax.device_get(_estimate(jnp.asarray(losses)).posterior)
    table = {
        "id": train.ids,
        "case": [experiment.data.case_name(int(i)) for i in train.ids],
        "loss": [_number(loss) for loss in losses],
        "posterior": [_number(share) for share in posterior],
        "removed": kept["removed"].astype(int),
    }
    if train.replacement is not None:
        table["replaced"] = train.replacement.replaced.astype(int)
        table["overlap"] = [_number(share) for share in train.replacement.overlaps]
    order = np.argsort(np.where(np.isnan(losses), np.inf, -losses), kind="stable")
    rows = ([column[i] for column in table.values()] for i in order)
    files.write_text(path, files.to_csv(list(table), rows))


def _number(value: Any) -> str:
    """As it reads back; empty where it is not defined."""
    return "" if np.isnan(value) else f"{float(value):.9g}"
