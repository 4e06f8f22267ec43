"""Errors of estimated confusion matrices, and checks of them that need no truth.

Errors need the true matrices. The checks of orientation do not: mixing with matrices has as many
solutions as there are orders of the classes, and neither the likelihood nor the generalised energy
distance notices an exchange. What shows it is the mean matrix, which must be dominated by its
diagonal for the estimates to be unique (Zhang et al. 2020, Theorem 1).

Functions on device arrays are pure and jitted by the caller; `class_exchange`, `ranking_agreement`
and `orientation_warnings` read small matrices on the host, once per evaluation.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer
from scipy import optimize, stats

from noisyjax.core import checks, ignored


def _check_square(name: str, cms: Array | np.ndarray, ndim: int) -> None:
    checks.rank(name, cms, ndim)
    checks.shape(name, cms, (*[None] * (ndim - 1), cms.shape[-2]), like="a square matrix")


def cm_rmse(
    estimated: Float[Array, "*#B L L"],
    true: Float[Array, "*#B L L"],
    *,
    where: Bool[Array, "..."] | None = None,
) -> Float[Array, ""]:
    """Returns the root of the mean squared difference of two sets of matrices, ``[..., L, L]``.

    The mean runs over pixels, raters and the entries of the matrices; leading axes of either set
    may be 1. It is NaN if nothing counts. A true matrix per pixel is known in the column of the
    true class only: `true_column_error` compares just that one.

    Args:
      where: what counts: ``[...]`` (matrices), or of the rank of `estimated` (entries; axes may be
        1, so ``[..., 1, L]`` chooses columns).
    """
    checks.masks(where=where)
    squares = jnp.square(estimated - true)
    if where is None:
        return jnp.sqrt(jnp.mean(squares))
    if where.ndim == squares.ndim - 2:
        where = where[..., None, None]
    if where.ndim != squares.ndim:
        raise ValueError(
            f"where: expected {squares.ndim - 2} or {squares.ndim} axes like the matrices' shape "
            f"{squares.shape}, got {where.shape}"
        )
    return jnp.sqrt(jnp.mean(squares, where=jnp.broadcast_to(where, squares.shape)))


def true_column_error(
    cms: Float[Array, "R *#S L L"],
    truth: Integer[Array, "*S"],
    labels: Integer[Array, "R *S"],
    *,
    rater_mask: Bool[Array, "R"] | None = None,
    where: Bool[Array, "*S"] | None = None,
) -> tuple[Float[Array, "R"], Float[Array, "R"]]:
    """Returns each rater's summed squared error in the column of the true class.

    The true matrix of a rater at a pixel maps the true class there to the label given. Only this
    column, one-hot at that label, is observed, and only it is compared. The RMSE of a data set is
    ``sqrt(sum of sums / sum of counts)`` over images and raters.

    Args:
      cms: estimates, ``[R, *S, L, L]``, or with spatial axes of 1.
      truth: true class ids in ``0..L-1``, ``[*S]``; 255, here or in a label, does not count.
      labels: raters' class ids, ``[R, *S]``.
      rater_mask: who labelled this image, ``[R]``; the others have sum and count 0.
      where: the pixels that count, ``[*S]``.

    Returns:
      (sum, count), float32 ``[R]`` each; count is the number of entries, L a pixel.

    References:
      Zhang et al., NeurIPS 2020, Section 4 (root-MSE between estimated and real CMs).

    >>> cms = jnp.array([[[0.5, 0.0], [0.5, 1.0]]])
    >>> true_column_error(cms, jnp.array(0), jnp.array([0]))
    (Array([0.5], dtype=float32), Array([2.], dtype=float32))
    """
    num_classes = cms.shape[-1]
    checks.ids("truth", truth)
    checks.ids("labels", labels)
    checks.masks(rater_mask=rater_mask, where=where)
    checks.shape("labels", labels, (len(cms), *truth.shape), like="cms and truth")
    _check_square("cms", cms, labels.ndim + 2)
    classes = jnp.arange(num_classes)
    index = truth.astype(jnp.int32)[None, ..., None, None]
    columns = jnp.take_along_axis(cms, index, axis=-1)[..., 0]
    target = labels.astype(jnp.int32)[..., None] == classes.reshape((1,) * labels.ndim + (-1,))
    squares = jnp.sum(jnp.square(columns - target), axis=-1)
    keep = ignored.known(labels) & ignored.known(truth)[None]
    if rater_mask is not None:
        keep &= rater_mask.reshape((-1,) + (1,) * truth.ndim)
    if where is not None:
        keep &= where[None]
    space = tuple(range(1, labels.ndim))
    error = jnp.sum(jnp.where(keep, squares, 0.0), axis=space)
    return error, num_classes * jnp.sum(keep, axis=space, dtype=jnp.float32)


def cm_sums(
    cms: Float[Array, "R *#S L L"],
    *,
    probs: Float[Array, "*S L"] | None = None,
    where: Bool[Array, "*S"] | None = None,
) -> tuple[Float[Array, "R L L"], Float[Array, "L"]]:
    """Returns the sums over pixels from which each rater's mean matrix is made.

    Args:
      cms: ``[R, *S, L, L]``, or with spatial axes of 1.
      probs: estimated probabilities of the true class, ``[*S, L]``. With them, column j is averaged
        with weight ``probs[..., j]``: the matrix of the image, as STAPLE would estimate it.
        Without, every pixel counts the same.
      where: the pixels that count, ``[*S]``.

    Returns:
      (sums ``[R, L, L]``, counts ``[L]`` of the columns): add them over images, then divide
      ``sums / counts``.
    """
    checks.masks(where=where)
    ones = jnp.ones(cms.shape[1:-2] if where is None else where.shape, cms.dtype)
    weights = (ones if where is None else where.astype(cms.dtype))[..., None]
    if probs is not None:
        weights = weights * probs
    else:
        weights = jnp.broadcast_to(weights, (*weights.shape[:-1], cms.shape[-1]))
    space = tuple(range(1, cms.ndim - 2))
    sums = jnp.sum(cms * weights[None, ..., None, :], axis=space)
    return sums, jnp.sum(weights, axis=tuple(range(weights.ndim - 1)))


def mean_cms(
    cms: Float[Array, "R *#S L L"],
    *,
    probs: Float[Array, "*S L"] | None = None,
    where: Bool[Array, "*S"] | None = None,
) -> Float[Array, "R L L"]:
    """Returns each rater's mean matrix over the pixels of one image, see `cm_sums`."""
    sums, counts = cm_sums(cms, probs=probs, where=where)
    return sums / counts[None, None]


