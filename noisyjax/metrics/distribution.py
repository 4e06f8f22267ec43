"""Compares the label maps a model would draw with those the raters gave, as two sets.

Absent raters (`rater_mask`) are left out, and so is every pixel that a rater who is present left
without a label (id 255). Without any rater or pixel everything is NaN.

`hm_iou` and `dice_family` solve assignments on the host; the others are jitted and batched. More
samples give other numbers: state how many there are.
"""

import fractions
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer

from noisyjax.core import checks, slabs
from noisyjax.metrics import mask_pairs, matching

# On the host, but comparisons of the same two sets.
hm_iou = matching.hm_iou
dice_family = matching.dice_family
DiceFamily = matching.DiceFamily

ESTIMATORS = ("biased", "unbiased")

# Thresholds of `soft_threshold_dice`: of QUBIQ 2021, D-Persona (2024) and CURVAS-PDACVI (2025).
QUBIQ_9 = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
D_PERSONA_5 = (0.1, 0.3, 0.5, 0.7, 0.9)
CURVAS_PDACVI_6 = (0.1, 0.24, 0.38, 0.52, 0.66, 0.8)


def ged_squared(
    samples: Integer[Array, "N *S"],
    labels: Integer[Array, "R *S"],
    *,
    distance: str = "iou",
    num_classes: int = 2,
    include_background: bool = False,
    rater_mask: Bool[Array, "R"] | None = None,
    estimator: str = "biased",
    empty: str = "equal",
) -> Float[Array, ""]:
    r"""Returns the squared generalised energy distance of samples to labels, in ``[0, 2]``.

    .. math:: 2 E[d(S, Y)] - E[d(S, S')] - E[d(Y, Y')]

    The distance is ``1 - IoU`` or ``1 - Dice``, averaged over classes; two empty masks have
    distance 0. It is NaN if nobody labelled the image. The biased one is never negative and 0 for
    equal sets, but grows as samples become fewer: state how many there are.

    Args:
      samples: class ids drawn from the model, ``[N, *S]``.
      labels: raters' class ids, ``[R, *S]``.
      distance: "iou" or "dice".
      include_background: whether class 0 is part of the mean over classes.
      rater_mask: who labelled this image, ``[R]``; the others are left out.
      estimator: "biased", expectations over all ordered pairs, a map paired with itself included,
        or "unbiased", over pairs of different maps; it may be negative, and is NaN for one sample
        or one rater.
      empty: "equal", or "far" for a distance of 1 of two empty masks, even of one to itself (as
        D-Persona's code has it).

    References:
      Kohl et al., A Probabilistic U-Net, NeurIPS 2018 (Eq. 4).
      Wu et al., Diversified and Personalized Multi-rater Medical Image Segmentation, CVPR 2024.

    >>> samples, labels = jnp.array([[1, 1, 0]]), jnp.array([[1, 0, 0]])
    >>> float(ged_squared(samples, labels))
    1.0
    """
    mask_pairs.check(samples, labels, num_classes)
    checks.one_of("estimator", estimator, ESTIMATORS)
    classes = jnp.arange(0 if include_background else 1, num_classes)
    present = mask_pairs.present(labels, rater_mask)
    valid = mask_pairs.labelled(labels, present)
    distances = 1.0 - mask_pairs.similarities(
        mask_pairs.joined(samples, labels), classes, distance=distance, empty=empty, where=valid
    )
    expected = _biased if estimator == "biased" else _unbiased
    known = jnp.any(present) & jnp.any(valid)
    return jnp.where(known, expected(distances, samples.shape[0], present), jnp.nan)


def _biased(
    distances: Float[Array, "M M"], count: int, present: Bool[Array, "R"]
) -> Float[Array, ""]:
    raters = jnp.sum(present, dtype=jnp.float32)
    # With weights that sum to 1 on the samples and to -1 on the labels, the three terms are one.
    weights = jnp.concatenate(
        [jnp.full(count, 1.0 / count), jnp.where(present, -1.0 / raters, 0.0)]
    )
    # A sum of products and no matrix product, whose precision is lower on some accelerators. Both
    # similarities are positive definite kernels, so only rounding can fall below 0.
    squared = -jnp.sum(weights[:, None] * distances * weights[None, :])
    return jnp.maximum(squared, 0.0)


def _unbiased(
    distances: Float[Array, "M M"], count: int, present: Bool[Array, "R"]
) -> Float[Array, ""]:
    across = jnp.mean(distances[:count, count:], where=present[None, :])
    among_samples = jnp.mean(distances[:count, :count], where=_different(jnp.ones(count, bool)))
    among_raters = jnp.mean(distances[count:, count:], where=_different(present))
    return 2.0 * across - among_samples - among_raters


