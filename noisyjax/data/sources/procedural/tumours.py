"""Procedural brain tumours in images like those of four magnetic resonance sequences.

Four classes nested like those of BraTS (Menze et al. 2015, The Multimodal Brain Tumor Image
Segmentation Benchmark, IEEE TMI 34(10)): an oedema around a core that is dead inside and takes up
contrast agent in its rim; four channels in which the classes differ: the rim shows after contrast
only, the oedema on T2 and FLAIR. They stand in for patient data where several classes, several
channels and irregular shapes are wanted, and are no anatomical model. Bright white matter beside
the ventricles, vessels, weak tumours, a bias field and noise keep thresholds from finding them.

Axes run to the back, to the side and upwards; lengths in mm.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

from noisyjax.core import checks
from noisyjax.data import source
from noisyjax.data.sources.procedural import solids

CHANNELS = ("T1", "T1 after contrast", "T2", "FLAIR")
CLASSES = ("background", "oedema", "core", "enhancing")

# Side of an image: 64 voxels of 3 mm.
FIELD_OF_VIEW = 192.0

_CHUNK = 16

# Lengths in mm of what varies smoothly: the bend of everything and the receiver's sensitivity; the
# tumour's outline; the brain's folds and the texture of tissues.
_COARSE_LENGTH, _OUTLINE_LENGTH, _FINE_LENGTH = 50.0, 14.0, 7.0
_BEND = 4.0

# Mean intensities in `CHANNELS`; white matter on T1 is 1.
_TISSUES = {
    "fluid": (0.30, 0.30, 1.90, 0.35),
    "grey": (0.74, 0.79, 1.18, 1.12),
    "white": (1.00, 1.05, 0.85, 0.88),
    "lesion": (0.80, 0.85, 1.30, 1.40),
    "vessel": (0.70, 1.50, 0.70, 0.70),
    "oedema": (0.68, 0.72, 1.55, 1.60),
    "core": (0.46, 0.52, 1.65, 1.15),
    "enhancing": (0.72, 1.50, 1.30, 1.38),
}

_RANGES = {
    "brain_y": (74.0, 86.0),
    "brain_x": (58.0, 68.0),
    "brain_z": (58.0, 68.0),
    "cortex": (4.0, 6.5),
    "ventricle": (0.8, 1.4),
    "caps": (0.0, 5.0),
    # Where the tumour is: its side by the sign, to the back, upwards, and share of the way from the
    # middle to the surface.
    "side": (-1.0, 1.0),
    "back": (-0.9, 0.9),
    "height": (-0.4, 0.4),
    "off_centre": (0.35, 0.65),
    "radius": (16.0, 28.0),
    "stretch": (0.75, 1.3),
    "ragged": (2.0, 5.0),
    "rim": (5.0, 9.0),
    "patchy": (0.2, 0.7),
    "margin": (8.0, 18.0),
    "spread": (3.0, 7.0),
    "oedema": (0.6, 1.0),
    "core": (0.7, 1.0),
    "enhancing": (0.6, 1.0),
    "texture": (0.03, 0.06),
    "bias": (0.05, 0.15),
    "noise": (0.05, 0.13),
}


class _Fields(NamedTuple):
    """Smooth standard normal fields ``[N, *S]``; see the lengths above."""

    bend: Float[Array, "n *S"]
    folds: Float[Array, "2 *S"]
    outline: Float[Array, "3 *S"]
    texture: Float[Array, "4 *S"]
    bias: Float[Array, "4 *S"]
    noise: Float[Array, "4 *S"]


def _fields(key, shape, spacing) -> _Fields:
    n, channels = len(shape), len(CHANNELS)
    # Fields of one length are drawn together, which compiles faster.
    counts = (n + channels, 3, 2 + channels, channels)
    lengths = (_COARSE_LENGTH, _OUTLINE_LENGTH, _FINE_LENGTH, spacing)
    coarse, outline, fine, noise = (
        solids.smooth_fields(k, count, shape, length=length / spacing)
        for k, count, length in zip(jax.random.split(key, 4), counts, lengths, strict=True)
    )
    return _Fields(coarse[:n], fine[:2], outline, fine[2:], coarse[n:], noise)


def _axes(*values):
    """Stacks a number per axis of an image: the third axis is there in volumes only."""
    return lambda ndim: jnp.stack([jnp.asarray(value, jnp.float32) for value in values[:ndim]])


def _paint(image, solid, tissue, *, spacing, strength=1.0):
    """Paints a tissue in every channel; a strength below 1 leaves some of what was there."""
    values = jnp.array(_TISSUES[tissue])
    paint = jax.vmap(lambda under, value: solids.paint(under, solid, value, spacing=spacing))
    return image + strength * (paint(image, values) - image)


def _brain(points, fields, p, spacing):
    """Returns the image of a healthy brain ``[4, *S]``, and its solid and that of its fluid."""
    n = len(points)
    brain = solids.ellipsoid(
        points, jnp.zeros(n), _axes(p["brain_y"], p["brain_x"], p["brain_z"])(n)
    )
    paint = functools.partial(_paint, spacing=spacing)
    image = paint(jnp.zeros((len(CHANNELS), *points.shape[1:])), brain, "grey")
    image = paint(image, brain + p["cortex"] * (1 + 0.8 * jnp.abs(fields.folds[0])), "white")
    # Furrows: thin sheets of fluid that reach in from the surface, and the cleft in the middle.
    furrows = jnp.maximum(jnp.abs(10 * fields.folds[1]) - 1.2, -14 - brain)
    cleft = jnp.maximum(jnp.abs(points[1]) - 1.0, 0.45 * p["brain_y"] - jnp.abs(points[0]))
    mirrored = points.at[1].set(jnp.abs(points[1]))
    nucleus = solids.ellipsoid(mirrored, _axes(0.0, 21.0, 0.0)(n), _axes(14.0, 8.0, 14.0)(n))
    size = p["ventricle"]
    # The horns lean outwards to the front and to the back.
    horn = 7.0 + 0.006 * jnp.square(points[0])
    radii = _axes(27.0, 4.5, 13.0)(n) * size
    ventricle = solids.ellipsoid(mirrored.at[1].add(-horn), jnp.zeros(n), radii)
    fluid = jnp.minimum(jnp.minimum(furrows, cleft), ventricle)
    image = paint(image, nucleus, "grey")
    image = paint(image, ventricle - p["caps"] * (1 + fields.folds[0]), "lesion", strength=0.8)
    return paint(image, fluid, "fluid"), brain, ventricle


def _tumour(points, fields, p, brain, ventricle):
    """Returns the solids of the tumour's classes: oedema, core, rim, each with the next in it."""
    n = len(points)
    radii = _axes(p["brain_y"], p["brain_x"], p["brain_z"])(n)
    side = jnp.sign(p["side"])
    direction = _axes(jnp.sin(p["back"]), side * jnp.cos(p["back"]), p["height"])(n)
    stretched = _axes(p["stretch"], 1 / p["stretch"], 1.0)(n)
    mass = solids.ellipsoid(points, p["off_centre"] * radii * direction, p["radius"] * stretched)
    core = jnp.maximum(mass + p["ragged"] * fields.outline[0], brain + 3.0)
    margin = p["margin"] + p["spread"] * fields.outline[1]
    # The water does not pass the ventricle.
    within = jnp.maximum(jnp.maximum(brain + 3.0, -ventricle), 9.0 - side * points[1])
    oedema = jnp.minimum(core, jnp.maximum(mass - margin, within))
    # The rim follows the outline of the core and is thinner, or open, here and there.
    thickness = p["rim"] * (1 + p["patchy"] * fields.outline[2])
    rim = jnp.maximum(core, -core - thickness)
    return oedema, core, rim


