"""Cross-entropy with hard and soft labels."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Integer

from noisyjax.core import checks, ignored
from noisyjax.losses import probabilities


def clean_labels(
    labels: Integer[Array, "*S"], keep: Bool[Array, "*S"] | None, num_classes: int
) -> Int[Array, "*S"]:
    """Makes labels safe to gather with, int32 ``[*S]`` in ``0..L``: what is not kept becomes 0.

    Labels that are kept but are no class become `num_classes`, which a gather turns into NaN: a
    wrong label shows, instead of counting as some class (-1 would be read from the end).
    """
    checks.ids("labels", labels)
    checks.masks(keep=keep)
    labels = labels.astype(jnp.int32)
    labels = jnp.where((labels < 0) | (labels >= num_classes), num_classes, labels)
    return labels if keep is None else jnp.where(keep, labels, 0)


def cross_entropy(
    logits: Float[Array, "*S L"],
    labels: Integer[Array, "*S"],
    *,
    where: Bool[Array, "*S"] | None = None,
) -> Float[Array, "*S"]:
    """Returns ``-log softmax(logits)[label]`` in nats at each pixel, ``[*S]``.

    Args:
      logits: unnormalised log-probabilities, ``[*S, L]``.
      labels: class ids, ``[*S]``; one that counts but is not in ``0..L-1`` gives NaN.
      where: the pixels that count, ``[*S]``, but for those of label 255. The others give 0 and no
        gradient, whatever label stands there.

    >>> logits = jnp.array([[0.0, 0.0], [0.0, 0.0], [50.0, 0.0]])
    >>> cross_entropy(logits, jnp.array([1, 255, 0])).round(4)
    Array([0.6931, 0.    , 0.    ], dtype=float32)
    """
    checks.ids("labels", labels)
    checks.masks(where=where)
    checks.shape("labels", labels, logits.shape[:-1], like="logits")
    keep = ignored.counting(labels, where)
    # optax gives NaN for a label out of range and NaN times 0 stays NaN: clean before the gather.
    logits = jnp.where(keep[..., None], logits, 0.0)
    losses = optax.softmax_cross_entropy_with_integer_labels(
        logits, clean_labels(labels, keep, logits.shape[-1])
    )
    return jnp.where(keep, losses, 0.0)


def soft_cross_entropy(
    logits: Float[Array, "*S L"],
    targets: Float[Array, "*S L"],
    *,
    where: Bool[Array, "*S"] | None = None,
) -> Float[Array, "*S"]:
    """Returns ``-sum_l targets_l log softmax(logits)_l`` in nats at each pixel, ``[*S]``.

    Args:
      logits: unnormalised log-probabilities, ``[*S, L]``.
      targets: probabilities of the classes, for example the mean of several raters' labels,
        ``[*S, L]``; zeros are a pixel that does not count.
      where: the pixels that count, ``[*S]``. The others give 0 and no gradient.

    >>> soft_cross_entropy(jnp.zeros((1, 2)), jnp.array([[0.25, 0.75]])).round(4)
    Array([0.6931], dtype=float32)
    """
    logits, targets, where = _counting(logits, targets, where)
    losses = optax.softmax_cross_entropy(_within_range(logits), targets)
    losses = probabilities.refuse_others(losses, targets)
    return jnp.where(where, losses, 0.0)


def mean_soft_cross_entropy(
    logits: Float[Array, "*S L"], targets: Float[Array, "*S L"]
) -> Float[Array, ""]:
    """Returns the mean of `soft_cross_entropy` over the pixels that count, 0 if none does."""
    losses = soft_cross_entropy(logits, targets)
    return ignored.mean(losses, ignored.counting_targets(targets))


def _counting(
    logits: Array, targets: Array, where: Array | None
) -> tuple[Float[Array, "*S L"], Float[Array, "*S L"], Bool[Array, "*S"]]:
    """Returns both, 0 where a pixel does not count, and which ones do.

    NaN elsewhere would reach the gradient.
    """
    checks.shape("targets", targets, logits.shape, like="logits")
    if where is not None:
        checks.shape("where", where, logits.shape[:-1], like="logits")
    where = ignored.counting_targets(targets, where)
    kept = (jnp.where(where[..., None], values, 0.0) for values in (logits, targets))
    return (*kept, where)


def generalised_cross_entropy(
    logits: Float[Array, "*S L"],
    targets: Float[Array, "*S L"],
    *,
    q: float | int = 0.7,
    where: Bool[Array, "*S"] | None = None,
) -> Float[Array, "*S"]:
    """Returns ``sum_l targets_l (1 - p_l^q) / q`` at each pixel ``[*S]``, p the softmax.

    Between the cross-entropy (q to 0), which wrong labels pull hard, and the mean absolute error
    (q = 1), which they hardly move. It is at most 1 / q.

    Args:
      logits: unnormalised log-probabilities, ``[*S, L]``.
      targets: one-hot labels or probabilities of the classes, ``[*S, L]``.
      q: in ``(0, 1]``.
      where: the pixels that count, ``[*S]``. The others give 0 and no gradient.

    References:
      Zhang and Sabuncu, Generalized cross entropy loss, NeurIPS 2018, Eq. 6.

    >>> generalised_cross_entropy(jnp.zeros((1, 2)), jnp.array([[0.0, 1.0]]), q=1)
    Array([0.5], dtype=float32)
    """
    if not 0 < q <= 1:
        raise ValueError(f"q: expected a number in (0, 1], got {q}")
    logits, targets, _ = _counting(logits, targets, where)
    # By way of the logarithm, for the slope of p^q has no bound at 0.
    losses = jnp.sum(targets * -jnp.expm1(q * jax.nn.log_softmax(logits)), axis=-1) / q
    return probabilities.refuse_others(losses, targets)


def bootstrapped_cross_entropy(
    logits: Float[Array, "*S L"],
    targets: Float[Array, "*S L"],
    *,
    beta: float | int,
    hard: bool = False,
    where: Bool[Array, "*S"] | None = None,
) -> Float[Array, "*S"]:
    """Returns the cross-entropy to a mixture of the labels and the prediction, in nats ``[*S]``.

    The soft one is the cross-entropy with the prediction's entropy beside it: the gradient goes
    through both occurrences of the prediction.

    Args:
      logits: unnormalised log-probabilities, ``[*S, L]``.
      targets: one-hot labels or probabilities of the classes, ``[*S, L]``.
      beta: share of the labels, in ``[0, 1]``; 1 gives the cross-entropy.
      hard: whether the most probable class is mixed in, in place of the probabilities.
      where: the pixels that count, ``[*S]``. The others give 0 and no gradient.

    References:
      Reed et al., Training deep neural networks on noisy labels with bootstrapping, 2014, Eq. 6
      and 7 (beta 0.95 when soft, 0.8 when hard).

    >>> bootstrapped_cross_entropy(jnp.zeros((1, 2)), jnp.array([[0.0, 1.0]]), beta=0.8).round(4)
    Array([0.6931], dtype=float32)
    """
    if not 0 <= beta <= 1:
        raise ValueError(f"beta: expected a number in [0, 1], got {beta}")
    logits, targets, where = _counting(logits, targets, where)
    own = jax.nn.softmax(logits)
    if hard:
        own = jax.nn.one_hot(logits.argmax(-1), logits.shape[-1], dtype=logits.dtype)
    return soft_cross_entropy(logits, beta * targets + (1 - beta) * own, where=where)


def _within_range(logits: Float[Array, "*S L"]) -> Float[Array, "*S L"]:
    """Returns logits whose largest is 0 and whose least a finite number.

    Cross-entropies and their gradients have products of a probability of 0 and its logarithm.
    """
    below = logits - jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True))
    return jnp.maximum(below, jnp.finfo(logits.dtype).min / 4)
