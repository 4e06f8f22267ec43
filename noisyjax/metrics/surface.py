"""Distances between the surfaces of two masks, on the host.

The surface of a mask are the voxels with a face neighbour in the background (outside of the image
is background), as points at their centres; with the convention "deepmind" it lies between voxels.
All metrics come from the same two sets of distances: from every point of one surface to the nearest
of the other. Both masks are cropped to their joint box first.

The conventions carry the names of the libraries that they agree with:

============  ==============================================================================
"monai"       HD95 is the larger of the two directed 95 % quantiles, linearly interpolated
"medpy"       HD95 is the quantile of the distances of both directions together
"deepmind"    surface-distance: points between voxels, weighted by the area of the surface there
============  ==============================================================================

In all of them ASSD is the (weighted) mean over both directions together.
"""

import concurrent.futures
import functools
import multiprocessing
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer

from noisyjax.core import checks, ignored
from noisyjax.metrics import nearest, surface_elements

Mask = Bool[np.ndarray, "*S"] | Integer[np.ndarray, "*S"]
Spacing = Sequence[float | int] | Float[np.ndarray, "n"]

EMPTY = ("diagonal", "inf", "nan", "library")


class Surface(NamedTuple):
    """Metrics of two surfaces in mm, for one pair of masks or ``[B, C]`` of cases and classes.

    Attributes:
      hd: Hausdorff distance, the largest of both directions.
      hd95: its robust form at 95 %, see the conventions.
      asd_pred: mean distance from the prediction's surface to the truth's.
      asd_truth: mean distance from the truth's surface to the prediction's.
      assd: mean distance over both directions together.
      nsd: normalised surface Dice (Nikolov et al. 2018): the share of both surfaces that lies
        within the tolerance of the other, between 0 and 1.
    """

    hd: float | Float[np.ndarray, "B C"]
    hd95: float | Float[np.ndarray, "B C"]
    asd_pred: float | Float[np.ndarray, "B C"]
    asd_truth: float | Float[np.ndarray, "B C"]
    assd: float | Float[np.ndarray, "B C"]
    nsd: float | Float[np.ndarray, "B C"]


class _Side(NamedTuple):
    """Distances from one surface to the other, and the weights of its points (None: all 1)."""

    distances: Float[np.ndarray, "N"]
    weights: Float[np.ndarray, "N"] | None


def surface_metrics(
    pred: Mask,
    truth: Mask,
    *,
    spacing: Spacing | None = None,
    convention: str = "monai",
    tolerance: float | int = 1.0,
    empty: str = "diagonal",
    where: Bool[np.ndarray, "*S"] | None = None,
) -> Surface:
    """Measures the distances between the surfaces of two masks, in float64.

    Args:
      pred: ``[*S]``, the object where it is not zero.
      truth: ``[*S]`` likewise.
      spacing: size of a voxel along each axis in mm; None measures in voxels.
      convention: "monai", "medpy" or "deepmind" (2-D and 3-D only).
      tolerance: the distance that NSD allows, in mm.
      empty: the distances where exactly one mask is empty: "diagonal" for the length of the image's
        diagonal, so that a miss never improves a mean, or "inf"; NSD is 0 there. Where both are
        empty distances are 0 and NSD is 1. With "nan" both cases are NaN. "library" gives what the
        convention's library returns; NaN where it raises an error.
      where: the voxels that count, ``[*S]``, but for those of id 255; both masks are cut off at the
        others, as at the edge of the image, which is the smallest box that holds those that count.

    >>> pred, truth = np.zeros((2, 9), bool), np.zeros((2, 9), bool)
    >>> pred[0, 2], truth[0, 5] = True, True
    >>> surface_metrics(pred, truth, spacing=(1.0, 2.0)).hd
    6.0
    """
    checks.positive("tolerance", tolerance, or_zero=True)
    rule = checks.lookup("convention", convention, CONVENTIONS)
    return _surface(_sides(pred, truth, spacing, convention, empty, where), rule, tolerance)


