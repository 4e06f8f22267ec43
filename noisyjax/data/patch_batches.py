"""Batches of patches of labelled examples, cut on the host: no more is read than they hold."""

from typing import Any

import numpy as np
from jaxtyping import Int

from noisyjax.data import patches, pipeline
from noisyjax.data.labels import cache, labelled


def draw(
    examples: labelled.Labelled,
    how: patches.Draw,
    indices: Int[np.ndarray, "B"],
    epoch: int,
    *,
    seed: int,
) -> pipeline.Batch:
    """Returns the patches of examples in an epoch, those of one next to each other.

    They depend on (seed, id, epoch) and their number, ``draw``, alone.

    Args:
      examples: whose parts can be read.

    Returns:
      What `source.Examples` has of each, stacked ``[B * count, ...]``, of the size of a patch with
      its margin.
    """
    parts = []
    for index in map(int, indices):
        corners = patches.corners(
            how,
            examples.extent(index),
            examples.positions(index),
            seed=seed,
            example_id=int(examples.ids[index]),
            epoch=epoch,
        )
        for number, corner in enumerate(corners - np.array(how.margin)):
            part = examples.part(index, corner.tolist(), how.read)
            parts.append({**part, "draw": np.int32(number)})
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}


def without_margin(batch: dict[str, Any], how: patches.Draw) -> dict[str, Any]:
    """Returns a batch of `draw` cut to the size of a patch; for use inside the jitted step."""
    kept = {}
    for name, array in batch.items():
        if name in cache.LEADING:
            inside = [slice(more, more + n) for n, more in zip(how.size, how.margin, strict=True)]
            array = array[(slice(None),) * (1 + cache.LEADING[name]) + tuple(inside)]
        if name != "draw":
            kept[name] = array
    return kept
