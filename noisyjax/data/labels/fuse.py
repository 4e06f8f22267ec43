"""Fuses the labels of each case: targets to train on, or a gold standard."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Integer

from noisyjax import fusion
from noisyjax.core import checks

NAMES = tuple(fusion.FUSIONS)

# Cases at once; one shape of chunk is one compilation.
_CHUNK = 64


def map_cases(
    f: Callable[[dict[str, Any]], Any],
    take: Callable[[Integer[np.ndarray, "B"]], Mapping[str, np.ndarray]],
    size: int,
    *,
    chunk: int = _CHUNK,
) -> Any:
    """Maps a function over cases, jitted and some at a time, and returns its results.

    Args:
      f: of one case, a dict of arrays, to a tree of arrays.
      take: ``f(indices [B]) -> arrays`` of several cases, ``[B, ...]`` each.
      size: how many cases there are, N.
      chunk: how many cases at once.

    Returns:
      The tree on the host, its arrays ``[N, ...]``.
    """
    chunk = min(chunk, size)
    run = jax.jit(jax.vmap(f))
    parts = []
    for start in range(0, size, chunk):
        # The last chunk is filled up with cases from the beginning.
        parts.append(jax.device_get(run(take(np.arange(start, start + chunk) % size))))
    return jax.tree.map(lambda *arrays: np.concatenate(arrays)[:size], *parts)


def by_name(name: str, *, num_classes: int) -> Callable[..., fusion.Fusion]:
    """Returns the fusion of one case, ``f(labels [R, *S], rater_mask=[R])``.

    Args:
      name: a key of `fusion.FUSIONS`.
      num_classes: L.

    Raises:
      ValueError: if the fusion is unknown.
    """
    return functools.partial(checks.lookup("fusion", name, fusion.FUSIONS), num_classes=num_classes)


@functools.lru_cache(maxsize=8)
def targets(
    name: str, num_classes: int
) -> Callable[[Integer[np.ndarray, "B R *S"], Bool[np.ndarray, "B R"]], Float[Any, "B *S L"]]:
    """Returns what says what the raters' labels of several cases say together.

    Args:
      name: a key of `fusion.FUSIONS`.
      num_classes: L.

    Returns:
      ``f(labels [B, R, *S], rater_masks [B, R]) -> probabilities [B, *S, L]`` float32, jitted.

    Raises:
      ValueError: if the fusion is unknown.
    """
    fuse = by_name(name, num_classes=num_classes)
    return jax.jit(jax.vmap(lambda labels, mask: fuse(labels, rater_mask=mask).probs))
