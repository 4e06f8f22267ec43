"""Fuses the labels of each case: targets to train on, or a gold standard."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped

from noisyjax import fusion
from noisyjax.core import checks, ignored
from noisyjax.fusion import patterns

NAMES = tuple(fusion.FUSIONS)
# Of labels ``[B, R, *S]`` and masks ``[B, R]``.
Fuse = Callable[[Integer[np.ndarray, "B R *S"], Bool[np.ndarray, "B R"]], Any]
# Those that look at a voxel's votes alone, of counted patterns.
_OF_PATTERNS = {
    "staple": fusion.staple_of_patterns,
    "simple": fusion.simple_of_patterns,
    "jaccard_median": fusion.jaccard_median_of_patterns,
}

# Cases at once; one shape of chunk is one compilation.
_CHUNK = 64
# Of more raters than these, who did not label a case is left out of its fusion.
_MANY = 16


def stack(arrays: Sequence[Shaped[Any, "..."]]) -> Shaped[np.ndarray, "B ..."]:
    """Returns arrays as one, ``[B, ...]``; a single one is not copied."""
    return arrays[0][np.newaxis] if len(arrays) == 1 else np.stack(arrays)


def map_cases(
    f: Callable[[dict[str, Any]], Any],
    take: Callable[[Integer[np.ndarray, "B"]], Mapping[str, np.ndarray]],
    size: int,
    *,
    chunk: int = _CHUNK,
) -> Any:
    """Maps a function over N cases, jitted and `chunk` at a time; returns arrays ``[N, ...]``.

    Args:
      f: of one case, a dict of arrays, to a tree of arrays.
      take: ``f(indices [B]) -> arrays`` of several cases, ``[B, ...]`` each.
    """
    chunk = min(chunk, size)
    run = jax.jit(jax.vmap(f))
    parts = []
    for start in range(0, size, chunk):
        # The last chunk is filled up with cases from the beginning.
        parts.append(jax.device_get(run(take(np.arange(start, start + chunk) % size))))
    return jax.tree.map(lambda *arrays: np.concatenate(arrays)[:size], *parts)


def by_name(name: str, *, num_classes: int) -> Callable[..., fusion.Fusion]:
    """Returns a fusion of `fusion.FUSIONS` for one case, ``f(labels [R, *S], rater_mask=[R])``."""
    return functools.partial(checks.lookup("fusion", name, fusion.FUSIONS), num_classes=num_classes)


def mean_of_soft(
    soft: Float[np.ndarray, "B R *S"], masks: Bool[np.ndarray, "B R"]
) -> Float[np.ndarray, "B *S L"]:
    """Returns the mean of the probabilities that raters gave, background first, float32.

    >>> mean_of_soft(np.array([[[0.2], [0.6], [1.0]]]), np.array([[True, True, False]])).tolist()
    [[[0.6000000238418579, 0.4000000059604645]]]
    """
    given = masks.reshape(*masks.shape, *[1] * (soft.ndim - 2))
    mean = (soft * given).sum(axis=1) / np.maximum(given.sum(axis=1), 1)
    return np.stack([1 - mean, mean], axis=-1).astype(np.float32)


def gold(name: str, num_classes: int, *, on_host: bool) -> Fuse:
    """Returns what fuses the labels of several cases to class ids, uint8 ``[B, *S]``.

    With `on_host` as `targets_on_host`, else as `targets`.
    """
    if on_host and name in _OF_PATTERNS:
        return _on_host(name, num_classes, lambda probs: ignored.argmax(probs).astype(np.uint8))
    fuse = targets(name, num_classes)
    return lambda *cases: ignored.argmax(np.asarray(fuse(*cases))).astype(np.uint8)


def targets_on_host(name: str, num_classes: int) -> Fuse:
    """Returns what fuses as `targets` does, by the patterns of the votes, which NumPy counts.

    Nothing is compiled for the shape of a case. Where voxels with the same votes are not alike, it
    is that of `targets`.
    """
    if name not in _OF_PATTERNS:
        return targets(name, num_classes)
    return _on_host(name, num_classes, lambda probs: probs)


def _on_host(name: str, num_classes: int, of_pattern: Callable[[np.ndarray], np.ndarray]) -> Fuse:
    fuse = _OF_PATTERNS[name]

    def one(labels: np.ndarray, mask: np.ndarray) -> np.ndarray:
        # Of many raters a few may have labelled a case.
        given, mask = (labels[mask], None) if mask.any() else (labels[:1], mask[:1])
        codes = patterns.encode_on_host(given, num_classes, rater_mask=mask)
        counted = patterns.tally([codes], num_raters=len(given), num_classes=num_classes)
        probs = fuse(counted.votes, counted.counts, num_classes=num_classes).probs
        return patterns.spread(of_pattern(np.asarray(probs, np.float32)), counted, codes)

    return lambda labels, masks: stack([one(*case) for case in zip(labels, masks, strict=True)])


@functools.lru_cache(maxsize=8)
def targets(name: str, num_classes: int) -> Fuse:
    """Returns what fuses the labels of several cases by a fusion of `fusion.FUSIONS`.

    It is ``f(labels [B, R, *S], rater_masks [B, R]) -> probabilities [B, *S, L]`` float32, jitted.
    Of many raters those who did not label a case are left out of its fusion.
    """
    fuse = by_name(name, num_classes=num_classes)
    run = jax.jit(jax.vmap(lambda labels, mask: fuse(labels, rater_mask=mask).probs))
    return lambda labels, masks: run(*_who_labelled(labels, masks))


def _who_labelled(
    labels: Integer[np.ndarray, "B R *S"], masks: Bool[np.ndarray, "B R"]
) -> tuple[Integer[np.ndarray, "B W *S"], Bool[np.ndarray, "B W"]]:
    """Takes the labels that were given, as many of each case as a power of two: few shapes."""
    most = 2 ** (max(int(masks.sum(axis=1).max()), 1) - 1).bit_length()
    if masks.shape[1] <= max(_MANY, most):
        return labels, masks
    first = np.argsort(~masks, axis=1, kind="stable")[:, :most]
    rows = np.arange(len(masks))[:, np.newaxis]
    return labels[rows, first], masks[rows, first]
