"""How many epochs fit into a time, by the measured speed of the very step."""

import itertools
import os
import pathlib
import statistics
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from noisyjax.core import rng
from noisyjax.train import config_fields, runs, train_state

# Steps that are measured after the one that compiles.
_STEPS = 4
# Of the time, at most, for all validations.
_VALIDATIONS = 0.1
# Of the time of the first step, what training takes for it once more: it traces the program, and
# reads from the disk what was compiled.
_TRACED = 0.25
# Of the time, for what comes at the end.
_REST = 0.02


class Speed(NamedTuple):
    """What training costs, in seconds.

    Attributes:
      begin: until the first step, the second time.
      step: of one update.
      validation: of one validation.
      steps_per_epoch: updates.
    """

    begin: float
    step: float
    validation: float
    steps_per_epoch: int


def measure(config: config_fields.Config, folder: str | os.PathLike) -> Speed:
    """Measures what a config's training costs here; nothing is written.

    Args:
      folder: the working directory that it will have, which may be absent.
    """
    began = time.perf_counter()
    run = runs.set_up(config_fields.resolve(config), pathlib.Path(folder), read_only=True)
    read = time.perf_counter()
    state = run.parallel.replicate(run.init())
    key = run.parallel.replicate(rng.root_key(config.seed))
    ends = []
    # Further epochs, where one has too few.
    for batch in itertools.islice(_endless(run), 1 + _STEPS):
        state, report = run.step(state, run.parallel.put(batch), key)
        jax.block_until_ready(report)
        ends.append(time.perf_counter())
    seconds = [later - earlier for earlier, later in itertools.pairwise(ends)]
    validation = 0.0
    if "val" in run.experiment.examples:
        variables = train_state.evaluation_variables(state)
        for _ in range(2):
            start = time.perf_counter()
            run.evaluate(variables, "val")
            validation = time.perf_counter() - start
    begin = read - began + _TRACED * (ends[0] - read)
    return Speed(begin, statistics.median(seconds), validation, run.steps_per_epoch)


def _endless(run: runs.Run) -> Iterator[dict[str, Any]]:
    while True:
        yield from run.batches(0)


class Epochs(NamedTuple):
    """How long to train: epochs, and every how many to validate."""

    epochs: int
    validate_every: int


def epochs_for(speed: Speed, seconds: float) -> Epochs:
    """Returns how many epochs fit into a time.

    At least one epoch, whatever the time; a tenth of the time at most is for validation.

    >>> epochs_for(Speed(begin=10.0, step=0.5, validation=3.0, steps_per_epoch=10), 110.0)
    Epochs(epochs=17, validate_every=6)
    """
    left = max((1 - _REST) * seconds - speed.begin, 0.0)
    count = int(_VALIDATIONS * left / speed.validation) if speed.validation else 0
    left -= count * speed.validation
    epochs = max(1, int(left / (speed.step * speed.steps_per_epoch)))
    return Epochs(epochs, -(-epochs // max(count, 1)))
