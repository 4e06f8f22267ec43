"""Which pixels count in a set of label maps, and how alike each two of its maps are.

A pixel that one of the raters left without a label (id 255) counts for no pair: by pixels of its
own for each pair, 1 - IoU would be no distance.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer

from noisyjax.core import checks, ignored

DISTANCES = ("iou", "dice")
# What two empty masks are: alike, or as different as can be.
EMPTY = {"equal": 1.0, "far": 0.0}

# Sums in float32 count exactly up to here.
_EXACT = 2**24


def check(samples: Array, labels: Array, num_classes: int = 2, *, masks: bool = False) -> None:
    """Raises unless samples ``[N, *S]`` and labels ``[R, *S]`` are ids of the same image."""
    checks.ids("samples", samples, masks=masks)
    checks.ids("labels", labels, masks=masks)
    checks.shape("samples", samples, (None, *labels.shape[1:]), like="labels")
    checks.at_least("num_classes", num_classes, 2)


def joined(
    samples: Integer[Array, "N *S"] | Bool[Array, "N *S"],
    labels: Integer[Array, "R *S"] | Bool[Array, "R *S"],
) -> Int[Array, "M *S"]:
    """Returns samples and labels as one set, int32 ``[N + R, *S]``."""
    return jnp.concatenate([samples.astype(jnp.int32), labels.astype(jnp.int32)])


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
    pixels = masks.shape[1]
    parts = [masks[:, at : at + _EXACT].astype(jnp.float32) for at in range(0, pixels, _EXACT)]
    counts = [part @ part.T for part in parts]
    if len(counts) == 1:
        return counts[0]
    none = jnp.zeros((len(masks), len(masks)), jnp.int32)
    return sum((count.astype(jnp.int32) for count in counts), none).astype(jnp.float32)


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
    flat = maps.reshape(maps.shape[0], -1).astype(jnp.int32)
    if where is not None:
        flat = jnp.where(where.reshape(1, -1), flat, -1)

    def one_class(index: Integer[Array, ""]) -> Float[Array, "M M"]:
        both = intersections(flat == index)
        volume = jnp.diagonal(both)
        total = volume[:, None] + volume[None, :]
        above, below = (2.0 * both, total) if distance == "dice" else (both, total - both)
        return jnp.where(below > 0, above / jnp.where(below > 0, below, 1.0), alike)

    # One class at a time: the masks of all classes of a volume would not fit beside the network.
    return jnp.mean(jax.lax.map(one_class, classes), axis=0)
