"""The patch and the batch of a training, by nnU-Net's rules (Isensee et al. 2021)."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from noisyjax.tool.plan import topology

# Voxels of a patch before anything is known, by the number of axes.
_VOXELS = {2: 2048**2, 3: 256**3}
# Patches that have to fit into memory.
LEAST_BATCH = 2
# Of the voxels of all cases in one batch.
_SHARE = 0.05


def first(spacing: Sequence[float | int], median: Sequence[int]) -> tuple[int, ...]:
    """Returns the patch to begin with: a cube in mm, cut to the median case.

    >>> first((1.0, 1.0, 4.0), (999, 200, 50))
    (406, 200, 50)
    """
    extents = np.asarray(spacing, float)
    side = (_VOXELS[len(extents)] * extents.prod()) ** (1 / len(extents))
    cube = [round(float(side / extent)) for extent in extents]
    return tuple(int(min(pair)) for pair in zip(cube, median, strict=True))


def largest(
    spacing: Sequence[float | int],
    median: Sequence[int],
    *,
    fits: Callable[[topology.Network], bool],
    small: bool = False,
) -> topology.Network:
    """Returns the network with the largest patch that fits.

    The side that is largest against the median case is shortened until it does, by what it has to
    be a multiple of then.

    Raises:
      ValueError: if nothing fits.
    """
    network = topology.of_patch(first(spacing, median), spacing, small=small)
    while not fits(network):
        axis = int(np.argmax(np.asarray(network.patch) / median))
        shorter = list(network.patch)
        shorter[axis] -= network.factors[axis]
        if shorter[axis] > 0:
            # The sides that are left may be halved less often.
            step = topology.of_patch(shorter, spacing, small=small).factors[axis]
            shorter[axis] = network.patch[axis] - step
        if shorter[axis] <= 0:
            raise ValueError("memory: expected enough for a step on two patches, got too little")
        network = topology.of_patch(shorter, spacing, small=small)
    return network


def batch(
    network: topology.Network,
    median: Sequence[int],
    cases: int,
    *,
    fitting: float | int,
    limit: str = "what fits the memory",
) -> tuple[int, str]:
    """Returns how many patches a batch has, and why.

    Args:
      cases: those that train.
      fitting: so many patches fit.
      limit: why no more do.

    >>> small = topology.of_patch((40, 56, 40), (1.0, 1.0, 1.0))
    >>> batch(small, (36, 50, 35), 260, fitting=30.0)
    (9, '5 % of the voxels of all cases')
    """
    share = round(_SHARE * math.prod(median) * cases / math.prod(network.patch))
    if share <= LEAST_BATCH:
        return LEAST_BATCH, "the least: there are few cases"
    if fitting < LEAST_BATCH + 1:
        return LEAST_BATCH, f"the least: {limit}"
    if share <= fitting:
        return share, f"{_SHARE:.0%} of the voxels of all cases".replace("%", " %")
    return int(fitting), limit
