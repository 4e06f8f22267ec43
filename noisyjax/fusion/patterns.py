"""The votes of all raters at a voxel as one number, and how often each of them occurs.

R raters who choose among L classes, or none, leave ``(L + 1)^R`` patterns of votes: 243 for five
raters of a mask, whatever the number of voxels. What STAPLE does with a voxel depends on its
pattern alone, so that it works on counted patterns.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer

from noisyjax.core import checks


def check(
    labels: Integer[Array, "..."],
    num_classes: int,
    rater_mask: Bool[Array, "..."] | None = None,
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
    checks.at_least("num_classes", num_classes, 2)
    if labels.ndim <= leading or 0 in labels.shape:
        axes = "[N, R, *S]" if leading > 1 else "[R, *S]"
        raise ValueError(f"labels: expected {axes}, none of it 0, got {list(labels.shape)}")
    if rater_mask is not None:
        checks.shape("rater_mask", rater_mask, labels.shape[:leading], like="labels")


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
    base = num_classes + 1
    codes = np.arange(number(num_raters, num_classes))
    return (codes[:, None] // base ** np.arange(num_raters) % base).astype(np.int32)


def count(codes: Integer[Array, "*V"], size: int) -> Float[Array, "K"]:
    """Returns how many voxels of any shape have each of `size` patterns, ``[K]`` float32.

    They are counted as integers, so that no voxel is lost beyond 2^24 of them.
    """
    counts = jnp.zeros(size, jnp.int32).at[codes.reshape(-1).astype(jnp.int32)].add(1)
    return counts.astype(jnp.float32)


def _unsigned(values):
    """The narrowest type for so many values."""
    return jnp.uint8 if values <= 2**8 else jnp.uint16 if values <= 2**16 else jnp.int32
