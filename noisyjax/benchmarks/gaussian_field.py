"""Gaussian-field noise beside its paper's listings, MONAI's and TorchIO's deformations.

All sides deform (or blur) the same label map on the same cores. The listings are written anew in
SciPy after the description of Nordström et al. 2023: a field is white noise of every voxel under a
Gaussian filter, a label is looked up by a cubic spline and rounded. MONAI and TorchIO draw smooth
random displacements of about the same size and smoothness; theirs are not Gaussian fields, so their
marginals are unknown.
"""

import dataclasses
import functools
import itertools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from noisyjax.benchmarks import harness
from noisyjax.noise import gaussian_field

_STRENGTH = 0.02


@dataclasses.dataclass(frozen=True)
class Setup:
    """A label and what is done with it.

    Attributes:
      shape: ``S`` of the label.
      task: "draw" (one noisy label: field and warp) or "marginal".
      peer: "" for SciPy, "monai" or "torchio" for the package that is needed.
    """

    shape: tuple[int, ...]
    task: str = "draw"
    peer: str = ""

    def label(self) -> np.ndarray:
        """Two bodies of 13 % of the image, ``[*S]`` uint8, the same at every call."""
        axes = [(np.arange(size) + 0.5) / size for size in self.shape]
        grid = np.meshgrid(*axes, indexing="ij", sparse=True)
        bodies = ((0.35, 0.27), (0.7, 0.24))
        inside = [sum((x - c) ** 2 for x in grid) < radius**2 for c, radius in bodies]
        return np.logical_or(*inside).astype(np.uint8)

    def sides(self) -> dict[str, Callable[[int], harness.Work]]:
        """Ours and its peer by name."""
        if self.task == "marginal":
            return {
                "ours": functools.partial(our_marginal, self),
                "scipy": functools.partial(scipy_marginal, self),
            }
        peers = {"": listing, "monai": monai_elastic, "torchio": torchio_elastic}
        return {
            "ours": functools.partial(our_draw, self),
            self.peer or "listing": functools.partial(peers[self.peer], self),
        }


SETUPS = {
    "gaussian_draw_64": Setup((64,) * 3),
    "gaussian_draw_128": Setup((128,) * 3),
    "gaussian_draw_256": Setup((256,) * 3),
    "gaussian_marginal_64": Setup((64,) * 3, "marginal"),
    "gaussian_marginal_128": Setup((128,) * 3, "marginal"),
    "gaussian_marginal_256": Setup((256,) * 3, "marginal"),
    "gaussian_draw_monai": Setup((128,) * 3, peer="monai"),
    "gaussian_draw_torchio": Setup((128,) * 3, peer="torchio"),
}
SMOKE = Setup((8, 10, 12))


def our_draw(setup: Setup, threads: int) -> harness.Work:
    """Compiles `gaussian_field.deform`; every step draws another label, of keys made before."""
    del threads
    label, key = jnp.asarray(setup.label()), jax.random.key(0)
    draw = jax.jit(functools.partial(gaussian_field.deform, a=_STRENGTH))
    compiled, compile_s = harness.compiled(draw, key, label)
    keys = itertools.cycle(jax.random.split(key, 16))
    return _work(setup, lambda: jax.block_until_ready(compiled(next(keys), label)), compile_s)


def our_marginal(setup: Setup, threads: int) -> harness.Work:
    """Compiles `gaussian_field.marginal`."""
    del threads
    label = jnp.asarray(setup.label())
    marginal = jax.jit(functools.partial(gaussian_field.marginal, a=_STRENGTH))
    blur, compile_s = harness.compiled(marginal, label)
    return _work(setup, lambda: jax.block_until_ready(blur(label)), compile_s)


def listing(setup: Setup, threads: int) -> harness.Work:
    """Builds the paper's sampler (its Listing 2) in SciPy."""
    del threads
    label, rng = setup.label().astype(np.float64), np.random.default_rng(0)
    return _work(setup, lambda: scipy_sample(rng, label, _STRENGTH), 0.0)


def scipy_sample(
    rng: np.random.Generator, label: np.ndarray, a: float, b: float = gaussian_field.DEFAULT_B
) -> np.ndarray:
    """Draws a noisy label as the paper's listing does: Theorem 3 with zeros around the image."""
    sides = np.array(label.shape)
    weights = a * sides * (2 * np.pi * (b * sides) ** 2) ** (label.ndim / 4)
    fields = [
        weight * ndimage.gaussian_filter(rng.normal(size=label.shape), sigma, mode="constant")
        for weight, sigma in zip(weights, b * sides / np.sqrt(2), strict=True)
    ]
    grid = np.meshgrid(*map(np.arange, label.shape), indexing="ij")
    moved = np.stack(grid) + np.stack(fields)
    return np.round(ndimage.map_coordinates(label, moved, order=3, mode="nearest"))


def scipy_marginal(setup: Setup, threads: int) -> harness.Work:
    """Builds the paper's marginal (its Listing 1), a Gaussian filter of the label in float32."""
    del threads
    label = setup.label().astype(np.float32)
    sigmas = _STRENGTH * np.array(label.shape)
    return _work(setup, lambda: ndimage.gaussian_filter(label, sigmas, mode="constant"), 0.0)


def monai_elastic(setup: Setup, threads: int) -> harness.Work:
    """Builds MONAI's Rand3DElastic (fields and warp) with nearest look-up and zeros outside."""
    start = time.perf_counter()
    import torch
    from monai import transforms

    torch.set_num_threads(threads)
    side = max(setup.shape)
    sigma = gaussian_field.DEFAULT_B * side / np.sqrt(2)
    # White noise uniform on [-1, 1] has the variance 1/3, which the filter divides by the number of
    # voxels that it averages.
    magnitude = _STRENGTH * side * np.sqrt(3) * (4 * np.pi * sigma**2) ** 0.75
    elastic = transforms.Rand3DElastic(
        sigma_range=(sigma, sigma),
        magnitude_range=(magnitude, magnitude),
        prob=1.0,
        mode="nearest",
        padding_mode="zeros",
    )
    elastic.set_random_state(0)
    label = torch.from_numpy(setup.label()[None].astype(np.float32))
    return _work(setup, lambda: np.asarray(elastic(label)[0]), time.perf_counter() - start)


def torchio_elastic(setup: Setup, threads: int) -> harness.Work:
    """Builds TorchIO's RandomElasticDeformation of a label map (a B-spline of few points)."""
    start = time.perf_counter()
    import SimpleITK
    import torch
    import torchio

    torch.set_num_threads(threads)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    torch.manual_seed(0)
    # Uniform displacements of the control points with the standard deviation of the field.
    elastic = torchio.RandomElasticDeformation(
        num_control_points=7,
        max_displacement=_STRENGTH * max(setup.shape) * np.sqrt(3),
        locked_borders=0,
    )
    label = torchio.LabelMap(tensor=torch.from_numpy(setup.label()[None]))
    subject = torchio.Subject(label=label)
    return _work(setup, lambda: elastic(subject).label.numpy()[0], time.perf_counter() - start)


def _work(setup: Setup, step: Callable[[], Any], compile_s: float) -> harness.Work:
    return harness.Work(step, int(np.prod(setup.shape)), compile_s)
