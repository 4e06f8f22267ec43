"""Learn from several annotations, each trusted where it deserves it (UMA-Net, Wang et al. 2023).

Learning robust medical image segmentation from multi-source annotations, section III. In training a
second network, the AUEM, gives each annotation a map of its uncertainty, which weighs the
segmenter's losses voxel by voxel. An annotation turned round where it is not trusted is a
calibration map, a guess at the truth, and the guesses are drawn together (consistency). An image
whose guesses stay undecided or contradict each other is of low quality (QAM): it teaches the
backbone through an auxiliary predictor and leaves the primary one alone. Prediction is the plain
segmenter's: backbone and primary predictor.

The paper's: the losses, the scores and their thresholds, the hard split, the weights, the ramp of
the consistency ("sigmoid-shaped"; its formula here is the usual one of Laine & Aila 2017). The
paper gives no number of updates for the ramp.

Ours: images may have different numbers of annotations; the soft assignment; the warm-up; several
foreground classes are one against the background each (`logit_c - logit_0`), and the worst of them
scores the image; the AUEM's sizes and low start (`models.auem`). An example that is left out
(`auxiliary=False`) teaches nothing at all, its consistency included.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from noisyjax import models
from noisyjax.core import checks, ignored
from noisyjax.losses import uncertainty
from noisyjax.methods import base, network
from noisyjax.models import blocks

# The part of the variables that predicts.
_KEPT = "segmenter"


def build(
    segmenter: Any,
    *,
    num_raters: int,
    num_classes: int,
    auem: bool = True,
    consistency: bool = True,
    quality: bool = True,
    auxiliary: bool = True,
    dice_weight: float | int = 1.0,
    consistency_weight: float | int = 1.0,
    ramp_steps: int = 1000,
    confidence_threshold: float | int = 0.2,
    agreement_threshold: float | int = 0.2,
    two_sided: bool = False,
    normalised: bool = False,
    temperature: float | int = 0.0,
    warmup_steps: int = 200,
    widths: tuple[int, ...] = (),
    start: float | int = -2.0,
) -> base.Method:
    """Builds the method; it has `assess`.

    Args:
      segmenter: a network of `noisyjax.models`; its last layer is the primary predictor.
      auem: whether uncertainties are learnt; else they are 0, and the losses are the plain ones,
        meant over the annotations (without `quality` as well, the plain network's).
      consistency: whether the calibration maps of an image are drawn together. Without `auem`
        nothing can move them, and the term is left out.
      quality: whether images are scored; else all are of high quality.
      auxiliary: whether images of low quality teach the auxiliary predictor; else they are left
        out. Without `quality` there are none.
      dice_weight: lambda of Eq. 8.
      consistency_weight: the largest alpha of Eq. 8.
      ramp_steps: updates until alpha is there: ``exp(-5 (1 - step / ramp_steps)^2)`` of it.
      confidence_threshold: tau_a; an image is of high quality if its confidence score is below it,
      agreement_threshold: and its agreement score below tau_b. For breast MRI the paper has 0.15
        and 0.1.
      two_sided: see `uncertainty.confidence_score`.
      normalised: see `uncertainty.agreement_score`.
      temperature: T. With 0 quality is 1 or 0, as in the paper; else the product of
        ``sigmoid((tau - u) / T)`` for both scores, and an image teaches both predictors.
      warmup_steps: updates in which every image is of high quality, for the first scores say
        nothing; none in the paper.
      widths: channels of the AUEM's levels; a third of the segmenter's, or (5, 10, 21), if empty,
        so that a training step takes about twice that of the segmenter alone with five raters.
      start: the AUEM's uncertainties start at about the sigmoid of this.
    """
    checks.positive("dice_weight", dice_weight, or_zero=True)
    checks.positive("consistency_weight", consistency_weight, or_zero=True)
    checks.positive("temperature", temperature, or_zero=True)
    checks.positive("warmup_steps", warmup_steps, or_zero=True)
    checks.positive("ramp_steps", ramp_steps)
    modules = {_KEPT: segmenter}
    if auem:
        sizes = {"num_raters": num_raters, "num_classes": num_classes - 1}
        widths = tuple(widths) or _third(segmenter)
        dtype = getattr(segmenter, "dtype", jnp.float32)
        modules["auem"] = models.auem.AUEM(**sizes, widths=widths, dtype=dtype, start=start)
    if quality and auxiliary:
        modules["auxiliary"] = blocks.Conv(num_classes, 1, use_bias=True)
    limits = {"thresholds": (confidence_threshold, agreement_threshold), "temperature": temperature}
    scoring = {"two_sided": two_sided, "normalised": normalised}
    assignment = _soft_assignment if temperature else _hard_assignment
    setup = _Setup(
        modules=modules,
        num_classes=num_classes,
        scores=jax.vmap(functools.partial(quality_scores, **limits, **scoring)),
        compare=jax.vmap(functools.partial(_compare, dice_weight=dice_weight)),
        objective=assignment if "auxiliary" in modules else _high_quality_alone,
        scored_from=warmup_steps if quality else None,
        consistency_weight=consistency_weight if auem and consistency else None,
        ramp_steps=ramp_steps,
    )
    return base.Method(
        functools.partial(_init, setup),
        functools.partial(_loss, setup),
        functools.partial(network.predict, segmenter),
        assess=functools.partial(_assess, setup),
    )


class _Setup(NamedTuple):
    """What a method is made of: its modules by name, functions of a batch, and weights."""

    modules: dict[str, Any]
    num_classes: int
    scores: Callable[..., tuple[Array, Array, Array]]
    compare: Callable[..., tuple[Array, Array]]
    objective: Callable[..., tuple[Array, Array, Array]]
    # The first update whose quality is that of the scores; None where all are of high quality.
    scored_from: int | None
    # The largest alpha, or None without consistency.
    consistency_weight: float | int | None
    ramp_steps: int


def _high_quality_alone(
    compare: Callable, logits: Array, other: None, is_high_quality: Array
) -> tuple[Array, Array, Array]:
    """Losses, their cross-entropy and weights of the examples without an auxiliary predictor."""
    del other
    losses, nll = (is_high_quality * terms for terms in compare(logits))
    return losses, nll, is_high_quality


def _hard_assignment(
    compare: Callable, logits: Array, other: Array, is_high_quality: Array
) -> tuple[Array, Array, Array]:
    """The same if each image has one predictor: half the work of both losses."""
    primary = jnp.expand_dims(is_high_quality, range(1, logits.ndim)) > 0
    losses, nll = compare(jnp.where(primary, logits, other))
    return losses, nll, jnp.ones_like(is_high_quality)


def _soft_assignment(
    compare: Callable, logits: Array, other: Array, is_high_quality: Array
) -> tuple[Array, Array, Array]:
    """The same if each image teaches both predictors by its weights."""
    both = zip(compare(logits), compare(other), strict=True)
    losses, nll = (is_high_quality * one + (1 - is_high_quality) * two for one, two in both)
    return losses, nll, jnp.ones_like(is_high_quality)


def _init(setup: _Setup, key: Array, batch: base.Batch) -> base.Variables:
    modules, keys, image = setup.modules, jax.random.split(key, 3), batch["image"]
    variables = network.init_segmenter(modules[_KEPT], keys[0], batch)
    if "auem" in modules:
        inputs = (image, batch["labels"], batch["rater_mask"])
        part = network.init("auem", modules["auem"], keys[1], *inputs)
        variables = network.merge(variables, part)
    if "auxiliary" in modules:
        evaluate = functools.partial(network.evaluate, modules[_KEPT])
        features = jax.eval_shape(evaluate, variables, image).features
        like = jnp.zeros(features.shape, features.dtype)
        part = network.init("auxiliary", modules["auxiliary"], keys[2], like)
        variables = network.merge(variables, part)
    return variables


def _uncertainties(setup: _Setup, variables: base.Variables, batch: base.Batch, **options) -> Array:
    """Of each annotation and foreground class, ``[B, R, *S, C]``."""
    if "auem" not in setup.modules:
        return jnp.zeros((*batch["labels"].shape, setup.num_classes - 1))
    inputs = (batch["image"], batch["labels"], batch["rater_mask"])
    return network.run("auem", setup.modules["auem"], variables, *inputs, **options)[0]


def _loss(setup: _Setup, variables, batch, key, step):
    modules, weight = setup.modules, batch["weight"]
    given = jax.vmap(ignored.given)(batch["labels"], batch["rater_mask"])
    keys = base.dropout_keys(key, batch["id"], step)
    output, state = network.segment(modules[_KEPT], variables, batch, keys)
    sigma = _uncertainties(setup, variables, batch, train=True, weight=weight)
    maps = calibration_maps(batch["labels"], sigma)
    is_high_quality = jnp.ones(sigma.shape[0])
    if setup.scored_from is not None:
        scored = setup.scores(jax.lax.stop_gradient(maps), given)[-1]
        is_high_quality = jnp.where(step < setup.scored_from, is_high_quality, scored)
    other = None
    if "auxiliary" in modules:
        other, _ = network.run("auxiliary", modules["auxiliary"], variables, output.features)
    losses, nll, example_weight = setup.objective(
        lambda logits: setup.compare(logits, batch["labels"], sigma, given),
        output.logits,
        other,
        is_high_quality,
    )
    distance = jax.vmap(_distance)(maps, given)
    if setup.consistency_weight is not None:
        alpha = base.ramp(step, setup.ramp_steps)
        losses += example_weight * setup.consistency_weight * alpha * distance
    metrics = {"nll": nll, "high_quality": is_high_quality, "consistency": distance}
    if setup.scored_from is not None:
        metrics[base.LEARNING] = is_high_quality
    return base.weighted(losses, weight, metrics, state)


def _assess(setup: _Setup, variables: base.Variables, batch: base.Batch) -> base.Assessment:
    sigma = _uncertainties(setup, variables, batch)
    maps = calibration_maps(batch["labels"], sigma)
    given = jax.vmap(ignored.given)(batch["labels"], batch["rater_mask"])
    return base.Assessment(sigma, maps, *setup.scores(maps, given))


def calibration_maps(
    labels: Integer[Array, "B M *S"], sigma: Float[Array, "B M *S C"]
) -> Float[Array, "B M *S C"]:
    """Returns a map, in ``[0, 1]``, of each annotation and foreground class (Eq. 4)."""
    classes = range(1, sigma.shape[-1] + 1)
    maps = [uncertainty.calibration_maps(labels == c, sigma[..., c - 1]) for c in classes]
    return jnp.stack(maps, axis=-1)


def quality_scores(
    maps: Float[Array, "M *S C"],
    rater_mask: Bool[Array, "M"] | Bool[Array, "M *S"],
    *,
    thresholds: tuple[float | int, float | int] = (0.2, 0.2),
    temperature: float | int = 0.0,
    two_sided: bool = False,
    normalised: bool = False,
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """Scores the annotations of one image by their calibration maps (the QAM, section III-C).

    Returns the confidence and the agreement score, each of the class that has the worst, and the
    weight of the image among those of high quality, in ``[0, 1]``. An image whose maps are empty
    scores 0 and 0, which is the best. `rater_mask` tells which annotations the image has, ``[M]``,
    or where, ``[M, *S]``. `thresholds` are tau_a and tau_b; the other options are those
    of `build`.

    >>> maps = jnp.array([[[1.0], [1.0]], [[0.0], [1.0]]])
    >>> [round(float(x), 4) for x in quality_scores(maps, jnp.array([True, True]))]
    [0.231, 0.6667, 0.0]
    """
    options = {"rater_mask": rater_mask}
    each = [maps[..., c] for c in range(maps.shape[-1])]
    confidence = [uncertainty.confidence_score(own, two_sided=two_sided, **options) for own in each]
    agreement = [uncertainty.agreement_score(own, normalised=normalised, **options) for own in each]
    scores = jnp.stack([jnp.stack(confidence).max(), jnp.stack(agreement).max()])
    limits = jnp.array(thresholds, scores.dtype)
    if temperature:
        weights = jax.nn.sigmoid((limits - scores) / temperature)
    else:
        weights = (scores < limits).astype(scores.dtype)
    return *scores, weights.prod()


def export(variables: base.Variables) -> base.Variables:
    """Returns the backbone and the primary predictor alone, all that `Method.predict` reads."""
    return {kind: {_KEPT: tree[_KEPT]} for kind, tree in variables.items() if _KEPT in tree}


def _compare(
    logits: Array, labels: Array, sigma: Array, rater_mask: Array, *, dice_weight: float | int
) -> tuple[Array, Array]:
    """One predictor's Eq. 8 without the consistency, and its cross-entropy, means over classes."""
    losses, nlls = [], []
    for c in range(1, logits.shape[-1]):
        odds, mask, own = logits[..., c] - logits[..., 0], labels == c, sigma[..., c - 1]
        nll = uncertainty.weighted_cross_entropy_of_logits(odds, mask, own, rater_mask=rater_mask)
        p = jax.nn.sigmoid(odds)
        dice = uncertainty.weighted_dice(p, mask, own, rater_mask=rater_mask)
        losses.append(nll + dice_weight * dice)
        nlls.append(nll)
    return jnp.stack(losses).mean(), jnp.stack(nlls).mean()


def _distance(maps: Array, rater_mask: Array) -> Array:
    """Eq. 5, the mean over classes."""
    each = [
        uncertainty.consistency(maps[..., c], rater_mask=rater_mask) for c in range(maps.shape[-1])
    ]
    return jnp.stack(each).mean()


def _third(segmenter: Any) -> tuple[int, ...]:
    """Widths of an AUEM that is a third as wide as a segmenter."""
    widths = getattr(segmenter, "widths", None) or (16, 32, 64)
    return tuple(max(width // 3, 1) for width in widths)