class Hausdorff(NamedTuple):
    """A percentile of the distances between two surfaces, in mm.

    Attributes:
      hd: of both directions, by the convention.
      hd_pred: from the prediction's surface to the truth's.
      hd_truth: from the truth's surface to the prediction's.
    """

    hd: float
    hd_pred: float
    hd_truth: float


def hausdorff(
    pred: Mask,
    truth: Mask,
    *,
    percentile: float | int = 100.0,
    spacing: Spacing | None = None,
    convention: str = "monai",
    empty: str = "diagonal",
    where: Bool[np.ndarray, "*S"] | None = None,
) -> Hausdorff:
    """Measures the Hausdorff distance, each direction by itself too, and robustly, in float64.

    Args:
      pred: ``[*S]``, the object where it is not zero.
      truth: ``[*S]`` likewise.
      percentile: of the distances, above 0; 100 is the Hausdorff distance, 95 is HD95.
      spacing, convention, empty, where: see `surface_metrics`. A mask that is empty gives all three
        the same value.

    >>> pred, truth = np.zeros((2, 9), bool), np.zeros((2, 9), bool)
    >>> pred[0, 2], truth[0, 2], truth[0, 5] = True, True, True
    >>> hausdorff(pred, truth)
    Hausdorff(hd=3.0, hd_pred=0.0, hd_truth=3.0)
    """
    rule = checks.lookup("convention", convention, CONVENTIONS)
    check_percentile(percentile)
    return _hausdorff(_sides(pred, truth, spacing, convention, empty, where), rule, percentile)


def check_percentile(percentile: float | int) -> None:
    """Raises a ValueError unless there is such a percentile of distances, above 0 up to 100."""
    checks.positive("percentile", percentile)
    if percentile > 100:
        raise ValueError(f"percentile: expected a number up to 100, got {percentile}")


def surface_and_hausdorff(
    pred: Mask,
    truth: Mask,
    *,
    percentile: float | int = 100.0,
    spacing: Spacing | None = None,
    convention: str = "monai",
    tolerance: float | int = 1.0,
    empty: str = "diagonal",
    where: Bool[np.ndarray, "*S"] | None = None,
) -> tuple[Surface, Hausdorff]:
    """Returns `surface_metrics` and `hausdorff`, of distances that are measured once."""
    rule = checks.lookup("convention", convention, CONVENTIONS)
    checks.positive("tolerance", tolerance, or_zero=True)
    check_percentile(percentile)
    sides = _sides(pred, truth, spacing, convention, empty, where)
    return _surface(sides, rule, tolerance), _hausdorff(sides, rule, percentile)


def surface_metrics_of_cases(
    preds: Sequence[np.ndarray] | Integer[np.ndarray, "B *S"],
    truths: Sequence[np.ndarray] | Integer[np.ndarray, "B *S"],
    *,
    num_classes: int = 2,
    spacing: Sequence[float | int] | Float[np.ndarray, "*B n"] | None = None,
    processes: int = 1,
    convention: str = "monai",
    tolerance: float | int = 1.0,
    empty: str = "diagonal",
) -> Surface:
    """Measures many cases, each class but the background against the rest, ``[B, L - 1]``.

    Args:
      preds: class ids of B cases, ``[B, *S]``, or arrays of different shapes; voxels of id 255,
        here or in the truths, do not count.
      truths: likewise.
      num_classes: L, the background included.
      spacing: as in `surface_metrics`, for all cases ``[n]`` or for each ``[B, n]``.
      processes: how many processes share the cases; 1 works in this one. They are started afresh
        (spawned), so a script that asks for more needs ``if __name__ == "__main__"``.
      convention, tolerance, empty: see `surface_metrics`.
    """
    if len(preds) != len(truths):
        raise ValueError(f"truths: expected {len(preds)} cases like preds, got {len(truths)}")
    checks.positive("processes", processes)
    checks.at_least("num_classes", num_classes, 2)
    sizes = [spacing] * len(preds)
    if spacing is not None and np.ndim(spacing) == 2:
        checks.shape("spacing", np.asarray(spacing), (len(preds), None), like="preds")
        sizes = list(spacing)
    measure = functools.partial(
        _measure_case,
        num_classes=num_classes,
        convention=convention,
        tolerance=tolerance,
        empty=empty,
    )
    if processes == 1:
        rows = list(map(measure, preds, truths, sizes))
    else:
        # Forking would copy the locks of JAX's threads.
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(processes, mp_context=context) as pool:
            rows = list(pool.map(measure, preds, truths, sizes))
    table = np.array(rows, np.float64).reshape(len(preds), num_classes - 1, len(Surface._fields))
    return Surface(*np.moveaxis(table, -1, 0))


