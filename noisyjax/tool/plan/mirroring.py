"""Along which axes an image may be mirrored: not where its mirror image exchanges two classes."""

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

# Two classes are alike up to this ratio of their sizes, and this distance of their mean
# intensities, in standard deviations.
_SIZES = 2.0
_INTENSITIES = 1.0
# Of the cases with both, how many have to agree.
_SHARE = 0.75


def exchanged(
    positions: Float[np.ndarray, "N L n"],
    sizes: Float[np.ndarray, "N L"],
    means: Float[np.ndarray, "N L K"],
    deviations: Float[np.ndarray, "N L K"],
) -> dict[int, list[tuple[int, int]]]:
    """Returns the pairs of classes that mirroring along an axis exchanges, by axis.

    A mirror between two classes brings the one to the place of the other if they lie apart mostly
    along its axis: then its image matches the other class better than the own. It exchanges them,
    as it does left and right, if that is so in three of four cases, always in the same order, and
    the classes are alike in size and intensity; a network could not tell them apart by anything
    else.

    Args:
      positions: mean position of each foreground class in each case, in mm; NaN where it is absent.
      sizes: voxels, or volume, of each.
      means: mean intensity of each, in K channels; likewise standard deviations.
    """
    found: dict[int, list[tuple[int, int]]] = {}
    for first, second in itertools.combinations(range(positions.shape[1]), 2):
        apart = positions[:, second] - positions[:, first]
        both = np.isfinite(apart).all(axis=-1)
        pair = [array[both][:, [first, second]] for array in (sizes, means, deviations)]
        if not both.any() or not _alike(*pair):
            continue
        for axis in range(positions.shape[2]):
            along = apart[both, axis]
            across = np.linalg.norm(np.delete(apart[both], axis, axis=1), axis=1)
            same = np.abs(np.mean(np.sign(along) * (np.abs(along) > across)))
            if same >= _SHARE:
                found.setdefault(axis, []).append((first, second))
    return found


def _alike(
    sizes: Float[np.ndarray, "N 2"],
    means: Float[np.ndarray, "N 2 K"],
    deviations: Float[np.ndarray, "N 2 K"],
) -> bool:
    ratio = np.exp(np.abs(np.median(np.log(sizes[:, 0] / sizes[:, 1]))))
    distances = np.abs(means[:, 0] - means[:, 1]) / np.maximum(deviations.mean(axis=1), 1e-6)
    return bool(ratio <= _SIZES and np.median(distances, axis=0).max() <= _INTENSITIES)


def axes(
    exchanges: dict[int, list[tuple[int, int]]], num_axes: int, class_names: Sequence[str]
) -> tuple[tuple[int, ...], str]:
    """Returns the axes that may be mirrored along, and why.

    Args:
      exchanges: of `exchanged`.
      class_names: those of the foreground.

    >>> axes({1: [(0, 1)]}, 3, ("anterior", "posterior"))
    ((0, 2), 'not along axis 1, which exchanges anterior and posterior')
    """
    free = tuple(axis for axis in range(num_axes) if axis not in exchanges)
    reasons = []
    for axis, pairs in sorted(exchanges.items()):
        first, second = pairs[0]
        more = f" and {len(pairs) - 1} more pairs" if len(pairs) > 1 else ""
        names = f"{class_names[first]} and {class_names[second]}"
        reasons.append(f"not along axis {axis}, which exchanges {names}{more}")
    return free, "; ".join(reasons) or "mirroring exchanges no classes"