def _different(members: Bool[Array, "M"]) -> Bool[Array, "M M"]:
    """Returns which pairs are of two different members of a set."""
    return members[:, None] & members[None, :] & ~jnp.eye(len(members), dtype=bool)


def diversity(
    masks: Integer[Array, "N *S"],
    *,
    num_classes: int = 2,
    mask: Bool[Array, "N"] | None = None,
    distance: str = "iou",
    where: Bool[Array, "*S"] | None = None,
) -> Float[Array, ""]:
    """Returns the mean distance of all ordered pairs of a set, in ``[0, 1]``.

    A map is paired with itself too, as in `ged_squared`: these are its last two terms, of the
    samples and of the raters' labels, and are reported beside it.

    Args:
      masks: class ids, ``[N, *S]``.
      mask: which of them there are, ``[N]``.
      distance: "iou" or "dice".
      where: the pixels that count, ``[*S]``; never those without a label (255).

    >>> float(diversity(jnp.array([[1, 1, 0], [1, 0, 0]])))
    0.25
    """
    checks.ids("masks", masks)
    checks.masks(mask=mask, where=where)
    checks.at_least("num_classes", num_classes, 2)
    if mask is not None:
        checks.shape("mask", mask, masks.shape[:1], like="masks")
    present = mask_pairs.present(masks, mask)
    valid = mask_pairs.labelled(masks, present)
    if where is not None:
        checks.shape("where", where, masks.shape[1:], like="masks")
        valid &= where
    classes = jnp.arange(1, num_classes)
    similar = mask_pairs.similarities(masks, classes, distance=distance, where=valid)
    pairs = present[:, None] & present[None, :] & jnp.any(valid)
    return jnp.mean(1.0 - similar, where=pairs)


def collective_insight(
    samples: Integer[Array, "N *S"],
    labels: Integer[Array, "R *S"],
    *,
    rater_mask: Bool[Array, "R"] | None = None,
) -> Float[Array, ""]:
    """Returns the collective insight score of samples ``[N, *S]``, in ``[0, 1]``.

    With the sensitivity s of the union of samples for the union of labels, the mean d over raters
    of the Dice to the sample most like theirs, and the agreement a of the two sets' largest and
    smallest variances of a difference of two different masks, it is ``3 s d a / (s + d + a)``. All
    classes of the foreground count as one. NaN for one sample or one rater. The paper does not
    settle what the variance is of; implementations differ.

    References:
      Rahman et al., Ambiguous Medical Image Segmentation Using Diffusion Models, CVPR 2023.

    >>> samples = jnp.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1]])
    >>> labels = jnp.array([[1, 1, 0, 0], [1, 0, 0, 0]])
    >>> round(float(jax.jit(collective_insight)(samples, labels)), 4)
    0.6116
    """
    mask_pairs.check(samples, labels)
    present = mask_pairs.present(labels, rater_mask)
    valid = mask_pairs.labelled(labels, present)
    count = samples.shape[0]
    masks = (mask_pairs.joined(samples, labels) > 0) & valid[None]
    in_samples = jnp.any(masks[:count], axis=0)
    shown = mask_pairs.per_pixel(present, labels)
    in_labels = jnp.any(masks[count:] & shown, axis=0)
    shared, true = jnp.sum(in_samples & in_labels), jnp.sum(in_labels)
    sensitivity = jnp.where(true > 0, shared / jnp.maximum(true, 1), ~jnp.any(in_samples))

    both = mask_pairs.intersections(masks.reshape(len(masks), -1))
    size = jnp.diagonal(both)
    either = size[:, None] + size[None, :]
    dice = jnp.where(either > 0, 2.0 * both / jnp.maximum(either, 1.0), 1.0)
    best = jnp.mean(jnp.max(dice[count:, :count], axis=1), where=present)

    pixels = jnp.sum(valid, dtype=jnp.float32)
    variance = (either - 2.0 * both) / pixels - ((size[:, None] - size[None, :]) / pixels) ** 2
    drawn = _extremes(variance[:count, :count], _different(jnp.ones(count, bool)))
    given = _extremes(variance[count:, count:], _different(present))
    alike = 1.0 - 0.5 * jnp.sum(jnp.abs(drawn - given))
    product, total = sensitivity * best * alike, sensitivity + best + alike
    score = jnp.where(total == 0, 0.0, 3.0 * product / total)
    return jnp.where(jnp.any(valid), score, jnp.nan)


