"""Expectation maximisation over rows of votes: raters' confusion matrices and the hidden truth.

A row is a group of voxels with the same votes and the same prior: a pattern of votes with the
number of its voxels, or a single voxel.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Matrix units of accelerators round their inputs to bfloat16 unless told otherwise.
_EXACT = jax.lax.Precision.HIGHEST


class Fusion(NamedTuple):
    """What several raters' labels say together.

    Attributes:
      probs: probability of each class, ``[*S, L]``; pooled over a data set, ``[N, *S, L]``.
      cms: ``cms[r, i, j]`` = p(rater r says i | true class j), ``[R, L, L]``; of Spatial STAPLE
        one per voxel, ``[R, *S, L, L]``. Columns sum to one.
      iterations: number of pairs of M-step and E-step.
      log_likelihood: natural logarithm of the probability of the labels given ``cms``, the sum
        over the voxels that took part.
    """

    probs: Float[Array, "*S L"]
    cms: Float[Array, "R *T L L"]
    iterations: Int[Array, ""]
    log_likelihood: Float[Array, ""]


class Rows(NamedTuple):
    """Groups of voxels that are alike.

    Attributes:
      votes: one-hot votes, zero everywhere for no vote, ``[M, R, L]``.
      counts: number of voxels, ``[M]``.
      prior: probability of each class before any vote, ``[L]`` or ``[M, L]``.
      weights: how many alike raters each stands for, ``[R]``; None: one each.
    """

    votes: Float[Array, "M R L"]
    counts: Float[Array, "M"]
    prior: Float[Array, "*M L"]
    weights: Float[Array, "R"] | None = None


def weigh_votes(
    votes: Float[Array, "M R L"], weights: Float[Array, "R"] | None
) -> Float[Array, "M R L"]:
    """Returns the votes times the weight of their rater; as they are without weights."""
    return votes if weights is None else votes * weights[None, :, None]


def mean_vote(votes: Float[Array, "M R L"]) -> Float[Array, "M L"]:
    """Returns the share of the votes for each class, zeros where nobody voted."""
    total = jnp.sum(votes, axis=1)
    cast = jnp.sum(total, axis=-1, keepdims=True)
    return total / jnp.where(cast > 0, cast, 1)


def consensus(votes: Float[Array, "M R L"]) -> Bool[Array, "M"]:
    """Returns where everyone who voted chose the same class (and someone did)."""
    return jnp.sum(jnp.max(votes, axis=1), axis=-1) == 1


def frequencies(votes: Float[Array, "M R L"], counts: Float[Array, "M"]) -> Float[Array, "L"]:
    """Returns the share of each class among all votes; 1/L each if there is none."""
    # Whole numbers: exact up to 2^24 votes, whatever the order of the sum.
    total = jnp.sum(counts[:, None] * jnp.sum(votes, axis=1), axis=0)
    cast = jnp.sum(total)
    return jnp.where(cast > 0, total / jnp.where(cast > 0, cast, 1), 1 / votes.shape[-1])


def shares(rows: Rows, probs: Float[Array, "M L"]) -> Float[Array, "L"]:
    """Returns the mean probability of each class over the voxels with a vote; 1/L if there is none.

    It is the M-step of the prior. Voxels without any vote would only slow it down: theirs is what
    the prior was.
    """
    counts = rows.counts * jnp.any(rows.votes > 0, axis=(1, 2))
    blocks = math.isqrt(len(counts))
    mass = jnp.sum(jnp.sum(_in_blocks(counts[:, None] * probs, blocks), axis=1), axis=0)
    total = jnp.sum(mass)
    return jnp.where(total > 0, mass / jnp.where(total > 0, total, 1), 1 / probs.shape[-1])


def maximise(
    rows: Rows,
    *,
    estimate_prior: bool = False,
    max_iterations: int | Int[Array, ""],
    tolerance: int | float | Float[Array, ""],
) -> tuple[Float[Array, "M L"], Float[Array, "R L L"], Int[Array, ""], Float[Array, ""]]:
    """Runs EM from the mean vote, M-step first.

    How much an iteration changes says little about what is still to come: where EM is slow, the
    distance to its end is hundreds of times as large, and lost in the rounding of single precision
    long before it is small. So EM ends when no probability, of a class or in a matrix, changed by
    more than `tolerance` in the last fifth of the iterations, or after `max_iterations` pairs of
    M-step and E-step. If the error shrinks as c^n, whatever c, a change of at most t over the last
    fifth leaves one of about t^(5/4).

    With `estimate_prior` the prior of the rows is not read: each M-step sets it to `shares`.

    Returns:
      Posterior ``[M, L]`` (also of rows that no voxel has), matrices ``[R, L, L]``, number of
      pairs, log-likelihood.
    """
    num_raters, num_classes = rows.votes.shape[1:]
    seen = (rows.counts > 0)[:, None]

    def step(state):
        probs, _, iterations, _, earlier, due, _ = state
        cms = confusion(rows, probs)
        given = rows._replace(prior=shares(rows, probs)) if estimate_prior else rows
        probs, log_likelihood = posterior(given, cms)
        iterations += 1
        now = iterations == due
        # Both: where voxels are many, matrices seem still while those of few voxels change.
        changes = jnp.max(jnp.abs(cms - earlier[1])), jnp.max(jnp.abs(probs - earlier[0]) * seen)
        change = jnp.where(now, jnp.maximum(*changes), jnp.inf)
        earlier = jax.tree.map(functools.partial(jnp.where, now), (probs, cms), earlier)
        due = jnp.where(now, iterations + iterations // 4 + 1, due)
        return probs, cms, iterations, log_likelihood, earlier, due, change

    def unfinished(state):
        _, _, iterations, _, _, _, change = state
        return (iterations < max_iterations) & (change > tolerance)

    cms = jnp.zeros((num_raters, num_classes, num_classes), jnp.float32)
    start = mean_vote(weigh_votes(rows.votes, rows.weights)), cms
    done, inf = jnp.int32(0), jnp.float32(jnp.inf)
    initial = (*start, done, jnp.float32(0), start, done + 1, inf)
    probs, cms, iterations, log_likelihood, *_ = jax.lax.while_loop(unfinished, step, initial)
    return probs, cms, iterations, log_likelihood


def estimate_matrices(
    rows: Rows, truth: Float[Array, "M L"]
) -> tuple[Float[Array, "R L L"], Float[Array, ""]]:
    """Returns the raters' matrices where the truth is known, and the log-likelihood by these."""
    cms = confusion(rows, truth)
    return cms, posterior(rows, cms)[1]


