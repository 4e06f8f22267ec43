"""What is measured on every example of a split, by all devices of all processes."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from noisyjax.data import pipeline, source
from noisyjax.train.devices import distributed

Values = dict[str, np.ndarray]


def collect(
    measure: Callable[[Any, Mapping[str, Any]], Mapping[str, Any]],
    variables: Any,
    examples: source.Examples,
    *,
    batch_size: int,
    extend: Callable[[Values], Mapping[str, Any]] | None = None,
    finish: Callable[[Values, np.ndarray], Values] | None = None,
) -> Values:
    """Measures N examples, each once: name to values ``[N, ...]``, the same in all processes.

    Each process does its part. The values are fetched once, at the end; or batch by batch for
    `finish`.

    Args:
      measure: ``(variables, batch) -> values``, as `parallel.Parallel.map` returns it.
      variables: its first argument, `localise`d.
      batch_size: the largest number of images at once; made a multiple of the processes.
      extend: what to add to a batch.
      finish: ``(values, truths) -> values`` on the host, returns what is kept.
    """
    index, count = jax.process_index(), jax.process_count()
    share = -(-batch_size // count)
    batches = pipeline.eval_batches(
        examples, batch_size=share * count, process_index=index, process_count=count
    )
    results, taken, positions = [], [], []
    for number, batch in enumerate(batches):
        if extend is not None:
            batch = {**batch, **extend(batch)}
        values, rows = measure(variables, batch), np.flatnonzero(batch["weight"])
        positions.append((number * count + index) * share + rows)
        if finish is not None:
            # Where all is padding, one of it shows what the values look like.
            real = rows if len(rows) else np.arange(1)
            fetched = {name: array[real] for name, array in jax.device_get(values).items()}
            values, rows = finish(fetched, batch["truth"][real]), np.arange(len(rows))
        results.append(values)
        taken.append(rows)
    parts = [
        {name: array[rows] for name, array in values.items()}
        for values, rows in zip(jax.device_get(results), taken, strict=True)
    ]
    own = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return distributed.gather(own, np.concatenate(positions))
