"""Procedural organs in patches like those of abdominal, thoracic and head-and-neck CT.

A right kidney (compact), an aorta (a thick tube) and an esophagus (a thin tube), each among its
neighbours: the three shapes on which Gaussian label noise was studied; and a mandible (a thin
arch), on which a clinic's annotations were. They do without patient data. Sizes, positions and
intensities vary from case to case, and a smooth deformation bends everything together. They are no
anatomical model: what matters is the size and the shape of the organ, and that it cannot be found
by its intensity alone.

Axes run to the patient's right, to the front, and upwards; lengths in mm, intensities in
Hounsfield units (HU).
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from noisyjax.core import checks
from noisyjax.data import source
from noisyjax.data.sources import hounsfield
from noisyjax.data.sources.procedural import mandible, solids, tissues

# Side of a patch: 64 voxels of 3 mm.
FIELD_OF_VIEW = 192.0

_CHUNK = 8

# The deformation that bends everything: standard deviation and length, in mm.
_BEND, _BEND_LENGTH = 3.5, 45.0
_TEXTURE_LENGTH = 6.0

_LUNG = -840.0

_THORAX = tissues.SPINE | {
    "aorta_x": (-30.0, -22.0),
    "aorta_y": (18.0, 26.0),
    "aorta_radius": (10.0, 14.5),
    "aorta_taper": (-0.015, 0.0),
    "aorta_sway": (2.0, 7.0),
    "aorta_phase": (0.0, 6.3),
    "contrast": (110.0, 330.0),
    "esophagus_x": (-8.0, 3.0),
    "esophagus_y": (27.0, 32.0),
    "esophagus_rx": (6.5, 9.5),
    "esophagus_ry": (4.5, 6.5),
    "esophagus_sway": (1.0, 5.0),
    "esophagus_phase": (0.0, 6.3),
    "esophagus": (25.0, 60.0),
    "lumen": (0.0, 3.0),
    "trachea_radius": (7.0, 10.0),
    "carina": (0.0, 50.0),
    "diaphragm": (-110.0, -40.0),
    "heart_z": (-60.0, -10.0),
    "heart_radius": (42.0, 56.0),
    "liver": (60.0, 130.0),
    "branch_z": (-70.0, 70.0),
    "height": (-40.0, 20.0),
}
_ABDOMEN = tissues.SPINE | {
    "kidney_x": (56.0, 68.0),
    "kidney_y": (0.0, 14.0),
    "kidney_rx": (25.0, 32.0),
    "kidney_ry": (23.0, 29.0),
    "kidney_rz": (49.0, 61.0),
    "bend": (4.0, 12.0),
    "tilt": (-0.1, 0.3),
    "pitch": (-0.3, 0.1),
    "sinus": (0.75, 1.15),
    "cortex": (95.0, 210.0),
    "medulla_ratio": (0.6, 0.95),
    "pelvis": (-90.0, 30.0),
    "perirenal": (4.0, 14.0),
    "liver": (55.0, 125.0),
    "liver_z": (40.0, 85.0),
    "psoas_radius": (15.0, 22.0),
    "vessel_ratio": (0.7, 1.1),
    "gas": (-900.0, 40.0),
    "colon_z": (-70.0, -20.0),
    "duodenum_z": (-30.0, 40.0),
}


def _body(points, brush, inner_radii):
    """Air, skin and fat, and the wall of muscle with ribs around the inside."""
    x, y, z = points
    centre = (0.0, 20.0)
    outer = tuple(r + 38.0 for r in inner_radii)
    wall = tuple(r + 14.0 for r in inner_radii)
    image = jnp.full(points.shape[1:], tissues.AIR)
    image = brush(image, solids.tube(points, centre, outer), tissues.FAT, 10.0)
    muscle = solids.tube(points, centre, wall)
    image = brush(image, muscle, tissues.MUSCLE, 16.0)
    # Ribs run around the wall and slope down to the front.
    ring = jnp.mod(z + 0.5 * y + 200.0, 30.0) - 15.0
    rib = jnp.sqrt(jnp.square(muscle + 7.0) + jnp.square(ring)) - 5.0
    image = brush(image, rib, 260.0, 50.0)
    return brush(image, solids.tube(points, centre, inner_radii), tissues.FAT, 12.0)


def _sway(z, amplitude, phase):
    return amplitude * jnp.sin(2 * jnp.pi * z / 260.0 + phase)


def _great_vessels(image, points, brush, p):
    """Paints the aorta with branches that are not part of it; returns its solid as well."""
    x, y, z = points
    centre_x = p["aorta_x"] + _sway(z, p["aorta_sway"], p["aorta_phase"])
    centre_y = p["aorta_y"] + _sway(z, 0.7 * p["aorta_sway"], p["aorta_phase"] + 1.5)
    radius = jnp.clip(p["aorta_radius"] + p["aorta_taper"] * z, 8.0, 16.0)
    in_plane = jnp.sqrt(jnp.square(x - centre_x) + jnp.square(y - centre_y))
    aorta = in_plane - radius
    for offset, size in ((0.0, 4.5), (-38.0, 3.5)):
        across = jnp.square(x - centre_x) + jnp.square(z - p["branch_z"] - offset)
        forward = jnp.maximum(centre_y - y, y - centre_y - 36.0)
        branch = jnp.maximum(jnp.sqrt(across) - size, forward)
        image = brush(image, branch, p["contrast"], 8.0)
    azygos = solids.tube(points, (12.0, 21.0), (4.0, 4.0))
    image = brush(image, azygos, 0.6 * p["contrast"], 8.0)
    image = brush(image, aorta - 1.5, 45.0, 8.0)
    return brush(image, aorta, p["contrast"], 8.0), aorta


def _thorax(points, brush, p, organ):
    """Lungs, heart, windpipe, liver below the diaphragm, the aorta and the esophagus."""
    sides = {"aorta": ("aorta_x", "aorta_y"), "esophagus": ("esophagus_x", "esophagus_y")}
    # The patch is around the organ; points become relative to the spine.
    origin = jnp.stack([*(p[name] for name in sides[organ]), p["height"]])
    points = points + origin[:, None, None, None]
    x, y, z = points
    image = _body(points, brush, (140.0, 105.0))
    dome = p["diaphragm"] + 35.0 * jnp.exp(-(jnp.square(x / 90.0) + jnp.square((y - 30) / 70.0)))
    lungs = jnp.minimum(
        solids.tube(points, (88.0, 15.0), (66.0, 90.0)),
        solids.tube(points, (-90.0, 15.0), (62.0, 90.0)),
    )
    below = z - dome
    inner = solids.tube(points, (0.0, 20.0), (138.0, 103.0))
    image = brush(image, jnp.maximum(below, inner), p["liver"], 10.0)
    image = brush(image, solids.tube(points, (0.0, 20.0), (44.0, 60.0)), tissues.FAT, 16.0)
    image = brush(image, jnp.maximum(lungs, -below), _LUNG, 90.0)
    heart_radii = (1.15 * p["heart_radius"], 0.85 * p["heart_radius"], p["heart_radius"])
    heart = solids.ellipsoid(points, (-22.0, 44.0 + heart_radii[1], p["heart_z"]), heart_radii)
    image = brush(image, heart, 95.0, 12.0)
    image = brush(image, heart + 12.0, 0.85 * p["contrast"], 12.0)
    image = tissues.spine(image, points, brush, p)
    image, aorta = _great_vessels(image, points, brush, p)
    image, esophagus = _gullet(image, points, brush, p)
    return tissues.Scene(image, {"aorta": aorta, "esophagus": esophagus}[organ])


def _gullet(image, points, brush, p):
    """Paints windpipe and esophagus; returns the latter's solid as well."""
    z = points[2]
    centre_x = p["esophagus_x"] + _sway(z, p["esophagus_sway"], p["esophagus_phase"])
    centre_y = p["esophagus_y"] + _sway(z, 0.4 * p["esophagus_sway"], p["esophagus_phase"] + 2.0)
    radii = (p["esophagus_rx"], p["esophagus_ry"])
    radius = p["trachea_radius"]
    trachea = solids.tube(
        points, (centre_x + 5.0, centre_y + radii[1] + radius + 2.0), (radius,) * 2
    )
    trachea = jnp.maximum(trachea, p["carina"] - z)
    image = brush(image, trachea - 2.0, 50.0, 8.0)
    image = brush(image, trachea, tissues.AIR, 5.0)
    esophagus = solids.tube(points, (centre_x, centre_y), radii)
    image = brush(image, esophagus, p["esophagus"], 10.0)
    lumen = solids.tube(points, (centre_x, centre_y), (p["lumen"] + 0.1,) * 2)
    # Swallowed air lies here and there.
    return brush(image, jnp.maximum(lumen, 3.0 - 4.0 * brush.texture), -400.0), esophagus


