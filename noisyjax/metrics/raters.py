"""What a rater's labels come to, given the truth or an estimate of it.

Everything but the agreement follows from one table per rater: how often the label is i where
the truth is j. Tables can be added over images before the quotients are taken::

    table = raters.joint_counts(labels, truth, num_classes)         # [R, L, L]
    sensitivity = overlap.recall(raters.overlap_counts(table))      # [R, L]
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer, Num

from noisyjax.core import checks
from noisyjax.metrics import overlap


def joint_counts(
    labels: Integer[Array, "R *S"],
    truth: Integer[Array, "*S"],
    num_classes: int,
    *,
    rater_mask: Bool[Array, "R"] | None = None,
) -> Int[Array, "R L L"]:
    """Counts the voxels where a rater gave i and the truth is j, ``[R, L, L]`` int32.

    The counts are exact up to 2**31 voxels; add many images in int64 on the host.

    Args:
      labels: class ids, ``[R, *S]``; an id that is no class (255) is not counted.
      truth: class ids, ``[*S]``, likewise.
      rater_mask: who labelled the image, ``[R]``; the tables of the others are zero.

    >>> joint_counts(jnp.array([[0, 1, 1]]), jnp.array([0, 0, 1]), 2)
    Array([[[1, 0],
            [1, 1]]], dtype=int32)
    """
    checks.ids("truth", truth)
    checks.shape("labels", labels, (None, *truth.shape), like="truth")
    _check(labels, num_classes, rater_mask)
    given, true = labels.astype(jnp.int32), truth.astype(jnp.int32)[None]
    counted = (given >= 0) & (given < num_classes) & (true >= 0) & (true < num_classes)
    if rater_mask is not None:
        counted &= rater_mask.reshape((-1,) + (1,) * truth.ndim)
    pairs = jnp.where(counted, given * num_classes + true, -1)
    # Compared with one pair of classes after the other: adding at indices is slow on a CPU.
    every = jnp.arange(num_classes**2, dtype=jnp.int32).reshape((1, -1) + (1,) * truth.ndim)
    space = tuple(range(2, every.ndim))
    table = jnp.sum(pairs[:, None] == every, axis=space, dtype=jnp.int32)
    return table.reshape(-1, num_classes, num_classes)


def overlap_counts(table: Integer[Array, "*B L L"]) -> overlap.Counts:
    """Returns each class's counts ``[..., L]`` against the rest, for the quotients of `overlap`.

    Of ``table [..., L, L]`` entry ``[i, j]`` are the voxels of class j that were called i.

    >>> overlap_counts(jnp.array([[5, 1], [2, 4]])).fp
    Array([1, 2], dtype=int32)
    """
    tp = jnp.diagonal(table, axis1=-2, axis2=-1)
    given, true = table.sum(axis=-1), table.sum(axis=-2)
    total = table.sum(axis=(-2, -1))[..., None]
    return overlap.Counts(tp, given - tp, true - tp, total - given - true + tp)


def matrices(table: Num[Array, "*B L L"]) -> Float[Array, "*B L L"]:
    """Returns the confusion matrices ``p(label i | true j)``, ``[..., L, L]``.

    Columns sum to one. The column of a class that is nowhere is not known and is NaN.

    >>> matrices(jnp.array([[3, 0], [1, 0]]))
    Array([[0.75,  nan],
           [0.25,  nan]], dtype=float32)
    """
    counts = table.astype(jnp.float32)
    total = counts.sum(axis=-2, keepdims=True)
    return jnp.where(total > 0, counts / jnp.where(total > 0, total, 1.0), jnp.nan)


def log_volume_ratio(table: Integer[Array, "*B L L"]) -> Float[Array, "..."]:
    """Returns log2 of the rater's foreground volume over the true one, ``[...]``.

    1 is twice too much, -1 half of it, 0 no bias. All classes but the first are foreground. Where
    one of the two volumes is zero the ratio says nothing about size, and is NaN.

    >>> log_volume_ratio(jnp.array([[4, 0], [2, 2]]))
    Array(1., dtype=float32)
    """
    counts = table.astype(jnp.float32)
    given, true = counts[..., 1:, :].sum(axis=(-2, -1)), counts[..., :, 1:].sum(axis=(-2, -1))
    known = (given > 0) & (true > 0)
    ratio = jnp.where(known, given, 1.0) / jnp.where(known, true, 1.0)
    return jnp.where(known, jnp.log2(ratio), jnp.nan)


def agreement(
    labels: Integer[Array, "R *S"],
    num_classes: int,
    *,
    rater_mask: Bool[Array, "R"] | None = None,
) -> Float[Array, "R"]:
    """Returns each rater's mean Dice to the other raters of the same image, ``[R]``.

    Of more than one class of foreground the mean is taken; two labels without it agree fully. NaN
    for who did not label the image (``rater_mask [R]``), or nobody else did.

    >>> agreement(jnp.array([[0, 1, 1], [0, 1, 1], [0, 0, 0]]), 2)
    Array([0.5, 0.5, 0. ], dtype=float32)
    """
    _check(labels, num_classes, rater_mask)
    mask = jnp.ones(len(labels), bool) if rater_mask is None else rater_mask

    def to_others(one: Array) -> Array:
        # One pair after the other: all pairs of large volumes at once would fill the memory.
        return jax.lax.map(lambda other: _foreground_dice(one, other, num_classes), labels)

    dice = jax.lax.map(to_others, labels)
    others = mask[:, None] & mask[None] & ~jnp.eye(len(labels), dtype=bool)
    number = others.sum(axis=1)
    mean = jnp.where(others, dice, 0.0).sum(axis=1) / jnp.maximum(number, 1)
    return jnp.where(number > 0, mean, jnp.nan)


def _check(labels: Array, num_classes: int, rater_mask: Array | None) -> None:
    checks.ids("labels", labels)
    checks.masks(rater_mask=rater_mask)
    checks.at_least("num_classes", num_classes, 2)
    if rater_mask is not None:
        checks.shape("rater_mask", rater_mask, labels.shape[:1], like="labels")


def _foreground_dice(one: Array, other: Array, num_classes: int) -> Array:
    return overlap.dice(overlap.counts(one, other, num_classes))[1:].mean()