def tumour(
    key: Key[Array, ""], shape: Sequence[int]
) -> tuple[Float[Array, "*S 4"], UInt8[Array, "*S"]]:
    """Draws one case: the image ``[*S, 4]`` and the truth ``[*S]`` in `CLASSES`.

    Each of `CHANNELS` has mean 0 and standard deviation 1 within the brain and 0 outside. The
    voxels are squares or cubes, and the longest side is `FIELD_OF_VIEW`.

    Raises:
      ValueError: if the shape is not that of an image or a volume.
    """
    if len(shape) not in (2, 3) or min(shape) < 8:
        raise ValueError(f"shape: expected two or three sizes of at least 8, got {tuple(shape)}")
    spacing = FIELD_OF_VIEW / max(shape)
    number_key, field_key = jax.random.split(key)
    p = solids.uniform(number_key, _RANGES)
    fields = _fields(field_key, shape, spacing)
    points = solids.grid(shape, spacing=spacing) + _BEND * fields.bend
    image, brain, ventricle = _brain(points, fields, p, spacing)
    oedema, core, rim = _tumour(points, fields, p, brain, ventricle)
    vessels = jnp.maximum(4.2 - 2.0 * (fields.folds[0] + fields.folds[1]), 6.0 + brain)
    image = _paint(image, vessels, "vessel", spacing=spacing)
    # The core has pushed the ventricle and the furrows aside.
    image = _paint(image, core - 2.0, "white", spacing=spacing)
    # The oedema fades out; its truth ends where half of it is left.
    image = _paint(image, oedema, "oedema", spacing=5.0 + spacing, strength=p["oedema"])
    image = _paint(image, core, "core", spacing=1.0 + spacing, strength=p["core"])
    image = _paint(image, rim, "enhancing", spacing=1.0 + spacing, strength=p["enhancing"])
    truth = jnp.where(oedema < 0, 1, 0)
    truth = jnp.where(core < 0, 2, truth)
    truth = jnp.where(rim < 0, 3, truth)
    image = (image + p["texture"] * fields.texture) * jnp.exp(p["bias"] * fields.bias)
    image = _standardised(image + p["noise"] * fields.noise, brain < 0)
    return jnp.moveaxis(image, 0, -1), truth.astype(jnp.uint8)


