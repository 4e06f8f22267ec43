"""Spatial STAPLE: STAPLE with confusion matrices that change from place to place.

Asman and Landman 2012, "Formulating spatially varying performance in the statistical fusion
framework", IEEE TMI 31(6): a rater may be reliable in one region and not in another, so that his
matrix at a voxel x is estimated from the voxels of a window N(x) around it. With the votes D_r and
the probability W_j of class j,

    local[r, i, j](x) = sum_{y in N(x)} [D_r(y) = i] W_j(y) / sum_{y in N(x), r votes} W_j(y)
    cms = (1 - bias) local + bias everywhere

where ``everywhere`` is the same over the whole image. Voxels on which the raters agree tell
nothing about who is right, and there are many: they keep their label and enter no sum.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Integer

from noisyjax.core import checks
from noisyjax.fusion import patterns, rows

WINDOW = 11


@functools.partial(
    jax.jit,
    static_argnames=("num_classes", "window", "bias", "consensus", "max_iterations", "tolerance"),
)
def spatial_staple(
    labels: Integer[Array, "R *S"],
    num_classes: int = 2,
    *,
    rater_mask: Bool[Array, "R"] | None = None,
    window: int | tuple[int, ...] = WINDOW,
    bias: float = 0.0,
    consensus: float = 0.99,
    max_iterations: int = 100,
    tolerance: float = 1e-4,
) -> rows.Fusion:
    """Fuses the labels of one image by raters whose reliability changes from place to place.

    The start is the mean vote; the prior, which stays as it is, the share of each class among the
    votes of the voxels in dispute. Where a class has no mass in the window its column is that of
    the whole image, and where it has none there either, that of a perfect rater. Unanimous, empty
    and full labels are returned as they are; voxels without any vote get 1/L each.

    Args:
      labels: class ids, ``[R, *S]``; an id that is no class is no vote.
      num_classes: L.
      rater_mask: ``[R]``, who labelled the image; None: everyone.
      window: side of the window in voxels, odd, one for all axes or one each; it is cut off at the
        border of the image.
      bias: from 0, matrices of the window alone, to 1, one matrix for the whole image.
      consensus: voxels where the mean vote for some class is above this keep it.
      max_iterations: at most so many pairs of M-step and E-step.
      tolerance: EM ends when the probabilities in dispute change by no more than this on average
        (half the sum of the absolute changes of all classes).

    Returns:
      Probabilities ``[*S, L]``, matrices ``[R, *S, L, L]`` (with those of the voxels in dispute
      around it at a voxel of consensus), number of pairs, log-likelihood of the voxels in dispute.

    Raises:
      ValueError: if the window is no odd number of voxels (one for each axis), the bias not in
        [0, 1], or a limit negative.

    >>> import jax.numpy as jnp
    >>> masks = jnp.array([[0, 0, 1, 1, 1, 0], [0, 1, 1, 1, 1, 0], [0, 1, 1, 1, 0, 0]])
    >>> spatial_staple(masks, window=3).probs[:, 1].round(2).tolist()
    [0.0, 1.0, 1.0, 1.0, 1.0, 0.0]
    """
    sides = _sides(window, labels.ndim - 1)
    checks.positive("max_iterations", max_iterations)
    checks.positive("tolerance", tolerance, or_zero=True)
    if not 0 <= bias <= 1:
        raise ValueError(f"bias: expected a number from 0 to 1, got {bias}")
    votes = _one_hot(labels, num_classes, rater_mask)
    total = jnp.sum(votes, axis=0)
    cast = jnp.sum(total, axis=0, keepdims=True)
    start = jnp.where(cast > 0, total / jnp.maximum(cast, 1), 1 / num_classes)
    disputed = (jnp.max(start, axis=0) <= consensus) & (cast[0] > 0)
    flat = total.reshape(num_classes, 1, -1).T
    prior = rows.frequencies(flat, disputed.reshape(-1).astype(jnp.float32))

    def step(state):
        probs, _, iterations, _ = state
        cms = _matrices(votes, disputed[None] * probs, sides, bias)
        new = jnp.where(disputed[None], _posterior(votes, cms, prior)[0], start)
        change = jnp.sum(jnp.abs(new - probs)) / 2 / jnp.maximum(jnp.sum(disputed), 1)
        return new, cms, iterations + 1, change

    def unfinished(state):
        _, _, iterations, change = state
        return (iterations < max_iterations) & (change > tolerance)

    cms = jnp.zeros((len(labels), num_classes, num_classes, *labels.shape[1:]), jnp.float32)
    initial = (start, cms, jnp.int32(0), jnp.float32(jnp.inf))
    probs, cms, iterations, _ = jax.lax.while_loop(unfinished, step, initial)
    # Once, at the end: logarithms would be most of the work of an iteration.
    evidence = _posterior(votes, cms, prior)[1]
    log_likelihood = jnp.sum(jnp.where(disputed, evidence, 0))
    cms = jnp.moveaxis(cms, (1, 2), (-2, -1))
    return rows.Fusion(jnp.moveaxis(probs, 0, -1), cms, iterations, log_likelihood)


def _sides(window, ndim):
    sides = (window,) * ndim if isinstance(window, int) else window
    if len(sides) != ndim or any(side < 1 or side % 2 == 0 for side in sides):
        raise ValueError(f"window: expected odd sides of {ndim} axes in voxels, got {window}")
    return sides


def _one_hot(labels, num_classes, rater_mask):
    """Votes with the classes second, ``[R, L, *S]``: the voxels are the fast axes."""
    flat = patterns.ballots(labels.reshape(len(labels), -1), num_classes, rater_mask)
    votes = jax.nn.one_hot(flat, num_classes, axis=1, dtype=jnp.float32)
    return votes.reshape(*votes.shape[:2], *labels.shape[1:])


def _matrices(votes, mass, sides, bias):
    """M-step: ``[R, L, L, *S]``."""
    num_classes, spatial = mass.shape[0], mass.shape[1:]
    joint = votes[:, :, None] * mass[None, None]
    axes = tuple(range(3, joint.ndim))
    identity = jnp.eye(num_classes, dtype=jnp.float32).reshape(
        1, num_classes, num_classes, *(1,) * len(spatial)
    )
    everywhere = rows.normalise(jnp.sum(joint, axis=axes, keepdims=True), identity)
    local = rows.normalise(_window_sums(joint, sides), everywhere)
    return (1 - bias) * local + bias * everywhere


def _posterior(votes, cms, prior):
    """E-step: ``[L, *S]`` and the evidence ``[*S]``."""

    def weigh(state, rater):
        joint, log_scale = state
        cast, matrix = rater
        said = jnp.sum(cast[:, None] * matrix, axis=0)
        return rows.weigh(
            joint, log_scale, jnp.where(jnp.any(cast > 0, axis=0)[None], said, 1)
        ), None

    spatial = votes.shape[2:]
    joint = jnp.broadcast_to(prior.reshape(-1, *(1,) * len(spatial)), (len(prior), *spatial))
    start = (joint, jnp.zeros(spatial, jnp.float32))
    (joint, log_scale), _ = jax.lax.scan(weigh, start, (votes, cms))
    total = jnp.sum(joint, axis=0, keepdims=True)
    return joint / jnp.where(total > 0, total, 1), log_scale + jnp.log(total[0])


def _window_sums(x, sides):
    # A banded matrix per axis: no differences of running sums, in which small masses would drown.
    for axis, side in zip(range(-len(sides), 0), sides, strict=True):
        index = np.arange(x.shape[axis])
        band = (np.abs(index[:, None] - index) <= side // 2).astype(np.float32)
        summed = jnp.tensordot(x, band, (axis, 0), precision=jax.lax.Precision.HIGHEST)
        x = jnp.moveaxis(summed, -1, axis)
    return x
