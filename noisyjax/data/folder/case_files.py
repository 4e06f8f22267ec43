"""From the files of one case to arrays for a network, and from its segmentation to a file."""

import pathlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, UInt8

from noisyjax.data.folder import checker, nnunet_layout
from noisyjax.data.volumes import preprocess, read_write


def _given(case: nnunet_layout.Case, layout: nnunet_layout.Layout) -> list[pathlib.Path | None]:
    """Returns the files of the truth and of each rater's label, None for those that are absent."""
    return [case.truth, *(case.raters.get(name) for name in layout.rater_names)]


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
      ``image`` ``[*T, K]``, ``labels`` ``[G, *T]`` of those that there are, the truth first,
      ``mask`` ``[1 + R]``, which of them these are, and ``grid``, of `preprocess.Grid`. A warning
      names what of a label is too small for the new voxels.
    """
    images = [read.volumes[path] for path in read.case.images]
    first = images[0]
    n = first.num_axes
    # Headers in float32 differ by their rounding; nothing is interpolated for that.
    spacing = to if np.allclose(first.spacing, to, rtol=1e-3) else first.spacing
    channels = [v.array if v.array.ndim > n else v.array[..., np.newaxis] for v in images]
    paths = _given(read.case, layout)
    # Only these: of many raters a few may have labelled a case.
    maps = [read.volumes[path].array.astype(np.uint8) for path in paths if path is not None]
    whole = np.stack(maps) if maps else np.zeros((0, *first.shape), np.uint8)
    try:
        image, labels, grid = preprocess.prepare(
            np.concatenate(channels, axis=-1), whole, spacing=spacing, to=to, **options
        )
    except ValueError as error:
        raise ValueError(f"{read.case.images[0]}: {error}") from error
    _warn_of_losses(whole, grid, filter(None, paths), layout.class_names)
    mask = np.array([path is not None for path in paths])
    return {"image": image, "labels": labels, "mask": mask, "grid": grid.to_array()}


def _warn_of_losses(
    maps: UInt8[np.ndarray, "G *S"],
    grid: preprocess.Grid,
    paths: Iterable[pathlib.Path],
    class_names: Sequence[str],
) -> None:
    for path, labels in zip(paths, maps, strict=True):
        for label, (count, of) in preprocess.lost(labels, grid).items():
            spacing = " x ".join(f"{extent:g}" for extent in grid.to)
            warnings.warn(
                f"{path}: {count} of {of} parts of {class_names[label]} have no voxel of "
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