def _kidney(points, p):
    """The kidney's solid without its sinus, the sinus, and the kidney filled up."""
    x, y, z = points
    # Leaning about the axis to the front and about the one to the right.
    x, z = x + p["tilt"] * z, z - p["tilt"] * x
    y, z = y + p["pitch"] * z, z - p["pitch"] * y
    radii = jnp.stack([p["kidney_rx"], p["kidney_ry"], p["kidney_rz"]])
    # Both poles bend towards the spine, which makes a bean of the ellipsoid.
    x = x + p["bend"] * jnp.square(z / radii[2])
    bent = jnp.stack([x, y, z])
    whole = solids.ellipsoid(bent, (0.0, 0.0, 0.0), radii)
    sinus = solids.ellipsoid(
        bent,
        (-0.95 * radii[0], 0.2 * radii[1], 0.0),
        p["sinus"] * radii * jnp.array([0.75, 0.5, 0.45]),
    )
    return jnp.maximum(whole, -sinus), sinus, whole


def _abdomen(points, brush, p, organ):
    """Liver, bowel, psoas, great vessels and a right kidney in its fat."""
    del organ  # There is one.
    local = points
    points = points + jnp.stack([p["kidney_x"], p["kidney_y"], 0.0])[:, None, None, None]
    image = _body(points, brush, (118.0, 88.0))
    kidney, sinus, whole = _kidney(local, p)
    liver = solids.ellipsoid(points, (80.0, 50.0, p["liver_z"] + 20.0), (62.0, 72.0, 70.0))
    image = brush(image, liver, p["liver"], 7.0)
    for centre, radii in (
        ((72.0, 50.0, p["colon_z"]), (24.0, 20.0, 34.0)),
        ((34.0, 48.0, p["duodenum_z"]), (15.0, 13.0, 24.0)),
        ((-10.0, 75.0, p["colon_z"] + 30.0), (40.0, 22.0, 20.0)),
    ):
        bowel = solids.ellipsoid(points, centre, radii)
        image = brush(image, bowel, 50.0, 10.0)
        image = brush(image, bowel + 4.0, p["gas"], 60.0)
    z = points[2]
    radius = p["psoas_radius"] - 0.07 * z
    psoas = solids.tube(points, (36.0 - 0.12 * z, -2.0), (radius, 1.1 * radius))
    image = brush(image, psoas, tissues.MUSCLE, 10.0)
    image = brush(image, whole - p["perirenal"], tissues.FAT, 12.0)
    image = tissues.spine(image, points, brush, p)
    vessel = p["vessel_ratio"] * p["cortex"]
    image = brush(image, solids.tube(points, (20.0, 30.0), (11.0, 9.0)), 0.8 * vessel, 8.0)
    image = brush(image, solids.tube(points, (-14.0, 30.0), (9.0, 9.0)), vessel, 8.0)
    renal = jnp.sqrt(jnp.square(local[1] - 6.0) + jnp.square(local[2])) - 3.5
    renal = jnp.maximum(renal, jnp.maximum(local[0] + 8.0, 20.0 - points[0]))
    image = brush(image, kidney, p["cortex"], 10.0)
    pyramids = jnp.maximum(kidney + 7.0, 0.4 - jnp.abs(brush.texture))
    image = brush(image, pyramids, p["medulla_ratio"] * p["cortex"], 8.0)
    image = brush(image, jnp.maximum(sinus, whole), p["pelvis"], 20.0)
    return tissues.Scene(brush(image, renal, vessel, 8.0), kidney)


