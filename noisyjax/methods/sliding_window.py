"""Prediction of large images window by window.

Windows of one size cover the image, evenly spaced, neighbours sharing at least the wanted overlap.
Where windows overlap the probabilities are averaged, by a Gaussian that trusts the middle of a
window most (its standard deviation is 1/8 of the window's side). Layout and weights are those of
nnU-Net (Isensee et al. 2021), with the Gaussian in the exact middle of the window; nnU-Net's second
version averages logits instead.

Windows and weights are products over the axes. So the weights along each axis are divided by their
sum beforehand: they add up to 1 at every voxel, nothing has to be divided by at the end, and an
image of one window is predicted exactly as without windows.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from noisyjax.core import checks, class_regions
from noisyjax.methods import base

Image = Float[np.ndarray, "*S K"] | Float[Array, "*S K"]

# Axes before the spatial ones, of what can be averaged over windows.
_LEADING = {"probs": 1, "region_probs": 1, "cms": 2, "rater_probs": 2}
# And of draws, which can where all windows share their random numbers.
_PARTS = {**_LEADING, "samples": 2}


def _gaussian(size: int) -> np.ndarray:
    offset = np.arange(size) - (size - 1) / 2
    return np.exp(-0.5 * np.square(offset / (size / 8)))


# name -> f(side of a window) -> trust along the side
BLENDS = {"gaussian": _gaussian, "constant": np.ones}


class Layout(NamedTuple):
    """How windows lie along one axis.

    Attributes:
      starts: first voxel of each window, ``[n]``.
      weights: of the voxels of each window, ``[n, size]``; over all windows they add up to 1.
    """

    starts: Int[np.ndarray, "n"]
    weights: Float[np.ndarray, "n size"]


def layout(
    extent: int, size: int, *, overlap: float | int = 0.5, blend: str = "gaussian"
) -> Layout:
    """Lays windows along one axis.

    Args:
      extent: voxels of the image, at least as many as those of a window.
      size: voxels of a window.
      overlap: the share of a window that its neighbour covers too, at least, in [0, 1).
      blend: a key of `BLENDS`.

    >>> layout(10, 4, blend="constant").starts
    array([0, 2, 4, 6])
    """
    checks.positive("window", size)
    checks.lookup("blend", blend, BLENDS)
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap: expected a number in [0, 1), got {overlap}")
    if extent < size:
        raise ValueError(f"extent: expected at least the window's {size} voxels, got {extent}")
    # Steps below one voxel would repeat windows.
    step = max(size * (1 - overlap), 1)
    count = math.ceil((extent - size) / step) + 1
    starts = np.round(np.linspace(0, extent - size, count)).astype(np.int64)
    trust = BLENDS[blend](size)
    total = np.zeros(extent)
    for start in starts:
        total[start : start + size] += trust
    weights = np.stack([trust / total[start : start + size] for start in starts])
    return Layout(starts, weights.astype(np.float32))


def predict_windows(
    predict: Callable[[base.Variables, Array], base.Prediction],
    variables: base.Variables,
    image: Image,
    *,
    wanted: Sequence[str] = ("probs", "region_probs"),
    **layout: Any,
) -> dict[str, Float[np.ndarray, "..."]]:
    """Predicts one image of any size window by window, see `predict_parts`.

    Images of all sizes share one compiled function, for as long as `predict` is the same object.

    Args:
      predict: `base.Method.predict` of a method; it is jitted.
      wanted: names of `parts`, of which those are predicted that there are.
      layout: options of `predict_parts`.
    """

    def run(batch: np.ndarray) -> dict[str, Array]:
        return _wanted(predict, tuple(wanted), variables, batch)

    return predict_parts(run, image, **layout)


def predict_parts(
    run: Callable[[Float[np.ndarray, "B *W K"]], dict[str, Array]],
    image: Image,
    *,
    window: Sequence[int],
    overlap: float | int = 0.5,
    batch_size: int = 1,
    blend: str = "gaussian",
    shared_draws: bool = False,
) -> dict[str, Float[np.ndarray, "..."]]:
    """Predicts an image of any size window by window, all that can be averaged over windows.

    The windows are collected on the host, so that the device holds no more than two batches of
    them.

    Args:
      run: predicts a batch of windows: `parts` of a prediction.
      image: ``[*S, K]``, one to three spatial axes.
      window: voxels along each of them. Where the image has fewer, it lies in the middle of zeros.
      overlap: as in `layout`.
      batch_size: windows at once; the last batch is filled up.
      blend: as in `layout`.
      shared_draws: `base.Method.shared_draws`.

    Returns:
      The parts of the image, without the batch axis; ``samples`` of an image of one window, or with
      shared draws.
    """
    checks.positive("batch_size", batch_size)
    image = np.asarray(image, np.float32)
    grid = _grid(image.shape[:-1], window, overlap, blend)
    padded = np.pad(image, [*grid.padding, (0, 0)]) if any(map(any, grid.padding)) else image
    shape = (batch_size, *window, image.shape[-1])
    sums: dict[str, np.ndarray] = {}

    def add(part: slice, found: dict[str, Array]) -> None:
        rows = zip(*(axis[part] for axis in grid.rows), strict=True)
        each = {name: np.asarray(values) for name, values in found.items()}
        for place, (start, weights) in enumerate(zip(grid.starts[part], rows, strict=True)):
            for name, values in each.items():
                one, leading = values[place], _PARTS[name] - 1
                if one.shape[leading : leading + len(window)] != tuple(window):
                    # The same everywhere in a window, as matrices of a rater may be.
                    sums[name] = sums.get(name, 0) + one / len(grid.starts)
                    continue
                if name not in sums:
                    whole = _with_sides(one.shape, padded.shape[:-1], leading)
                    sums[name] = np.zeros(whole, np.float32)
                trailing = one.ndim - leading - len(window)
                weight = _product(weights).reshape(*window, *[1] * trailing)
                sums[name][(slice(None),) * leading + _slices(start, window)] += weight * one

    # The device works on one batch while the host adds up the one before.
    waiting = None
    for first in range(0, len(grid.starts), batch_size):
        part, batch = slice(first, first + batch_size), np.zeros(shape, np.float32)
        for position, start in enumerate(grid.starts[part]):
            batch[position] = padded[_slices(start, window)]
        found = dict(run(batch))
        samples = None if shared_draws else found.pop("samples", None)
        if waiting is not None:
            add(*waiting)
        waiting = (part, found)
    add(*waiting)
    # Draws of neighbouring windows do not belong together by themselves.
    if samples is not None and len(grid.starts) == 1:
        sums["samples"] = np.asarray(samples[0])
    return {
        name: _of_image(array, grid, padded.shape[:-1], _PARTS[name] - 1)
        for name, array in sums.items()
    }


def _of_image(
    array: np.ndarray, grid: "_Grid", padded: tuple[int, ...], leading: int
) -> np.ndarray:
    """Cuts off what the image was filled up with, where the array has its sides."""
    if array.shape[leading : leading + len(padded)] != padded:
        return array
    return array[(slice(None),) * leading + grid.crop]


def parts(prediction: base.Prediction) -> dict[str, Array]:
    """Returns what can be averaged over windows, and the samples, of those that there are.

    The probabilities of regions stand for those of the classes, which are made of their mean.
    """
    found = {name: getattr(prediction, name) for name in _PARTS}
    if prediction.region_probs is not None:
        found["probs"] = None
    return {name: array for name, array in found.items() if array is not None}


def wrap(
    method: base.Method,
    *,
    window: Sequence[int],
    overlap: float | int = 0.5,
    blend: str = "gaussian",
) -> base.Method:
    """Returns a method that predicts window by window, and learns as before.

    Unlike `predict_windows`, whose options these are, all happens on the device, for batches of
    images of one size: the windows at one position of all images are predicted at once. Draws of
    segmentations are left out, for those of neighbouring windows do not belong together.
    """
    for size in window:
        layout(size, size, overlap=overlap, blend=blend)

    def averaged(variables: base.Variables, image: Array) -> dict[str, Array]:
        found = parts(method.predict(variables, image))
        return {name: array for name, array in found.items() if name in _LEADING}

    def predict(variables: base.Variables, image: Array) -> base.Prediction:
        grid = _grid(image.shape[1:-1], window, overlap, blend)
        padded = jnp.pad(image, [(0, 0), *grid.padding, (0, 0)])

        def add(sums: dict[str, Array], here: tuple) -> tuple[dict[str, Array], None]:
            start, rows = here
            weight, values = _product(rows), averaged(variables, _cut(padded, start, window, 1))
            return {
                name: _added(total, values[name], weight, start, _LEADING[name])
                for name, total in sums.items()
            }, None

        first = _cut(padded, grid.starts[0], window, 1)
        sums = {
            name: jnp.zeros(_with_sides(one.shape, padded.shape[1:-1], _LEADING[name]), one.dtype)
            for name, one in jax.eval_shape(averaged, variables, first).items()
        }
        sums, _ = jax.lax.scan(add, sums, (grid.starts, grid.rows))
        found = {
            name: one[(slice(None),) * _LEADING[name] + grid.crop] for name, one in sums.items()
        }
        if method.regions is not None:
            found["probs"] = class_regions.class_probs(found["region_probs"], method.regions)
        return base.Prediction(**found)

    return dataclasses.replace(method, predict=predict)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _wanted(
    predict: Callable, wanted: tuple[str, ...], variables: base.Variables, windows: Any
) -> dict[str, Array]:
    found = parts(predict(variables, windows))
    return {name: found[name] for name in wanted if name in found}


class _Grid(NamedTuple):
    """The windows of one image.

    Attributes:
      starts: first voxel of each window, ``[n, axes]``.
      rows: weights of the windows' voxels along each axis, ``[n, size]`` each.
      padding: zeros before and after each axis, so that a window fits in.
      crop: where the image lies in the padded one.
    """

    starts: Int[np.ndarray, "n axes"]
    rows: tuple[Float[np.ndarray, "n size"], ...]
    padding: list[tuple[int, int]]
    crop: tuple[slice, ...]


def _grid(shape: Sequence[int], window: Sequence[int], overlap: float | int, blend: str) -> _Grid:
    if len(window) != len(shape):
        raise ValueError(
            f"window: expected {len(shape)} sides, one per axis of an image of the shape "
            f"{list(shape)}, got {list(window)}"
        )
    sides = list(zip(shape, window, strict=True))
    lacks = [max(0, size - extent) for extent, size in sides]
    axes = [layout(max(pair), pair[1], overlap=overlap, blend=blend) for pair in sides]
    numbers = np.indices([len(axis.starts) for axis in axes]).reshape(len(axes), -1)
    along = list(zip(axes, numbers, strict=True))
    return _Grid(
        starts=np.stack([axis.starts[number] for axis, number in along], -1).astype(np.int32),
        rows=tuple(axis.weights[number] for axis, number in along),
        padding=[(lack // 2, lack - lack // 2) for lack in lacks],
        crop=_slices([lack // 2 for lack in lacks], shape),
    )


def _slices(start: Any, sides: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(first, first + side) for first, side in zip(start, sides, strict=True))


def _product(rows: Sequence[Any]) -> Any:
    """The outer product of one vector per axis, with an axis of size 1 for the classes."""
    shaped = [
        row.reshape([-1 if k == axis else 1 for k in range(len(rows) + 1)])
        for axis, row in enumerate(rows)
    ]
    return functools.reduce(lambda one, other: one * other, shaped)


def _with_sides(shape: Sequence[int], sides: Sequence[int], leading: int) -> tuple[int, ...]:
    return (*shape[:leading], *sides, *shape[leading + len(sides) :])


def _starts(array: Array, start: Any, leading: int) -> list[Any]:
    return [0] * leading + list(start) + [0] * (array.ndim - leading - len(start))


def _cut(array: Array, start: Any, window: Sequence[int], leading: int) -> Array:
    sizes = _with_sides(array.shape, window, leading)
    return jax.lax.dynamic_slice(array, _starts(array, start, leading), sizes)


def _added(
    total: Array, values: Array, weight: Float[Array, "*W 1"], start: Any, leading: int
) -> Array:
    """The sum with a window's values, weighted, added from its first voxel on."""
    trailing = values.ndim - leading - len(start)
    window = weight.shape[:-1]
    weight = weight.reshape((1,) * leading + window + (1,) * trailing)
    updated = _cut(total, start, window, leading) + weight * values
    return jax.lax.dynamic_update_slice(total, updated, _starts(total, start, leading))