def _sides(
    pred: Mask,
    truth: Mask,
    spacing: Spacing | None,
    convention: str,
    empty: str,
    where: Bool[np.ndarray, "*S"] | None,
) -> tuple[_Side, _Side] | Surface:
    """Returns the distances of both directions, or all metrics where a mask is empty."""
    checks.one_of("empty", empty, EMPTY)
    checks.ids("pred", pred, masks=True)
    checks.ids("truth", truth, masks=True)
    checks.shape("truth", truth, pred.shape, like="pred")
    checks.rank("pred", pred, range(1, 9))
    checks.masks(where=where)
    if where is not None:
        checks.shape("where", where, pred.shape, like="pred")
    sizes = _sizes(spacing, pred.ndim)
    where = ignored.counting(truth, ignored.counting(pred, where))
    pred, truth = (pred != 0) & where, (truth != 0) & where
    box = _box(pred | truth)
    pred, truth = pred[box], truth[box]
    if not (pred.any() and truth.any()):
        shape = [part.stop - part.start for part in _box(where)]
        diagonal = float(np.linalg.norm(np.multiply(shape, sizes)))
        return _degenerate(pred.any(), truth.any(), diagonal, convention, empty)
    find = CONVENTIONS[convention].find
    pred_points, pred_weights = find(pred, sizes)
    truth_points, truth_weights = find(truth, sizes)
    return (
        _Side(nearest.distances(pred_points, truth_points, sizes), pred_weights),
        _Side(nearest.distances(truth_points, pred_points, sizes), truth_weights),
    )


def _surface(
    sides: tuple[_Side, _Side] | Surface, rule: "_Convention", tolerance: float | int
) -> Surface:
    if isinstance(sides, Surface):
        return sides
    to_truth, to_pred = sides
    totals = [_total(side.distances, side) for side in sides]
    points = [_total(np.ones_like(side.distances), side) for side in sides]
    near = [_total(side.distances <= tolerance, side) for side in sides]
    return Surface(
        hd=float(max(to_truth.distances.max(), to_pred.distances.max())),
        hd95=_robust(rule, sides, 0.95),
        asd_pred=totals[0] / points[0],
        asd_truth=totals[1] / points[1],
        assd=sum(totals) / sum(points),
        nsd=sum(near) / sum(points),
    )


def _hausdorff(
    sides: tuple[_Side, _Side] | Surface, rule: "_Convention", percentile: float | int
) -> Hausdorff:
    if isinstance(sides, Surface):
        return Hausdorff(*[sides.hd if percentile == 100 else sides.hd95] * 3)
    share = percentile / 100
    return Hausdorff(_robust(rule, sides, share), *[rule.quantile(side, share) for side in sides])


def _measure_case(pred, truth, spacing, *, num_classes, **options) -> list[Surface]:
    where = ignored.counting(truth, ignored.known(pred))
    return [
        surface_metrics(pred == label, truth == label, spacing=spacing, where=where, **options)
        for label in range(1, num_classes)
    ]


def _sizes(spacing: Spacing | None, ndim: int) -> tuple[float, ...]:
    if spacing is None:
        return (1.0,) * ndim
    sizes = tuple(float(size) for size in spacing)
    checks.shape("spacing", np.asarray(sizes), (ndim,), like="the axes of the masks")
    for size in sizes:
        checks.positive("spacing", size)
    return sizes


