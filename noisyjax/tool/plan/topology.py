"""The levels of a network for a patch, by nnU-Net's rules (Isensee et al. 2021)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

# Voxels that a side keeps at the coarsest level.
_LEAST_SIDE = 4
# A spacing is like the finest up to this factor.
_ALIKE = 2.0
# Channels of the coarsest levels, by the number of axes.
_WIDEST = {2: 512, 3: 320}
_FULL_BASE = 32
# For a processor: an eighth of the operations and less.
_SMALL_BASE = 16
_SMALL_WIDEST = 128
_FULL_CONVS, _SMALL_CONVS = 2, 1


class Network(NamedTuple):
    """The fields of `plan.Plan` that describe a network and what it sees."""

    patch: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    widths: tuple[int, ...]
    convs_per_level: int

    @property
    def factors(self) -> tuple[int, ...]:
        """What the sides of a patch are multiples of."""
        return tuple(
            math.prod(row[axis] for row in self.strides) for axis in range(len(self.patch))
        )

    @property
    def sides(self) -> list[tuple[int, ...]]:
        """The size of each level, finest first."""
        sizes = [self.patch]
        for row in self.strides:
            sizes.append(tuple(n // s for n, s in zip(sizes[-1], row, strict=True)))
        return sizes


def of_patch(
    patch: Sequence[int], spacing: Sequence[float | int], *, small: bool = False
) -> Network:
    """Returns the network for a patch of so many voxels of a spacing; its sides are rounded up.

    An axis is halved while its side is at least 8 and its spacing is less than twice the finest of
    those that can be halved; one that is left alone only while its side is at least 12. A kernel is
    1 along an axis until its spacing is less than twice the finest, and 3 from then on.

    Args:
      small: whether the network is one for a processor, a quarter as wide or less.

    >>> of_patch((36, 50, 35), (1.0, 1.0, 1.0)).patch
    (40, 56, 40)
    >>> of_patch((164, 166, 26), (0.8, 0.8, 5.0)).kernels[:3]
    ((3, 3, 1), (3, 3, 1), (3, 3, 3))
    """
    sides, now = list(patch), [float(extent) for extent in spacing]
    kernel = [1] * len(sides)
    strides, kernels = [], []
    while True:
        long = [axis for axis, side in enumerate(sides) if side >= 2 * _LEAST_SIDE]
        finest = min((now[axis] for axis in long), default=0.0)
        halved = [axis for axis in long if now[axis] / finest < _ALIKE]
        if not halved or (len(halved) == 1 and sides[halved[0]] < 3 * _LEAST_SIDE):
            break
        alike = [extent / min(now) < _ALIKE for extent in now]
        kernel = [3 if new else old for new, old in zip(alike, kernel, strict=True)]
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if axis in halved else 1 for axis in range(len(sides))))
        for axis in halved:
            sides[axis], now[axis] = math.ceil(sides[axis] / 2), now[axis] * 2
    kernels.append((3,) * len(sides))
    widths = _widths(len(kernels), len(sides), small=small)
    convs = _SMALL_CONVS if small else _FULL_CONVS
    drawn = Network(tuple(patch), tuple(strides), tuple(kernels), widths, convs)
    whole = [math.ceil(n / f) * f for n, f in zip(patch, drawn.factors, strict=True)]
    return drawn._replace(patch=tuple(whole))


def _widths(levels: int, axes: int, *, small: bool) -> tuple[int, ...]:
    base, most = (_SMALL_BASE, _SMALL_WIDEST) if small else (_FULL_BASE, _WIDEST[axes])
    return tuple(min(base * 2**level, most) for level in range(levels))


def activations(network: Network) -> int:
    """Returns how many numbers the layers of a network give out for one patch.

    At each level of the encoder those of its convolutions; of the decoder as many, and what was
    joined with what came from below.
    """
    total, last, convs = 0, len(network.widths) - 1, network.convs_per_level
    for level, (sides, width) in enumerate(zip(network.sides, network.widths, strict=True)):
        maps = convs if level == last else 2 * convs + 2
        total += maps * width * math.prod(sides)
    return total


def parameters(network: Network) -> int:
    """Returns how many weights the convolutions of a network have, but for those that join."""
    total, below, last = 0, 1, len(network.widths) - 1
    for level, width in enumerate(network.widths):
        taps = math.prod(network.kernels[level])
        total += taps * _products(network, below, width, joined=level < last)
        below = width
    return total


def _products(network: Network, below: int, width: int, *, joined: bool) -> int:
    """Returns products of channels, in the encoder and, where maps are joined, the decoder."""
    more = network.convs_per_level - 1
    products = below * width + more * width**2
    return products + (2 + more) * width**2 if joined else products


def operations(network: Network) -> int:
    """Returns the floating-point operations of a step's convolutions for one patch.

    Backwards takes twice as many as forwards.
    """
    total, below, last = 0, 1, len(network.widths) - 1
    for level, (sides, width) in enumerate(zip(network.sides, network.widths, strict=True)):
        taps = math.prod(network.kernels[level]) * math.prod(sides)
        total += taps * _products(network, below, width, joined=level < last)
        below = width
    return 6 * total
