r"""Losses and scores of one image by the uncertainty of its annotations (UMA-Net, section III).

Beside every annotation stands a map sigma in ``[0, 1]`` of how little to trust it, voxel by voxel.
The losses weigh voxels by ``exp(-sigma)`` and pay ``sigma / 2`` for it; the least of the weighted
cross-entropy lies at ``sigma = log(2 CE)``, cut to ``[0, 1]``, so that only labels to which the
network gives less than 0.61 are distrusted. An annotation turned round where it is not trusted is a
calibration map, a guess at the truth; the scores say how undecided the guesses of an image are, and
how much they contradict each other.

Everything is binary: a class is a foreground of its own. Annotations that an image lacks are named
by `rater_mask` and drop out of every mean. It is ``[M]``, or ``[M, *S]`` where they lack a part: a
mean over annotations is one of those that there are at a voxel, one over voxels is of those that
have any. Labels that are 255 are lacking as well.

References:
  Wang et al., UMA-Net: Learning robust medical image segmentation from multi-source annotations.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from noisyjax.core import checks, ignored
from noisyjax.losses import probabilities

Labels = Integer[Array, "M *S"] | Bool[Array, "M *S"]
RaterMask = Bool[Array, "M"] | Bool[Array, "M *S"] | None


def weighted_cross_entropy(
    p: Float[Array, "*S"],
    labels: Labels,
    sigma: Float[Array, "M *S"],
    *,
    rater_mask: RaterMask = None,
) -> Float[Array, ""]:
    r"""Returns the cross-entropy weighted by uncertainty (Eq. 1), in nats.

    .. math:: \frac{1}{NM} \sum_{m,i} e^{-\sigma_i^m} CE(p_i, y_i^m) + \frac{\sigma_i^m}{2}

    It is 0 without any annotation. A label of probability 0 costs about 87 in float32, without
    gradient. What is no probability gives NaN.

    Args:
      p: probability of the foreground, ``[*S]``. From a sigmoid that saturates no gradient comes;
        see `weighted_cross_entropy_of_logits`.
      labels: 0 or False is background, all else foreground, ``[M, *S]``.
      sigma: uncertainty of each annotation, in ``[0, 1]``, ``[M, *S]``.
      rater_mask: which annotations the image has, ``[M]`` or ``[M, *S]``; the others count for
        nothing, whatever stands there.

    >>> p, labels = jnp.array([0.5, 0.5]), jnp.array([[0, 1]])
    >>> weighted_cross_entropy(p, labels, jnp.zeros((1, 2))).round(4)
    Array(0.6931, dtype=float32)
    """
    p, given = _counting("p", p, labels, sigma, rater_mask)
    probability = jnp.where(_foreground(labels), p[None], 1 - p[None])
    losses = -jnp.log(jnp.maximum(probability, jnp.finfo(p.dtype).tiny))
    return probabilities.refuse_others(_weighted_mean(losses, sigma, given), p)


def weighted_cross_entropy_of_logits(
    logits: Float[Array, "*S"],
    labels: Labels,
    sigma: Float[Array, "M *S"],
    *,
    rater_mask: RaterMask = None,
) -> Float[Array, ""]:
    """Returns `weighted_cross_entropy` of ``sigmoid(logits)``, exact for logits of any size."""
    logits, given = _counting("logits", logits, labels, sigma, rater_mask)
    losses = jax.nn.softplus(jnp.where(_foreground(labels), -logits[None], logits[None]))
    return _weighted_mean(losses, sigma, given)


def weighted_dice(
    p: Float[Array, "*S"],
    labels: Labels,
    sigma: Float[Array, "M *S"],
    *,
    rater_mask: RaterMask = None,
) -> Float[Array, ""]:
    r"""Returns the Dice loss weighted by uncertainty (Eq. 3).

    .. math:: \frac{1}{M} \sum_m \left( \frac{\sum_i e^{-\sigma_i^m} (p_i - y_i^m)^2}
              {\sum_i p_i^2 + \sum_i (y_i^m)^2} + \frac{1}{2N} \sum_i \sigma_i^m \right)

    With sigma 0 it is the mean of the soft Dice losses with squares below. It is 0 without any
    annotation, and the quotient 0 if p and a label are both empty. The arguments are those of
    `weighted_cross_entropy`.
    """
    p, given = _counting("p", p, labels, sigma, rater_mask)
    p, sigma = probabilities.at_least_float32(p, _cleaned(sigma, given))
    targets = (_foreground(labels) & given).astype(p.dtype)
    # Of each annotation where it is.
    own = jnp.where(given, p[None], 0.0)
    above = _total(jnp.exp(-sigma) * jnp.square(own - targets))
    below = _total(jnp.square(own)) + _total(targets)
    scale = ignored.scale(given, tuple(range(1, given.ndim)))
    losses = _ratio(above, below) + _total(sigma) / (2 * p.size) * scale
    return probabilities.refuse_others(_mean(losses, given.reshape(len(given), -1).any(1)), p)


def calibration_maps(labels: Labels, sigma: Float[Array, "M *S"]) -> Float[Array, "M *S"]:
    """Returns what each annotation says of the truth, ``|y - sigma|``, ``[M, *S]`` (Eq. 4).

    It is the label where that is trusted, its opposite where it is not; arguments as in
    `weighted_cross_entropy`.

    >>> calibration_maps(jnp.array([[0, 1, 1]]), jnp.array([[0.0, 0.25, 1.0]]))
    Array([[0.  , 0.75, 0.  ]], dtype=float32)
    """
    checks.ids("labels", labels, masks=True)
    checks.shape("sigma", sigma, labels.shape, like="labels")
    return jnp.abs(_foreground(labels).astype(sigma.dtype) - sigma)


def consistency(maps: Float[Array, "M *S"], *, rater_mask: RaterMask = None) -> Float[Array, ""]:
    """Returns the mean squared distance of the calibration maps ``[M, *S]`` to their mean (Eq. 5).

    It is in ``[0, 1/4]``. `rater_mask` tells which annotations the image has, ``[M]`` or
    ``[M, *S]``.
    """
    return _over_voxels(_variance(_cleaned(maps, rater_mask), rater_mask), rater_mask)


def confidence_score(
    maps: Float[Array, "M *S"], *, two_sided: bool = False, rater_mask: RaterMask = None
) -> Float[Array, ""]:
    r"""Returns u_a, how undecided the mean calibration map s is (Eq. 6).

    .. math:: \frac{\sum_i -s_i \log s_i}{\sum_i s_i}

    As printed the entropy has one side only: its summand is largest at ``s = 1/e``, and the score
    has no bound where s is small everywhere, so that images with little foreground score high.

    Args:
      maps: calibration maps, ``[M, *S]``.
      two_sided: whether ``-(1 - s) log(1 - s)`` is added above, the entropy of a binary variable.
      rater_mask: which annotations the image has, ``[M]`` or ``[M, *S]``.

    Returns:
      The score, ``[]``; 0 is decided. An image whose maps are empty has none: 0, high quality.

    >>> confidence_score(jnp.full((2, 8), 0.5)).round(4)
    Array(0.6931, dtype=float32)
    """
    mean = _mean(*probabilities.at_least_float32(maps), rater_mask)
    entropy = _entropy(mean) + _entropy(1 - mean) if two_sided else _entropy(mean)
    return _ratio(jnp.sum(entropy), jnp.sum(mean))


def agreement_score(
    maps: Float[Array, "M *S"], *, normalised: bool = False, rater_mask: RaterMask = None
) -> Float[Array, ""]:
    r"""Returns u_b, how much the calibration maps contradict each other (Eq. 7).

    .. math:: \frac{4 M \sum_i Var_m(s_i^m)}{\sum_m \sum_i s_i^m}

    Its largest value is not 1, as the paper has it, but ``4 (1 - 1/M)``: one map is full where the
    others are empty. The variance is that of the population, divided by M.

    Args:
      maps: calibration maps, ``[M, *S]``.
      normalised: whether to divide by the largest value, so that images with different numbers of
        annotations compare.
      rater_mask: which annotations the image has, ``[M]`` or ``[M, *S]``; M is their number.

    Returns:
      The score, ``[]``; 0 is agreement. An image whose maps are empty has none: 0, high quality.

    >>> maps = jnp.array([[1.0, 1.0], [0.0, 1.0]])
    >>> agreement_score(maps).round(4), agreement_score(maps, normalised=True).round(4)
    (Array(0.6667, dtype=float32), Array(0.3333, dtype=float32))
    """
    (maps,) = probabilities.at_least_float32(_cleaned(maps, rater_mask))
    # M cancels against the sum over m below.
    score = _ratio(4 * jnp.sum(_variance(maps, rater_mask)), jnp.sum(_mean(maps, rater_mask)))
    if not normalised:
        return score
    present = len(maps)
    if rater_mask is not None:
        present = jnp.sum(rater_mask.reshape(len(maps), -1).any(1))
    return _ratio(score, 4 * (1 - 1 / jnp.maximum(present, 1)))


def _counting(
    name: str, p: Array, labels: Labels, sigma: Array, rater_mask: RaterMask
) -> tuple[Float[Array, "*S"], Bool[Array, "M *S"]]:
    """Returns p, 0 where nobody annotates, and where each annotation is.

    Raises unless labels and uncertainties ``[M, *S]`` fit an image ``[*S]``.
    """
    checks.ids("labels", labels, masks=True)
    checks.shape("labels", labels, (None, *p.shape), like=name)
    checks.shape("sigma", sigma, labels.shape, like="labels")
    checks.masks(rater_mask=rater_mask)
    given = ignored.known(labels)
    if rater_mask is not None:
        shape = labels.shape[: rater_mask.ndim]
        checks.shape("rater_mask", rater_mask, shape, like="labels")
        given &= _per_voxel(rater_mask, labels)
    return jnp.where(given.any(0), p, 0.0), given


def _foreground(labels: Labels) -> Bool[Array, "M *S"]:
    return (labels != 0) & ignored.known(labels)


def _per_voxel(rater_mask: Array, values: Array) -> Bool[Array, "M ..."]:
    """Returns a mask of annotations that broadcasts against their values ``[M, ...]``."""
    if rater_mask.ndim == values.ndim:
        return rater_mask
    return rater_mask.reshape(-1, *(1,) * (values.ndim - 1))


def _cleaned(values: Float[Array, "M *S"], rater_mask: RaterMask) -> Float[Array, "M *S"]:
    """Zeros in place of the annotations that the image lacks."""
    checks.masks(rater_mask=rater_mask)
    if rater_mask is None:
        return values
    return jnp.where(_per_voxel(rater_mask, values), values, 0.0)


def _mean(values: Float[Array, "M *T"], rater_mask: RaterMask) -> Float[Array, "*T"]:
    """The mean over the annotations that the image has, or a voxel of it, 0 if it has none."""
    total = jnp.sum(_cleaned(values, rater_mask), axis=0)
    if rater_mask is None:
        return total / len(values)
    return total / jnp.maximum(jnp.sum(rater_mask, axis=0), 1)


def _over_voxels(values: Float[Array, "*S"], rater_mask: RaterMask) -> Float[Array, ""]:
    """The mean over the voxels that have any annotation."""
    if rater_mask is None or rater_mask.ndim == 1:
        return jnp.mean(values)
    return ignored.mean(values, rater_mask.any(0))


def _variance(values: Float[Array, "M *S"], rater_mask: RaterMask) -> Float[Array, "*S"]:
    return _mean(jnp.square(values - _mean(values, rater_mask)[None]), rater_mask)


def _weighted_mean(
    losses: Float[Array, "M *S"], sigma: Float[Array, "M *S"], rater_mask: RaterMask
) -> Float[Array, ""]:
    losses, sigma = probabilities.at_least_float32(losses, _cleaned(sigma, rater_mask))
    return _over_voxels(_mean(jnp.exp(-sigma) * losses + sigma / 2, rater_mask), rater_mask)


def _total(values: Float[Array, "M *S"]) -> Float[Array, "M"]:
    return jnp.sum(values, axis=tuple(range(1, values.ndim)))


def _ratio(above: Float[Array, "*T"], below: Float[Array, "*T"]) -> Float[Array, "*T"]:
    """The quotient, 0 where nothing stands below; its gradient is finite there as well."""
    filled = ~(below <= 0)  # NaN too, which shows
    return jnp.where(filled, above / jnp.where(filled, below, 1.0), 0.0)


def _entropy(s: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """``-s log s``, 0 at 0 with a finite slope."""
    return -s * jnp.log(jnp.maximum(s, jnp.finfo(s.dtype).tiny))
