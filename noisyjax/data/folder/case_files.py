"""From the files of one case to arrays for a network, and from its segmentation to a file."""

import pathlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, Num, UInt8, UInt16

from noisyjax.core import ignored
from noisyjax.data.folder import checker, label_ids, nnunet_layout
from noisyjax.data.volumes import preprocess, read_write

# What stands for a probability of 1.
MOST = 2**16 - 1


def _given(case: nnunet_layout.Case, layout: nnunet_layout.Layout) -> list[pathlib.Path | None]:
    """Returns the files of the truth and of each rater's label, None for those that are absent."""
    return [case.truth, *(case.raters.get(name) for name in layout.rater_names)]


def class_ids(
    array: Num[np.ndarray, "*S"], layout: nnunet_layout.Layout
) -> UInt8[np.ndarray, "*S"]:
    """Returns a label as class ids, `ignored.IGNORE` where a file has the class "ignore".

    Of probabilities it is the more probable class, of equals the background.
    """
    if layout.soft:
        return (array > 0.5).astype(np.uint8)
    ids = array.astype(np.uint8)
    return np.where(ids < len(layout.classes), ids, np.uint8(ignored.IGNORE))


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
      ``image``: ``[*T, K]`` float32.
      ``darkest``: of each channel, ``[K]``.
      ``labels``: ``[G, *T]`` uint8 of those that there are, the truth first.
      ``mask``: ``[1 + R]``, which of them these are.
      ``foreground``: first index and end along each axis of what any of them marks, ``[n, 2]``.
      ``grid``: of `preprocess.Grid`.
      ``given``: the labels on the voxels of the file, ``[G, *F]``, where these are others.
      ``soft``: of labels that are probabilities, these of the foreground, ``[G, *T]`` uint16: times
        `MOST`, so to 8e-6.

    A warning names what of a label is too small for the new voxels.
    """
    images = [read.volumes[path] for path in read.case.images]
    first = images[0]
    n = first.num_axes
    # Headers in float32 differ by their rounding; nothing is interpolated for that.
    spacing = to if np.allclose(first.spacing, to, rtol=1e-3) else first.spacing
    channels = [v.array if v.array.ndim > n else v.array[..., np.newaxis] for v in images]
    paths = _given(read.case, layout)
    # Only these: of many raters a few may have labelled a case.
    given = [path for path in paths if path is not None]
    whole = np.empty((len(given), *first.shape), np.uint8)
    for ids, path in zip(whole, given, strict=True):
        ids[...] = class_ids(read.volumes[path].array, layout)
    whole_image = channels[0] if len(channels) == 1 else np.concatenate(channels, axis=-1)
    try:
        image, labels, grid = preprocess.prepare(
            whole_image, whole, spacing=spacing, to=to, **options
        )
    except ValueError as error:
        raise ValueError(f"{read.case.images[0]}: {error}") from error
    _warn_of_losses(whole, grid, given, layout.class_names)
    mask = np.array([path is not None for path in paths])
    marked = np.zeros(labels.shape[1:], bool)
    for label in labels:
        marked |= (label > 0) & ignored.known(label)
    box = preprocess.bounding_box(marked) if marked.any() else ((0, 0),) * n
    arrays = {
        "image": image,
        "darkest": image.min(axis=tuple(range(n))),
        "labels": labels,
        "mask": mask,
        "foreground": np.array(box),
        "grid": grid.to_array(),
    }
    if layout.soft:
        probs = [read.volumes[path].array for path in given]
        arrays["soft"] = _quantised(probs, grid)
    return arrays if grid.is_files else {**arrays, "given": whole}


def _quantised(
    probs: Sequence[Num[np.ndarray, "*F"]], grid: preprocess.Grid
) -> UInt16[np.ndarray, "G *T"]:
    """Interpolates probabilities to the voxels of the prepared case, and keeps them in 16 bits."""
    options = {"spacing": grid.spacing, "to": grid.to, "linear": True}
    maps = np.zeros((len(probs), *grid.prepared), np.uint16)
    for soft, label in zip(maps, probs, strict=True):
        own = preprocess.crop(preprocess.resample(label.astype(np.float32), **options), grid.box)
        soft[...] = np.round(np.clip(own, 0, 1) * MOST)
    return maps


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


def fit(
    image: Float[np.ndarray, "*T K"],
    size: Sequence[int],
    *,
    darkest: Float[np.ndarray, "K"] | None = None,
) -> Float[np.ndarray, "*S K"]:
    """Cuts an image ``[*T, K]`` to a size, or fills it up by the darkest value of each channel."""
    if darkest is None:
        darkest = image.min(axis=tuple(range(len(size))))
    fitted = [
        preprocess.fit(image[..., k], size, fill=float(value)) for k, value in enumerate(darkest)
    ]
    return np.stack(fitted, axis=-1)


def filled_up(
    image: Float[np.ndarray, "*T K"],
    window: Sequence[int],
    *,
    darkest: Float[np.ndarray, "K"] | None = None,
) -> Float[np.ndarray, "*S K"]:
    """Fills an image up to a window's size at least; `preprocess.unfit` takes it back."""
    size = tuple(max(pair) for pair in zip(image.shape[:-1], window, strict=True))
    return image if size == image.shape[:-1] else fit(image, size, darkest=darkest)


def on_file(
    values: Integer[np.ndarray, "*S"] | Float[np.ndarray, "*S"], grid: preprocess.Grid
) -> Integer[np.ndarray, "*F"] | Float[np.ndarray, "*F"]:
    """Brings what belongs to a prepared case, fitted or not, to the voxels of its file.

    Class ids take the nearest voxel, numbers are interpolated. What had been cut away is 0. The
    axes stay RAS.
    """
    if values.shape != grid.prepared:
        values = preprocess.unfit(values, grid.prepared)
    return (
        values
        if grid.is_files
        else preprocess.restore(values, grid, linear=values.dtype.kind == "f")
    )


def probs_on_file(
    probs: Float[np.ndarray, "*S L"], grid: preprocess.Grid
) -> Float[np.ndarray, "*F L"]:
    """Brings probabilities of classes to the voxels of the file, as `on_file`.

    What had been cut away is background.
    """
    if grid.is_files and probs.shape[:-1] == grid.prepared:
        return probs
    whole = np.empty((*grid.shape, probs.shape[-1]), np.float32)
    whole[..., 0] = 1
    for label in range(1, probs.shape[-1]):
        whole[..., label] = on_file(probs[..., label], grid)
        whole[..., 0] -= whole[..., label]
    return whole


def region_probs_on_file(
    probs: Float[np.ndarray, "*S G"], grid: preprocess.Grid
) -> Float[np.ndarray, "*F G"]:
    """Brings probabilities of regions to the voxels of the file, as `on_file`."""
    return np.stack([on_file(region, grid) for region in np.moveaxis(probs, -1, 0)], axis=-1)


def write(
    path: str | pathlib.Path,
    values: Integer[np.ndarray, "*F"] | Float[np.ndarray, "*F"],
    *,
    like: str | pathlib.Path,
    ids: Sequence[int],
) -> None:
    """Writes classes, in uint8 or uint16, or numbers, in float32, of the voxels of an image's file.

    Args:
      path: the file; its ending says the format.
      values: in RAS axes, ``[*F]``.
      ids: what stands for the classes in files.
      like: a file of the image, whose affine it gets.

    Raises:
      ValueError: if the format holds no such numbers.
    """
    is_map = values.dtype.kind != "f"
    values = label_ids.of_file(values, ids) if is_map else values.astype(np.float32)
    read_write.write(path, read_write.from_ras(values, like=read_write.peek(like)))
