"""From the files of one case to arrays for a network, and from its segmentation to a file."""

import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, UInt8

from noisyjax.data.folder import checker, nnunet_layout
from noisyjax.data.volumes import preprocess, read_write


def _maps(
    read: checker.Read, layout: nnunet_layout.Layout, shape: tuple[int, ...]
) -> tuple[UInt8[np.ndarray, "M *S"], np.ndarray]:
    """Returns the truth and the raters' labels, zeros for those that are absent, and which are."""
    case = read.case
    paths = [case.truth, *(case.raters.get(name) for name in layout.rater_names)]
    maps = [
        np.zeros(shape, np.uint8) if path is None else read.volumes[path].array.astype(np.uint8)
        for path in paths
    ]
    return np.stack(maps), np.array([path is not None for path in paths])


def prepare(
    read: checker.Read,
    layout: nnunet_layout.Layout,
    *,
    to: tuple[float, ...],
    options: Mapping[str, Any],
) -> dict[str, np.ndarray]:
    """Prepares one case that was read and has no problem.

    Args:
      to: voxels of the result, in mm.
      options: further ones of `preprocess.prepare`; one that does not fit the intensities raises a
        ValueError that names the file.

    Returns:
      ``image`` ``[*T, K]``, ``labels`` ``[1 + R, *T]`` with the truth first, ``mask`` ``[1 + R]``,
      which of them there are, and ``grid``, of `preprocess.Grid`. A warning names what of a label
      is too small for the new voxels.
    """
    images = [read.volumes[path] for path in read.case.images]
    first = images[0]
    n = first.num_axes
    # Headers in float32 differ by their rounding; nothing is interpolated for that.
    spacing = to if np.allclose(first.spacing, to, rtol=1e-3) else first.spacing
    channels = [v.array if v.array.ndim > n else v.array[..., np.newaxis] for v in images]
    whole, mask = _maps(read, layout, first.shape)
    try:
        image, labels, grid = preprocess.prepare(
            np.concatenate(channels, axis=-1), whole, spacing=spacing, to=to, **options
        )
    except ValueError as error:
        raise ValueError(f"{read.case.images[0]}: {error}") from error
    _warn_of_losses(whole, grid, read.case, layout)
    return {"image": image, "labels": labels, "mask": mask, "grid": grid.to_array()}


def _warn_of_losses(
    maps: UInt8[np.ndarray, "M *S"],
    grid: preprocess.Grid,
    case: nnunet_layout.Case,
    layout: nnunet_layout.Layout,
) -> None:
    paths = [case.truth, *(case.raters.get(name) for name in layout.rater_names)]
    for path, labels in zip(paths, maps, strict=True):
        lost = {} if path is None else preprocess.lost(labels, grid)
        for label, (count, of) in lost.items():
            spacing = " x ".join(f"{extent:g}" for extent in grid.to)
            warnings.warn(
                f"{path}: {count} of {of} parts of {layout.class_names[label]} have no voxel of "
                f"{spacing} mm: they are neither learnt nor judged; choose a finer spacing",
                stacklevel=3,
            )


def fit(image: Float[np.ndarray, "*T K"], size: Sequence[int]) -> Float[np.ndarray, "*S K"]:
    """Cuts an image ``[*T, K]`` to a size, or fills it up by the darkest value of each channel."""
    darkest = image.min(axis=tuple(range(len(size))))
    fitted = [
        preprocess.fit(image[..., k], size, fill=float(value)) for k, value in enumerate(darkest)
    ]
    return np.stack(fitted, axis=-1)


def write(
    path: str | pathlib.Path,
    values: Integer[np.ndarray, "*S"] | Float[np.ndarray, "*S"],
    *,
    grid: Float[np.ndarray, "n 5"],
    like: str | pathlib.Path,
) -> None:
    """Writes what was predicted of a fitted case on the voxels of its image, with its affine.

    Args:
      path: the file; its ending says the format.
      values: class ids, written as uint8 of the nearest voxel, or numbers, as float32 interpolated
        between voxels; ``[*S]``. What had been cut away is 0.
      grid: of `prepare`.
      like: a file of the image.

    Raises:
      ValueError: if the format holds no such numbers.
    """
    case_grid = preprocess.Grid.from_array(grid)
    real = values.dtype.kind == "f"
    values = preprocess.unfit(values.astype(np.float32 if real else np.uint8), case_grid.prepared)
    restored = preprocess.restore(values, case_grid, linear=real)
    read_write.write(path, read_write.from_ras(restored, like=read_write.peek(like)))
