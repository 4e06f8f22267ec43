"""Fuses the labels of each case, once for a run: targets to train on, or a gold standard."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8

from noisyjax import fusion
from noisyjax.core import checks

NAMES = tuple(fusion.FUSIONS)

# Cases that are fused at once; one shape of chunk is one compilation.
_CHUNK = 64


def map_cases(
    f: Callable[[dict[str, Any]], Any], cases: Mapping[str, np.ndarray], *, chunk: int = _CHUNK
) -> Any:
    """Maps a function over cases, jitted and some at a time, and returns its results on the host.

    Args:
      f: of one case, a dict of arrays, to a tree of arrays.
      cases: the cases' arrays, each ``[N, ...]``.
      chunk: how many cases at once.

    Returns:
      The tree, its arrays ``[N, ...]``.
    """
    size = len(next(iter(cases.values())))
    chunk = min(chunk, size)
    run = jax.jit(jax.vmap(f))
    parts = []
    for start in range(0, size, chunk):
        # The last chunk is filled up with cases from the beginning.
        places = np.arange(start, start + chunk) % size
        parts.append(jax.device_get(run({name: array[places] for name, array in cases.items()})))
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


def targets(
    labels: Integer[np.ndarray, "N R *S"],
    rater_masks: Bool[np.ndarray, "N R"],
    *,
    name: str,
    num_classes: int,
) -> Float[np.ndarray, "N *S L"]:
    """Returns what the raters' labels say together about each case.

    Args:
      labels: ``[N, R, *S]``.
      rater_masks: who labelled each case, ``[N, R]``.
      name: a key of `fusion.FUSIONS`.
      num_classes: L.

    Returns:
      Probabilities ``[N, *S, L]`` float32.

    Raises:
      ValueError: if the fusion is unknown.
    """
    fuse = functools.partial(checks.lookup("fusion", name, fusion.FUSIONS), num_classes=num_classes)

    def one(case: dict[str, Any]) -> jax.Array:
        return fuse(case["labels"], rater_mask=case["rater_mask"]).probs

    return map_cases(one, {"labels": labels, "rater_mask": rater_masks})


def gold_standard(
    labels: Integer[np.ndarray, "N R *S"],
    rater_masks: Bool[np.ndarray, "N R"],
    *,
    name: str,
    num_classes: int,
) -> UInt8[np.ndarray, "N *S"]:
    """Returns the most probable class by the fused labels, ``[N, *S]``; see `targets`.

    Who is judged by it is judged by what the raters agree on, as that fusion sees it: a method that
    trains on the same fusion has the advantage.
    """
    fused = targets(labels, rater_masks, name=name, num_classes=num_classes)
    return fused.argmax(axis=-1).astype(np.uint8)
