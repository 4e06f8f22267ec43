"""Binary erosion and dilation by balls and boxes of any radius, in any dimension."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from noisyjax.core import checks, distance

STRUCTURES = ("ball", "box")

# Squared radii are compared with a little slack, so that a radius of sqrt(2) or 3 voxels of 0.1 mm
# includes the voxels exactly that far away although float32 rounds. In voxels the slack reaches no
# further voxel below a radius of 1000.
_SLACK = 1e-6


def dilate(
    mask: Bool[Array, "*S"],
    *,
    radius: float | int | Float[Array, ""],
    structure: str = "ball",
    spacing: distance.Spacing = None,
    border_value: int = 0,
) -> Bool[Array, "*S"]:
    """Returns the voxels within a radius of the mask ``[*S]``.

    Equal to ``scipy.ndimage.binary_dilation`` with the structuring element ``|x| <= radius``
    (Euclidean norm for a ball, largest coordinate for a box), at a cost that hardly grows with the
    radius: the ball is a threshold of the distance transform, the box one of line distances.

    Args:
      radius: in voxels, or in mm with `spacing`; any number >= 0, also fractional and traced.
      structure: "ball" or "box".
      spacing: size of a voxel along each axis in mm; None measures in voxels.
      border_value: what lies outside of the image: 0 background (the default, as in SciPy: nothing
        grows in over the edge) or 1 object.

    >>> dilate(jnp.array([0, 0, 0, 1, 0, 0], bool), radius=1).astype(int)
    Array([0, 0, 1, 1, 1, 0], dtype=int32)
    """
    checks.masks(mask=mask)
    checks.one_of("structure", structure, STRUCTURES)
    checks.one_of("border_value", border_value, (0, 1))
    if isinstance(radius, int | float):
        checks.positive("radius", radius, or_zero=True)
    # One voxel of border is enough: the outside voxel next to any voxel is the one straight across.
    padded = jnp.pad(mask, border_value, constant_values=bool(border_value))
    grown = _GROW[structure](padded, radius, distance.voxel_sizes(spacing, mask.ndim))
    return grown[tuple(slice(border_value, border_value + size) for size in mask.shape)]


def erode(
    mask: Bool[Array, "*S"],
    *,
    radius: float | int | Float[Array, ""],
    structure: str = "ball",
    spacing: distance.Spacing = None,
    border_value: int = 0,
) -> Bool[Array, "*S"]:
    """Returns the voxels of the mask that are further than a radius from the background.

    Equal to ``scipy.ndimage.binary_erosion`` with the structuring element ``|x| <= radius``; the
    complement of the dilated complement. The other arguments are as in `dilate`.

    Args:
      border_value: what lies outside of the image: 0 background (the default, as in SciPy: an
        object that touches the edge is eroded there too) or 1 object (the edge is left alone, which
        suits an organ that the field of view cuts off).

    >>> erode(jnp.array([1, 1, 1, 1, 0, 0], bool), radius=1).astype(int)
    Array([0, 1, 1, 0, 0, 0], dtype=int32)
    """
    checks.masks(mask=mask)
    checks.one_of("border_value", border_value, (0, 1))
    return ~dilate(
        ~mask, radius=radius, structure=structure, spacing=spacing, border_value=1 - border_value
    )


def _grow_ball(mask, radius, sizes):
    squared = distance.distance_transform(~mask, spacing=sizes, squared=True)
    return squared <= jnp.square(radius) * (1 + _SLACK)


def _grow_box(mask, radius, sizes):
    for axis in range(mask.ndim):
        steps = distance.line_distance(~mask, axis=axis)
        mask = steps * sizes[axis] <= radius * (1 + _SLACK)
    return mask


_GROW = {"ball": _grow_ball, "box": _grow_box}
