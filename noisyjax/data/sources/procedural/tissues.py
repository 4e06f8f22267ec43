"""What the scenes of all phantoms are painted with: brush, common tissues, the spine.

Axes run to the patient's right, to the front, and upwards; lengths in mm, intensities in
Hounsfield units (HU).
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from noisyjax.data.sources.procedural import solids

AIR, FAT, MUSCLE = -1000.0, -100.0, 55.0

# Ranges of what varies from case to case in every scene: where the patch lies, the noise in HU.
PATCH = {
    "shift_x": (-6.0, 6.0),
    "shift_y": (-6.0, 6.0),
    "shift_z": (-6.0, 6.0),
    "noise": (8.0, 22.0),
}
# The same for scenes with a spine: lengths in mm, the inside of its bodies in HU.
SPINE = PATCH | {
    "body_radius": (18.0, 24.0),
    "period": (26.0, 36.0),
    "phase": (0.0, 36.0),
    "spongy": (130.0, 260.0),
}


class Scene(NamedTuple):
    """A painted patch.

    Attributes:
      image: in HU, without noise, ``[X, Y, Z]``.
      organ: signed distance to the wanted organ in mm, ``[X, Y, Z]``.
      teeth: signed distance to teeth that may count as part of it; None where there are none.
    """

    image: Float[Array, "X Y Z"]
    organ: Float[Array, "X Y Z"]
    teeth: Float[Array, "X Y Z"] | None = None


class Brush(NamedTuple):
    """What every tissue is painted with.

    Attributes:
      spacing: side of a voxel in mm.
      texture: a smooth standard normal field ``[X, Y, Z]``, of which tissues take a share.
    """

    spacing: float
    texture: Float[Array, "X Y Z"]

    def __call__(
        self,
        image: solids.Volume,
        solid: solids.Volume,
        value: solids.Scalar | solids.Volume,
        rough: float = 6.0,
    ) -> solids.Volume:
        """Paints a solid of some HU with a texture of standard deviation `rough`."""
        return solids.paint(image, solid, value + rough * self.texture, spacing=self.spacing)


def spine(
    image: Float[Array, "X Y Z"],
    points: Float[Array, "3 X Y Z"],
    brush: Brush,
    p: Mapping[str, Float[Array, ""]],
) -> Float[Array, "X Y Z"]:
    """Paints vertebrae with discs, the canal, the arch behind it and the muscles beside it.

    The canal's centre is 27 mm behind that of the vertebral bodies, which is at x = y = 0. Points
    are in mm, ``[3, X, Y, Z]``, the image in HU, ``[X, Y, Z]``; `p` has a number for each name of
    `SPINE`.
    """
    x, y, z = points
    for side in (-1, 1):
        muscle = solids.tube(points, (30.0 * side, -42.0), (25.0, 20.0))
        image = brush(image, muscle, MUSCLE, 14.0)
    radii = (p["body_radius"], 0.78 * p["body_radius"])
    body = solids.tube(points, (0.0, 0.0), radii)
    # Distance to the nearest disc, which repeat along the spine.
    along = jnp.mod(z + p["phase"] + p["period"] / 2, p["period"]) - p["period"] / 2
    disc = jnp.abs(along) - 3.0
    image = brush(image, body, 320.0, 30.0)
    image = brush(image, body + 2.5, p["spongy"], 40.0)
    image = brush(image, jnp.maximum(body, disc), 85.0, 8.0)
    arch = solids.tube(points, (0.0, -27.0), (16.0, 15.0))
    spinous = jnp.maximum(jnp.abs(x) - 3.5, jnp.maximum(y + 34.0, -y - 64.0))
    process = jnp.maximum(jnp.abs(y + 22.0) - 4.0, jnp.abs(x) - 36.0)
    posterior = jnp.maximum(jnp.minimum(spinous, process), 8.0 - jnp.abs(along))
    image = brush(image, jnp.minimum(arch, posterior), 300.0, 45.0)
    return brush(image, solids.tube(points, (0.0, -27.0), (10.0, 9.0)), 25.0, 6.0)
