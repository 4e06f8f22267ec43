"""Distances between surfaces beside surface-distance, MedPy and MONAI, on the same two masks.

A step makes the whole set: HD, HD95, mean distances in both directions and over both, and surface
Dice, as far as a library has them. MedPy and MONAI have a function for each, so that a distance
transform is made for every one of them; MedPy has no surface Dice, surface-distance no ASSD.
"""

import dataclasses
import functools
import time
from collections.abc import Callable

import numpy as np
from scipy import ndimage

from noisyjax.benchmarks import harness
from noisyjax.metrics import surface

TOLERANCE = 1.0


@dataclasses.dataclass(frozen=True)
class Setup:
    """Two masks of an organ, one of them a prediction that is some voxels off.

    Attributes:
      shape: ``S``.
      peer: the packages that are needed.
    """

    shape: tuple[int, ...]
    peer: str = "surface_distance medpy monai"

    def masks(self) -> tuple[np.ndarray, np.ndarray]:
        """A bent ball and the same with its surface moved, 2 voxels on average; ``[*S]`` bool."""
        axes = [np.linspace(-1.0, 1.0, size) for size in self.shape]
        radius = np.sqrt(sum(x**2 for x in np.meshgrid(*axes, indexing="ij", sparse=True)))
        truth = radius < 0.6 + 0.05 * _bumps(self.shape, seed=0)
        inside = ndimage.distance_transform_edt(truth) - ndimage.distance_transform_edt(~truth)
        return inside + 2.5 * _bumps(self.shape, seed=1) > 0, truth

    def sides(self) -> dict[str, Callable[[int], harness.Work]]:
        """Ours and its peers by name; ours also with the convention of surface-distance."""
        return {
            "ours": functools.partial(ours, self, convention="monai"),
            "ours, deepmind": functools.partial(ours, self, convention="deepmind"),
            "surface-distance": functools.partial(surface_distance, self),
            "MedPy": functools.partial(medpy, self),
            "MONAI": functools.partial(monai, self),
        }


SETUPS = {"surface_2d": Setup((256,) * 2), "surface_3d": Setup((128,) * 3)}


def _bumps(shape: tuple[int, ...], *, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(shape)
    smooth = ndimage.gaussian_filter(noise, min(shape) / 20)
    return smooth / smooth.std()


def ours(setup: Setup, threads: int, *, convention: str) -> harness.Work:
    """Prepares `surface.surface_metrics`; a step returns a `surface.Surface`."""
    del threads
    pred, truth = setup.masks()
    spacing = (1.0,) * pred.ndim
    options = {"spacing": spacing, "convention": convention, "tolerance": TOLERANCE}
    return harness.Work(
        lambda: surface.surface_metrics(pred, truth, **options), truth.size, compile_s=0.0
    )


def surface_distance(setup: Setup, threads: int) -> harness.Work:
    """Prepares surface-distance, which transforms once for all metrics.

    A step returns HD, HD95, mean distances from the prediction and from the truth, NaN
    for ASSD, and surface Dice.
    """
    del threads
    start = time.perf_counter()
    import surface_distance as peer

    pred, truth = setup.masks()
    spacing = (1.0,) * pred.ndim

    def step():
        distances = peer.compute_surface_distances(truth, pred, spacing)
        from_truth, from_pred = peer.compute_average_surface_distance(distances)
        robust = functools.partial(peer.compute_robust_hausdorff, distances)
        dice = peer.compute_surface_dice_at_tolerance(distances, TOLERANCE)
        return robust(100), robust(95), from_pred, from_truth, np.nan, dice

    return harness.Work(step, truth.size, time.perf_counter() - start)


def medpy(setup: Setup, threads: int) -> harness.Work:
    """Prepares MedPy.

    A step returns HD, HD95, mean distances from the prediction, from the truth and over
    both, and NaN for surface Dice.
    """
    del threads
    start = time.perf_counter()
    from medpy.metric import binary

    pred, truth = setup.masks()
    spacing = (1.0,) * pred.ndim

    def step():
        both = [f(pred, truth, spacing) for f in (binary.hd, binary.hd95, binary.asd)]
        return *both, binary.asd(truth, pred, spacing), binary.assd(pred, truth, spacing), np.nan

    return harness.Work(step, truth.size, time.perf_counter() - start)


def monai(setup: Setup, threads: int) -> harness.Work:
    """Prepares MONAI, on the CPU.

    A step returns HD, HD95, mean distances from the prediction, from the truth and over
    both, and surface Dice.
    """
    start = time.perf_counter()
    import torch
    from monai import metrics

    torch.set_num_threads(threads)
    pred, truth = (torch.from_numpy(mask)[None, None].float() for mask in setup.masks())
    options = {"include_background": True, "spacing": [1.0] * len(setup.shape)}
    hausdorff = functools.partial(metrics.compute_hausdorff_distance, **options)
    average = functools.partial(metrics.compute_average_surface_distance, **options)

    def step():
        values = (
            hausdorff(pred, truth),
            hausdorff(pred, truth, percentile=95),
            average(pred, truth),
            average(truth, pred),
            average(pred, truth, symmetric=True),
            metrics.compute_surface_dice(pred, truth, [TOLERANCE], **options),
        )
        return tuple(float(value) for value in values)

    return harness.Work(step, truth.numel(), time.perf_counter() - start)
