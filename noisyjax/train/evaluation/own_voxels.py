"""Evaluation case by case, each on the voxels of its file, at its own size.

An image is predicted window by window, and its probabilities are brought to the voxels of its file,
as `train.predict` does. What they are judged by is what the files hold, so that the numbers are
those of anybody who scores the written segmentations. Cases of all sizes share few compiled
functions: they are filled up, by voxels that nobody judges.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging

from noisyjax.core import class_regions, ignored
from noisyjax.data import source
from noisyjax.data.folder import case_files
from noisyjax.data.labels import labelled
from noisyjax.data.volumes import preprocess
from noisyjax.methods import base, sliding_window
from noisyjax.train import experiments
from noisyjax.train.devices import distributed, parallelism
from noisyjax.train.evaluation import case_metrics, surfaces

# Matrices of each voxel are judged if those of a case take no more than so many bytes.
_MATRICES = 2**31
# Sides are filled up to a multiple of so many voxels, by the power of 2, at least; not those of
# cases of so many voxels, of which there is no room for a copy.
_LEAST_BITS, _LARGE = 3, 2**26

Windows = Callable[[np.ndarray], dict[str, jax.Array]]


def collect(
    experiment: experiments.Experiment,
    parallel: parallelism.Parallel,
    variables: Any,
    split: str,
    *,
    overlap: float | int,
    batch_size: int,
    surface: bool,
    raters: bool,
    tolerance: float | int,
    num_classes: int,
    decisions: Sequence[str],
    regions: class_regions.Regions | None = None,
) -> dict[str, np.ndarray]:
    """Measures the N cases of a split: name to values ``[N, ...]``, the same in all processes.

    Each process does its part.

    Args:
      experiment: with the ``window`` that slides over its images.
      variables: `localise`d.
      overlap: of the windows, as in `sliding_window.layout`.
      batch_size: windows at once.
      surface: whether surfaces are measured.
      raters: as in `case_metrics.case_values`.
      tolerance: of NSD, in mm.
      num_classes, decisions, regions: as in `case_metrics.case_values`.
    """
    examples = experiment.examples[split]
    run = _windows(experiment.method, parallel, variables)
    layout = {"window": experiment.window, "overlap": overlap, "batch_size": batch_size}
    how = {"num_classes": num_classes, "decisions": tuple(decisions), "surface": surface}
    how |= {"regions": regions, "raters": raters}
    index, count = jax.process_index(), jax.process_count()
    own = np.arange(index, len(examples), count)
    measured = []
    # Who has no case shows with another's what the values look like.
    for row in own if len(own) else [0]:
        batch, grid = on_file(examples, int(row))
        parts = predict(run, experiment.data, int(examples.ids[row]), **layout)
        if experiment.method.regions is not None:
            parts["probs"] = class_regions.class_probs(
                parts["region_probs"], experiment.method.regions
            )
        measured.append(_measure(parts, batch, grid, tolerance=tolerance, **how))
    values = {name: np.stack([one[name] for one in measured]) for name in measured[0]}
    return distributed.gather({name: array[: len(own)] for name, array in values.items()}, own)


def _windows(method: base.Method, parallel: parallelism.Parallel, variables: Any) -> Windows:
    """Returns what predicts a batch of windows, spread over the devices."""

    def predicted(variables: Any, batch: Mapping[str, Any]) -> dict[str, jax.Array]:
        return sliding_window.parts(method.predict(variables, batch["image"]))

    compiled = parallel.map(predicted)

    def run(windows: np.ndarray) -> dict[str, jax.Array]:
        return compiled(variables, {"image": windows, "id": np.arange(len(windows))})

    return run


def predict(
    run: Windows, data: source.Source, example_id: int, *, window: Sequence[int], **layout: Any
) -> dict[str, np.ndarray]:
    """Predicts one case; the parts of `sliding_window.predict_parts` on the voxels of its file."""
    examples = data.examples
    image = np.asarray(examples.image(example_id))
    filled = case_files.filled_up(image, window, darkest=examples.darkest(example_id))
    parts = sliding_window.predict_parts(run, filled, window=window, **layout)
    grid = examples.grid(example_id)
    found = {}
    # Of a large case what is no longer needed goes.
    if "region_probs" in parts:
        of_regions = parts.pop("region_probs")
        found["region_probs"] = case_files.region_probs_on_file(of_regions, grid)
    else:
        found["probs"] = case_files.probs_on_file(parts.pop("probs"), grid)
    for name in ("rater_probs", "samples"):
        if name in parts:
            each = parts.pop(name)
            found[name] = np.stack([case_files.probs_on_file(one, grid) for one in each])
    if "cms" in parts:
        cms = _matrices_on_file(parts["cms"], grid, case=data.case_name(example_id))
        found |= {} if cms is None else {"cms": cms}
    return found


def _matrices_on_file(cms: np.ndarray, grid: preprocess.Grid, *, case: str) -> np.ndarray | None:
    """Brings matrices ``[R, *S, L, L]`` to the voxels of the file; they may be the same everywhere.

    None where those of all voxels are too many.
    """
    axes = len(grid.shape)
    if set(cms.shape[1 : 1 + axes]) == {1}:
        return cms
    raters, classes = len(cms), cms.shape[-1]
    if 4 * raters * classes**2 * np.prod(grid.shape) > _MATRICES:
        logging.warning("%s: too large for matrices of each voxel, they are not judged", case)
        return None
    whole = np.empty((raters, *grid.shape, classes, classes), np.float32)
    for rater, row, column in np.ndindex(raters, classes, classes):
        # Where nothing was predicted a rater is right.
        right = np.float32(row == column)
        values = case_files.on_file(cms[rater, ..., row, column] - right, grid)
        whole[rater, ..., row, column] = values + right
    return whole


def on_file(
    examples: labelled.Labelled, index: int
) -> tuple[dict[str, np.ndarray], preprocess.Grid]:
    """Returns what an example is judged by, on the voxels of its file, and how it lies there.

    The raters' own labels and the truth are those of the files; what was drawn, replaced or fused
    is brought there.
    """
    example_id = int(examples.ids[index])
    of_files, example = examples.data.examples, examples[index]
    grid, given = of_files.grid(example_id), of_files.on_file(example_id)
    if examples.own_raters is None:
        labels = np.stack([case_files.on_file(label, grid) for label in example["labels"]])
    else:
        labels = given["labels"][examples.own_raters]
    batch = {"labels": labels, "rater_mask": example["rater_mask"]}
    if examples.has_truth and examples.has_gold:
        batch["truth"] = case_files.on_file(example["truth"], grid)
    elif examples.has_truth:
        # Where it is not known it is not judged.
        batch["truth"] = given.get("truth", np.zeros(grid.shape, np.uint8))
    return batch, grid


def _measure(
    parts: dict[str, np.ndarray],
    batch: dict[str, np.ndarray],
    grid: preprocess.Grid,
    *,
    tolerance: float | int,
    num_classes: int,
    decisions: tuple[str, ...],
    surface: bool,
    raters: bool,
    regions: class_regions.Regions | None,
) -> dict[str, np.ndarray]:
    """Measures one case on the device, and its surfaces on the host; the parts are used up."""
    surface = surface and "truth" in batch
    large = math.prod(grid.shape) > _LARGE
    sides = grid.shape if large else tuple(_side(n) for n in grid.shape)
    truth = batch.get("truth")
    # Once for all groups; of a large case each array takes a part of the memory.
    arrays = [
        {n: jax.device_put(_filled(n, each.pop(n), grid.shape, sides)) for n in list(each)}
        for each in (parts, batch)
    ]
    values = {}
    # One group after the other, for a large case would fill the memory with all at once.
    for names in case_metrics.groups(raters=raters):
        measure = _compiled(num_classes, decisions, surface, raters, regions, names)
        values |= jax.device_get(measure(*arrays))
    if not surface:
        return values
    inside = tuple(slice(n) for n in grid.shape)
    each = {
        name: array[inside][None] if name.startswith(case_metrics.SEGMENTATION) else array[None]
        for name, array in values.items()
    }
    options = {"num_classes": num_classes, "spacing": grid.spacing, "tolerance": tolerance}
    measured = surfaces.measure(each, truth[None], **options)
    return {name: array[0] for name, array in measured.items()}


@functools.lru_cache(maxsize=64)
def _compiled(
    num_classes: int,
    decisions: tuple[str, ...],
    surface: bool,
    raters: bool,
    regions: class_regions.Regions | None,
    names: frozenset[str],
) -> Callable[..., Any]:
    options = {"num_classes": num_classes, "decisions": decisions, "surface": surface}
    options |= {"raters": raters, "regions": regions, "names": names}

    def measure(parts: dict[str, Any], batch: dict[str, Any]) -> case_metrics.Values:
        prediction = base.Prediction(**parts)
        return case_metrics.case_values(prediction, batch, **options)

    return jax.jit(measure)


def _side(size: int) -> int:
    """Returns a side's voxels, filled up by a fourth at most, so that there are few of them.

    >>> [_side(n) for n in (9, 64, 65, 160, 161)]
    [16, 64, 80, 160, 192]
    """
    step = 2 ** max(_LEAST_BITS, (size - 1).bit_length() - 3)
    return -(-size // step) * step


def _filled(name: str, array: np.ndarray, shape: Sequence[int], sides: Sequence[int]) -> np.ndarray:
    """Fills an array up behind each spatial axis: probabilities go on, and ids are nobody's."""
    leading = int(name not in ("probs", "region_probs", "truth"))
    if tuple(sides) == tuple(shape) or array.shape[leading : leading + len(shape)] != tuple(shape):
        return array
    more = [(0, after - n) for n, after in zip(shape, sides, strict=True)]
    trailing = array.ndim - leading - len(shape)
    widths = [(0, 0)] * leading + more + [(0, 0)] * trailing
    if array.dtype.kind == "f":
        return np.pad(array, widths, mode="edge")
    return np.pad(array, widths, constant_values=ignored.IGNORE)
