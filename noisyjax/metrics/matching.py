"""Matches samples with raters' labels one to one, on the host (SciPy solves the assignments).

Absent raters (`rater_mask`) are left out, and so is every pixel that a rater who is present left
without a label (id 255). Without any rater or pixel everything is NaN.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jaxtyping import Array, Bool, Float, Integer

from noisyjax.core import checks
from noisyjax.metrics import mask_pairs

Maps = (
    Integer[Array, "_N *S"]
    | Bool[Array, "_N *S"]
    | Integer[np.ndarray, "_N *S"]
    | Bool[np.ndarray, "_N *S"]
)
Mask = Bool[Array, "R"] | Bool[np.ndarray, "R"]


@functools.partial(jax.jit, static_argnames=("num_classes", "distance"))
def similarities(
    samples: Integer[Array, "N *S"] | Bool[Array, "N *S"],
    labels: Integer[Array, "R *S"] | Bool[Array, "R *S"],
    rater_mask: Bool[Array, "R"] | None = None,
    *,
    num_classes: int = 2,
    distance: str = "iou",
) -> tuple[Float[Array, "R N"], Bool[Array, "R"]]:
    """Returns how alike labels and samples are, and whose labels count, on the device.

    Args:
      distance: "iou", the mean over classes, or "dice", all of the foreground as one.
    """
    present = mask_pairs.present(labels, rater_mask)
    valid = mask_pairs.labelled(labels, present)
    maps, classes = mask_pairs.joined(samples, labels), jnp.arange(1, num_classes)
    if distance == "dice":
        maps = (maps != 0).astype(jnp.int32)
    similar = mask_pairs.similarities(maps, classes, distance=distance, where=valid)
    return similar[samples.shape[0] :, : samples.shape[0]], present & jnp.any(valid)


def _table(
    samples: Maps, labels: Maps, rater_mask: Mask | None, num_classes: int, distance: str
) -> Float[np.ndarray, "_R N"]:
    """Returns the similarities of present raters' labels and samples; no rows if none is known."""
    for name, maps in (("samples", samples), ("labels", labels)):
        checks.ids(name, maps, masks=True)
    samples, labels = jnp.asarray(samples), jnp.asarray(labels)
    mask_pairs.check(samples, labels, num_classes, masks=distance == "dice")
    rater_mask = None if rater_mask is None else jnp.asarray(rater_mask)
    options = {"num_classes": num_classes, "distance": distance}
    table, known = jax.device_get(similarities(samples, labels, rater_mask, **options))
    return table[known].astype(np.float64)


def hm_iou(
    samples: Maps,
    labels: Maps,
    *,
    num_classes: int = 2,
    rater_mask: Mask | None = None,
) -> float:
    """Returns the mean IoU of labels and samples that are matched as well as can be, in ``[0, 1]``.

    Both sets are repeated until they have the same size, the least common multiple of R and N, and
    are assigned one to one for the largest sum of IoU (mean over classes; two empty masks: 1). On
    the host.

    Args:
      samples: class ids drawn from the model, ``[N, *S]``.
      labels: raters' class ids, ``[R, *S]``.
      rater_mask: who labelled this image, ``[R]``.

    References:
      Kohl et al., A Hierarchical Probabilistic U-Net for Modeling Multi-Scale Ambiguities, 2019.

    >>> samples, labels = np.array([[1, 1, 0, 0]]), np.array([[1, 1, 0, 0], [0, 0, 1, 1]])
    >>> hm_iou(samples, labels)
    0.5
    """
    return hm_iou_of(_table(samples, labels, rater_mask, num_classes, "iou"))


def hm_iou_of(similar: Float[np.ndarray, "_R N"]) -> float:
    """Returns `hm_iou` of the `similarities` of those raters whose labels count."""
    raters, count = similar.shape
    if not raters:
        return math.nan
    size = math.lcm(raters, count)
    repeated = similar.repeat(size // raters, axis=0).repeat(size // count, axis=1)
    return float(repeated[scipy.optimize.linear_sum_assignment(repeated, maximize=True)].mean())


class DiceFamily(NamedTuple):
    """How well samples resemble raters' labels, in Dice, and the other way round.

    Attributes:
      max_samples: of each sample to the rater it resembles most, mean over samples: whether every
        sample is one that a rater would give.
      max_raters: of each rater to the sample most like theirs, mean over raters: whether every
        rater is covered.
      match: mean over raters, each with a sample of their own, assigned for the largest sum; NaN
        with fewer samples than raters.
      each: of sample r and the r-th of the raters who are present, ``[R]`` of these: for personal
        predictions. NaN unless there are as many samples.
    """

    max_samples: float
    max_raters: float
    match: float
    each: Float[np.ndarray, "R"]


def dice_family(
    samples: Maps,
    labels: Maps,
    *,
    rater_mask: Mask | None = None,
) -> DiceFamily:
    """Returns the best, matched and personal Dice of samples ``[N, *S]`` and labels ``[R, *S]``.

    All classes of the foreground count as one; Dice of two empty masks is 1. On the host. Papers
    report as Dice_max one of the two maxima, or half their sum.

    References:
      Wu et al., Diversified and Personalized Multi-rater Medical Image Segmentation, CVPR 2024.

    >>> samples = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1]])
    >>> family = dice_family(samples, np.array([[1, 1, 0, 0], [1, 0, 0, 0]]))
    >>> round(family.max_samples, 4), round(family.max_raters, 4), round(family.match, 4)
    (0.6, 0.8333, 0.75)
    """
    return dice_family_of(_table(samples, labels, rater_mask, 2, "dice"))


def dice_family_of(similar: Float[np.ndarray, "_R N"]) -> DiceFamily:
    """Returns `dice_family` of the `similarities` in Dice of those raters whose labels count."""
    raters, count = similar.shape
    if not raters:
        return DiceFamily(math.nan, math.nan, math.nan, np.full(0, np.nan))
    matched = scipy.optimize.linear_sum_assignment(similar, maximize=True)
    return DiceFamily(
        max_samples=float(similar.max(axis=0).mean()),
        max_raters=float(similar.max(axis=1).mean()),
        match=float(similar[matched].mean()) if count >= raters else math.nan,
        each=similar.diagonal().copy() if count == raters else np.full(raters, np.nan),
    )