def mean_trace(
    cms: Float[Array, "R *#S L L"], *, where: Bool[Array, "*S"] | None = None
) -> Float[Array, "R"]:
    """Returns each rater's mean of ``trace / L`` over the pixels of one image, ``[R]``.

    It is the average probability that the rater is right, between 0 and 1; NaN if no pixel counts.
    The matrices are ``[R, *S, L, L]``, or with spatial axes of 1; the pixels ``where [*S]`` count.

    >>> mean_trace(jnp.array([[[1.0, 0.5], [0.0, 0.5]]]))
    Array([0.75], dtype=float32)
    """
    checks.masks(where=where)
    right = jnp.trace(cms, axis1=-2, axis2=-1) / cms.shape[-1]
    space = tuple(range(1, right.ndim))
    if where is None:
        return jnp.mean(right, axis=space)
    right = jnp.broadcast_to(right, (right.shape[0], *where.shape))
    mean = ignored.mean(right, jnp.broadcast_to(where[None], right.shape), space)
    return jnp.where(jnp.any(where), mean, jnp.nan)


def diagonally_dominant(mean_cm: Float[Array, "L L"]) -> Bool[Array, ""]:
    """Tells whether ``a[k, k] > a[k, j]`` for all classes k and ``j != k``, ``[]`` bool.

    Of the mean matrix ``[L, L]`` over raters this is the condition of Theorem 1 of Zhang et al.
    2020: each label is given more readily where it is true than where any other class is.

    >>> bool(diagonally_dominant(jnp.array([[0.4, 0.3], [0.6, 0.7]])))
    True
    """
    diagonal = jnp.diagonal(mean_cm)[:, None]
    others = ~jnp.eye(mean_cm.shape[0], dtype=bool)
    return jnp.all((diagonal > mean_cm) | ~others)


