"""Noise-robust Dice and adaptive self-ensembling, as COPLE-Net is trained (Wang et al. 2020).

A noise-robust framework for automatic segmentation of COVID-19 pneumonia lesions from CT images,
IEEE TMI 2020. A teacher is the moving average of the student. Labels are noisy, so a step at which
the student's loss is large is likely to follow wrong ones, and the student agrees with the teacher
only where the teacher does better. The framework knows one label per image; with several,
UMA-Net's tables give it their majority vote. The network is `models.cople_net`; any other is
trained the same way.

The paper's: the loss, a teacher whose average suppresses the student's share when the student's
loss is large, and a student who learns from the teacher only when the teacher outperforms it.

Ours, since no code of the framework is public: a loss is large if it is above a quantile of those
of the last steps, and the share is then none; teacher and student are compared example by example,
so that no example depends on its batch; they are held together by the squared distance of their
probabilities, with a weight that grows as ``exp(-5 (1 - t)^2)``; both see the same image; the
teacher predicts, as in Tarvainen & Valpola 2017. Batch normalisation: the teacher averages the
student's running statistics as it does the parameters, and always runs in evaluation mode.

A step costs one forward pass more than that of a plain network, without its gradient.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from noisyjax.core import checks, ignored
from noisyjax.losses import overlap
from noisyjax.methods import base, fused, network

COLLECTION = "teacher"
_PREDICTORS = ("teacher", "student")


def build(
    segmenter: Any,
    *,
    num_raters: int,
    num_classes: int,
    target: str = "majority",
    gamma: float | int = 1.5,
    power: int = 2,
    decay: float | int = 0.99,
    quantile: float | int = 0.9,
    window: int = 100,
    consistency_weight: float | int = 1.0,
    ramp_steps: int = 200,
    predictor: str = "teacher",
) -> base.Method:
    """Builds the method.

    Args:
      target: one of `fused.TARGETS`.
      gamma: of the noise-robust Dice loss, in ``[1, 2]``.
      power: of the terms below in that loss, 2 as in the paper or 1.
      decay: what an update leaves of the teacher, in ``[0, 1)``; in the first steps it is less,
        ``step / (step + 1)``, or the teacher would stay near the initial parameters.
      quantile: of the losses of the last `window` steps, of the whole batch each; a step of larger
        loss has no share in the teacher. 1 leaves the average as it is.
      consistency_weight: of the squared distance of teacher and student, after `ramp_steps`
        updates.
      predictor: "teacher", or "student".
    """
    del num_raters
    read = fused.reader(target, num_classes)
    checks.one_of("predictor", predictor, _PREDICTORS)
    checks.positive("window", window)
    checks.positive("ramp_steps", ramp_steps)
    checks.positive("consistency_weight", consistency_weight, or_zero=True)
    if not 0 <= decay < 1:
        raise ValueError(f"decay: expected a number in [0, 1), got {decay}")
    if not 0 <= quantile <= 1:
        raise ValueError(f"quantile: expected a number in [0, 1], got {quantile}")
    compare = functools.partial(_noise_robust_dice, gamma=gamma, power=power)

    def init(key: Array, batch: base.Batch) -> base.Variables:
        student = network.init_segmenter(segmenter, key, batch)
        # A copy, because the same buffer cannot be donated twice.
        kept = {"average": jax.tree.map(jnp.copy, student), "losses": jnp.full(window, jnp.nan)}
        return {**student, COLLECTION: kept}

    def loss_fn(variables, batch, key, step):
        weight, kept = batch["weight"], variables[COLLECTION]
        keys = base.dropout_keys(key, batch["id"], step)
        student, state = network.segment(segmenter, variables, batch, keys)
        teacher = network.evaluate(segmenter, kept["average"], batch["image"])
        targets = read(batch, key, step)
        own, better = compare(student.logits, targets), compare(teacher.logits, targets)
        is_taught = better < own
        counting = ignored.counting_targets(targets)
        distance = squared_distance(student.logits, teacher.logits, where=counting)
        losses = own + consistency_weight * base.ramp(step, ramp_steps) * is_taught * distance

        loss = _batch_mean(own, weight, network.axis_name(segmenter))
        large = is_large(loss, kept["losses"], quantile)
        share = jnp.where(large, 0.0, 1 - jnp.minimum(decay, step / (step + 1)))
        latest = {"params": variables["params"], **state}
        kept = {
            "average": jax.tree.map(lambda a, b: a + share * (b - a), kept["average"], latest),
            "losses": kept["losses"].at[step % window].set(loss),
        }
        metrics = {
            "consistency": distance,
            "taught": is_taught.astype(jnp.float32),
            "averaged": jnp.broadcast_to(1.0 - large, weight.shape),
            base.LEARNING: jnp.broadcast_to(1.0 - large * (predictor == "teacher"), weight.shape),
        }
        return base.weighted(losses, weight, metrics, {**state, COLLECTION: kept})

    def predict(variables: base.Variables, image: Array) -> base.Prediction:
        chosen = variables[COLLECTION]["average"] if predictor == "teacher" else variables
        return network.predict(segmenter, chosen, image)

    return base.Method(init, loss_fn, predict, **fused.needs(target))


def _noise_robust_dice(logits: Array, targets: Array, **options: float | int) -> Array:
    """The loss of each example, ``[B]``."""
    loss = jax.vmap(functools.partial(overlap.noise_robust_dice, **options))
    return loss(jax.nn.softmax(logits), targets)


def _batch_mean(losses: Array, weight: Array, axis_name: str | None) -> Array:
    """The mean over the examples of all devices, ``[]``."""
    sums = jnp.stack([(losses * weight).sum(), weight.sum()])
    sums = sums if axis_name is None else jax.lax.psum(sums, axis_name)
    return sums[0] / jnp.maximum(sums[1], jnp.finfo(sums.dtype).tiny)


def squared_distance(
    logits: Float[Array, "B *S L"],
    others: Float[Array, "B *S L"],
    *,
    where: Bool[Array, "B *S"] | None = None,
) -> Float[Array, "B"]:
    """Mean squared distance of two networks' probabilities, by their logits ``[B, *S, L]``.

    It is of the voxels that count, ``where [B, *S]``; 0 if none does.
    """
    checks.masks(where=where)
    squares = jnp.square(jax.nn.softmax(logits) - jax.nn.softmax(others))
    where = jnp.ones(squares.shape[:-1], bool) if where is None else where
    where = jnp.broadcast_to(where[..., None], squares.shape)
    return jax.vmap(ignored.mean)(squares, where)


def is_large(
    loss: Float[Array, ""], losses: Float[Array, "N"], quantile: float | int
) -> Bool[Array, ""]:
    """Returns whether a loss is above a quantile of those of earlier steps.

    Steps that have not been are NaN; with nothing to compare with it is False.

    >>> bool(is_large(jnp.float32(0.9), jnp.array([0.5, 0.8, jnp.nan]), 0.5))
    True
    """
    if quantile == 1:
        return jnp.zeros((), jnp.bool_)
    return loss > jnp.nanquantile(losses, quantile)