def _standardised(image, where):
    """Each channel with mean 0 and standard deviation 1 within a mask, and 0 outside."""
    where = jnp.broadcast_to(where, image.shape)
    axes = tuple(range(1, image.ndim))
    mean = jnp.mean(image, axes, where=where, keepdims=True)
    sd = jnp.std(image, axes, where=where, keepdims=True)
    return jnp.where(where, (image - mean) / jnp.maximum(sd, 1e-6), 0.0)


@functools.partial(jax.jit, static_argnames=("shape",))
def _chunk(keys, shape):
    images, truths = jax.lax.map(lambda key: tumour(key, shape), keys)
    # Half precision holds a standardised image to a thousandth of its standard deviation.
    return images.astype(jnp.float16), truths


def load(*, count: int = 400, size: int = 64, dimensions: int = 2, seed: int = 0) -> source.Source:
    """Draws cases: four channels, four classes, no raters, no splits.

    The first ones do not depend on how many there are.

    Args:
      size: side of the image in voxels; it shows `FIELD_OF_VIEW` mm whatever the size.
      dimensions: 2 for slices, 3 for volumes.

    Raises:
      ValueError: if a number is too small, or there are neither two nor three dimensions.
    """
    checks.positive("count", count)
    checks.one_of("dimensions", dimensions, (2, 3))
    shape = (size,) * dimensions
    draw = functools.partial(_chunk, shape=shape)
    images = np.empty((count, *shape, len(CHANNELS)), np.float16)
    truths = np.empty((count, *shape), np.uint8)
    for ids, (image, truth) in solids.draw_cases(draw, count, seed=seed, chunk=_CHUNK):
        images[ids], truths[ids] = image, truth
    return source.Source(
        name="tumours",
        examples=source.ArrayExamples(images, truths=truths),
        num_classes=len(CLASSES),
        class_names=CLASSES,
        spacing=(FIELD_OF_VIEW / size,) * dimensions,
        has_truth=True,
        case_names=tuple(f"tumour-{i:04d}" for i in range(count)),
        drawn=True,
    )
