"""Masks replaced by noisy ones that overlap with the truth as much as is asked for.

In a study of noisy labels a share of the masks is replaced, once, by a noisy version: eroded,
dilated or elastically distorted (RAR-U-Net, section 2.4). How noisy a version is says its Dice to
the truth, so the strength is solved for every mask by itself: masks of all sizes then suffer alike.

An eroded or dilated mask holds the voxels that come first in the order of their distance to the
outline. One distance transform and one sort give all of them, and the wanted Dice says how many
voxels to take. Whole layers would miss it by 0.1 and more on masks of a few hundred voxels, so the
last layer is taken in part: first the voxels with most foreground around them, as if the outline
lay between two voxels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer, Key

from noisyjax.core import arrays, blur, checks, distance, ignored, rng, warp
from noisyjax.noise import elastic

Truth = Integer[Array, "*S"] | Bool[Array, "*S"]
Overlap = float | int | Float[Array, ""]

# The share of the longest side over which an elastic field is smooth, as Simard's 4 of 29 pixels.
_SMOOTHNESS = 1 / 8
# How far around a voxel one looks for foreground, in voxels.
_OUTLINE = 1.5
_FIRST_AMPLITUDE = 0.25
_BISECTIONS = 14


class Replacement(NamedTuple):
    """A noisy label in place of the truth.

    Attributes:
      label: ``[*S]``, the dtype of the truth.
      kind: the number of the noise in `KINDS`, ``[]`` int32.
      overlap: the Dice of the foreground of label and truth that was reached, ``[]`` float32.
    """

    label: Truth
    kind: Int[Array, ""]
    overlap: Float[Array, ""]


def erosion(key: Key[Array, ""], truth: Truth, overlap: Overlap, num_classes: int) -> Truth:
    """The foreground without an outer layer; what is lost becomes background.

    The edge of the image does not erode. At least one voxel stays.
    """
    mask = truth != arrays.BACKGROUND
    depth = distance.distance_transform(mask, squared=True)
    volume = jnp.sum(mask)
    # Dice = 2 size / (size + volume).
    size = jnp.maximum(jnp.round(volume * (overlap / (2 - overlap))), 1)
    kept = first_voxels(-depth, mask, jnp.where(jnp.all(mask), volume, size))
    return jnp.where(kept, truth, arrays.BACKGROUND).astype(truth.dtype)


def dilation(key: Key[Array, ""], truth: Truth, overlap: Overlap, num_classes: int) -> Truth:
    """The foreground with a layer around it, of the class of the nearest voxel.

    Of two classes equally far the lower one grows; a class never grows into another.
    """
    mask = truth != arrays.BACKGROUND
    if num_classes == 2:
        away = distance.distance_transform(~mask, squared=True)
        nearest = jnp.ones_like(truth)
    else:
        classes = jnp.arange(1, num_classes).reshape(-1, *[1] * truth.ndim)
        others = truth.astype(jnp.int32)[None] != classes
        each = jax.vmap(lambda other: distance.distance_transform(other, squared=True))(others)
        away = jnp.min(each, axis=0)
        nearest = (1 + jnp.argmin(each, axis=0)).astype(truth.dtype)
    # Dice = 2 volume / (size + volume).
    size = jnp.round(jnp.sum(mask) * ((2 - overlap) / overlap))
    return jnp.where(first_voxels(away, mask, size) & ~mask, nearest, truth)


def distortion(key: Key[Array, ""], truth: Truth, overlap: Overlap, num_classes: int) -> Truth:
    """An elastic distortion of the label, all classes by one displacement."""
    smoothness = _SMOOTHNESS * max(truth.shape)
    field = elastic.displacement(key, truth.shape, smoothness=smoothness)
    return _moved(truth, field, overlap)


def shear(key: Key[Array, ""], truth: Truth, overlap: Overlap, num_classes: int) -> Truth:
    """The label with its columns shifted by a sine, all classes alike."""
    return _moved(truth, elastic.wave(key, truth.shape), overlap)


def shift(key: Key[Array, ""], truth: Truth, overlap: Overlap, num_classes: int) -> Truth:
    """The label beside its place by whole voxels, in a direction that is drawn."""
    direction = jax.random.normal(key, (truth.ndim,))
    direction /= jnp.sqrt(jnp.sum(direction**2))
    field = jnp.broadcast_to(direction.reshape(-1, *[1] * truth.ndim), (truth.ndim, *truth.shape))
    return _moved(truth, field, overlap)


# name -> f(key, truth [*S], overlap, number of classes) -> label [*S]; the order numbers them.
KINDS = {
    "erosion": erosion,
    "dilation": dilation,
    "elastic": distortion,
    "sine_shear": shear,
    "shift": shift,
}


def replace(
    key: Key[Array, ""],
    truth: Truth,
    *,
    overlap: Overlap,
    kinds: Sequence[str] = ("erosion", "dilation", "elastic"),
    num_classes: int = 2,
) -> Replacement:
    """Draws a noisy label with a wanted Dice to the truth.

    Erosion and dilation come as near to the wanted Dice as one voxel more or less allows;
    displacements are bisected in their amplitude with the field as it is. Not every Dice can be
    reached on masks of a few voxels: look at the overlap that was reached. A truth without
    foreground stays as it is, with an overlap of 1. What is 255 stays so, and is background else.

    Args:
      truth: bool, or class ids ``[*S]`` with 0 the background. The noise acts on the foreground as
        a whole, and the Dice is that of the foreground; see each noise for the classes.
      overlap: the wanted Dice, in (0, 1]; may be traced.
      kinds: different names in `KINDS`; each is as likely as the others.
      num_classes: L, which dilation needs to know.

    References:
      RAR-U-Net, section 2.4 and Fig. 2; its noise level alpha is the overlap.

    >>> truth = jnp.zeros((16, 16), jnp.uint8).at[4:12, 4:12].set(1)
    >>> eroded = replace(jax.random.key(0), truth, overlap=0.7, kinds=("erosion",))
    >>> int(eroded.label.sum()), round(float(eroded.overlap), 2)
    (34, 0.69)
    """
    check(overlap=overlap, kinds=kinds, num_classes=num_classes)
    drawn_key, noise_key = jax.random.split(key)
    numbers = jnp.array([list(KINDS).index(name) for name in kinds], jnp.int32)
    drawn = jax.random.randint(drawn_key, (), 0, len(kinds))

    def branch(name):
        return lambda: KINDS[name](noise_key, seen, overlap, num_classes)

    known = ignored.known(truth)
    seen = jnp.where(known, truth, jnp.zeros_like(truth))
    label = jax.lax.switch(drawn, [branch(name) for name in kinds])
    label = jnp.where(known & jnp.any(seen != arrays.BACKGROUND), label, seen)
    return Replacement(jnp.where(known, label, truth), numbers[drawn], _dice(label, seen))


def check(*, overlap: Overlap, kinds: Sequence[str], num_classes: int) -> None:
    """Raises ValueError unless masks can be replaced with these options; see `replace`."""
    if not isinstance(overlap, jax.Array) and not 0 < overlap <= 1:
        raise ValueError(f"overlap: expected a number in (0, 1], got {overlap}")
    if not kinds or len(set(kinds)) < len(kinds):
        raise ValueError(f"kinds: expected different ones of {list(KINDS)}, got {tuple(kinds)}")
    for name in kinds:
        checks.one_of("kinds", name, KINDS)
    checks.at_least("num_classes", num_classes, 2)


def first_voxels(
    levels: Float[Array, "*S"], mask: Bool[Array, "*S"], size: Float[Array, ""] | Int[Array, ""]
) -> Bool[Array, "*S"]:
    """Returns the first `size` voxels by rising level, as a mask ``[*S]``.

    Of one level ``[*S]`` those deeper in a mask ``[*S]`` come first, with more of it around them.
    """
    checks.masks(mask=mask)
    share = blur.gaussian_blur(mask.astype(jnp.float32), _OUTLINE)
    # So that the edge of the image is no background.
    share /= blur.gaussian_blur(jnp.ones_like(share), _OUTLINE)
    order = jnp.lexsort((-share.reshape(-1), levels.reshape(-1)))
    taken = jnp.zeros(mask.size, bool).at[order].set(jnp.arange(mask.size) < size)
    return taken.reshape(mask.shape)


def choose_cases(
    key: Key[Array, ""],
    ids: Integer[Array, "N"] | Integer[np.ndarray, "N"],
    *,
    share: float | int,
) -> Bool[Array, "N"]:
    """Chooses ``round(share * N)`` of the cases at random, bool ``[N]``.

    The cases of the lowest random numbers, one number per id: a case that is chosen is chosen for
    every larger share as well, and the order of the cases plays no part.

    Args:
      ids: the cases' ids, all different, ``[N]``.
      share: of the cases to choose, in [0, 1].

    >>> choose_cases(jax.random.key(0), jnp.arange(8), share=0.25).sum()
    Array(2, dtype=int32)
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share: expected a number in [0, 1], got {share}")
    ids = jnp.asarray(ids)
    numbers = jax.vmap(lambda k: jax.random.bits(k, dtype=jnp.uint32))(rng.example_keys(key, ids))
    chosen = jnp.lexsort((ids, numbers))[: round(share * len(ids))]
    return jnp.zeros(len(ids), bool).at[chosen].set(True)


