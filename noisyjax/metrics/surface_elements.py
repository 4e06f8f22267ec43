"""Pieces of the surface between voxels: where they lie and how large they are.

A block of two voxels along each axis that is neither all object nor all background holds a piece of
the surface (of the contour in 2-D), at the corner that its voxels share. Marching cubes (Lorensen &
Cline 1987) cuts the edges of the block halfway. Here its area is put together from closed forms: of
the object's and the background's voxels the fewer are divided into components along the edges of
the block, and each is cut off by itself.
"""

import functools
import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from noisyjax.core import checks

_Corner = tuple[int, ...]


def find(
    mask: Bool[np.ndarray, "*S"], spacing: tuple[float | int, ...]
) -> tuple[Bool[np.ndarray, "*T"], Float[np.ndarray, "N"]]:
    """Finds the pieces of the surface of a mask; outside of the image is background.

    Args:
      mask: ``[*S]`` bool, 2-D or 3-D.
      spacing: size of a voxel along each axis, in mm.

    Returns:
      (the blocks with a piece of the surface, ``[*S + 1]`` bool; the N areas of these in mm², or
      lengths in mm in 2-D, float64, in the order of the blocks).

    >>> find(np.ones((1, 1), bool), (2.0, 2.0))[1].sum().round(6)
    np.float64(5.656854)
    """
    checks.masks(mask=mask)
    checks.rank("mask", mask, (2, 3))
    codes = np.pad(mask, 1).view(np.uint8)
    for step, axis in enumerate(reversed(range(mask.ndim))):
        before = (slice(None),) * axis
        codes = codes[(*before, slice(-1))] << (1 << step) | codes[(*before, slice(1, None))]
    table = areas(spacing)
    blocks = (codes != 0) & (codes != len(table) - 1)
    return blocks, table[codes[blocks]]


@functools.lru_cache(maxsize=64)
def areas(spacing: tuple[float | int, ...]) -> Float[np.ndarray, "K"]:
    """Returns the area of the surface in each of the blocks there can be, ``[2^2^n]`` float64.

    They are ordered by the block's voxels read as a binary number, the first (at 0, 0, 0) the
    highest digit; in mm², in 2-D in mm, for voxels of the given size in mm along each of n axes.
    """
    sizes = np.asarray(spacing, np.float64)
    squares = np.square(sizes.prod() / sizes)
    coefficients = _coefficients(len(spacing))
    subsets = (np.arange(coefficients.shape[1])[:, None] >> np.arange(len(spacing))) & 1
    table = coefficients @ np.sqrt(subsets @ squares)
    table.flags.writeable = False
    return table


@functools.cache
def _coefficients(ndim: int) -> Float[np.ndarray, "K P"]:
    """Returns the shares of pieces in each block's area, by the axes that their normals lie along.

    The normal of a piece has equal components, in voxels, along some of the axes and none along the
    others, so with voxels of any size a piece is a multiple of the norm of those faces' areas.
    """
    corners = list(itertools.product((0, 1), repeat=ndim))
    coefficients = np.zeros((2 ** len(corners), 2**ndim))
    for code, shares in enumerate(coefficients):
        sides = ([], [])
        for bit, corner in enumerate(reversed(corners)):
            sides[code >> bit & 1].append(corner)
        for component in _components(min(sides, key=len)):
            for axes, share in _pieces(component).items():
                shares[sum(1 << axis for axis in axes)] += share
    return coefficients


def _axis(one: _Corner, other: _Corner) -> int | None:
    """Returns the axis of the edge between two corners, or None if there is no such edge."""
    differing = [axis for axis, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    return differing[0] if len(differing) == 1 else None


def _components(corners: Sequence[_Corner]) -> list[list[_Corner]]:
    """Divides corners into groups that edges of the block join."""
    groups: list[list[_Corner]] = []
    for corner in corners:
        joined = [g for g in groups if any(_axis(corner, c) is not None for c in g)]
        groups = [g for g in groups if g not in joined]
        groups.append([corner, *itertools.chain(*joined)])
    return groups


def _pieces(component: Sequence[_Corner]) -> dict[frozenset[int], float]:
    """Returns the area that cuts off one component, by the axes of the normals of its pieces."""
    every = frozenset(range(len(component[0])))
    edges = [
        (axis, {one, other})
        for one, other in itertools.combinations(component, 2)
        if (axis := _axis(one, other)) is not None
    ]
    across = every - {axis for axis, _ in edges}
    if len(every) == 2:
        return {across: 1.0 if edges else 0.5}
    # A triangle; a rectangle; half of a face beside three triangles; a face of the block.
    plain = {0: {every: 0.125}, 1: {across: 0.5}, 2: {across: 0.5, every: 0.375}, 4: {across: 1.0}}
    if len(edges) in plain:
        return plain[len(edges)]
    # Three edges that meet leave a regular hexagon; in a row, one is in the middle.
    if set.intersection(*(ends for _, ends in edges)):
        return {every: 0.75}
    outer = [axis for axis, ends in edges if sum(bool(ends & other) for _, other in edges) == 2]
    return {every: 0.5} | {every - {axis}: 0.25 for axis in outer}
