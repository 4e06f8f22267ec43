"""What all formats share: a volume, the error of a file, and checks of what a header claims."""

import dataclasses
import os
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped, UInt8

# What stops a file from being read.
FAULTS = (
    *("missing", "empty", "truncated", "too_large", "format", "four_dimensional", "affine"),
    "sidecar",
)

# No deflated stream expands by more than this.
MOST_DEFLATED = 1032


class UnreadableError(ValueError):
    """A file that cannot be read; `fault` is one of `FAULTS`."""

    def __init__(self, path: str | os.PathLike, fault: str, message: str):
        super().__init__(f"{os.fspath(path)}: {message}")
        self.fault = fault


class Segment(NamedTuple):
    """A segment of Slicer: the voxels of a value in a layer."""

    name: str
    value: int
    layer: int


@dataclasses.dataclass(frozen=True)
class Volume:
    """An image or label map and where it lies.

    Attributes:
      array: ``[*S]``, or ``[*S, K]`` for an image in colours, of the file's own dtype.
      affine: float64 ``[4, 4]``, from voxel indices to mm as in NIfTI: towards the right, the front
        and the top of the patient. For two axes the third is the plane's normal.
      num_axes: n, the spatial axes.
      palette: red, green, blue and opacity of the numbers of a picture that numbers its colours;
        else None.
      matrices: of a NIfTI file, the fields of its header that say where it lies: it has two
        matrices, and viewers differ in which they take. Else None.
      segments: of a segmentation of Slicer, its array ``[*S]`` or layers ``[*S, K]``; else None.
    """

    array: Shaped[np.ndarray, "..."]
    affine: Float[np.ndarray, "4 4"]
    num_axes: int
    palette: UInt8[np.ndarray, "256 4"] | None = None
    matrices: Mapping[str, np.ndarray] | None = None
    segments: tuple[Segment, ...] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each spatial axis."""
        return self.array.shape[: self.num_axes]

    @property
    def spacing(self) -> tuple[float, ...]:
        """The size of a voxel along each spatial axis, in mm."""
        columns = self.affine[:3, : self.num_axes]
        return tuple(float(length) for length in np.linalg.norm(columns, axis=0))


def check_allowed(path: str, size: int, max_bytes: int, header: str) -> None:
    """Raises for more bytes than allowed; `header` is what the file says."""
    if size > max_bytes:
        raise UnreadableError(
            path, "too_large", f"expected at most {max_bytes} bytes, its header says {header}"
        )


def without_ones(path: str, array: np.ndarray) -> np.ndarray:
    """Returns an array without axes of length one beyond the third."""
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3):
        raise UnreadableError(
            path,
            "four_dimensional",
            f"expected an image of 2 or 3 axes, got shape {array.shape}",
        )
    return array


def hollow(path: str, shape: tuple[int, ...], affine: np.ndarray) -> Volume:
    """Returns a volume of zeros that takes no memory."""
    array = without_ones(path, np.broadcast_to(np.uint8(0), shape))
    return Volume(array, np.asarray(affine, np.float64), array.ndim)


def cut_off(path: str, error: Exception) -> UnreadableError:
    """Returns the error of a file that is not whole."""
    return UnreadableError(
        path, "truncated", f"expected a whole file, it is cut off or damaged ({error})"
    )