def _moved(truth: Truth, field: Float[Array, "n *S"], overlap: Overlap) -> Truth:
    """The truth moved by so much of a field that the Dice is nearest to the one wanted."""
    mask = truth != arrays.BACKGROUND
    longest = max(truth.shape)

    def dice(amplitude):
        return _dice(warp.warp(mask, amplitude * field), mask)

    def above(search):
        _, high, reached = search
        return (reached > overlap) & (high < longest)

    # The first amplitude of 1/4, 1/2, 1, ... voxels that is too large, so that the mask is bent
    # no more than it has to be.
    def double(search):
        _, high, _ = search
        return high, 2 * high, dice(2 * high)

    first = jnp.float32(_FIRST_AMPLITUDE)
    low, high, at_high = jax.lax.while_loop(above, double, (0 * first, first, dice(first)))

    def bisect(_, search):
        low, high, best, error = search
        middle = (low + high) / 2
        reached = dice(middle)
        best = jnp.where(jnp.abs(reached - overlap) < error, middle, best)
        error = jnp.minimum(jnp.abs(reached - overlap), error)
        too_low = reached > overlap
        return jnp.where(too_low, middle, low), jnp.where(too_low, high, middle), best, error

    # An overlap of 1 is reached without any displacement.
    ends, reached = jnp.stack([high, 0 * high]), jnp.stack([at_high, jnp.ones_like(at_high)])
    errors = jnp.abs(reached - overlap)
    nearest = jnp.argmin(errors)
    start = (low, high, ends[nearest], errors[nearest])
    best = jax.lax.fori_loop(0, _BISECTIONS, bisect, start)[2]
    return warp.warp(truth, best * field)


def _dice(label: Truth, truth: Truth) -> Float[Array, ""]:
    """Dice of the foregrounds, 1 if both are empty."""
    label, truth = label != arrays.BACKGROUND, truth != arrays.BACKGROUND
    total = jnp.sum(label) + jnp.sum(truth)
    return jnp.where(total == 0, 1.0, 2 * jnp.sum(label & truth) / jnp.maximum(total, 1))
