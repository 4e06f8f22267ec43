"""Boundary overlap: Dice in small neighbourhoods of the boundary's voxels.

An organ's Dice is carried by its interior. Here every voxel of a boundary has a Dice of its own,
over the voxels around it, and the mean over the boundary is reported (Yeghiazaryan & Voiculescu
2018): directed, over the boundary of the truth (DBD_G) or of the prediction (DBD_M), and symmetric,
over both together (SBD).
"""

import itertools
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from noisyjax.core import checks, ignored

_EMPTY = {"one": 1.0, "nan": float("nan"), "zero": 0.0}


class Boundary(NamedTuple):
    """Boundary overlaps between 0 and 1, float32 ``[]`` each.

    Attributes:
      dbd_g: directed boundary Dice over the truth's boundary.
      dbd_m: over the prediction's boundary.
      sbd: symmetric boundary Dice, over the voxels of both boundaries together; not the mean of the
        two directed ones.
    """

    dbd_g: Float[Array, ""]
    dbd_m: Float[Array, ""]
    sbd: Float[Array, ""]


def boundary_overlap(
    pred: Bool[Array, "*S"] | Integer[Array, "*S"],
    truth: Bool[Array, "*S"] | Integer[Array, "*S"],
    *,
    radius: int = 1,
    outside: str = "background",
    empty: str = "nan",
    where: Bool[Array, "*S"] | None = None,
) -> Boundary:
    """Returns the directed and symmetric boundary Dice of two masks.

    A boundary are the voxels of a mask with a face neighbour in the background. The neighbourhood
    of a voxel are the voxels up to `radius` steps along the axes away (von Neumann; 5 pixels in
    2-D and 7 voxels in 3-D for radius 1), clipped at the image; it is counted in voxels, not in mm.

    Args:
      pred: ``[*S]``, the object where it is not zero.
      truth: ``[*S]`` likewise.
      radius: of the neighbourhood in voxels, at least 1.
      outside: what lies outside of the image: "background", so that an object's voxels at the edge
        are boundary, or "ignored", so that they are not.
      empty: the values where neither mask has a boundary: "one", "nan" or "zero". Where only one
        has none, its own directed value is 0, or NaN with ``empty="nan"``.
      where: the voxels that count, ``[*S]``, but for those of id 255; the others are outside.

    References:
      Yeghiazaryan & Voiculescu, J. Med. Imaging 2018; as measured in Wang et al. (RAR-U-Net),
      Equations 6-7.

    >>> boundary_overlap(jnp.array([0, 1, 1, 1, 0]), jnp.array([0, 1, 1, 0, 0])).dbd_g
    Array(0.9, dtype=float32)
    """
    checks.ids("pred", pred, masks=True)
    checks.ids("truth", truth, masks=True)
    checks.shape("truth", truth, pred.shape, like="pred")
    checks.one_of("outside", outside, ("background", "ignored"))
    value = checks.lookup("empty", empty, _EMPTY)
    checks.positive("radius", radius)
    checks.masks(where=where)
    if where is not None:
        checks.shape("where", where, pred.shape, like="pred")
    where = ignored.counting(truth, ignored.counting(pred, where))
    pred, truth = (pred != 0) & where, (truth != 0) & where
    both, in_pred, in_truth = _neighbours(jnp.stack([pred & truth, pred, truth]), radius)
    # A voxel of a boundary is in its own neighbourhood, so the quotient is defined where it counts.
    dice = 2.0 * both / jnp.maximum(in_pred + in_truth, 1)
    edges = [_boundary(mask, where, outside) for mask in (truth, pred)]
    sums = jnp.stack([jnp.sum(jnp.where(edge, dice, 0.0)) for edge in edges])
    counts = jnp.stack([jnp.sum(edge, dtype=jnp.int32) for edge in edges])
    some = jnp.sum(counts) > 0
    own = jnp.where(some, jnp.nan if empty == "nan" else 0.0, value)
    directed = jnp.where(counts > 0, sums / jnp.maximum(counts, 1), own)
    pooled = jnp.where(some, jnp.sum(sums) / jnp.maximum(jnp.sum(counts), 1), value)
    return Boundary(directed[0], directed[1], pooled)


def _neighbours(masks: Bool[Array, "M *S"], radius: int) -> Integer[Array, "M *S"]:
    """Returns the number of voxels of each mask within `radius` steps of each voxel."""
    space = masks.shape[1:]
    padded = jnp.pad(masks.astype(jnp.int32), [(0, 0)] + [(radius, radius)] * len(space))
    total = jnp.zeros(masks.shape, jnp.int32)
    for start in itertools.product(range(2 * radius + 1), repeat=len(space)):
        if sum(abs(first - radius) for first in start) <= radius:
            window = (slice(first, first + n) for first, n in zip(start, space, strict=True))
            total += padded[:, *window]
    return total


def _boundary(mask: Bool[Array, "*S"], where: Bool[Array, "*S"], outside: str) -> Bool[Array, "*S"]:
    """Returns the voxels of the mask with a face neighbour in the background."""
    filled = mask | ~where if outside == "ignored" else mask
    padded = jnp.pad(filled, 1, constant_values=outside == "ignored")
    inner = mask
    for axis in range(mask.ndim):
        for shifted in (slice(None, -2), slice(2, None)):
            window = [slice(1, -1)] * mask.ndim
            window[axis] = shifted
            inner &= padded[tuple(window)]
    return mask & ~inner
