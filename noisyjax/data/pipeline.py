"""Batches of fixed shape, in an order that can be taken up again anywhere.

Grain reads ahead in threads, without child processes: a run's devices belong to this process, and
the examples are in its memory.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import grain
import numpy as np
from jaxtyping import Float, Int

from noisyjax.data import order, source

Batch = dict[str, Any]

_THREADS = 2
_PREFETCH = 4


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """Returns how many batches hold every example once; the last one may be padded.

    Raises:
      ValueError: if there is no example or no room in a batch.

    >>> steps_per_epoch(11, 4)
    3
    """
    if num_examples < 1:
        raise ValueError("examples: expected at least one, got none: the split is empty")
    if batch_size < 1:
        raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
    return -(-num_examples // batch_size)


@functools.lru_cache(maxsize=4)
def _epoch_order(size: int, seed: int, epoch: int) -> Int[np.ndarray, "size"]:
    return order.permutation(size, seed=seed, epoch=epoch + 1)


@dataclasses.dataclass(frozen=True)
class _Batches:
    """Random access to one process's slices of a run's batches, as Grain wants its sources."""

    examples: source.Examples
    batch_size: int
    num_steps: int
    seed: int | None
    process_index: int
    process_count: int
    draw: Callable[[np.ndarray, int], Batch] | None = None
    weights: Float[np.ndarray, "N"] | None = None

    def __len__(self) -> int:
        return self.num_steps

    def __getitem__(self, step: int) -> Batch:
        size = len(self.examples)
        epoch, index = divmod(int(step), steps_per_epoch(size, self.batch_size))
        part = self.batch_size // self.process_count
        start = index * self.batch_size + self.process_index * part
        positions = np.arange(start, start + part)
        weight = (positions < size).astype(np.float32)
        # Padding takes examples from the start of the epoch: real ones, so that no shape, range or
        # normalisation is ever out of the ordinary.
        positions %= size
        shuffled = self.seed is not None
        indices = _epoch_order(size, self.seed, epoch)[positions] if shuffled else positions
        if self.weights is not None:
            weight *= self.weights[indices]
        if self.draw is None:
            batch, count = source.take(self.examples, indices), 1
        else:
            batch = self.draw(indices, epoch)
            count = len(batch["id"]) // part
            weight = np.repeat(weight, count)
        return {**batch, "weight": weight, "epoch": np.full(part * count, epoch, np.int32)}

    def __repr__(self) -> str:
        return f"{len(self)} batches of {self.batch_size} from {len(self.examples)} examples"


def _iterate(batches: _Batches, start: int, threads: int, prefetch: int) -> Iterator[Batch]:
    """Reads ahead; ends the threads when the batches end or the caller stops."""
    dataset = grain.MapDataset.source(batches)[start:]
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)
    iterator = iter(dataset.to_iter_dataset(options))
    try:
        yield from iterator
    finally:
        iterator.close()


def _check_processes(batch_size: int, process_index: int, process_count: int) -> None:
    if not 0 <= process_index < process_count:
        raise ValueError(
            f"process_index: expected one in 0..{process_count - 1}, got {process_index}"
        )
    if batch_size % process_count:
        raise ValueError(
            f"batch_size: expected a multiple of {process_count} processes, got {batch_size}"
        )


def train_batches(
    examples: source.Examples,
    *,
    batch_size: int,
    seed: int,
    num_steps: int,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = _THREADS,
    prefetch: int = _PREFETCH,
    draw: Callable[[Int[np.ndarray, "B"], int], Batch] | None = None,
    weights: Float[np.ndarray, "N"] | None = None,
) -> Iterator[Batch]:
    """Yields the batches of a training run, from some step to its end.

    Batch k of a run depends on (seed, k) only: a run that is taken up at step k goes on as if it
    had never stopped. Each epoch holds every example once, in an order drawn from (seed, epoch);
    its last batch is filled up with examples of weight 0.

    Args:
      batch_size: examples per batch over all processes, B.
      num_steps: where the run ends, counted from its beginning (not from `start_step`).
      start_step: the first batch to yield.
      process_index: which process this is; it receives one contiguous slice of each batch, so that
        the slices of all processes, laid end to end, are the batch of a single process.
      process_count: how many processes share the run, P.
      threads: how many threads read ahead; 0 reads in the calling thread.
      prefetch: how many batches are read ahead at most.
      draw: ``f(indices [B], epoch) -> batch`` of the same number of pieces of each example, in
        place of the examples; those of one lie next to each other.
      weights: of the examples, above 0, ``[N]`` float32; 1 by default.

    Returns:
      An iterator of dicts of NumPy arrays: what the examples hold, stacked ``[B / P, ...]``, with
      ``weight`` ``[B / P]`` float32 and ``epoch`` ``[B / P]`` int32.

    Raises:
      ValueError: if there are no examples, the batch size is no multiple of the processes, or the
        steps are out of order.
    """
    steps_per_epoch(len(examples), batch_size)
    _check_processes(batch_size, process_index, process_count)
    if not 0 <= start_step <= num_steps:
        raise ValueError(f"start_step: expected one in 0..{num_steps}, got {start_step}")
    batches = _Batches(
        examples, batch_size, num_steps, seed, process_index, process_count, draw, weights
    )
    return _iterate(batches, start_step, threads, prefetch)


def eval_batches(
    examples: source.Examples,
    *,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = _THREADS,
    prefetch: int = _PREFETCH,
) -> Iterator[Batch]:
    """Yields every example once, in order, the last batch filled up with weight 0, in epoch 0.

    Arguments and batches are as in `train_batches`.

    Raises:
      ValueError: if there are no examples, or the batch size is no multiple of the processes.
    """
    num_steps = steps_per_epoch(len(examples), batch_size)
    _check_processes(batch_size, process_index, process_count)
    batches = _Batches(examples, batch_size, num_steps, None, process_index, process_count)
    return _iterate(batches, 0, threads, prefetch)
