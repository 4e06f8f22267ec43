"""The votes of all raters at a voxel as one number, and how often each of them occurs.

R raters who choose among L classes, or none, leave ``(L + 1)^R`` patterns of votes: 243 for five
raters of a mask, whatever the number of voxels. What STAPLE does with a voxel depends on its
pattern alone, so that it works on counted patterns.

Of a folder of images they are counted on the host, one image after the other (`encode_on_host`,
`tally`), fused, and brought back to the voxels of each image (`spread`).
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer, Num, Shaped

from noisyjax.core import checks

# Every pattern has a row of a tally if there are no more than this.
TABLE = 2**16
# Voxels that are counted at once.
_AT_ONCE = 2**20
# A tally of the patterns that occur has at least so many rows.
_FEWEST_ROWS = 2**10


def check(
    labels: Integer[Array | np.ndarray, "..."],
    num_classes: int,
    rater_mask: Bool[Array | np.ndarray, "..."] | None = None,
    *,
    leading: int = 1,
) -> None:
    """Raises a ValueError that names the argument unless labels are what raters can have given.

    Args:
      labels: class ids, ``[R, *S]``, or ``[N, R, *S]`` of a data set.
      rater_mask: ``[R]``, or ``[N, R]``; None: everyone.
      leading: number of axes before the spatial ones.

    >>> check(jnp.zeros((2, 8), jnp.uint8), 1)
    Traceback (most recent call last):
    ...
    ValueError: num_classes: expected at least 2, got 1
    """
    checks.ids("labels", labels)
    checks.masks(rater_mask=rater_mask)
    checks.at_least("num_classes", num_classes, 2)
    if labels.ndim <= leading or 0 in labels.shape:
        axes = "[N, R, *S]" if leading > 1 else "[R, *S]"
        raise ValueError(f"labels: expected {axes}, none of it 0, got {list(labels.shape)}")
    if rater_mask is not None:
        checks.shape("rater_mask", rater_mask, labels.shape[:leading], like="labels")


def checked_on_host(fuse: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a compiled fusion check ids before JAX cuts those of a host array to 32 bits."""

    @functools.wraps(fuse)
    def checked(labels: Any, *args: Any, **options: Any) -> Any:
        checks.ids("labels", labels)
        return fuse(labels, *args, **options)

    return checked


def check_counted(
    votes: Integer[Array | np.ndarray, "..."],
    counts: Num[Array | np.ndarray, "..."],
    num_classes: int,
) -> None:
    """Raises a ValueError that names the argument unless votes ``[K, R]`` have counts ``[K]``."""
    checks.ids("votes", votes)
    checks.at_least("num_classes", num_classes, 2)
    if len(votes.shape) != 2 or 0 in votes.shape:
        raise ValueError(f"votes: expected [K, R], none of it 0, got {list(votes.shape)}")
    checks.shape("counts", counts, votes.shape[:1], like="votes")


def number(num_raters: int, num_classes: int) -> int:
    """Returns how many patterns there are, ``(L + 1)^R``.

    >>> number(5, 2)
    243
    """
    return (num_classes + 1) ** num_raters


def ballots(
    labels: Integer[Array, "*N R V"],
    num_classes: int,
    rater_mask: Bool[Array, "*N R"] | None = None,
) -> Integer[Array, "*N R V"]:
    """Returns the votes as small numbers ``[*N, R, V]``: the class, or L for no vote.

    They are uint8 (int32 from 255 classes on).

    Args:
      labels: class ids, ``[*N, R, V]``; an id that is no class (an ignore label) is no vote.
      rater_mask: ``[*N, R]``, who labelled the image; None: everyone.

    >>> ballots(jnp.array([[0, 1, 255], [1, 1, 0]]), 2, jnp.array([True, False])).tolist()
    [[0, 1, 2], [2, 2, 2]]
    """
    checks.masks(rater_mask=rater_mask)
    valid = (labels >= 0) & (labels < num_classes)
    if rater_mask is not None:
        valid &= rater_mask[..., None]
    return jnp.where(valid, labels, num_classes).astype(_unsigned(num_classes + 1))


