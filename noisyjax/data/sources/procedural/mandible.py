"""A lower jaw in a patch like that of a head-and-neck CT.

A horseshoe of spongy bone in a cortical shell, two rami that end in a condyle and a coronoid
process, and teeth: roots in the bone, crowns above it. Upper jaw with its own teeth, cheek bones,
skull base, hyoid and cervical spine are as bright. Jaws and rows of teeth follow a parabola seen
from above, so that everything is a solid in three coordinates: across the row, along it, and up.

Over 60 cases of 64^3 voxels of 3 mm, mean and range: 59.8 cm^3 (48 to 73; clinical mandibles have
57.9 +- 13.3), 0.84 % of the voxels (0.68 to 1.03), 0.91 % with crowns; all in one piece; mean HU of
the bone 860 (630 to 1040), 99.9 % of its voxels above 150. The best range of intensities finds it
with a Dice of 0.36.

Whether crowns belong to the organ is a matter of definition, over which annotators differ (Yu et
al. 2020, "Robustness study of noisy annotation in deep learning based medical image segmentation",
Section 2.2 and Figure 2): both can be had for the same image; their Dice is 0.965 (0.946 to 0.979).
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from noisyjax.data.sources.procedural import solids, tissues

# Teeth of half a row, the middle of the front first.
_TEETH = 7

# HU that stored images keep: the cortex stands out from the inside; only teeth are clipped.
WINDOW = (-250.0, 1750.0)

# Lengths in mm, angles in radians, intensities in HU.
RANGES = (
    tissues.SPINE
    | {
        "length": (68.0, 82.0),
        "half_width": (45.0, 53.0),
        "height": (22.0, 30.0),
        "ramus_height": (56.0, 68.0),
        "ramus_width": (26.0, 33.0),
        "ramus_lean": (0.10, 0.30),
        "body_thickness": (9.5, 13.0),
        "ramus_thickness": (7.0, 9.0),
        "shell": (2.0, 3.2),
        "notch": (9.0, 15.0),
        "crown": (6.5, 9.0),
        "tooth": (0.9, 1.1),
        "bite": (0.5, 9.0),
        "roll": (-0.08, 0.08),
        "pitch": (-0.12, 0.18),
        "cortex": (1000.0, 1450.0),
        "marrow": (250.0, 600.0),
        "enamel": (1500.0, 2300.0),
        "airway": (5.0, 11.0),
        "tongue": (40.0, 75.0),
        "missing": (0.0, 0.35),
    }
    # A tooth is there where its number is above the share of the missing.
    | {f"{row}_{i}": (0.0, 1.0) for row in ("lower", "upper") for i in range(2 * _TEETH)}
)


class _Row(NamedTuple):
    """Coordinates about a parabola that opens backwards.

    Attributes:
      across: signed distance from it in mm, positive on the tongue's side.
      along: length along it from the middle of the front in mm.
      depth: how far behind its foremost point in mm.
    """

    across: Float[Array, "X Y Z"]
    along: Float[Array, "X Y Z"]
    depth: Float[Array, "X Y Z"]


def _row(points, front, curvature):
    x, depth = jnp.abs(points[0]), front - points[1]
    on = x
    # The nearest point of the parabola, by Newton's steps on the distance's derivative.
    for _ in range(3):
        off = curvature * jnp.square(on) - depth
        slope = 2 * curvature * on
        # Without the derivative's second part far inside, where it would point away.
        change = 1 + jnp.maximum(jnp.square(slope) + 2 * curvature * off, 0.0)
        on = jnp.maximum(on - (on - x + slope * off) / change, 0.0)
    slope = 2 * curvature * on
    away = depth - curvature * jnp.square(on)
    across = jnp.sqrt(jnp.square(on - x) + jnp.square(away))
    inside = jnp.where(depth > curvature * jnp.square(x), 1.0, -1.0)
    along = 0.5 * on * jnp.sqrt(1 + jnp.square(slope)) + jnp.arcsinh(slope) / (4 * curvature)
    return _Row(inside * across, along, depth - away)


def _rounded(a, b, radius):
    """The intersection of two solids, its edges rounded."""
    a, b = a + radius, b + radius
    outside = jnp.sqrt(jnp.square(jnp.maximum(a, 0.0)) + jnp.square(jnp.maximum(b, 0.0)))
    return outside + jnp.minimum(jnp.maximum(a, b), 0.0) - radius


def _teeth(row, up, side, present, p):
    """Returns the solids of a row's roots and crowns, each ``[X, Y, Z]``.

    `up` is the height above the edge of the bone towards the other jaw and `side` the coordinate
    from left to right, both in mm; `present` tells for every tooth, right ones first, whether it is
    there.
    """
    # Tooth i begins at 5 i + 0.45 i^2 mm: incisors are narrow, molars wide.
    start, growth = 5.0 * p["tooth"], 0.45 * p["tooth"]

    def at(number):
        return start * number + growth * jnp.square(number)

    number = jnp.floor((jnp.sqrt(start**2 + 4 * growth * row.along) - start) / (2 * growth))
    number = jnp.clip(number, 0, _TEETH - 1)
    half = (at(number + 1) - at(number)) / 2
    index = number.astype(jnp.int32) + jnp.where(side > 0, 0, _TEETH)
    # Narrower towards the tip of the root.
    taper = jnp.clip(1 + up / 24.0, 0.4, 1.0)
    offset = jnp.stack([row.along - at(number + 0.5), row.across])
    radii = (0.9 * half * taper, (0.5 * half + 2.3) * taper)
    tooth = solids.ellipsoid(offset, (0.0, 0.0), radii)
    tooth = jnp.where(present[index], tooth, 99.0)
    crown = _rounded(tooth, jnp.abs(up - p["crown"] / 2 + 1.0) - p["crown"] / 2 - 1.0, 1.5)
    root = jnp.maximum(tooth + 0.8, jnp.maximum(up, -up - 13.0))
    return root, crown


def _bone(points, row, base, p):
    """The lower jaw without crowns, and the height of the edge where they begin."""
    z = points[2] - base
    back = p["length"] - p["ramus_width"] / 2
    # Lower towards the back, and a lower border that rises.
    edge = p["height"] * (1.0 - 0.12 * row.depth / back)
    lower = 0.08 * row.depth
    body = jnp.maximum(jnp.maximum(z - edge, lower - z), row.depth - back)
    centre = back + p["ramus_lean"] * (z - 0.5 * p["height"])
    # From 0 at the ramus' front edge to 1 at its back edge.
    share = (row.depth - centre) / p["ramus_width"] + 0.5
    top = p["ramus_height"] - p["notch"] * jnp.exp(-jnp.square((share - 0.48) / 0.22))
    angle = 14.0 * jnp.square(jnp.maximum(share - 0.55, 0.0) / 0.45)
    ramus = jnp.maximum(
        jnp.abs(row.depth - centre) - p["ramus_width"] / 2,
        jnp.maximum(z - top, lower + angle - z) * 0.8,
    )
    # 0 in the body, 1 in the ramus.
    up = jnp.clip((row.depth - back + 0.6 * p["ramus_width"]) / 12.0, 0.0, 1.0)
    chin = 2.0 * jnp.exp(-jnp.square(row.depth / 9.0) - jnp.square((z - 6.0) / 9.0))
    half = 0.5 * (p["body_thickness"] + up * (p["ramus_thickness"] - p["body_thickness"])) + chin
    plate = _rounded(jnp.abs(row.across) - half, jnp.minimum(body, ramus), 3.0)
    share = back + p["ramus_lean"] * (p["ramus_height"] - 0.5 * p["height"])
    head = share + 0.32 * p["ramus_width"]
    across = jnp.stack([row.across, row.depth - head, z])
    condyle = solids.ellipsoid(across, (1.0, 0.0, p["ramus_height"] - 2.0), (9.0, 5.0, 6.5))
    return jnp.minimum(plate, condyle), edge + base


def _head(points, brush, bone, p):
    """Air, skin, fat and muscle of head and neck, the airway, and the bones of the skull."""
    x, y, z = points
    face = solids.ellipsoid(points, (0.0, -18.0, 30.0), (72.0, 84.0, 105.0))
    skin = jnp.minimum(face, solids.tube(points, (0.0, -38.0), (58.0, 58.0)))
    # No bone without flesh on it.
    skin = jnp.minimum(skin, bone - 11.0)
    image = brush(jnp.full(x.shape, tissues.AIR), skin, tissues.FAT, 12.0)
    masseter = jnp.maximum(bone - 9.0, -12.0 - z)
    image = brush(image, jnp.maximum(masseter, skin + 4.0), tissues.MUSCLE, 20.0)
    deep = solids.tube(points, (0.0, -22.0), (50.0, 58.0))
    image = brush(image, jnp.maximum(deep, skin + 5.0), tissues.MUSCLE, 25.0)
    tongue = solids.ellipsoid(points, (0.0, 4.0, -4.0), (24.0, 32.0, 24.0))
    image = brush(image, tongue, p["tongue"], 12.0)
    cranium = solids.ellipsoid(points, (0.0, -16.0, 118.0), (72.0, 86.0, 78.0))
    petrous = solids.ellipsoid(jnp.stack([jnp.abs(x), y, z]), (52.0, -48.0, 50.0), (18.0, 15.0, 16))
    skull = jnp.minimum(jnp.abs(cranium + 3.0) - 3.0, petrous)
    image = brush(image, skull, 0.85 * p["cortex"], 120.0)
    # Cells of air in the temporal bone.
    image = brush(image, jnp.maximum(petrous + 5.0, 0.9 - brush.texture), -500.0, 60.0)
    image = brush(image, cranium + 6.0, 35.0, 6.0)
    arch = jnp.maximum(
        jnp.sqrt(jnp.square(jnp.abs(x) - 62.0 + 0.004 * jnp.square(y - 2.0)) + jnp.square(z - 24.0))
        - 4.0,
        jnp.maximum(y - 26.0, -y - 34.0),
    )
    hyoid = _row(points, 2.0, 0.05)
    hyoid = _rounded(jnp.abs(hyoid.across) - 3.0, jnp.abs(z + 54.0) - 4.5, 2.0)
    hyoid = jnp.maximum(hyoid, -y - 26.0)
    image = brush(image, jnp.minimum(arch, hyoid), 0.7 * p["cortex"], 60.0)
    radii = (1.3 * p["airway"], p["airway"])
    image = brush(image, solids.tube(points, (0.0, -33.0), radii), tissues.AIR, 5.0)
    # A cervical vertebra is like one of the trunk, 0.55 times as large.
    neck = jnp.stack([x, y + 57.0, z]) / 0.55
    return tissues.spine(image, neck, brush, p)


def _upper_jaw(image, points, brush, base, p):
    """Paints the upper jaw with nose, sinuses and teeth."""
    x, y, z = points
    curvature = 1.25 * p["length"] / jnp.square(p["half_width"])
    row = _row(points, 44.0, curvature)
    inside = jnp.maximum(-row.across - 5.5, row.depth - 48.0)
    jaw = _rounded(inside, jnp.abs(z - base - 11.0) - 11.0, 3.0)
    palate = jnp.maximum(z - base - 9.0, base - z)
    image = brush(image, jaw, p["cortex"], 60.0)
    image = brush(image, jaw + 2.5, 0.5 * p["cortex"], 60.0)
    image = brush(image, jnp.maximum(jaw, jnp.maximum(palate, 5.0 - row.across)), p["tongue"])
    nose = solids.ellipsoid(points, (0.0, 14.0, base + 30.0), (11.0, 40.0, 18.0))
    mirrored = jnp.stack([jnp.abs(x), y, z])
    sinus = solids.ellipsoid(mirrored, (27.0, 10.0, base + 27.0), (12.0, 16.0, 15.0))
    image = brush(image, jnp.minimum(nose, sinus) - 2.0, 0.6 * p["cortex"], 60.0)
    image = brush(image, jnp.minimum(nose, sinus), -900.0, 80.0)
    image = brush(image, jnp.maximum(nose, jnp.abs(x) - 1.0), 300.0)
    present = jnp.stack([p[f"upper_{i}"] for i in range(2 * _TEETH)]) > p["missing"]
    root, crown = _teeth(row, base - z, x, present, p)
    return brush(image, jnp.minimum(root, crown), p["enamel"], 80.0)


def scene(
    points: Float[Array, "3 X Y Z"],
    brush: tissues.Brush,
    p: Mapping[str, Float[Array, ""]],
    organ: str = "mandible",
) -> tissues.Scene:
    """Paints a head around its lower jaw; the scene's teeth are the crowns of the lower jaw.

    Points are in mm, 0 in the middle of the jaw, ``[3, X, Y, Z]``; `p` holds a number for each name
    of `RANGES`; there is one organ.
    """
    del organ
    x, y, z = points
    x, z = x + p["roll"] * z, z - p["roll"] * x
    y, z = y + p["pitch"] * z, z - p["pitch"] * y
    points = jnp.stack([x, y, z])
    front, base = 0.55 * p["length"], -0.5 * p["ramus_height"]
    row = _row(points, front, p["length"] / jnp.square(p["half_width"]))
    bone, edge = _bone(points, row, base, p)
    present = jnp.stack([p[f"lower_{i}"] for i in range(2 * _TEETH)]) > p["missing"]
    root, crown = _teeth(row, z - edge, x, present, p)
    image = _head(points, brush, bone, p)
    upper = base + p["height"] + 2 * p["crown"] + p["bite"]
    image = _upper_jaw(image, points, brush, upper, p)
    # The joint's gap and the gums.
    image = brush(image, bone - 2.0, tissues.MUSCLE, 10.0)
    image = brush(image, bone, p["cortex"], 70.0)
    image = brush(image, bone + p["shell"], p["marrow"], 70.0)
    image = brush(image, jnp.minimum(root, crown), p["enamel"], 80.0)
    return tissues.Scene(image, bone, crown)
