"""All fusions by name, of one case whose patterns of votes have been counted."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Integer, UInt8

from noisyjax import fusion
from noisyjax.core import checks, signatures
from noisyjax.fusion import patterns
from noisyjax.tool import folder

# Which class a voxel gets for which several are equally probable: the lowest, or none.
TIES = ("lowest", "undecided")

# A prior that was written with two or three digits is one still.
_OF_ONE = 0.01
# Sums of weights that are closer than this are equal.
_EQUAL = 1e-6


class Fused(NamedTuple):
    """What the raters say together, by pattern.

    Attributes:
      probs: probability of each class, ``[K, L]``.
      cms: ``cms[r, i, j]`` = p(rater r says i | true class j), ``[R, L, L]``, or None.
    """

    probs: Float[np.ndarray, "K L"]
    cms: Float[np.ndarray, "R L L"] | None


class Method(NamedTuple):
    """A fusion.

    Attributes:
      fuse: ``f(tally, num_classes, *, weights, **options) -> Fused``; None where voxels with the
        same votes are not alike.
      library: the function of `noisyjax.fusion` whose options it has.
      pooled: whether it fuses the cases of a folder at once.
    """

    fuse: Callable[..., Fused] | None
    library: Callable[..., Any]
    pooled: bool = False


def shares(
    votes: Int[np.ndarray, "K R"],
    num_classes: int,
    *,
    weights: Float[np.ndarray, "R"] | None = None,
) -> Float[np.ndarray, "K L"]:
    """Returns the share of the votes for each class, ``[K, L]``; zeros where there is none.

    >>> shares(np.array([[0, 1, 1], [2, 2, 2]]), 2).round(2).tolist()
    [[0.33, 0.67], [0.0, 0.0]]
    """
    each = np.ones(votes.shape[1]) if weights is None else np.asarray(weights, np.float64)
    total = np.stack([(votes == k) @ each for k in range(num_classes)], axis=-1)
    cast = total.sum(axis=-1, keepdims=True)
    return total / np.where(cast > 0, cast, 1)


def _mean(tally: patterns.Tally, num_classes: int, *, weights: Any = None) -> Fused:
    return Fused(shares(tally.votes, num_classes, weights=weights).astype(np.float32), None)


def _majority(tally: patterns.Tally, num_classes: int, *, weights: Any = None) -> Fused:
    share = shares(tally.votes, num_classes, weights=weights)
    most = (share > 0) & (share >= share.max(axis=-1, keepdims=True) - _EQUAL)
    number = np.maximum(most.sum(axis=-1, keepdims=True), 1)
    return Fused((most / number).astype(np.float32), None)


def _by_library(library: Callable[..., fusion.Fusion], *, pooled: bool = False) -> Method:
    """The method of a function of `noisyjax.fusion` that takes counted patterns."""

    def fuse(tally: patterns.Tally, num_classes: int, **options: Any) -> Fused:
        options = {name: _array(value) for name, value in options.items()}
        fused = library(tally.votes, tally.counts, num_classes, **options)
        return Fused(np.asarray(fused.probs), np.asarray(fused.cms))

    return Method(fuse, library, pooled)


def _array(value: Any) -> Any:
    """Weights and priors as arrays; other options as they are."""
    several = isinstance(value, tuple | list | np.ndarray)
    return jnp.asarray(value, jnp.float32) if several else value


METHODS = {
    "majority": Method(_majority, shares),
    "mean": Method(_mean, shares),
    "staple": _by_library(fusion.staple_of_patterns),
    "pooled_staple": _by_library(fusion.staple_of_patterns, pooled=True),
    "spatial_staple": Method(None, fusion.spatial_staple),
    "simple": _by_library(fusion.simple_of_patterns),
    "jaccard_median": _by_library(fusion.jaccard_median_of_patterns),
}


def options(method: str) -> dict[str, Any]:
    """Returns the options of a method and their defaults, but for those that all may have."""
    library = checks.lookup("method", method, METHODS).library
    return signatures.options(library, without=("rater_mask", "weights"))


def check(method: str, given: Mapping[str, Any], *, ties: str) -> None:
    """Raises a ValueError unless a fusion can have these options."""
    signatures.check(method, given, options(method))
    checks.one_of("ties", ties, TIES)
    if given.get("prior") is not None:
        prior = np.asarray(given["prior"], float)
        if (prior < 0).any() or abs(prior.sum() - 1) > _OF_ONE:
            raise ValueError(f"prior: expected probabilities of sum 1, got {given['prior']}")


def checked_weights(
    method: str, weights: Sequence[float | int] | np.ndarray | None, num_raters: int
) -> Float[np.ndarray, "R"] | None:
    """Returns weights as an array, or raises a ValueError that says what is wrong with them."""
    if weights is None:
        return None
    if "weights" not in signatures.options(METHODS[method].library):
        raise ValueError(f"weights: expected none with the method {method!r}, got {weights}")
    try:
        values = np.asarray(weights, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"weights: expected numbers, got {weights}") from error
    if not (np.isfinite(values).all() and (values >= 0).all() and values.any()):
        raise ValueError(f"weights: expected numbers >= 0, not all of them 0, got {weights}")
    checks.shape("weights", values, (num_raters,), like="raters")
    return values


class Counted(NamedTuple):
    """The labels of one case, and their patterns.

    Attributes:
      labels: class ids ``[R, *S]``.
      rater_mask: who labelled the case, ``[R]``.
      codes: the pattern of every voxel, ``[*S]``.
      tally: how often each pattern occurs.
    """

    labels: Integer[np.ndarray, "R *S"]
    rater_mask: Bool[np.ndarray, "R"]
    codes: Integer[np.ndarray, "*S"]
    tally: patterns.Tally
    num_classes: int


class Voxels(NamedTuple):
    """What the raters say together of one case; see `fuse.Consensus`.

    Attributes:
      prob: class to its probability, ``[*S]``: all at once would be large.
    """

    label: UInt8[np.ndarray, "*S"]
    prob: Callable[[int], Float[np.ndarray, "*S"]]
    disagreement: Float[np.ndarray, "*S"]
    cms: Float[np.ndarray, "R *T L L"] | None


def count(labels: Any, num_classes: int, rater_mask: Any = None) -> Counted:
    """Counts the patterns of votes of one case, class ids ``[R, *S]`` of those of `rater_mask`."""
    checks.one_of("num_classes", num_classes, range(2, folder.NO_LABEL + 1))
    labels = np.asarray(labels)
    mask = np.ones(len(labels), bool) if rater_mask is None else np.asarray(rater_mask)
    codes, tally = patterns.of_image(labels, num_classes, rater_mask=mask)
    return Counted(labels, mask, codes, tally, num_classes)


def fuse(
    case: Counted,
    method: str,
    *,
    weights: Float[np.ndarray, "R"] | None,
    ties: str,
    options: Mapping[str, Any],
    fused: Fused | None = None,
) -> Voxels:
    """Fuses one case; `fused` is what all cases at once have come to, for its patterns."""
    votes, num_classes = case.tally.votes, case.num_classes
    largest = shares(votes, num_classes).max(axis=-1)
    weighty = votes if weights is None else votes[:, weights > 0]
    nobody = (weighty == num_classes).all(axis=-1)
    disagreement = np.where(nobody, 0, 1 - largest).astype(np.float32)
    spread = functools.partial(patterns.spread, tally=case.tally, codes=case.codes)
    entry = METHODS[method]
    if entry.fuse is None:
        mask = jnp.asarray(case.rater_mask)
        labels = jnp.asarray(case.labels)
        # What is compiled for an option has to be hashable.
        chosen = {n: tuple(v) if isinstance(v, list) else v for n, v in options.items()}
        with _naming(method, options):
            whole = fusion.spatial_staple(labels, num_classes, rater_mask=mask, **chosen)
        probs, cms = np.asarray(whole.probs), np.asarray(whole.cms)
        label = _decide(probs, ties)

        def prob(k: int) -> np.ndarray:
            return probs[..., k]
    else:
        if fused is None:
            given = {"weights": weights, "options": options}
            fused = fuse_patterns(case.tally, num_classes, method, **given)
        cms, by_pattern = fused.cms, fused.probs
        label = spread(_decide(by_pattern, ties))

        def prob(k: int) -> np.ndarray:
            return spread(by_pattern[:, k])

    label[spread(nobody)] = folder.NO_LABEL
    return Voxels(label, prob, spread(disagreement), cms)


def fuse_patterns(
    tally: patterns.Tally,
    num_classes: int,
    method: str,
    *,
    weights: Float[np.ndarray, "R"] | None,
    options: Mapping[str, Any],
) -> Fused:
    """Fuses counted voxels, of one case or several, by a method for which those alike are equal."""
    given = options if weights is None else {"weights": weights, **options}
    with _naming(method, options):
        return METHODS[method].fuse(tally, num_classes, **given)


@contextlib.contextmanager
def _naming(method: str, options: Mapping[str, Any]) -> Iterator[None]:
    """Names the options where there are several numbers in place of one."""
    try:
        yield
    except TypeError as error:
        raise ValueError(f"{method}: expected other options, got {dict(options)}") from error


def _decide(probs: Float[np.ndarray, "*K L"], ties: str) -> UInt8[np.ndarray, "*K"]:
    """The most probable class; of several equal ones the lowest, or `folder.NO_LABEL`."""
    undecided = folder.NO_LABEL if ties == "undecided" else None
    label = fusion.decide(jnp.asarray(probs), ties=ties, undecided=undecided)
    return np.array(label, np.uint8)