def _extremes(values: Float[Array, "M M"], where: Bool[Array, "M M"]) -> Float[Array, "2"]:
    """Returns the largest and the smallest of some values, NaN if there are none."""
    most = jnp.max(values, where=where, initial=-jnp.inf)
    least = jnp.min(values, where=where, initial=jnp.inf)
    return jnp.where(jnp.any(where), jnp.stack([most, least]), jnp.nan)


def soft_threshold_dice(
    probability: Float[Array, "*S"],
    labels: Integer[Array, "R *S"] | Bool[Array, "R *S"],
    *,
    thresholds: Sequence[float] = QUBIQ_9,
    rater_mask: Bool[Array, "R"] | None = None,
) -> Float[Array, ""]:
    """Returns the Dice of two maps cut at the same thresholds, the mean over these, in ``[0, 1]``.

    The mean prediction and the share of raters who marked a pixel are cut: above a threshold is
    foreground, at it is not. Two empty masks have Dice 1.

    Args:
      probability: mean of the samples' probabilities (not of their masks), ``[*S]``.
      labels: raters' labels, ``[R, *S]``; all classes of the foreground count as one.
      thresholds: in ``[0, 1)``: `QUBIQ_9`, `D_PERSONA_5`, `CURVAS_PDACVI_6`, or others. Shares are
        compared with them in whole numbers: a share may be equal to a threshold.
      rater_mask: who labelled this image, ``[R]``.

    References:
      Menze et al., QUBIQ: Quantification of Uncertainties in Biomedical Image Quantification, 2021.
      Ji et al., Learning Calibrated Medical Image Segmentation via Multi-rater Agreement Modeling,
      CVPR 2021.

    >>> labels = jnp.array([[1, 1, 0, 0], [1, 0, 0, 0]])
    >>> round(float(soft_threshold_dice(jnp.array([0.8, 0.6, 0.2, 0.0]), labels)), 4)
    0.7185
    """
    checks.ids("labels", labels, masks=True)
    checks.shape("probability", probability, labels.shape[1:], like="labels")
    checks.at_least("thresholds", len(thresholds), 1)
    present = mask_pairs.present(labels, rater_mask)
    raters = jnp.sum(present, dtype=jnp.int32)
    for threshold in thresholds:
        if not 0 <= threshold < 1:
            raise ValueError(f"thresholds: expected numbers in [0, 1), got {threshold}")

    def sums(probability: Array, labels: Array) -> tuple[list[tuple[Array, ...]], Array]:
        valid = mask_pairs.labelled(labels, present)
        shown = mask_pairs.per_pixel(present, labels)
        votes = jnp.sum((labels != 0) & shown, axis=0, dtype=jnp.int32)
        each = []
        for threshold in thresholds:
            share = fractions.Fraction(threshold).limit_denominator(10**6)
            marked = valid & (votes * share.denominator > share.numerator * raters)
            predicted = valid & (probability > threshold)
            each.append(tuple(map(jnp.sum, (predicted & marked, predicted, marked))))
        return each, jnp.sum(valid)

    scores = []
    each, pixels = slabs.summed(sums, probability, labels, leading=(0, 1))
    for both, predicted, marked in each:
        total = predicted.astype(jnp.float32) + marked
        score = 2.0 * both.astype(jnp.float32) / jnp.maximum(total, 1.0)
        scores.append(jnp.where(total > 0, score, 1.0))
    return jnp.where((raters > 0) & (pixels > 0), jnp.mean(jnp.stack(scores)), jnp.nan)


def ncc(
    sample_probs: Float[Array, "N *S L"],
    labels: Integer[Array, "R *S"],
    *,
    rater_mask: Bool[Array, "R"] | None = None,
) -> Float[Array, ""]:
    """Returns the normalised cross-correlation of two maps of uncertainty, in ``[-1, 1]``.

    One is the cross-entropy of the samples' mean with each sample, the other that of a rater's
    label with each sample, both means over samples; their correlation over pixels is averaged over
    raters. NaN if a map does not vary. It does not see offset and scale, and much easy background
    sways it.

    Args:
      sample_probs: probabilities of each sample, ``[N, *S, L]``.
      labels: class ids below L, ``[R, *S]``.
      rater_mask: who labelled this image, ``[R]``.

    References:
      Baumgartner et al., PHiSeg: Capturing Uncertainty in Medical Image Segmentation, MICCAI 2019.
    """
    present, valid = _correlated(sample_probs, labels, rater_mask)
    log_probs = jnp.mean(_log(sample_probs), axis=0)
    of_mean = -jnp.sum(jnp.mean(sample_probs, axis=0) * log_probs, axis=-1)

    def one_rater(label: Integer[Array, "*S"]) -> Float[Array, ""]:
        ids = jnp.where(valid, label.astype(jnp.int32), 0)
        of_label = -jnp.take_along_axis(log_probs, ids[..., None], axis=-1)[..., 0]
        return _pearson(of_mean, of_label, valid)

    return jnp.mean(jax.vmap(one_rater)(labels), where=present)