def _box(mask: Bool[np.ndarray, "*S"]) -> tuple[slice, ...]:
    """Returns the smallest box that holds a mask, of size 0 if it is empty."""
    box = []
    for axis in range(mask.ndim):
        rest = tuple(a for a in range(mask.ndim) if a != axis)
        hit = np.flatnonzero(mask.any(axis=rest))
        box.append(slice(hit[0], hit[-1] + 1) if hit.size else slice(0, 0))
        # What is left to look at shrinks with every axis.
        mask = mask[(slice(None),) * axis + (box[-1],)]
    return tuple(box)


def border_voxels(
    mask: Bool[np.ndarray, "*S"], spacing: Spacing | None = None
) -> tuple[Bool[np.ndarray, "*S"], None]:
    """Returns the voxels of a mask with a face neighbour in the background or outside the image.

    `spacing` is not read. Returns ``[*S]`` bool and no weights.
    """
    del spacing
    checks.masks(mask=mask)
    padded = np.pad(mask, 1)
    inner = mask.copy()
    for axis in range(mask.ndim):
        for shifted in (slice(None, -2), slice(2, None)):
            view = [slice(1, -1)] * mask.ndim
            view[axis] = shifted
            inner &= padded[tuple(view)]
    return mask & ~inner, None


def _total(values: np.ndarray, side: _Side) -> float:
    return float(values.sum() if side.weights is None else values @ side.weights)


def _quantile(side: _Side, share: float) -> float:
    return float(np.quantile(side.distances, share))


def _weighted_quantile(side: _Side, share: float) -> float:
    """Returns the least distance within which a share of the surface lies."""
    order = np.argsort(side.distances, kind="stable")
    within = np.cumsum(side.weights[order]) / side.weights.sum()
    index = min(int(np.searchsorted(within, share)), len(order) - 1)
    return float(side.distances[order[index]])


class _Convention(NamedTuple):
    """How a library measures.

    Attributes:
      find: the points of a mask's surface.
      quantile: of the distances of one direction.
      pooled: whether that of both is of all distances together; else it is the larger.
    """

    find: Callable
    quantile: Callable[[_Side, float], float]
    pooled: bool


CONVENTIONS: dict[str, _Convention] = {
    "monai": _Convention(border_voxels, _quantile, pooled=False),
    "medpy": _Convention(border_voxels, _quantile, pooled=True),
    "deepmind": _Convention(surface_elements.find, _weighted_quantile, pooled=False),
}


def _robust(rule: _Convention, sides: tuple[_Side, _Side], share: float) -> float:
    if rule.pooled:
        distances = np.concatenate([side.distances for side in sides])
        return rule.quantile(_Side(distances, None), share)
    return max(rule.quantile(side, share) for side in sides)


def _degenerate(
    in_pred: bool | np.bool_,
    in_truth: bool | np.bool_,
    diagonal: float,
    convention: str,
    empty: str,
) -> Surface:
    """Returns the metrics where a mask is empty; `in_pred`, `in_truth` tell which is not."""
    one = bool(in_pred or in_truth)
    if empty == "library":
        return _of_library(convention, bool(in_pred), bool(in_truth))
    if empty == "nan":
        return Surface(*[float("nan")] * 6)
    value = {"diagonal": diagonal, "inf": float("inf")}[empty] if one else 0.0
    return Surface(*[value] * 5, nsd=0.0 if one else 1.0)


def _of_library(convention: str, in_pred: bool, in_truth: bool) -> Surface:
    nan, inf = float("nan"), float("inf")
    one = in_pred or in_truth
    if convention == "deepmind":
        directed = [inf if present else nan for present in (in_pred, in_truth)]
        return Surface(inf, inf, *directed, nan, 0.0 if one else nan)
    if convention == "monai" and one:
        return Surface(inf, nan, inf, inf, inf, 0.0)
    return Surface(*[nan] * 6)