class _Organ(NamedTuple):
    """How patches around an organ are painted, the ranges of what varies, the HU that are kept."""

    scene: Callable[..., tissues.Scene]
    ranges: dict[str, tuple[float, float]]
    window: tuple[float, float] = hounsfield.WINDOW


ORGANS = {
    "kidney": _Organ(_abdomen, _ABDOMEN),
    "aorta": _Organ(_thorax, _THORAX),
    "esophagus": _Organ(_thorax, _THORAX),
    "mandible": _Organ(mandible.scene, mandible.RANGES, mandible.WINDOW),
}


def phantom(
    key: Key[Array, ""], shape: Sequence[int], organ: str, *, teeth: bool = False
) -> tuple[Float[Array, "X Y Z"], Bool[Array, "X Y Z"]]:
    """Draws one patch: image in HU and the organ's mask, both ``[X, Y, Z]``.

    The voxels are cubes, and the longest side is `FIELD_OF_VIEW`. With `teeth` their crowns count
    as the organ; the image does not depend on it.

    Raises:
      ValueError: if the organ is unknown or has no teeth, or the shape is not that of a volume.
    """
    kind = checks.lookup("organ", organ, ORGANS)
    if len(shape) != 3 or min(shape) < 2:
        raise ValueError(f"shape: expected three sizes of at least 2, got {tuple(shape)}")
    spacing = FIELD_OF_VIEW / max(shape)
    number_key, bend_key, texture_key, noise_key = jax.random.split(key, 4)
    p = solids.uniform(number_key, kind.ranges)
    shift = jnp.stack([p["shift_x"], p["shift_y"], p["shift_z"]])[:, None, None, None]
    bends = solids.smooth_fields(bend_key, 3, shape, length=_BEND_LENGTH / spacing)
    points = solids.grid(shape, spacing=spacing) + shift + _BEND * bends
    (texture,) = solids.smooth_fields(texture_key, 1, shape, length=_TEXTURE_LENGTH / spacing)
    scene = kind.scene(points, tissues.Brush(spacing, texture), p, organ)
    solid = scene.organ
    if teeth:
        if scene.teeth is None:
            raise ValueError(f"teeth: expected an organ with teeth, got {organ!r}")
        solid = jnp.minimum(solid, scene.teeth)
    (noise,) = solids.smooth_fields(noise_key, 1, shape, length=1.0)
    return scene.image + p["noise"] * noise, solid < 0


