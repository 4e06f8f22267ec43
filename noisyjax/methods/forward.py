"""Correct the loss by one matrix for all images (Patrini et al. 2017).

Making deep neural networks robust to label noise: a loss correction approach, CVPR 2017. The labels
are explained by the prediction times a matrix of the noise. It is read from the network itself,
trained plainly at first: where it is most confident of a class, its prediction is how labels of
that class are distributed.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from noisyjax.core import checks, ignored
from noisyjax.methods import base, fused, network

# Name of the collection of variables: "sums" [L, L + 1] and "matrix" [L, L].
COLLECTION = "forward"
# Keeps the loss of a label that the matrix calls impossible finite.
_LEAST = 1e-12


def build(
    segmenter: Any,
    *,
    num_raters: int,
    num_classes: int,
    target: str = "mean",
    warmup_steps: int = 200,
    estimate_steps: int = 50,
    quantile: float | int = 0.97,
    matrix: tuple[tuple[float | int, ...], ...] = (),
) -> base.Method:
    """Builds the method; its metric "trace" is the mean of the matrix's diagonal.

    The matrix is the identity at first, which is the plain cross-entropy; after `warmup_steps` it
    is the estimate, and stays. The estimate is a mean over the images of the last `estimate_steps`
    of them. The paper looks for one most confident example of each class in the whole data set;
    here it is one pixel of each image, among those that the network gives to the class, for a class
    that is rare has none among the most confident pixels of all.

    Args:
      target: "mean", "majority" or "sampled", see `fused.TARGETS`.
      warmup_steps: updates of the first stage.
      estimate_steps: how many of them, at its end, the matrix is estimated from.
      quantile: which pixel of a class is the most confident one, in ``[0, 1]``; the paper leaves
        the upper 3 per cent out.
      matrix: ``A[i][j] = p(label = i | true = j)``, if it is known: then there is no first stage.
    """
    del num_raters
    checks.one_of("target", target, ("mean", "majority", "sampled"))
    read = fused.reader(target, num_classes)
    checks.positive("estimate_steps", estimate_steps)
    if warmup_steps < estimate_steps:
        raise ValueError(f"warmup_steps: expected at least {estimate_steps}, got {warmup_steps}")
    if not 0 <= quantile <= 1:
        raise ValueError(f"quantile: expected a number in [0, 1], got {quantile}")
    start = np.eye(num_classes, dtype=np.float32)
    if matrix:
        start, warmup_steps = _check_matrix(matrix, num_classes), 0

    def init(key: jax.Array, batch: base.Batch) -> base.Variables:
        kept = {
            "matrix": jnp.asarray(start),
            "sums": jnp.zeros((num_classes, num_classes + 1)),
        }
        return {**network.init_segmenter(segmenter, key, batch), COLLECTION: kept}

    def loss_fn(variables, batch, key, step):
        weight, kept = batch["weight"], variables[COLLECTION]
        keys = base.dropout_keys(key, batch["id"], step)
        output, state = network.segment(segmenter, variables, batch, keys)
        targets = read(batch, key, step)
        pixels = jax.vmap(corrected_cross_entropy, (0, 0, None))(
            output.logits, targets, kept["matrix"]
        )
        counting = ignored.counting_targets(targets)
        losses = jax.vmap(ignored.mean)(pixels, counting)
        trace = jnp.broadcast_to(jnp.trace(kept["matrix"]) / num_classes, losses.shape)
        total, (count, aux) = base.weighted(losses, weight, {"trace": trace}, state)
        sums = jax.lax.cond(
            (warmup_steps - estimate_steps <= step) & (step < warmup_steps),
            lambda: _anchor_sums(output.logits, counting, weight, quantile),
            lambda: jnp.zeros_like(kept["sums"]),
        )
        return total, (count, aux._replace(records=sums))

    def record(model_state: dict[str, Any], records: Array, step: Array) -> dict[str, Any]:
        kept = model_state[COLLECTION]
        sums = kept["sums"] + records
        matrix = jnp.where(step + 1 == warmup_steps, _matrix(sums), kept["matrix"])
        return {**model_state, COLLECTION: {"matrix": matrix, "sums": sums}}

    predict = functools.partial(network.predict, segmenter)
    return base.Method(init, loss_fn, predict, record=record)


def corrected_cross_entropy(
    logits: Float[Array, "*S L"], targets: Float[Array, "*S L"], matrix: Float[Array, "L L"]
) -> Float[Array, "*S"]:
    """Returns ``-sum_l targets_l log (A p)_l`` at each pixel in nats, p the softmax of the logits.

    `matrix` is ``A[i, j] = p(label = i | true = j)``, `targets` are one-hot or probabilities of the
    labels (Patrini et al. 2017, Theorem 2); zeros are a pixel that does not count.
    """
    logits = jnp.where(ignored.counting_targets(targets)[..., None], logits, 0.0)
    log_probs = jax.nn.log_softmax(logits)[..., None, :]
    log_matrix = jnp.log(jnp.maximum(matrix, _LEAST))
    log_matrix = log_matrix.reshape((1,) * (logits.ndim - 1) + matrix.shape)
    return -jnp.sum(targets * jax.nn.logsumexp(log_probs + log_matrix, axis=-1), axis=-1)


def _anchor_sums(logits: Array, counting: Array, weight: Array, quantile: float | int) -> Array:
    """The anchors of the examples that count, among pixels that do, added, ``[L, L + 1]``."""
    probs = jax.nn.softmax(jax.lax.stop_gradient(logits))
    anchors = jax.vmap(lambda own, where: _anchors(own, where, quantile))(probs, counting)
    return (anchors * (weight > 0)[:, None, None]).sum(0)


def _anchors(probs: Array, counting: Array, quantile: float | int) -> Array:
    """Probabilities at the most confident pixel of each class, and whether there is one."""
    num_classes = probs.shape[-1]
    probs = probs.reshape(-1, num_classes)
    chosen = jax.nn.one_hot(probs.argmax(-1), num_classes) * counting.reshape(-1, 1)
    # The others have a confidence below any that can be.
    order = jnp.argsort(jnp.where(chosen > 0, probs, -1.0), axis=0)
    number = chosen.sum(0)
    last = len(probs) - 1
    rank = last - jnp.floor((1.0 - quantile) * jnp.maximum(number - 1, 0)).astype(jnp.int32)
    pixel = jnp.take_along_axis(order, rank[None], axis=0)[0]
    exists = (number > 0).astype(jnp.float32)[:, None]
    return jnp.concatenate([probs[pixel] * exists, exists], axis=1)


def _matrix(sums: Array) -> Array:
    """Mean of the anchors as columns; a class that the network has never chosen is not confused."""
    number = sums[:, -1:]
    rows = sums[:, :-1] / jnp.maximum(number, 1.0)
    return jnp.where(number > 0, rows, jnp.eye(len(sums))).T


def _check_matrix(matrix: Sequence[Sequence[float | int]], num_classes: int) -> np.ndarray:
    array = np.asarray(matrix, np.float32)
    checks.shape("matrix", array, (num_classes, num_classes), like="the classes")
    if (array < 0).any() or not np.allclose(array.sum(0), 1, atol=1e-4):
        raise ValueError(f"matrix: expected columns that are distributions, got {array.tolist()}")
    return array