def confusion(rows: Rows, probs: Float[Array, "M L"]) -> Float[Array, "R L L"]:
    """M-step: returns the matrices that explain the votes best if the truth follows ``probs``.

    The column of a class without any mass under the rater's votes is that of a perfect rater.
    """
    # Every entry from a sum of its own, never as one minus the others, so that small ones keep
    # their digits; sums of blocks first, so that the rounding of long sums does not add up.
    blocks = math.isqrt(len(rows.counts))
    votes = _in_blocks(rows.votes, blocks)
    mass = _in_blocks(rows.counts[:, None] * probs, blocks)
    joint = jnp.sum(jnp.einsum("bmri,bmj->brij", votes, mass, precision=_EXACT), axis=0)
    return normalise(joint, jnp.eye(rows.votes.shape[-1], dtype=jnp.float32)[None])


def normalise(joint: Float[Array, "R *L"], empty: Float[Array, "#R *#L"]) -> Float[Array, "R *L"]:
    """Returns ``joint`` divided by its sum over axis 1, and ``empty`` where that is zero."""
    mass = jnp.sum(joint, axis=1, keepdims=True)
    return jnp.where(mass > 0, joint / jnp.where(mass > 0, mass, 1), empty)


def posterior(
    rows: Rows, cms: Float[Array, "R L L"]
) -> tuple[Float[Array, "M L"], Float[Array, ""]]:
    """E-step: returns the probability of each class in every row, and the log-likelihood.

    Where the prior rules out every class that the matrices allow, the prior stands and the
    log-likelihood is minus infinity.
    """
    voted = jnp.sum(rows.votes, axis=-1).T[:, None]
    factors = jnp.einsum("mri,rij->rjm", rows.votes, cms, precision=_EXACT) + (1 - voted)
    prior = jnp.broadcast_to(rows.prior, (len(rows.counts), cms.shape[-1])).T
    if rows.weights is None:
        start = (prior, jnp.zeros(len(rows.counts), jnp.float32))
        (joint, log_scale), _ = jax.lax.scan(lambda s, f: (weigh(*s, f), None), start, factors)
    else:
        joint, log_scale = _weighted(prior, factors, rows.weights)
    total = jnp.sum(joint, axis=0, keepdims=True)
    probs = jnp.where(total > 0, joint / jnp.where(total > 0, total, 1), prior)
    evidence = jnp.where(rows.counts > 0, rows.counts * (log_scale + jnp.log(total[0])), 0)
    return probs.T, jnp.sum(evidence)


def weigh(
    joint: Float[Array, "L *M"], log_scale: Float[Array, "*M"], factor: Float[Array, "L *M"]
) -> tuple[Float[Array, "L *M"], Float[Array, "*M"]]:
    """Takes one rater's vote into account.

    Products instead of sums of logarithms: the posterior of a logarithm of size 10 would lose a
    digit. The largest class is brought back to one after each rater, so that none underflows.

    Args:
      joint: probability of each class and of the votes so far, times a scale.
      log_scale: what is to be added to its logarithm.
      factor: probability of the next vote given each class; 1 for no vote.
    """
    joint = joint * factor
    # Slice by slice: jnp.max over the slow axis is a pass of its own, and not vectorised.
    largest = functools.reduce(jnp.maximum, joint)
    return joint / jnp.where(largest > 0, largest, 1)[None], log_scale + jnp.log(largest)


def _weighted(prior, factors, weights):
    """What `weigh` does rater by rater, for factors ``[R, L, M]`` to the power of the weights.

    By logarithms: a weight may be so large that every class underflows after some rater.
    """
    weights = weights[:, None, None]
    powers = jnp.where(weights > 0, weights * jnp.log(factors), 0)
    logs = jnp.log(prior) + jnp.sum(powers, axis=0)
    log_scale = jnp.max(logs, axis=0)
    finite = jnp.where(jnp.isfinite(log_scale), log_scale, 0)
    return jnp.exp(logs - finite[None]), log_scale


def _in_blocks(x, blocks):
    missing = -len(x) % blocks
    x = jnp.pad(x, ((0, missing), *((0, 0),) * (x.ndim - 1)))
    return x.reshape(blocks, -1, *x.shape[1:])
