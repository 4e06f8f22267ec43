"""Which pixels count in a set of label maps, and how alike each two of its maps are.

A pixel that one of the raters left without a label (id 255) counts for no pair: by pixels of its
own for each pair, 1 - IoU would be no distance.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from noisyjax.core import checks, ignored, slabs

DISTANCES = ("iou", "dice")
# What two empty masks are: alike, or as different as can be.
EMPTY = {"equal": 1.0, "far": 0.0}


def check(samples: Array, labels: Array, num_classes: int = 2, *, masks: bool = False) -> None:
    """Raises unless samples ``[N, *S]`` and labels ``[R, *S]`` are ids of the same image."""
    checks.ids("samples", samples, masks=masks)
    checks.ids("labels", labels, masks=masks)
    checks.shape("samples", samples, (None, *labels.shape[1:]), like="labels")
    checks.at_least("num_classes", num_classes, 2)


def joined(
    samples: Integer[Array, "N *S"] | Bool[Array, "N *S"],
    labels: Integer[Array, "R *S"] | Bool[Array, "R *S"],
) -> Integer[Array, "M *S"]:
    """Returns samples and labels as one set, ``[N + R, *S]``, of the smallest dtype of both."""
    dtype = jnp.promote_types(jnp.promote_types(samples.dtype, labels.dtype), jnp.uint8)
    return jnp.concatenate([samples.astype(dtype), labels.astype(dtype)])


def present(
    labels: Integer[Array, "R *S"] | Bool[Array, "R *S"], rater_mask: Bool[Array, "R"] | None
) -> Bool[Array, "R"]:
    """Returns who labelled the image: `rater_mask`, or everybody without one."""
    checks.masks(rater_mask=rater_mask)
    if rater_mask is None:
        return jnp.ones(labels.shape[0], bool)
    checks.shape("rater_mask", rater_mask, labels.shape[:1], like="labels")
    return rater_mask


def per_pixel(
    raters: Bool[Array, "R"], labels: Integer[Array, "R *S"] | Bool[Array, "R *S"]
) -> Bool[Array, "R ..."]:
    """Returns who is present in a shape that broadcasts against their labels, ``[R, 1, ...]``."""
    checks.masks(raters=raters)
    return raters.reshape((-1,) + (1,) * (labels.ndim - 1))


def labelled(
    labels: Integer[Array, "R *S"] | Bool[Array, "R *S"], raters: Bool[Array, "R"]
) -> Bool[Array, "*S"]:
    """Returns the pixels to which all of some raters gave a label, ``[*S]``.

    >>> labelled(jnp.array([[0, 255, 1], [255, 1, 1]]), jnp.array([True, False])).tolist()
    [True, False, True]
    """
    return jnp.all(ignored.known(labels) | ~per_pixel(raters, labels), axis=0)


def intersections(masks: Bool[Array, "M P"]) -> Float[Array, "M M"]:
    """Returns how many pixels each two masks share, ``[M, M]``; a mask and itself: its size.

    The counts are whole numbers, rounded to float32 at the end.

    >>> intersections(jnp.array([[True, True, False], [False, True, True]])).tolist()
    [[2.0, 1.0], [1.0, 2.0]]
    """
    checks.masks(masks=masks)
    return slabs.summed(_shared, masks, leading=(1,)).astype(jnp.float32)


def _shared(masks: Bool[Array, "M P"]) -> Integer[Array, "M M"]:
    # Of a slab, whose voxels float32 counts exactly.
    pixels = masks.astype(jnp.float32)
    return (pixels @ pixels.T).astype(jnp.int32)


def similarities(
    maps: Integer[Array, "M *S"],
    classes: Integer[Array, "C"],
    *,
    distance: str = "iou",
    empty: str = "equal",
    where: Bool[Array, "*S"] | None = None,
) -> Float[Array, "M M"]:
    """Returns IoU or Dice of each two label maps, the mean over classes, ``[M, M]``.

    Args:
      maps: class ids, ``[M, *S]``.
      classes: the ids that are compared, ``[C]``.
      distance: "iou" or "dice".
      empty: whether two empty masks are "equal" (1) or "far" (0).
      where: the pixels that count, ``[*S]``.
    """
    checks.one_of("distance", distance, DISTANCES)
    checks.masks(where=where)
    alike = checks.lookup("empty", empty, EMPTY)

    def shared(maps: Array, where: Array | None = None) -> Integer[Array, "C M M"]:
        flat = maps.reshape(maps.shape[0], -1).astype(jnp.int32)
        if where is not None:
            flat = jnp.where(where.reshape(1, -1), flat, -1)
        # One class at a time: the masks of all would not fit beside the network.
        return jax.lax.map(lambda index: _shared(flat == index), classes)

    given, leading = ((maps,), (1,)) if where is None else ((maps, where), (1, 0))

    def one_class(both: Float[Array, "M M"]) -> Float[Array, "M M"]:
        volume = jnp.diagonal(both)
        total = volume[:, None] + volume[None, :]
        above, below = (2.0 * both, total) if distance == "dice" else (both, total - both)
        return jnp.where(below > 0, above / jnp.where(below > 0, below, 1.0), alike)

    both = slabs.summed(shared, *given, leading=leading).astype(jnp.float32)
    return jnp.mean(jax.vmap(one_class)(both), axis=0)
