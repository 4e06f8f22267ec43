"""Random changes of training examples that keep image and labels in step.

Everything that moves voxels moves the image, every rater's labels and the truth alike; intensities
change in the image only. Written for one example of any number of spatial axes.
"""

import functools
import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Key, Num, Shaped

from noisyjax.core import blur, ignored, rng, warp

Transform = Callable[[Array, dict[str, Array]], dict[str, Array]]

# Each kind of change has a stream of its own: switching one on leaves the others as they were.
_STREAMS = {
    "flip": 0,
    "right_angle": 1,
    "free": 2,
    "intensity": 3,
    "blur": 4,
    "chosen": 5,
    "gamma": 6,
}


def _stream(key: Array, name: str) -> Array:
    return jax.random.fold_in(key, _STREAMS[name])


def flip(
    image: Shaped[Array, "..."], axes: Sequence[int], flipped: Shaped[Array, "A"]
) -> Shaped[Array, "..."]:
    """Mirrors an array ``[*S, ...]`` along those spatial axes that are chosen, bool ``[A]``."""
    for axis, chosen in zip(axes, flipped, strict=True):
        image = jnp.where(chosen, jnp.flip(image, axis), image)
    return image


def quarter_turns(
    image: Shaped[Array, "..."], plane: Sequence[int], turns: Integer[Array, ""]
) -> Shaped[Array, "..."]:
    """Turns an array by right angles, like `jax.numpy.rot90` with a traced number of turns, 0 to 3.

    The array is ``[*S, ...]``; a turn goes from the first of two spatial axes towards the second,
    and `ValueError` is raised if they differ in length.
    """
    first, second = plane
    if image.shape[first] != image.shape[second]:
        raise ValueError(
            f"right_angle: expected square planes, got axes {tuple(plane)} of {image.shape}"
        )
    image = jnp.where(turns % 2 == 1, jnp.swapaxes(image, first, second), image)
    image = jnp.where((turns == 1) | (turns == 2), jnp.flip(image, first), image)
    return jnp.where(turns >= 2, jnp.flip(image, second), image)


def affine_displacement(
    shape: Sequence[int],
    angles: Float[Array, "P"],
    shift: Float[Array, "n"],
    factor: Float[Array, ""],
    *,
    spacing: Sequence[float],
) -> Float[Array, "n *S"]:
    """Returns where each voxel takes its value from in a rotated, scaled and shifted image.

    The rotation is about the image's centre, and rigid in mm.

    Args:
      shape: S.
      angles: in radians, one per pair of axes in the order of `itertools.combinations`.
      shift: how far the content moves, in voxels.
      factor: how much larger the content becomes.
      spacing: size of a voxel along each axis.

    Returns:
      Displacement in voxels, ``[n, *S]`` float32, for `warp.warp`.
    """
    n = len(shape)
    matrix = jnp.eye(n)
    for angle, (i, j) in zip(angles, itertools.combinations(range(n), 2), strict=True):
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        turn = jnp.eye(n).at[i, i].set(cos).at[j, j].set(cos).at[i, j].set(sin).at[j, i].set(-sin)
        matrix = jnp.matmul(matrix, turn, precision=jax.lax.Precision.HIGHEST)
    millimetres = jnp.asarray(spacing, jnp.float32)
    matrix = matrix * millimetres[None, :] / millimetres[:, None] / factor
    axes = [jnp.arange(size) - (size - 1) / 2 for size in shape]
    grid = jnp.stack(jnp.meshgrid(*axes, indexing="ij"))
    offset = grid - shift.reshape(-1, *[1] * n)
    moved = jnp.einsum("ij,j...->i...", matrix, offset, precision=jax.lax.Precision.HIGHEST)
    return moved - grid


def _right_angles(key, image, masks, *, flip_axes, planes):
    """Mirrors and quarter turns: nothing is interpolated."""
    if flip_axes:
        chosen = jax.random.bernoulli(_stream(key, "flip"), shape=(len(flip_axes),))
        image, masks = (flip(array, flip_axes, chosen) for array in (image, masks))
    if planes:
        turns = jax.random.randint(_stream(key, "right_angle"), (len(planes),), 0, 4)
        for plane, count in zip(planes, turns, strict=True):
            image, masks = (quarter_turns(array, plane, count) for array in (image, masks))
    return image, masks


