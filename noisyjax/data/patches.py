"""Pieces of volumes: at a corner or around a point, and how those of a training are drawn."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from noisyjax.core import checks
from noisyjax.data import order


def cut(
    array: Any,
    *,
    corner: Sequence[int],
    size: Sequence[int],
    leading: int = 0,
    fill: Any = 0,
) -> Shaped[np.ndarray, "..."]:
    """Returns the part ``[..., *size, ...]`` of an array ``[..., *S, ...]``, read from there alone.

    Args:
      corner: the first voxel; parts of what is asked for may lie outside of the array.
      leading: axes before the spatial ones.
      fill: what stands there, one value or one for each of the last axis.

    >>> cut(np.arange(5), corner=(3,), size=(4,))
    array([3, 4, 0, 0])
    """
    sides = list(zip(corner, size, array.shape[leading : leading + len(size)], strict=True))
    inside = [slice(min(max(0, c), n), min(max(0, c + s), n)) for c, s, n in sides]
    every = (slice(None),) * leading
    part = np.asarray(array[(*every, *inside)])
    if part.shape[leading : leading + len(size)] == tuple(size):
        return part
    shape = (*array.shape[:leading], *size, *array.shape[leading + len(size) :])
    whole = np.empty(shape, part.dtype)
    whole[...] = fill
    places = [slice(i.start - c, i.stop - c) for i, (c, _, _) in zip(inside, sides, strict=True)]
    if part.size:
        whole[(*every, *places)] = part
    return whole


def around(
    volume: Shaped[np.ndarray, "..."],
    centre: Sequence[float | int],
    size: Sequence[int],
    *,
    fill: float | int = 0,
) -> Shaped[np.ndarray, "..."]:
    """Returns the patch ``[*size, ...]`` around a point in voxels, filled up beyond the volume.

    The volume is ``[*S]`` or, with channels, ``[*S, K]``.

    >>> around(np.arange(5), (3.6,), (4,))
    array([2, 3, 4, 0])
    """
    corner = [round(c) - n // 2 for c, n in zip(centre, size, strict=True)]
    return cut(volume, corner=corner, size=size, fill=fill).copy()


def centre_of_mass(mask: Shaped[np.ndarray, "*S"]) -> tuple[float, ...]:
    """Returns the mean index of a mask along each axis; the middle of the volume if it is empty."""
    inside = np.argwhere(mask)
    if not len(inside):
        return tuple((n - 1) / 2 for n in mask.shape)
    return tuple(inside.mean(axis=0).tolist())


def sample_positions(
    labels: Shaped[np.ndarray, "R *S"], num_classes: int, *, most: int
) -> Int[np.ndarray, "P columns"]:
    """Returns voxels of the foreground classes, at most so many of each, int32 ``[P, 1 + n]``.

    A row is a class and a voxel that one of the raters gave to it. Of a class with more voxels they
    are drawn at random, always the same ones.

    >>> sample_positions(np.array([[[0, 2], [1, 0]]]), 3, most=5).tolist()
    [[1, 1, 0], [2, 0, 1]]
    """
    shape, rows = labels.shape[1:], []
    for label in range(1, num_classes):
        flat = np.flatnonzero((labels == label).any(axis=0))
        if len(flat) > most:
            flat = flat[(order.uniform(most, "patches", label) * len(flat)).astype(int)]
        places = np.stack(np.unravel_index(flat, shape), axis=-1)
        rows.append(np.insert(places, 0, label, axis=1))
    return np.concatenate(rows).astype(np.int32)


# Options of `spatial_changes.change` that move voxels by other than whole axes, see `reach`.
MOVES = ("rotation", "shift", "scale")


@dataclasses.dataclass(frozen=True)
class Draw:
    """How the patches of a training are drawn.

    Attributes:
      size: voxels of a patch along each axis.
      margin: voxels around a patch that are read as well, for what moves into it.
      count: patches of an example in each epoch.
      foreground_share: this share of them lies around a voxel of the foreground, of a class that
        is drawn first, in the middle of the patch if the example does not end before. The number
        of these patches is rounded up with the probability of its fraction, and else down. The
        other patches, and all if there is no foreground, lie anywhere in the example.
    """

    size: tuple[int, ...]
    margin: tuple[int, ...]
    count: int = 1
    foreground_share: float = 0.0

    def __post_init__(self):
        checks.positive("patches.count", self.count)
        for size in self.size:
            checks.positive("patches.size", size)
        if not 0 <= self.foreground_share <= 1:
            raise ValueError(
                f"foreground_share: expected a number in [0, 1], got {self.foreground_share}"
            )

    @property
    def read(self) -> tuple[int, ...]:
        """Voxels of a patch with its margin."""
        return tuple(n + 2 * more for n, more in zip(self.size, self.margin, strict=True))


def corners(
    draw: Draw,
    extent: Sequence[int],
    positions: Int[np.ndarray, "P columns"],
    *,
    seed: int,
    example_id: int,
    epoch: int,
) -> Int[np.ndarray, "count n"]:
    """Draws where the patches of an example begin, without margin; of (seed, id, epoch) alone.

    An example that is smaller than a patch lies in its middle.

    Args:
      extent: of the example.
      positions: of `sample_positions`.

    Raises:
      ValueError: if the example has another number of axes.
    """
    size, axes = np.array(draw.size), len(draw.size)
    if len(extent) != axes:
        raise ValueError(
            f"patches.size: expected one of {len(extent)} sides, got {list(draw.size)}"
        )
    numbers = order.uniform(1 + draw.count * (axes + 2), "patches", seed, example_id, epoch)
    rounding, rest = numbers[0], numbers[1:].reshape(draw.count, axes + 2)
    last = np.array(extent) - size
    anywhere = np.floor(rest[:, :axes] * (np.maximum(last, 0) + 1)).astype(int)
    forced = draw.count * draw.foreground_share - rounding
    found = np.unique(positions[:, 0])
    for number in range(min(math.ceil(forced), draw.count) if len(found) and forced > 0 else 0):
        label = found[int(rest[number, axes] * len(found))]
        voxels = positions[positions[:, 0] == label, 1:]
        voxel = voxels[int(rest[number, axes + 1] * len(voxels))]
        anywhere[number] = np.clip(voxel - size // 2, 0, np.maximum(last, 0))
    return np.where(last >= 0, anywhere, last // 2)


def reach(
    size: Sequence[int],
    *,
    rotation: float | int = 0.0,
    shift: float | int | Sequence[float | int] = 0.0,
    scale: float | int = 0.0,
    spacing: Sequence[float] = (),
) -> tuple[int, ...]:
    """Returns from how far outside of a patch something is moved into it, in voxels.

    The options are those of `spatial_changes.change`, which moves it. One plane is turned at a
    time: what only several turns together bring in, from farther, is no part of it.

    >>> reach((10, 10), rotation=90.0), reach((10, 10), shift=2.5)
    ((2, 2), (3, 3))
    """
    axes = len(size)
    millimetres = np.asarray(spacing or (1.0,) * axes)
    half, furthest = (np.array(size) - 1) / 2, np.zeros(axes)
    turns = np.deg2rad(np.linspace(0, rotation, 9 if rotation else 1))
    for angle, (i, j) in itertools.product(turns, itertools.combinations(range(axes), 2)):
        matrix = np.eye(axes)
        matrix[i, i] = matrix[j, j] = np.cos(angle)
        matrix[i, j] = matrix[j, i] = np.sin(angle)
        matrix = np.abs(matrix) * millimetres[None] / millimetres[:, None] * (1 + scale)
        furthest = np.maximum(furthest, matrix @ half - half)
    moved = np.maximum(furthest, 0) + np.abs(np.asarray(shift)) * (1 + scale)
    return tuple(int(n) for n in np.ceil(moved - 1e-9))
