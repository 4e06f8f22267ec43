"""Calibration: whether things happen as often as predicted.

Predictions are divided into bins by their probability. What is kept of each bin can be added over
images before anything is divided::

    bins = calibration.bins(p, truth)
    bins = jax.tree.map(jnp.add, bins, others)
    error = calibration.ece(bins)

`bins`, `ece`, `mce`, `ace` and `adaptive_ece` take one class against the rest; `top_label_ece` and
`multirater_ece` look at the most probable class only. The two differ much where nearly all pixels
are background. Pixels whose truth is 255 do not count.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer

from noisyjax.core import checks, ignored, slabs

# A sum of more pixels than this is made of sums of small parts: one long float32 sum is wrong by
# percents at 2**20 pixels and stops growing at 2**24.
_PIXELS_OF_ONE_SUM = 2**16
_PIXELS_OF_A_PART = 2**8


class Bins(NamedTuple):
    """What is known of the pixels of each bin, ``[K]`` each.

    Attributes:
      count: number of pixels, int32 (exact up to 2**31; add more in int64 on the host).
      probability: sum of the probabilities that they are the object, float32.
      positive: number of them that are, int32.
    """

    count: Integer[Array, "*B K"]
    probability: Float[Array, "*B K"]
    positive: Integer[Array, "*B K"]


def bins(
    p: Float[Array, "*S"],
    truth: Bool[Array, "*S"] | Integer[Array, "*S"],
    *,
    num_bins: int = 15,
    where: Bool[Array, "*S"] | None = None,
) -> Bins:
    """Divides pixels into bins of equal width by the probability of the object.

    Args:
      p: probability that a pixel is the object, ``[*S]``, in ``[0, 1]``; a NaN makes the error NaN.
      truth: ``[*S]``, the object where it is not zero.
      num_bins: K; bin k holds probabilities in ``(k / K, (k + 1) / K]``, the first also 0.
      where: the pixels that count, ``[*S]``.

    >>> bins(jnp.array([0.2, 0.4, 0.9]), jnp.array([0, 1, 1]), num_bins=2).count
    Array([2, 1], dtype=int32)
    """
    where = _counting(p, truth, where)
    checks.positive("num_bins", num_bins)

    def sums(p: Array, truth: Array, where: Array) -> Bins:
        index = jnp.searchsorted(_edges(num_bins, p.dtype), p.reshape(-1))
        return _sums(index, p, truth != 0, where, num_bins)

    return slabs.summed(sums, p, truth, where)


def reliability_curve(bins: Bins) -> tuple[Float[Array, "*B K"], Float[Array, "*B K"]]:
    """Returns (mean probability, share of the object) of each bin ``[K]``, NaN where it is empty.

    A calibrated prediction lies on the diagonal.
    """
    filled = bins.count > 0
    count = jnp.maximum(bins.count, 1)
    mean, share = bins.probability / count, bins.positive / count
    return jnp.where(filled, mean, jnp.nan), jnp.where(filled, share, jnp.nan)


def ece(bins: Bins) -> Float[Array, "*B"]:
    """Returns the expected calibration error: the curve's mean distance from the diagonal.

    The bins, or sums of several images' bins, are weighted by their pixels (Naeini et al. 2015; Guo
    et al. 2017, Equation 3). It is in ``[0, 1]``; NaN if no pixel counts.

    >>> ece(bins(jnp.array([0.75, 0.75, 0.75, 0.75]), jnp.array([1, 1, 0, 0])))
    Array(0.25, dtype=float32)
    """
    gaps = jnp.abs(bins.probability - bins.positive)
    total = jnp.sum(bins.count, axis=-1)
    error = jnp.sum(gaps, axis=-1) / jnp.maximum(total, 1)
    return jnp.where(total > 0, error, jnp.nan)


def mce(bins: Bins) -> Float[Array, "*B"]:
    """Returns the maximum calibration error, the largest gap of a bin that is not empty.

    A bin's gap is the distance of its mean probability from its share of the object (Naeini et al.
    2015). It is in ``[0, 1]``; NaN if no pixel counts.
    """
    gaps, filled = _gaps(bins)
    return jnp.where(filled.any(axis=-1), jnp.max(gaps, axis=-1), jnp.nan)


def ace(bins: Bins) -> Float[Array, "*B"]:
    """Returns the average calibration error, the plain mean of the gaps of bins that are not empty.

    Rare probabilities weigh as much as frequent ones (Neumann et al. 2018). It is in ``[0, 1]``;
    NaN if no pixel counts. The "ACE" of Nixon et al. is another: `adaptive_ece`.
    """
    gaps, filled = _gaps(bins)
    count = jnp.sum(filled, axis=-1)
    return jnp.where(count > 0, jnp.sum(gaps, axis=-1) / jnp.maximum(count, 1), jnp.nan)


def adaptive_ece(
    p: Float[Array, "*S"],
    truth: Bool[Array, "*S"] | Integer[Array, "*S"],
    *,
    num_groups: int = 15,
    where: Bool[Array, "*S"] | None = None,
) -> Float[Array, ""]:
    """Returns the expected calibration error over groups of equally many pixels.

    Pixels are sorted by probability and cut into groups whose sizes differ by at most one, the
    larger first (Nixon et al. 2019). Equal probabilities that lie on a cut are divided by the order
    of the pixels. It is in ``[0, 1]``; NaN if no pixel counts.

    Args:
      p: probability that a pixel is the object, ``[*S]``; a NaN makes the error NaN.
      truth: ``[*S]``, the object where it is not zero.
      num_groups: K; with fewer pixels than groups the last ones are empty and do not count.
      where: the pixels that count, ``[*S]``.

    >>> p, truth = jnp.array([0.2, 0.4, 0.9, 0.9, 0.9]), jnp.array([0, 1, 1, 1, 0])
    >>> adaptive_ece(p, truth, num_groups=2).round(2)
    Array(0.26, dtype=float32)
    """
    inside = _counting(p, truth, where)
    checks.positive("num_groups", num_groups)
    keys = jnp.where(inside, p, jnp.inf).reshape(-1)
    keys, is_object = jax.lax.sort((keys, (truth != 0).reshape(-1)), num_keys=1, is_stable=True)
    number = jnp.sum(inside, dtype=jnp.int32)
    size, larger = jnp.divmod(number, num_groups)
    rank = jnp.arange(keys.size, dtype=jnp.int32)
    of_larger = rank // (size + 1)
    of_smaller = larger + (rank - larger * (size + 1)) // jnp.maximum(size, 1)
    index = jnp.where(rank < larger * (size + 1), of_larger, of_smaller)
    error = ece(_sums(index, keys, is_object, rank < number, num_groups))
    # NaN is sorted behind the pixels that do not count.
    return jnp.where(jnp.any(jnp.isnan(p) & inside), jnp.nan, error)


def brier(
    probs: Float[Array, "..."],
    truth: Bool[Array, "*S"] | Integer[Array, "*S"],
    *,
    where: Bool[Array, "*S"] | None = None,
) -> Float[Array, ""]:
    """Returns the mean squared difference of probabilities from what happened (Brier 1950).

    With an axis of classes it is the sum over classes, in ``[0, 2]``: of two classes it is twice
    the score of one. Without, it is the score of one class, in ``[0, 1]``. NaN if no pixel counts.

    Args:
      probs: of each class, ``[*S, L]``, or of the object, ``[*S]``; the shape of `truth` tells.
      truth: ``[*S]``, class ids, or the object where it is not zero.
      where: the pixels that count, ``[*S]``.

    >>> brier(jnp.array([0.5, 1.0]), jnp.array([1, 1]))
    Array(0.125, dtype=float32)
    >>> brier(jnp.array([[0.5, 0.5], [0.0, 1.0]]), jnp.array([1, 1]))
    Array(0.25, dtype=float32)
    """
    if len(probs.shape) == len(truth.shape):
        inside = _counting(probs, truth, where, name="probs")
    else:
        inside = _counting_classes(probs, truth, where)

    def total(inside: Array, truth: Array, probs: Array) -> Array:
        if probs.ndim == truth.ndim:
            squares = jnp.square(probs - (truth != 0))
        else:
            happened = jax.nn.one_hot(truth, probs.shape[-1], dtype=probs.dtype)
            squares = jnp.sum(jnp.square(probs - happened), axis=-1)
        # What does not count may be anything, NaN too.
        return jnp.sum(jnp.where(inside, squares, 0.0))

    mean = slabs.summed(total, inside, truth, probs) / max(inside.size, 1)
    return jnp.where(jnp.any(inside), mean * ignored.scale(inside).astype(mean.dtype), jnp.nan)


def label_nll(
    probs: Float[Array, "#R *S L"], labels: Integer[Array, "R *S"], rater_mask: Bool[Array, "R"]
) -> Float[Array, ""]:
    """Returns the mean negative log-likelihood of the labels that the raters gave to one image.

    It needs no truth. With ``probs = A p`` (of each rater; R may be 1) it is the data term of Zhang
    et al. 2020, Eq. 3. The mean is over the labels that the raters of the mask gave to pixels; NaN
    if there are none.
    """
    checks.ids("labels", labels)
    checks.masks(rater_mask=rater_mask)

    def sums(labels: Array, probs: Array) -> tuple[Array, Array]:
        probs = jnp.broadcast_to(probs, (*labels.shape, probs.shape[-1]))
        chosen = jnp.take_along_axis(probs, labels.astype(jnp.int32)[..., None], axis=-1)[..., 0]
        nll = -jnp.log(jnp.maximum(chosen, jnp.finfo(probs.dtype).tiny))
        given = ignored.given(labels, rater_mask)
        return jnp.sum(nll, where=given), jnp.sum(given, dtype=nll.dtype)

    total, count = slabs.summed(sums, labels, probs, leading=(1, 1))
    return total / count


def top_label_ece(
    probs: Float[Array, "*S L"],
    truth: Integer[Array, "*S"],
    *,
    num_bins: int = 50,
    where: Bool[Array, "*S"] | None = None,
) -> Float[Array, ""]:
    """Returns the expected calibration error of the most probable class, with torchmetrics' bins.

    Bin k holds probabilities in ``[k / K, (k + 1) / K)``, and one more bin those that are 1. All
    classes count, the background too. Probabilities are taken as they are: torchmetrics applies a
    softmax to all of them if one lies outside of ``[0, 1]``, be it by rounding. It is in
    ``[0, 1]``; NaN if no pixel counts.

    Args:
      probs: of each class, ``[*S, L]``. The first of equal ones is the top label.
      truth: class ids, ``[*S]``.
      num_bins: K.
      where: the pixels that count, ``[*S]``.

    >>> top = jnp.array([0.8, 0.6, 0.9, 0.9, 0.9])
    >>> probs, truth = jnp.stack([1 - top, top], -1), jnp.array([1, 0, 1, 1, 0])
    >>> round(float(top_label_ece(probs, truth)), 4)
    0.3
    """
    where = _counting_classes(probs, truth, where)
    checks.positive("num_bins", num_bins)

    def sums(truth: Array, where: Array, probs: Array) -> Bins:
        confidence, label = jnp.max(probs, axis=-1), jnp.argmax(probs, axis=-1)
        edges = _edges(num_bins, probs.dtype, last=True)
        index = jnp.searchsorted(edges, confidence.reshape(-1), side="right")
        return _sums(index, confidence, label == truth, where, num_bins + 1)

    return ece(slabs.summed(sums, truth, where, probs))


def multirater_ece(
    probs: Float[Array, "*S L"],
    labels: Integer[Array, "R *S"],
    *,
    num_bins: int = 50,
    rater_mask: Bool[Array, "R"] | None = None,
) -> Float[Array, ""]:
    """Returns the mean over raters of `top_label_ece` with the rater's label as truth.

    It is the calibration error of the CURVAS challenge (2024). Raters of whom no pixel counts are
    left out; NaN if there are no others.

    Args:
      probs: of each class, ``[*S, L]``.
      labels: raters' class ids, ``[R, *S]``; pixels of no class (255) are left out for that rater.
      num_bins: as in `top_label_ece`.
      rater_mask: who labelled this image, ``[R]``.
    """
    checks.ids("labels", labels)
    checks.shape("labels", labels, (None, *probs.shape[:-1]), like="probs")
    checks.masks(rater_mask=rater_mask)
    present = jnp.ones(labels.shape[0], bool)
    if rater_mask is not None:
        checks.shape("rater_mask", rater_mask, labels.shape[:1], like="labels")
        present = rater_mask

    def of_rater(label: Integer[Array, "*S"], here: Bool[Array, ""]) -> Float[Array, ""]:
        given = (label >= 0) & (label < probs.shape[-1]) & here
        return top_label_ece(probs, label, num_bins=num_bins, where=given)

    each = jax.vmap(of_rater)(labels, present)
    return jnp.nanmean(each)


def _counting(
    p: Float[Array, "*S"],
    truth: Bool[Array, "*S"] | Integer[Array, "*S"],
    where: Bool[Array, "*S"] | None,
    *,
    name: str = "p",
) -> Bool[Array, "*S"]:
    """Returns which pixels count, of arguments that are checked."""
    checks.shape("truth", truth, p.shape, like=name)
    checks.ids("truth", truth, masks=True)
    checks.masks(where=where)
    if where is not None:
        checks.shape("where", where, p.shape, like=name)
    return ignored.counting(truth, where)


def _counting_classes(
    probs: Float[Array, "*S L"], truth: Integer[Array, "*S"], where: Bool[Array, "*S"] | None
) -> Bool[Array, "*S"]:
    """Returns which pixels count, of arguments that are checked."""
    checks.shape("probs", probs, (*truth.shape, None), like="truth and classes")
    checks.ids("truth", truth, masks=True)
    checks.masks(where=where)
    if where is not None:
        checks.shape("where", where, truth.shape, like="truth")
    return ignored.counting(truth, where)


def _edges(num_bins: int, dtype: jnp.dtype, *, last: bool = False) -> Float[Array, "K"]:
    """Returns the edges between bins, and 1 behind them with `last`.

    Each is the number nearest to ``k / K``, so that a probability which is meant to lie on an edge
    does, in any precision.
    """
    return jnp.asarray(np.arange(1, num_bins + last) / num_bins, dtype)


def _sums(
    index: Integer[Array, "N"],
    p: Float[Array, "*S"],
    is_object: Bool[Array, "*S"],
    inside: Bool[Array, "*S"],
    num_bins: int,
) -> Bins:
    """Returns the sums of each bin; `index` is the bin of each pixel, in the order of the array."""

    def number(mask: Bool[Array, "*S"]) -> Integer[Array, "K"]:
        return jnp.zeros(num_bins, jnp.int32).at[index].add(mask.reshape(-1).astype(jnp.int32))

    # What does not count may be anything, NaN too.
    values = jnp.where(inside, p, 0.0).reshape(-1)
    size = _PIXELS_OF_A_PART if values.size > _PIXELS_OF_ONE_SUM else max(values.size, 1)
    part = jnp.arange(values.size, dtype=jnp.int32) // size
    sums = jnp.zeros((-(-values.size // size), num_bins), values.dtype).at[part, index].add(values)
    return Bins(number(inside), jnp.sum(sums, axis=0), number(inside & is_object))


def _gaps(bins: Bins) -> tuple[Float[Array, "*B K"], Bool[Array, "*B K"]]:
    """Returns the gap of each bin, 0 where it is empty, and which bins are not."""
    filled = bins.count > 0
    gaps = jnp.abs(bins.probability - bins.positive) / jnp.maximum(bins.count, 1)
    return jnp.where(filled, gaps, 0.0), filled