@functools.partial(jax.jit, static_argnames=("shape", "organ", "teeth"))
def _chunk(keys, shape, organ, teeth):
    # One after the other: on CPU 1.5 times as fast as side by side, since one case fills the cache.
    return jax.lax.map(lambda key: phantom(key, shape, organ, teeth=teeth), keys)


def load(
    *, organ: str, count: int = 80, size: int = 64, seed: int = 0, teeth: bool = False
) -> source.Source:
    """Draws phantoms; the first ones do not depend on how many there are.

    Images are in [0, 1] (`hounsfield.WINDOW`; for the mandible `mandible.WINDOW`, which shows
    bone). There are two classes, no raters and no splits.

    Args:
      organ: a key of `ORGANS`.
      size: side of the patch in voxels; it shows `FIELD_OF_VIEW` mm whatever the size.
      teeth: whether crowns of teeth count as the mandible; the images do not depend on it.

    Raises:
      ValueError: if the organ is unknown or has no teeth, or a number is too small.
    """
    window = checks.lookup("organ", organ, ORGANS).window
    checks.positive("count", count)
    draw = functools.partial(_chunk, shape=(size,) * 3, organ=organ, teeth=teeth)
    images = np.empty((count, size, size, size, 1), np.uint8)
    truths = np.empty((count, size, size, size), np.uint8)
    for ids, (image, truth) in solids.draw_cases(draw, count, seed=seed, chunk=_CHUNK):
        images[ids, ..., 0] = hounsfield.to_bytes(np.asarray(image), window=window)
        truths[ids] = np.asarray(truth)
    return source.Source(
        name=f"phantoms-{organ}",
        examples=source.ArrayExamples(images, truths=truths, scale=hounsfield.SCALE),
        num_classes=2,
        class_names=("background", organ),
        spacing=(FIELD_OF_VIEW / size,) * 3,
        has_truth=True,
        case_names=tuple(f"{organ}-{i:04d}" for i in range(count)),
        drawn=True,
    )
