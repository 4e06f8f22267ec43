"""Mixing a segmentation with raters' confusion matrices (Zhang et al. 2020, Eq. 1-4).

A rater's matrix at a pixel is ``A[i, j] = p(noisy = i | true = j)``, so that the label there has
the probabilities ``A p``. The loss of the paper is ``mixed_nll + weight * trace``, summed over the
raters who labelled the image and averaged over pixels; the sums are the caller's.

Likelihoods are computed from logits in log space; matrices are probabilities that may be exactly 0
or 1. The spatial axes of the matrices may be 1 (one matrix for all pixels).

References:
  Zhang et al., Disentangling Human Error from the Ground Truth in Segmentation of Medical Images,
  NeurIPS 2020. Tanno et al., Learning from Noisy Labels by Regularized Estimation of Annotator
  Confusion, CVPR 2019.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer

from noisyjax.core import checks, ignored
from noisyjax.losses import entropy


def _log_weighted_sum(
    log_probs: Float[Array, "*P L"], weights: Float[Array, "*Q L"]
) -> Float[Array, "..."]:
    """Returns ``log sum_j weights_j exp(log_probs_j)``, with the exact gradient at zero weights.

    ``logsumexp(log(weights) + log_probs)`` has the same value, but no gradient at a weight of 0.

    The sum is scaled by its largest term, so it lies in ``[1, L]``. A term of weight 0 may still
    have a huge factor: it is capped at the largest number, which leaves the value alone and the
    gradient finite. If all weights are 0 the result is that of the smallest positive number,
    without gradient.
    """
    dtype = jnp.finfo(log_probs.dtype)
    positive = weights > 0
    terms = log_probs + jnp.log(jnp.where(positive, weights, 1.0))
    largest = jnp.max(terms, axis=-1, keepdims=True, where=positive, initial=-jnp.inf)
    # Without any positive weight the scale is free: any finite number will do.
    scale = jax.lax.stop_gradient(jnp.where(jnp.isfinite(largest), largest, 0.0))
    factors = jnp.exp(jnp.minimum(log_probs - scale, np.log(dtype.max) - 1.0))
    total = jnp.sum(weights * factors, axis=-1)
    return scale[..., 0] + jnp.log(jnp.maximum(total, dtype.tiny))


def _check_cms(cms: Array, probs: tuple[int, ...], *, like: str) -> None:
    """Raises unless matrices are ``[R, *S, L, L]`` for probabilities ``[*S, L]``, or S is ones."""
    *space, classes = probs
    checks.rank("cms", cms, len(space) + 3)
    fits = [1 if own == 1 else size for own, size in zip(cms.shape[1:-2], space, strict=True)]
    checks.shape("cms", cms, (None, *fits, classes, classes), like=like)


def _kept(labels: Array, rater_mask: Array | None, where: Array | None = None) -> Array:
    """Returns which labels count, ``[R, *S]``."""
    counting = ignored.counting(labels, where)
    return counting if rater_mask is None else counting & ignored.given(labels, rater_mask)


def mix(probs: Float[Array, "*S L"], cms: Float[Array, "R *#S L L"]) -> Float[Array, "R *S L"]:
    """Returns each rater's label probabilities ``A p``, ``[R, *S, L]`` (Zhang et al. 2020, Eq. 2).

    Args:
      probs: of the true class, ``[*S, L]``.
      cms: ``[R, *S, L, L]``, columns sum to one, or with spatial axes of 1.

    >>> swap = jnp.array([[[0.0, 1.0], [1.0, 0.0]]])
    >>> mix(jnp.array([0.25, 0.75]), swap)
    Array([[0.75, 0.25]], dtype=float32)
    """
    _check_cms(cms, probs.shape, like="probs")
    return jnp.sum(cms * probs[None, ..., None, :], axis=-1)


def mixed_nll(
    logits: Float[Array, "*S L"],
    cms: Float[Array, "R *#S L L"],
    labels: Integer[Array, "R *S"],
    *,
    rater_mask: Bool[Array, "R"] | None = None,
    where: Bool[Array, "R *S"] | None = None,
) -> Float[Array, "R *S"]:
    r"""Returns each rater's negative log-likelihood (Zhang et al. 2020, Eq. 3).

    .. math:: -\log \sum_j A^{(r)}[\tilde y^{(r)}, j] \, \mathrm{softmax}(z)_j

    Args:
      logits: z, of the true class, ``[*S, L]``.
      cms: ``[R, *S, L, L]``, columns sum to one, or with spatial axes of 1.
      labels: class ids, ``[R, *S]``.
      rater_mask: who labelled this image, ``[R]``; the others give 0 and no gradient, whatever
        their labels hold, and so does label 255.
      where: the entries that count, ``[R, *S]``, for labels that cover a part of the image.

    Returns:
      ``[R, *S]``, in nats. A label the matrix excludes (a row of zeros) costs about 87 in float32,
      without gradient; a label that counts but is not in ``0..L-1`` gives NaN.

    >>> swap = jnp.array([[[0.0, 1.0], [1.0, 0.0]]])
    >>> mixed_nll(jnp.array([0.0, 100.0]), swap, jnp.array([1]))
    Array([100.], dtype=float32)
    """
    _check_cms(cms, logits.shape, like="logits")
    checks.ids("labels", labels)
    checks.shape("labels", labels, (len(cms), *logits.shape[:-1]), like="cms and logits")
    keep = _kept(labels, rater_mask, where)
    clean = entropy.clean_labels(labels, keep, logits.shape[-1])
    # Only the row of the given label is needed: L terms a pixel instead of L * L.
    rows = jnp.take_along_axis(cms, clean[..., None, None], axis=-2)[..., 0, :]
    # NaN where nothing counts would reach the gradient.
    rows = jnp.where(keep[..., None], rows, 1.0)
    logits = jnp.where(keep.any(0)[..., None], logits, 0.0)
    log_probs = jax.nn.log_softmax(logits)[None]
    losses = -_log_weighted_sum(log_probs, rows)
    return jnp.where(keep, losses, 0.0)


def log_likelihood(
    cms: Float[Array, "R *#S L L"],
    labels: Integer[Array, "R *S"],
    *,
    rater_mask: Bool[Array, "R"] | None = None,
) -> Float[Array, "*S L"]:
    r"""Returns how well each true class explains the labels of all raters together, ``[*S, L]``.

    .. math:: \log p(\tilde y^{(1)}, \dots, \tilde y^{(R)} \mid y = j)
        = \sum_r \log A^{(r)}[\tilde y^{(r)}, j]

    With the logarithm of a prior added and a softmax over the classes this is the E-step of Dawid &
    Skene (1979) and STAPLE (Warfield et al. 2004).

    Args:
      cms: ``[R, *S, L, L]``, columns sum to one, entries above 0, or with spatial axes of 1.
      labels: class ids, ``[R, *S]``; 255 adds 0.
      rater_mask: who labelled this image, ``[R]``; the others add 0.

    >>> coin = jnp.array([[[0.75, 0.25], [0.25, 0.75]]])
    >>> jnp.exp(log_likelihood(coin, jnp.array([1])))
    Array([0.25, 0.75], dtype=float32)
    """
    num_classes = cms.shape[-1]
    _check_cms(cms, (*labels.shape[1:], num_classes), like="labels")
    checks.ids("labels", labels)
    keep = _kept(labels, rater_mask)
    given = jax.nn.one_hot(entropy.clean_labels(labels, keep, num_classes), num_classes)
    terms = (given[..., :, None] * jnp.log(cms)).sum(-2)
    return jnp.where(keep[..., None], terms, 0.0).sum(0)


def trace(cms: Float[Array, "R *S L L"]) -> Float[Array, "R *S"]:
    """Returns the trace of each matrix ``[L, L]``, between 0 and L (the second term of Eq. 4).

    ``trace / L`` is the average probability that a rater is right, over classes of equal weight.
    """
    return jnp.trace(cms, axis1=-2, axis2=-1)


def one_hot_cms(
    truth: Integer[Array, "*S"], labels: Integer[Array, "R *S"], num_classes: int
) -> Float[Array, "R *S L L"]:
    """Returns the true matrices ``[R, *S, L, L]`` of raters whose labels and truth are both known.

    At a pixel only the column of the true class is observed: it is one-hot at the label given.
    The other columns are those of a rater who is right. (Comparisons with estimates should look at
    the observed column only, see `noisyjax.metrics.confusion.true_column_error`.)

    Args:
      truth: true class ids, ``[*S]``.
      labels: raters' class ids, ``[R, *S]``. Where they are no class (missing raters, 255) the
        rater counts as right: the matrix is the identity.

    >>> one_hot_cms(jnp.array([1]), jnp.array([[0]]), 2)[0, 0]
    Array([[1., 1.],
           [0., 0.]], dtype=float32)
    """
    checks.ids("truth", truth)
    checks.ids("labels", labels)
    checks.shape("labels", labels, (None, *truth.shape), like="truth")
    checks.at_least("num_classes", num_classes, 2)
    true = jnp.broadcast_to(truth.astype(jnp.int32), labels.shape)
    given = labels.astype(jnp.int32)
    given = jnp.where((given >= 0) & (given < num_classes), given, true)
    classes = jnp.arange(num_classes)
    column = given[..., None] == classes.reshape((1,) * given.ndim + (-1,))
    observed = true[..., None] == classes.reshape((1,) * true.ndim + (-1,))
    identity = jnp.eye(num_classes, dtype=bool).reshape((1,) * given.ndim + (num_classes,) * 2)
    cms = jnp.where(observed[..., None, :], column[..., :, None], identity)
    return cms.astype(jnp.float32)
