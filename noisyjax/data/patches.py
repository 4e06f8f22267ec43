"""Pieces of volumes: around a point, on the host, and drawn at random, on the device."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key, Shaped

from noisyjax.core import checks, rng

# Axes before the spatial ones of one example's arrays that are cut.
_LEADING = {"image": 0, "labels": 1, "truth": 0, "target": 0}


def around(
    volume: Shaped[np.ndarray, "..."],
    centre: Sequence[float | int],
    size: Sequence[int],
    *,
    fill: float | int = 0,
) -> Shaped[np.ndarray, "..."]:
    """Returns the patch ``[*size, ...]`` around a point in voxels, filled up beyond the volume.

    The volume is ``[*S]`` or, with channels, ``[*S, K]``.

    >>> around(np.arange(5), (3.6,), (4,))
    array([2, 3, 4, 0])
    """
    starts = [round(c) - n // 2 for c, n in zip(centre, size, strict=True)]
    patch = np.full((*size, *volume.shape[len(size) :]), fill, volume.dtype)
    low = [max(0, -start) for start in starts]
    high = [
        max(before, min(n, extent - start))
        for before, n, extent, start in zip(low, size, volume.shape, starts)
    ]
    inside = tuple(slice(*ends) for ends in zip(low, high))
    source = tuple(
        slice(start + first, start + last) for start, first, last in zip(starts, low, high)
    )
    patch[inside] = volume[source]
    return patch


def centre_of_mass(mask: Shaped[np.ndarray, "*S"]) -> tuple[float, ...]:
    """Returns the mean index of a mask along each axis; the middle of the volume if it is empty."""
    inside = np.argwhere(mask)
    if not len(inside):
        return tuple((n - 1) / 2 for n in mask.shape)
    return tuple(inside.mean(axis=0).tolist())


def sample_corners(
    key: Key[Array, ""],
    foreground: Bool[Array, "*S"],
    *,
    size: Sequence[int],
    count: int,
    foreground_share: float | int = 0.0,
) -> Int[Array, "count n"]:
    """Draws where patches of one volume begin: ``[count, n]`` int32; all lie within the volume.

    Args:
      size: voxels of a patch along each of the n axes.
      foreground_share: this share of them lies around a voxel of the foreground, each as likely as
        the others, in the middle of the patch if the volume does not end before. The number of
        these patches is rounded up with the probability of its fraction, and else down. The other
        patches, and all if there is no foreground, lie anywhere in the volume.

    Raises:
      ValueError: if a patch is larger than the volume, or count or share are out of range.

    >>> volume = jnp.zeros((9, 9), bool)
    >>> sample_corners(jax.random.key(0), volume, size=(4, 9), count=3)[:, 1]
    Array([0, 0, 0], dtype=int32)
    """
    checks.masks(foreground=foreground)
    shape = foreground.shape
    _check(shape, size, count, foreground_share)
    anywhere_key, share_key, voxel_key = jax.random.split(key, 3)
    last = jnp.array(shape, jnp.int32) - jnp.array(tuple(size), jnp.int32)
    anywhere = jax.random.randint(anywhere_key, (count, len(shape)), 0, last[None] + 1)
    # The k-th voxel of the foreground is the first at which the running sum reaches k.
    running = jnp.cumsum(foreground.reshape(-1).astype(jnp.int32))
    rank = jax.random.randint(voxel_key, (count,), 1, jnp.maximum(running[-1], 1) + 1)
    voxels = jnp.stack(jnp.unravel_index(jnp.searchsorted(running, rank), shape), axis=-1)
    around = jnp.clip(voxels - jnp.array(tuple(size))[None] // 2, 0, last[None])
    expected = count * foreground_share - jax.random.uniform(share_key)
    chosen = (jnp.arange(count) < expected) & (running[-1] > 0)
    return jnp.where(chosen[:, None], around, anywhere)


def gather(
    array: Shaped[Array, "..."],
    corners: Int[Array, "count n"],
    *,
    size: Sequence[int],
    leading: int = 0,
) -> Shaped[Array, "..."]:
    """Cuts patches ``[count, ..., *size, ...]`` out of an array ``[..., *S, ...]``.

    The corners are of `sample_corners`; `leading` axes are before the spatial ones.
    """
    before = array.shape[:leading]
    after = array.shape[leading + len(size) :]

    def cut(corner: Array) -> Array:
        starts = [0] * len(before) + list(corner) + [0] * len(after)
        return jax.lax.dynamic_slice(array, starts, (*before, *size, *after))

    return jax.vmap(cut)(corners)


def sample_batch(
    batch: dict[str, Array],
    *,
    size: Sequence[int],
    count: int,
    foreground_share: float | int = 0.0,
    seed: rng.Index | Key[Array, ""],
) -> dict[str, Array]:
    """Replaces every example of a batch by patches, for use inside the jitted step.

    Foreground is what any of the raters who labelled the example took for it. The batch has
    ``image``, ``labels``, ``rater_mask``, ``id``, ``epoch`` and possibly others; `sample_corners`
    says what size, count and share are, and what is raised.

    Returns:
      A batch of ``B * count`` examples, the patches of one example next to each other, with its id
      and its weight. Image and labels are cut at the same corners, which depend on (seed, id,
      epoch) alone.
    """
    key = rng.purpose_key(seed, "patches")

    def draw(example_id: Array, epoch: Array, labels: Array, rater_mask: Array) -> Array:
        present = rater_mask.reshape(-1, *[1] * (labels.ndim - 1))
        foreground = jnp.any((labels > 0) & present, axis=0)
        own = rng.example_key(key, example_id, epoch=epoch)
        options = {"size": size, "count": count, "foreground_share": foreground_share}
        return sample_corners(own, foreground, **options)

    epochs = jnp.broadcast_to(batch["epoch"], batch["id"].shape) + 1
    corners = jax.vmap(draw)(batch["id"], epochs, batch["labels"], batch["rater_mask"])

    def patched(name: str, array: Array) -> Array:
        if name not in _LEADING:
            return jnp.repeat(array, count, axis=0) if array.ndim else array
        cut = jax.vmap(lambda one, at: gather(one, at, size=size, leading=_LEADING[name]))
        parts = cut(array, corners)
        return parts.reshape(-1, *parts.shape[2:])

    return {name: patched(name, array) for name, array in batch.items()}


def _check(
    shape: Sequence[int], size: Sequence[int], count: int, foreground_share: float | int
) -> None:
    checks.positive("count", count)
    if not 0 <= foreground_share <= 1:
        raise ValueError(f"foreground_share: expected a number in [0, 1], got {foreground_share}")
    fits = len(size) == len(shape) and all(
        0 < patch <= extent for patch, extent in zip(size, shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"size: expected one of 1 to {list(shape)} voxels along each axis, got {list(size)}"
        )