def encode(votes: Integer[Array, "*N R V"], num_classes: int) -> Integer[Array, "*N V"]:
    """Returns the pattern of every voxel: the votes as the digits of a number to the base L + 1.

    Votes 0 to L, ``[*N, R, V]``, give codes ``[*N, V]`` of the narrowest type that holds them; the
    first rater's digit counts one.

    >>> encode(jnp.array([[0, 1, 2], [1, 1, 0]]), 2).tolist()
    [3, 4, 2]
    """
    num_raters = votes.shape[-2]
    dtype = _unsigned(number(num_raters, num_classes))
    code = jnp.zeros((*votes.shape[:-2], votes.shape[-1]), dtype)
    for rater in reversed(range(num_raters)):
        code = code * dtype(num_classes + 1) + votes[..., rater, :].astype(dtype)
    return code


def table(num_raters: int, num_classes: int) -> Int[np.ndarray, "K R"]:
    """Returns the votes that every pattern stands for, ``[K, R]`` int32, values 0 to L.

    >>> table(2, 1).tolist()
    [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    return _digits(np.arange(number(num_raters, num_classes)), num_raters, num_classes)


def count(codes: Integer[Array, "*V"], size: int) -> Float[Array, "K"]:
    """Returns how many voxels of any shape have each of `size` patterns, ``[K]`` float32.

    They are counted as integers, so that no voxel is lost beyond 2^24 of them.
    """
    counts = jnp.zeros(size, jnp.int32).at[codes.reshape(-1).astype(jnp.int32)].add(1)
    return counts.astype(jnp.float32)


def group(
    votes: Integer[Array, "N R V"], num_classes: int, *, each_voxel: bool = False
) -> tuple[Integer[Array | np.ndarray, "M R"], Float[Array, "M"], Integer[Array, "N V"] | None]:
    """Groups voxels by their votes 0 to L, unless that are more groups than voxels.

    Returns:
      The votes of every group ``[M, R]``, its number of voxels ``[M]``, and the group of every
      voxel ``[N, V]``; with `each_voxel`, or if there are fewer voxels than patterns, every voxel
      is a group, in order, and None stands for their numbers.
    """
    num_raters = votes.shape[1]
    size = number(num_raters, num_classes)
    if each_voxel or size > votes.size // num_raters:
        rows = jnp.moveaxis(votes, 1, -1).reshape(-1, num_raters)
        return rows, jnp.ones(len(rows), jnp.float32), None
    codes = encode(votes, num_classes)
    return table(num_raters, num_classes), count(codes, size), codes


class Tally(NamedTuple):
    """How often patterns of votes occur, on the host.

    Attributes:
      votes: what the raters chose, 0 to L, ``[K, R]`` int32.
      counts: number of voxels, ``[K]`` int64; 0 where a row only fills up.
      codes: the number of the pattern, as `encode`, ascending, ``[K]`` int64.
    """

    votes: Int[np.ndarray, "K R"]
    counts: Int[np.ndarray, "K"]
    codes: Int[np.ndarray, "K"]


def encode_on_host(
    labels: Integer[np.ndarray, "R *S"],
    num_classes: int,
    *,
    rater_mask: Bool[np.ndarray, "R"] | None = None,
) -> Integer[np.ndarray, "*S"]:
    """Returns the pattern of every voxel of an image, as `encode`, by NumPy.

    Args:
      labels: class ids, ``[R, *S]``; an id that is no class is no vote.
      rater_mask: ``[R]``, who labelled the image; None: everyone.

    Returns:
      Codes ``[*S]``, of the narrowest unsigned type that holds them all, from 2^32 on int64.

    Raises:
      ValueError: as `check`, or if the patterns are more than 2^63: 39 raters of two classes.

    >>> encode_on_host(np.array([[0, 1, 255], [1, 1, 0]]), 2).tolist()
    [3, 4, 2]
    """
    check(labels, num_classes, rater_mask)
    size = number(len(labels), num_classes)
    if size > 2**63:
        raise ValueError(
            f"labels: expected at most 2^63 patterns of votes, got {num_classes + 1}^{len(labels)}"
        )
    dtype = np.min_scalar_type(size - 1) if size <= 2**32 else np.dtype(np.int64)
    codes = np.zeros(labels.shape[1:], dtype)
    for rater in reversed(range(len(labels))):
        codes *= dtype.type(num_classes + 1)
        valid = (labels[rater] >= 0) & (labels[rater] < num_classes)
        if rater_mask is not None:
            valid &= rater_mask[rater]
        codes += np.where(valid, labels[rater].astype(dtype), dtype.type(num_classes))
    return codes


def tally(
    codes: Iterable[Integer[np.ndarray, "..."]], *, num_raters: int, num_classes: int
) -> Tally:
    """Counts the patterns of one image or several, whatever their shapes.

    Of up to `TABLE` patterns each has its row, in the order of `table`; of more, those that occur,
    and as many rows of count 0 as make the next power of two: images of the same raters have few
    numbers of rows, and what is compiled for one fits the others.

    Args:
      codes: what `encode_on_host` gave for each image, read one after the other.

    >>> tally([np.array([3, 4, 3])], num_raters=2, num_classes=2).counts.tolist()
    [0, 0, 0, 2, 1, 0, 0, 0, 0]
    """
    size = number(num_raters, num_classes)
    if size <= TABLE:
        counts = np.zeros(size, np.int64)
        for image in codes:
            for part in _parts(image):
                counts += np.bincount(part, minlength=size)
        return Tally(table(num_raters, num_classes), counts, np.arange(size))
    observed, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for image in codes:
        new, times = np.unique(image, return_counts=True)
        observed, rows = np.unique(
            np.concatenate([observed, new.astype(np.int64)]), return_inverse=True
        )
        counts = np.bincount(rows, np.concatenate([counts, times]), len(observed)).astype(np.int64)
    missing = _num_rows(len(observed)) - len(observed)
    # The last pattern, nobody's vote, is the largest code: the order holds.
    observed = np.pad(observed, (0, missing), constant_values=size - 1)
    votes = _digits(observed, num_raters, num_classes)
    return Tally(votes, np.pad(counts, (0, missing)), observed)


def of_image(
    labels: Integer[np.ndarray, "R *S"],
    num_classes: int,
    *,
    rater_mask: Bool[np.ndarray, "R"] | None = None,
) -> tuple[Integer[np.ndarray, "*S"], Tally]:
    """Counts the patterns of one image, which few of many raters may have labelled.

    Of more than `TABLE` patterns those of who labelled it are counted alone, whatever the number of
    the others.

    Args:
      labels: class ids, ``[R, *S]``; an id that is no class is no vote.
      rater_mask: ``[R]``, who labelled the image; None: everyone.

    Returns:
      The pattern of every voxel ``[*S]``, for `spread`, and the tally: votes of all raters
      ``[K, R]``, L of those who did not label the image.

    >>> codes, counted = of_image(np.array([[0, 1], [1, 1]]), 2, rater_mask=np.array([True, False]))
    >>> codes.tolist(), counted.votes[codes].tolist()
    ([6, 7], [[0, 2], [1, 2]])
    """
    check(labels, num_classes, rater_mask)
    mask = np.ones(len(labels), bool) if rater_mask is None else rater_mask
    own = np.arange(len(labels))
    if number(len(labels), num_classes) > TABLE:
        # One at least, who may have said nothing.
        own = np.flatnonzero(mask) if mask.any() else own[:1]
    if number(len(own), num_classes) > 2**63:
        codes, counted = _distinct(labels[own], num_classes)
    else:
        codes = encode_on_host(labels[own], num_classes, rater_mask=mask[own])
        counted = tally([codes], num_raters=len(own), num_classes=num_classes)
    votes = np.full((len(counted.votes), len(labels)), num_classes, np.int32)
    votes[:, own] = counted.votes
    return codes, counted._replace(votes=votes)


def _distinct(
    labels: Integer[np.ndarray, "R *S"], num_classes: int
) -> tuple[Integer[np.ndarray, "*S"], Tally]:
    """Numbers the patterns that occur, where there are more than codes."""
    valid = (labels >= 0) & (labels < num_classes)
    each = np.where(valid, labels, num_classes).reshape(len(labels), -1).T
    votes, codes, counts = np.unique(each, axis=0, return_inverse=True, return_counts=True)
    counted = Tally(votes.astype(np.int32), counts, np.arange(len(votes)))
    return codes.reshape(labels.shape[1:]), counted


def add(tallies: Sequence[Tally], num_classes: int) -> Tally:
    """Adds the tallies of several images of the same raters, of `of_image`; rows as in `tally`.

    >>> parts = [of_image(np.array([[1, vote]]), 2)[1] for vote in (0, 1)]
    >>> add(parts, 2).counts.tolist()
    [1, 3, 0]
    """
    num_raters = tallies[0].votes.shape[1]
    if number(num_raters, num_classes) <= TABLE:
        return tallies[0]._replace(counts=np.sum([part.counts for part in tallies], axis=0))
    there = [part.counts > 0 for part in tallies]
    every = np.concatenate([p.votes[rows] for p, rows in zip(tallies, there, strict=True)])
    counts = np.concatenate([p.counts[rows] for p, rows in zip(tallies, there, strict=True)])
    # In the order of the codes, of which the last rater's digit counts most.
    votes, which = np.unique(every[:, ::-1], axis=0, return_inverse=True)
    total = np.zeros(_num_rows(len(votes)), np.int64)
    np.add.at(total, which.reshape(-1), counts)
    missing = ((0, len(total) - len(votes)), (0, 0))
    votes = np.pad(votes[:, ::-1], missing, constant_values=num_classes)
    return Tally(votes, total, np.arange(len(total)))


def rows(tally: Tally, codes: Integer[np.ndarray, "*V"]) -> Integer[np.ndarray, "*V"]:
    """Returns the row of a tally for every voxel of an image whose patterns it has counted."""
    every = len(tally.codes) == tally.codes[-1] + 1
    return codes if every else np.searchsorted(tally.codes, codes)


def spread(
    values: Shaped[Array | np.ndarray, "K *L"],
    tally: Tally,
    codes: Integer[np.ndarray, "*S"],
) -> Shaped[np.ndarray, "..."]:
    """Returns for every voxel of an image what its pattern has, ``[*S, *L]``.

    Args:
      values: for each row of the tally, such as the probabilities of a fusion, ``[K, *L]``.
      tally: the rows.
      codes: the patterns of the image, all of which have been counted.
    """
    values = np.asarray(values)
    every = np.empty((codes.size, *values.shape[1:]), values.dtype)
    for number, part in enumerate(_parts(codes)):
        start = number * _AT_ONCE
        every[start : start + part.size] = values[rows(tally, part)]
    return every.reshape(*codes.shape, *values.shape[1:])


def _parts(codes: Integer[np.ndarray, "*S"]) -> Iterator[Integer[np.ndarray, "V"]]:
    # NumPy makes eight bytes of each code.
    flat = codes.reshape(-1)
    return (flat[start : start + _AT_ONCE] for start in range(0, flat.size, _AT_ONCE))


def _num_rows(occurring):
    return max(_FEWEST_ROWS, 2 ** (occurring - 1).bit_length())


def _unsigned(values):
    """The narrowest type for so many values."""
    return jnp.uint8 if values <= 2**8 else jnp.uint16 if values <= 2**16 else jnp.int32


def _digits(codes, num_raters, num_classes):
    base = num_classes + 1
    return (codes[:, None] // base ** np.arange(num_raters) % base).astype(np.int32)