def class_exchange(mean_cm: Float[np.ndarray, "L L"]) -> Integer[np.ndarray, "L"]:
    """Returns the order of classes in which the raters, taken together, would be right most often.

    If the segmentation has exchanged classes, the matrices have exchanged their columns, and the
    mean matrix ``[L, L]`` over raters and pixels is heavier off its diagonal. This needs no truth;
    it believes that on the whole the raters are more often right than wrong in a consistent way.

    Returns:
      ``[L]``: entry j is the class the raters mean where the segmentation says j. The identity
      (``arange(L)``) is the healthy answer, and the answer to a tie.

    >>> class_exchange(np.array([[0.2, 0.9], [0.8, 0.1]])).tolist()
    [1, 0]
    """
    _check_square("mean_cm", mean_cm, 2)
    rows, columns = optimize.linear_sum_assignment(mean_cm, maximize=True)
    identity = np.arange(len(mean_cm))
    gain = mean_cm[rows, columns].sum() - np.trace(mean_cm)
    return rows[np.argsort(columns)] if gain > 1e-6 else identity


def locked_in(traces: Float[np.ndarray, "R"], *, tolerance: float = 0.01) -> Bool[np.ndarray, "R"]:
    """Tells which raters are taken to be right everywhere, ``[R]`` bool.

    A rater whose mean ``trace / L`` (``traces [R]``, of `mean_trace`) comes within `tolerance` of 1
    has become the truth of the model. That is what should happen with a faithful rater, and what
    must not with another one.
    """
    return traces >= 1.0 - tolerance


def uninformative(
    mean_cms: Float[np.ndarray, "R L L"], *, tolerance: float = 0.05
) -> Bool[np.ndarray, "R"]:
    """Tells which raters are taken to say the same whatever the truth is, ``[R]`` bool.

    All columns of such a matrix ``[L, L]`` are alike, up to `tolerance`, and its trace is 1 of L:
    the labels teach nothing. It is the right answer for a rater who leaves images blank, and a sign
    of collapse for the panel.
    """
    spread = mean_cms.max(axis=-1) - mean_cms.min(axis=-1)
    return spread.max(axis=-1) <= tolerance


def orientation_warnings(
    mean_cms: Float[np.ndarray, "R L L"], rater_names: Sequence[str]
) -> list[str]:
    """Says in words what the mean matrices show that should be looked at; needs no truth.

    There is one sentence per finding, none for a healthy panel. `mean_cms` has each rater's mean
    matrix, ``[R, L, L]``, whose columns sum to one.
    """
    _check_square("mean_cms", mean_cms, 3)
    if len(rater_names) != len(mean_cms):
        raise ValueError(f"rater_names: expected {len(mean_cms)}, got {len(rater_names)}")
    num_classes = mean_cms.shape[-1]
    panel = mean_cms.mean(axis=0)
    warnings = []
    order = class_exchange(panel)
    if not np.array_equal(order, np.arange(num_classes)):
        warnings.append(f"classes look exchanged: the raters' order is {order.tolist()}")
    elif not bool(diagonally_dominant(jnp.asarray(panel))):
        warnings.append("the mean confusion matrix is not diagonally dominant: not unique")
    right = np.trace(mean_cms, axis1=-2, axis2=-1) / num_classes
    for name, value, locked, silent in zip(
        rater_names, right, locked_in(right), uninformative(mean_cms), strict=True
    ):
        if locked:
            warnings.append(f"rater {name} is taken for the truth: mean trace {value:.3f} of 1")
        elif silent:
            warnings.append(f"rater {name} is taken to say the same everywhere: {value:.3f} of 1")
    return warnings


def ranking_agreement(estimated: Float[np.ndarray, "R"], true: Float[np.ndarray, "R"]) -> float:
    """Returns Spearman's correlation between two scores of the raters, ``[R]`` each.

    It is NaN with fewer than two raters or if either score is the same for all. An estimated score
    is for example the mean trace; it should follow the Dice against the truth.

    >>> ranking_agreement(np.array([0.7, 0.9, 0.8]), np.array([0.1, 0.3, 0.2]))
    1.0
    """
    checks.shape("estimated", estimated, true.shape, like="true")
    if len(true) < 2 or np.ptp(estimated) == 0 or np.ptp(true) == 0:
        return float("nan")
    return float(stats.spearmanr(estimated, true).statistic)
