"""Losses at the coarser levels of a decoder beside that of its finest (Isensee et al. 2021)."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def weights(count: int) -> np.ndarray:
    """Returns the weights of losses at several levels, finest first: halved each time, of sum 1.

    >>> weights(3).round(4).tolist()
    [0.5714, 0.2857, 0.1429]
    """
    each = 0.5 ** np.arange(count)
    return each / each.sum()


def loss(
    compare: Callable[[Array, Array], Float[Array, ""]],
    logits: Sequence[Float[Array, "..."]],
    target: Float[Array, "*S L"],
) -> Float[Array, ""]:
    """Returns the weighted loss of one example.

    Args:
      compare: ``(logits [*T, L], target [*T, L])`` to the loss at one level.
      logits: of each level, finest first, ``[*T, L]``; a side is halved, rounded up, or kept from
        level to level.
    """
    return sum(
        weight * compare(own, nearest(target, own.shape[:-1]))
        for own, weight in zip(logits, weights(len(logits)), strict=True)
    )


def nearest(target: Float[Array, "*S L"], shape: Sequence[int]) -> Float[Array, "*T L"]:
    """Makes a target coarser by nearest neighbour.

    Each side of the shape is one of the target's, halved and rounded up several times or never. Of
    a block of voxels it takes the one after the middle, or the last one there is.

    >>> nearest(jnp.arange(5.0)[:, None], (3,))[:, 0].tolist()
    [1.0, 3.0, 4.0]
    """
    for axis, (side, coarse) in enumerate(zip(target.shape[:-1], shape, strict=True)):
        size = 1
        while -(-side // size) > coarse:
            size *= 2
        if -(-side // size) != coarse:
            raise ValueError(f"shape: expected halves of {target.shape[:-1]}, got {tuple(shape)}")
        if size > 1:
            voxels = np.minimum(np.arange(0, side, size) + size // 2, side - 1)
            target = jnp.take(target, voxels, axis)
    return target