def _free(key, image, masks, *, rotation, shift, scale, spacing, image_fill):
    """Rotation, scale and shift by any amount: linear for the image, nearest for masks."""
    n = image.ndim - 1
    symmetric = functools.partial(jax.random.uniform, minval=-1.0, maxval=1.0)
    # Three keys, so that the number of angles does not decide what the others draw.
    keys = jax.random.split(_stream(key, "free"), 3)
    displacement = affine_displacement(
        image.shape[:-1],
        symmetric(keys[0], (n * (n - 1) // 2,)) * jnp.deg2rad(rotation),
        symmetric(keys[1], (n,)) * jnp.asarray(shift),
        jnp.exp(symmetric(keys[2]) * jnp.log1p(scale)),
        spacing=spacing or (1.0,) * n,
    )
    return (
        warp.warp(image, displacement, order=1, fill=image_fill),
        warp.warp(masks, displacement, order=0),
    )


def _intensities(key, image, *, scale, shift, noise):
    keys = jax.random.split(_stream(key, "intensity"), 3)
    if scale:
        image = image * jax.random.uniform(keys[0], minval=1 - scale, maxval=1 + scale)
    if shift:
        image = image + jax.random.uniform(keys[1], minval=-shift, maxval=shift)
    if noise:
        image = image + noise * jax.random.normal(keys[2], image.shape)
    return image


def _gamma(key, image, *, largest):
    """Bends the intensities of every channel, between the least and the greatest in it."""
    bound = jnp.log1p(largest)
    exponent = jnp.exp(jax.random.uniform(_stream(key, "gamma"), minval=-bound, maxval=bound))
    space = tuple(range(image.ndim - 1))
    low, high = image.min(space, keepdims=True), image.max(space, keepdims=True)
    width = jnp.where(high > low, high - low, 1.0)
    return low + width * ((image - low) / width) ** exponent


def _blur(key, image, *, largest):
    sigma = jax.random.uniform(_stream(key, "blur"), maxval=largest)
    return jax.vmap(lambda channel: blur.gaussian_blur(channel, sigma), -1, -1)(image)


def _largest(shift: float | Sequence[float]) -> float:
    return max(shift) if isinstance(shift, Sequence) else shift


def augment(
    key: Key[Array, ""],
    image: Float[Array, "*S K"],
    labels: Num[Array, "R *S"],
    *,
    flip_axes: Sequence[int] = (),
    right_angle_planes: Sequence[Sequence[int]] = (),
    rotation: float = 0.0,
    shift: float | Sequence[float] = 0.0,
    scale: float = 0.0,
    spacing: Sequence[float] = (),
    image_fill: float = 0.0,
    intensity_scale: float = 0.0,
    intensity_shift: float = 0.0,
    intensity_noise: float = 0.0,
    gamma: float = 0.0,
    smoothing: float = 0.0,
    probability: float = 1.0,
) -> tuple[Float[Array, "*S K"], Num[Array, "R *S"]]:
    """Changes an image and its label maps at random; with every option at zero, nothing.

    Shapes and dtypes stay.

    Args:
      image: ``[*S, K]`` float32.
      labels: label maps, ``[R, *S]``: the raters', and the truth as one more if it is to follow.
      flip_axes: spatial axes, each mirrored with probability 1/2.
      right_angle_planes: pairs of spatial axes, each turned by 0, 90, 180 or 270 degrees; the
        plane has to be square.
      rotation: largest angle of a free rotation in each plane, in degrees.
      shift: largest shift, in voxels, one number or one per axis.
      scale: the size changes by a factor between ``1 / (1 + scale)`` and ``1 + scale``.
      spacing: size of a voxel along each axis, for rotations; empty for cubes.
      image_fill: the intensity of what comes in from outside of the image; labels there are
        background.
      intensity_scale: the image is multiplied by a number within this of 1.
      intensity_shift: then a number up to this, of either sign, is added.
      intensity_noise: then Gaussian noise of this standard deviation is added.
      gamma: then the intensities of each channel, made to lie in [0, 1], are raised to a power
        between ``1 / (1 + gamma)`` and ``1 + gamma``, and get their range back.
      smoothing: the image is blurred by a Gaussian of a random width up to this, in voxels.
      probability: with which an example is changed at all.
    """
    given = image, labels
    masks = jnp.moveaxis(labels, 0, -1)
    image, masks = _right_angles(key, image, masks, flip_axes=flip_axes, planes=right_angle_planes)
    if rotation or _largest(shift) or scale:
        image, masks = _free(
            key,
            image,
            masks,
            rotation=rotation,
            shift=shift,
            scale=scale,
            spacing=spacing,
            image_fill=image_fill,
        )
    image = _intensities(
        key, image, scale=intensity_scale, shift=intensity_shift, noise=intensity_noise
    )
    if gamma:
        image = _gamma(key, image, largest=gamma)
    if smoothing:
        image = _blur(key, image, largest=smoothing)
    changed = image, jnp.moveaxis(masks, -1, 0)
    if probability == 1:
        return changed
    chosen = jax.random.bernoulli(_stream(key, "chosen"), probability)
    return jax.tree.map(lambda new, old: jnp.where(chosen, new, old), changed, given)


_PARAMETERS = inspect.signature(augment).parameters.values()
OPTIONS = tuple(p.name for p in _PARAMETERS if p.kind is p.KEYWORD_ONLY)
# Those that change something; the others say how.
_CHANGES = tuple(n for n in OPTIONS if n not in ("spacing", "image_fill", "probability"))


def build(options: Mapping[str, Any]) -> Transform | None:
    """Returns the augmentation of one example that a config describes, by options of `augment`.

    ``f(key, example) -> example`` changes ``image``, ``labels`` and, where present, ``truth`` and
    ``target``; None if no option that changes anything is on.

    Raises:
      ValueError: if an option is unknown.
    """
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise ValueError(f"augment: expected options among {OPTIONS}, got {unknown}")
    changes = {name: options.get(name) for name in _CHANGES}
    changes["shift"] = _largest(options.get("shift", 0.0))
    if not any(changes.values()):
        return None
    settings = {k: tuple(v) if isinstance(v, Sequence) else v for k, v in options.items()}

    def transform(key, example):
        maps = _to_maps(example)
        stacked = jnp.concatenate(list(maps.values()))
        image, stacked = augment(key, example["image"], stacked, **settings)
        ends = itertools.accumulate(len(part) for part in maps.values())
        moved = dict(zip(maps, jnp.split(stacked, list(ends)[:-1]), strict=True))
        return {**example, "image": image, **_from_maps(moved, example)}

    return transform


def _to_maps(example: dict[str, Array]) -> dict[str, Array]:
    """Returns everything that moves with the labels as maps ``[M, *S]`` of one dtype.

    Of a fused target the probabilities of the foreground: what comes in from outside has none, and
    what is left out has -1.
    """
    maps = {"labels": example["labels"]}
    if "truth" in example:
        maps["truth"] = example["truth"][None].astype(maps["labels"].dtype)
    if "target" in example:
        maps = {name: array.astype(jnp.float32) for name, array in maps.items()}
        target = example["target"]
        known = ignored.counting_targets(target)[..., None]
        maps["target"] = jnp.moveaxis(jnp.where(known, target[..., 1:], -1.0), -1, 0)
    return maps


def _from_maps(maps: dict[str, Array], example: dict[str, Array]) -> dict[str, Array]:
    fields = {"labels": maps["labels"].astype(example["labels"].dtype)}
    if "truth" in maps:
        fields["truth"] = maps["truth"][0].astype(example["truth"].dtype)
    if "target" in maps:
        foreground = maps["target"]
        target = jnp.concatenate([1 - foreground.sum(axis=0, keepdims=True), foreground])
        target = jnp.where(foreground[:1] < 0, 0.0, target)
        fields["target"] = jnp.moveaxis(target, 0, -1)
    return fields


def augment_batch(
    batch: dict[str, Array], *, transform: Transform, seed: rng.Index | Key[Array, ""]
) -> dict[str, Array]:
    """Augments a batch, for use inside the jitted step; each example is changed anew each epoch.

    The batch has ``image``, ``labels``, ``id``, ``epoch`` and possibly ``truth``, ``target``. What
    an example becomes depends on (seed, id, epoch) alone, and on the number of the patch where it
    has a ``draw``.
    """
    names = [name for name in ("image", "labels", "truth", "target") if name in batch]
    epochs = jnp.broadcast_to(batch["epoch"], batch["id"].shape) + 1
    key = rng.purpose_key(seed, "augment")

    def one(example_id, epoch, draw, example):
        own = rng.example_key(key, example_id, epoch=epoch)
        return transform(own if draw is None else jax.random.fold_in(own, draw), example)

    changed = jax.vmap(one)(batch["id"], epochs, batch.get("draw"), {n: batch[n] for n in names})
    return {**batch, **changed}