def _log(probs: Float[Array, "*B L"]) -> Float[Array, "*B L"]:
    """Returns log(p + 1e-8), exact near p = 1, where float32 has only the other classes exactly."""
    large = probs > 0.5
    others = jnp.sum(jnp.where(large, 0.0, probs), axis=-1, keepdims=True)
    near_one = jnp.log1p(1e-8 - jnp.where(large, others, 0.0))
    return jnp.where(large, near_one, jnp.log(probs + 1e-8))


def ncc_variance(
    sample_probs: Float[Array, "N *S L"],
    labels: Integer[Array, "R *S"],
    *,
    rater_mask: Bool[Array, "R"] | None = None,
) -> Float[Array, ""]:
    r"""Returns the correlation over pixels of the mean prediction's entropy and raters' variance.

    The variance is that of the raters' one-hot labels, :math:`\sum_l \bar y_l (1 - \bar y_l)`. NaN
    if one of the two does not vary. Arguments are those of `ncc`.

    References:
      Kahl et al., VALUES: A Framework for Systematic Validation of Uncertainty Estimation in
      Semantic Segmentation, ICLR 2024 (whose code gives (n - 1) / n times this).
    """
    present, valid = _correlated(sample_probs, labels, rater_mask)
    entropy = jnp.sum(jax.scipy.special.entr(jnp.mean(sample_probs, axis=0)), axis=-1)
    shown = mask_pairs.per_pixel(present, labels)
    variance = jnp.zeros(valid.shape)
    for index in range(sample_probs.shape[-1]):
        share = jnp.mean(labels == index, axis=0, where=shown)
        variance += share * (1.0 - share)
    return _pearson(entropy, variance, valid)


def _correlated(
    sample_probs: Array, labels: Array, rater_mask: Array | None
) -> tuple[Bool[Array, "R"], Bool[Array, "*S"]]:
    """Returns who is present and which pixels count, of arguments that are checked."""
    checks.ids("labels", labels)
    checks.shape("sample_probs", sample_probs, (None, *labels.shape[1:], None), like="labels")
    present = mask_pairs.present(labels, rater_mask)
    return present, mask_pairs.labelled(labels, present)


def _pearson(
    one: Float[Array, "*S"], other: Float[Array, "*S"], where: Bool[Array, "*S"]
) -> Float[Array, ""]:
    def centred(values: Float[Array, "*S"]) -> Float[Array, "*S"]:
        return jnp.where(where, values - jnp.mean(values, where=where), 0.0)

    def varies(values: Float[Array, "*S"]) -> Bool[Array, ""]:
        # Not whether the variance is zero: a mean is rounded.
        most = jnp.max(values, where=where, initial=-jnp.inf)
        return most > jnp.min(values, where=where, initial=jnp.inf)

    a, b = centred(one), centred(other)
    spread = jnp.sqrt(jnp.sum(a * a)) * jnp.sqrt(jnp.sum(b * b))
    return jnp.where(varies(one) & varies(other), jnp.sum(a * b) / spread, jnp.nan)


def agreement(
    labels: Integer[Array, "R *S"], *, rater_mask: Bool[Array, "R"] | None = None
) -> Float[Array, ""]:
    """Returns the mean IoU of the foreground over all pairs of different raters.

    All classes of the foreground count as one, and two empty masks agree. Raters who did not label
    the image (``rater_mask [R]``) are left out; NaN with fewer than two.

    >>> float(agreement(jnp.array([[1, 1, 0], [1, 0, 0]])))
    0.5
    """
    checks.ids("labels", labels)
    present = mask_pairs.present(labels, rater_mask)
    valid = mask_pairs.labelled(labels, present)
    foreground = (labels > 0).astype(jnp.uint8)
    similar = mask_pairs.similarities(foreground, jnp.arange(1, 2), where=valid)
    return jnp.mean(similar, where=_different(present) & jnp.any(valid))


def rater_samples(rater_probs: Float[Array, "R *S L"]) -> Int[Array, "R *S"]:
    """Returns the label map each modelled rater would most likely give, int32 ``[R, *S]``.

    The maps of ``rater_probs [R, *S, L]`` are the samples of a model with confusion matrices:
    compare them with the raters' labels by `ged_squared`. The first class wins a tie.
    """
    return jnp.argmax(rater_probs, axis=-1).astype(jnp.int32)
