"""STAPLE of an image, and of a whole data set with one confusion matrix per rater.

The truth is hidden; every rater r says i with probability ``cms[r, i, j]`` where it is j,
independently of the other raters and of the rater's other labels. Expectation maximisation finds
the matrices and the probability of each class at each voxel (Warfield et al. 2004; with more than
two classes also Dawid and Skene 1979; pooled over images of which each has raters of its own,
their sensitivities and specificities are comparable between images).

Let n_p be the number of voxels with the pattern p of votes, p_r the vote of rater r, W_pj the
probability of class j. W starts as the mean vote; then, M-step first,

    cms[r, i, j] = sum_p n_p [p_r = i] W_pj / sum_p n_p [rater r votes in p] W_pj
    W_pj proportional to prior_j * prod_r cms[r, p_r, j]

where the product goes over those who voted. The prior stays as it is (Warfield et al., ITK), or is
set in each M-step to the mean of W over the voxels with a vote (Dawid and Skene, crowd-kit).

A weight w_r makes the vote of rater r count like w_r equal votes: in the start, in the prior, and
in the product as ``cms[r, p_r, j]^w_r``.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer, Num

from noisyjax.core import checks
from noisyjax.fusion import patterns, rows

# Rounding alone moves posteriors of single precision by about 2e-7 for ever.
TOLERANCE = 1e-6
MAX_ITERATIONS = 2000
PRIOR_UPDATES = ("kept", "estimated")
_STATIC = ("num_classes", "prior_update", "exclude_consensus", "max_iterations", "tolerance")


@patterns.checked_on_host
@functools.partial(jax.jit, static_argnames=_STATIC)
def staple(
    labels: Integer[Array, "R *S"],
    num_classes: int = 2,
    *,
    rater_mask: Bool[Array, "R"] | None = None,
    weights: Float[Array, "R"] | None = None,
    prior: Float[Array, "*P L"] | None = None,
    prior_update: str = "kept",
    exclude_consensus: bool = False,
    max_iterations: int = MAX_ITERATIONS,
    tolerance: int | float = TOLERANCE,
) -> rows.Fusion:
    """Fuses the labels of one image.

    The work per iteration depends on the number of patterns of votes, ``(L + 1)^R``, and not on
    the number of voxels, unless there are fewer voxels than patterns or the prior differs from
    voxel to voxel: then every voxel is worked on, which takes memory for ``4 R L`` bytes of each.

    Where the labels leave something open:

    * Everyone agrees everywhere (also one rater alone): the posterior is that label, exactly 0
      and 1. All labels empty, or all full: likewise, where SimpleITK gives NaN.
    * A class nobody chose: its prior and posterior are 0, and its columns those of a perfect rater.
    * A rater who gives every voxel the same label: it carries no information and does not count.
    * A missing rater: no factor; the matrix is the identity.
    * A voxel without any vote: zeros, as everywhere without any rater.
    * Two raters who disagree: nothing tells who is right; the start decides, and raters of equal
      marginals keep the mean vote.
    * The classes may be exchanged in the result if most raters are worse than chance; the start
      at the mean vote and the prior keep to the majority.

    Args:
      labels: class ids, ``[R, *S]``; an id that is no class (`ignored.IGNORE`, 255) is no vote.
      rater_mask: ``[R]``, who labelled the image; None: everyone.
      weights: ``[R]``, 0 or more; a rater of weight 2 counts like two of weight 1 with the same
        labels, one of weight 0 not at all, but has a matrix. None: 1 each.
      prior: probability of each class, ``[L]``, or at each voxel, ``[*S, L]``; None: the share of
        each class among all votes.
      prior_update: "kept", or "estimated" together with the matrices, without a `prior`.
      exclude_consensus: whether voxels where all votes agree keep that label and take no part:
        the matrices, the prior and the likelihood are then those of the other voxels alone.
      max_iterations: at most so many pairs of M-step and E-step.
      tolerance: EM ends when no probability, of a class or in a matrix, changed by more than this
        in the last fifth of the iterations; 0 to run until nothing changes at all, or for
        ``max_iterations``.

    Returns:
      Probabilities ``[*S, L]``, matrices ``[R, L, L]``, number of pairs, log-likelihood.

    Raises:
      ValueError: as `patterns.check`, if the prior or the weights have another shape, a limit is
        negative, the update unknown, or a prior given that is to be estimated.

    >>> fused = staple(jnp.array([[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1], [1, 0, 1, 0, 1, 0]]))
    >>> fused.probs[:, 1].round(2).tolist()
    [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    """
    patterns.check(labels, num_classes, rater_mask)
    each = None if prior is None else prior if prior.ndim == 1 else prior[None]
    fused = _fuse(
        labels[None],
        num_classes,
        rater_mask=None if rater_mask is None else rater_mask[None],
        weights=weights,
        prior=each,
        prior_update=prior_update,
        exclude_consensus=exclude_consensus,
        max_iterations=max_iterations,
        tolerance=tolerance,
    )
    return fused._replace(probs=fused.probs[0])


@patterns.checked_on_host
@functools.partial(jax.jit, static_argnames=_STATIC)
def pooled_staple(
    labels: Integer[Array, "N R *S"],
    num_classes: int = 2,
    *,
    rater_mask: Bool[Array, "N R"] | None = None,
    weights: Float[Array, "R"] | None = None,
    prior: Float[Array, "*P L"] | None = None,
    prior_update: str = "kept",
    exclude_consensus: bool = False,
    max_iterations: int = MAX_ITERATIONS,
    tolerance: int | float = TOLERANCE,
) -> rows.Fusion:
    """Fuses the labels of all images of a data set, with one matrix per rater over all of them.

    This is `staple` of one image that holds the voxels of all, where every image may lack other
    raters. Rater r must be the same person in every image.

    Args:
      labels: class ids, ``[N, R, *S]``; an id that is no class is no vote.
      rater_mask: ``[N, R]``, who labelled which image; None: everyone all of them.
      prior: probability of each class, ``[L]``, or at each voxel, ``[N, *S, L]``; None: the share
        of each class among all votes.
      weights, prior_update, exclude_consensus, max_iterations, tolerance: see `staple`.

    Returns:
      Probabilities ``[N, *S, L]``, matrices ``[R, L, L]``, number of pairs, log-likelihood of the
      data set.
    """
    patterns.check(labels, num_classes, rater_mask, leading=2)
    return _fuse(
        labels,
        num_classes,
        rater_mask=rater_mask,
        weights=weights,
        prior=prior,
        prior_update=prior_update,
        exclude_consensus=exclude_consensus,
        max_iterations=max_iterations,
        tolerance=tolerance,
    )


def staple_of_patterns(
    votes: Integer[Array | np.ndarray, "K R"],
    counts: Num[Array | np.ndarray, "K"],
    num_classes: int = 2,
    *,
    weights: Float[Array, "R"] | None = None,
    prior: Float[Array, "L"] | None = None,
    prior_update: str = "kept",
    exclude_consensus: bool = False,
    max_iterations: int = MAX_ITERATIONS,
    tolerance: int | float = TOLERANCE,
) -> rows.Fusion:
    """Fuses voxels that have been counted by their pattern of votes, as by `patterns.tally`.

    This is `staple` of one image, and `pooled_staple` of several, also of different shapes: their
    counts are added up. What is compiled depends on K alone, so that images of any shape need one
    compilation if K is the same for all. Given every pattern in the order of `patterns.table` the
    results are those of `staple` and `pooled_staple` on the arrays, to the last digit.

    Args:
      votes: the class each rater chose, L for no vote (as any id that is no class), ``[K, R]``.
      counts: number of voxels with these votes, ``[K]``; rows of count 0 only fill up.
      weights, prior_update, exclude_consensus, max_iterations, tolerance: see `staple`.
      prior: probability of each class, ``[L]``; None: the share of each class among all votes.

    Returns:
      Probabilities of each pattern ``[K, L]`` (also of those of count 0), which
      `patterns.spread` brings back to the voxels; matrices ``[R, L, L]``; number of pairs;
      log-likelihood of all voxels.

    >>> labels = np.array([[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1], [1, 0, 1, 0, 1, 0]])
    >>> codes = patterns.encode_on_host(labels, 2)
    >>> tally = patterns.tally([codes], num_raters=3, num_classes=2)
    >>> fused = staple_of_patterns(tally.votes, tally.counts, 2)
    >>> patterns.spread(fused.probs, tally, codes)[:, 1].round(2).tolist()
    [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    """
    # Before they are traced, where whole numbers beyond 2^31 would wrap round.
    counts = counts.astype(np.float32)
    return _of_patterns(
        votes,
        counts,
        num_classes,
        weights=weights,
        prior=prior,
        prior_update=prior_update,
        exclude_consensus=exclude_consensus,
        max_iterations=max_iterations,
        tolerance=tolerance,
    )


@functools.partial(jax.jit, static_argnames=_STATIC)
def _of_patterns(votes, counts, num_classes, *, prior, **options):
    patterns.check_counted(votes, counts, num_classes)
    if prior is not None:
        checks.shape("prior", prior, (num_classes,))
    chosen = patterns.ballots(votes.T, num_classes).T
    return _maximise(chosen, counts, num_classes, prior=prior, **options)


def _fuse(labels, num_classes, *, rater_mask, prior, **options):
    num_images, num_raters = labels.shape[:2]
    shape = (num_images, *labels.shape[2:], num_classes)
    if prior is not None:
        expected = (num_classes,) if prior.ndim == 1 else shape
        checks.shape("prior", prior, expected, like="labels")
    votes = patterns.ballots(labels.reshape(num_images, num_raters, -1), num_classes, rater_mask)
    everywhere = prior is None or prior.ndim == 1
    if not everywhere:
        prior = prior.reshape(-1, num_classes)
    chosen, counts, codes = patterns.group(votes, num_classes, each_voxel=not everywhere)
    probs, *rest = _maximise(chosen, counts, num_classes, prior=prior, **options)
    if codes is not None:
        probs = jnp.take(probs, codes.astype(jnp.int32), axis=0)
    return rows.Fusion(probs.reshape(shape), *rest)


def _maximise(
    chosen,
    counts,
    num_classes,
    *,
    weights,
    prior,
    prior_update,
    exclude_consensus,
    max_iterations,
    tolerance,
):
    """EM over counted votes 0 to L, ``[M, R]``: probabilities ``[M, L]`` and the rest."""
    checks.positive("max_iterations", max_iterations)
    checks.positive("tolerance", tolerance, or_zero=True)
    checks.one_of("prior_update", prior_update, PRIOR_UPDATES)
    if prior is not None and prior_update == "estimated":
        raise ValueError('prior: expected None where prior_update is "estimated"')
    one_hot = jax.nn.one_hot(chosen, num_classes, dtype=jnp.float32)
    voting = one_hot
    if weights is not None:
        checks.shape("weights", weights, one_hot.shape[1:2], like="raters")
        voting = jnp.where(weights[None, :, None] > 0, one_hot, 0)
    agreed = rows.consensus(voting) & exclude_consensus
    counts = jnp.where(agreed, 0, counts)
    if prior is None:
        prior = rows.frequencies(rows.weigh_votes(one_hot, weights), counts)
    probs, *rest = rows.maximise(
        rows.Rows(one_hot, counts, prior, weights),
        estimate_prior=prior_update == "estimated",
        max_iterations=max_iterations,
        tolerance=tolerance,
    )
    probs = jnp.where(agreed[:, None], jnp.max(voting, axis=1), probs)
    probs = jnp.where(jnp.any(voting > 0, axis=(1, 2))[:, None], probs, 0)
    return rows.Fusion(probs, *rest)
