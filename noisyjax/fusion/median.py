"""The Fréchet median of labels under the Jaccard distance, which no background can change.

The median is the mask M with the least sum of distances to the raters' masks Y_r,

    sum_r w_r (1 - |M and Y_r| / |M or Y_r|)

(Hamzaoui et al. 2023, MACCHIatO, study consensus by such distances). Voxels that nobody marked do
not enter the sum, so that a larger crop changes nothing, unlike STAPLE. As a function of how many
voxels of one pattern of votes are taken the sum is concave: a best M is a union of whole patterns.
Those whose voters all marked them are in it, and those nobody marked are not. The others are
searched: all unions of the `_ENUMERATED` most frequent ones, exactly, with the rest as the best
threshold of the votes has it; after that patterns change sides one by one as long as the sum falls.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer, Num

from noisyjax.core import checks
from noisyjax.fusion import patterns, rows

# Patterns in dispute of four raters, 2^4 - 2: up to four raters without ignored voxels are exact.
_ENUMERATED = 14
# Masks of more raters are not counted by all their patterns.
_MOST_RATERS = 10
# Sums of as many quotients in single precision differ by rounding.
_SLACK = 1e-6


@patterns.checked_on_host
@functools.partial(jax.jit, static_argnames="num_classes")
def jaccard_median(
    labels: Integer[Array, "R *S"],
    num_classes: int = 2,
    *,
    rater_mask: Bool[Array, "R"] | None = None,
    weights: Float[Array, "R"] | None = None,
) -> rows.Fusion:
    """Fuses the labels of one image into their median under the Jaccard distance.

    The sum is the least of all masks if at most 14 patterns of disagreement occur (as with up to
    four raters who labelled every voxel), else of all that one more pattern would change. A
    distance counts the voxels on which the rater voted; that of two empty masks is 0. Of equal
    masks one is taken, by a fixed order: with two raters the label of one of them. Empty labels,
    and those of a single rater, are returned as they are.

    With more than two classes there is a median of each class against the rest. A voxel in one of
    them has its class, in several that of most votes (the lowest of equals), in none class 0, the
    background. One without any vote has none: zeros.

    Args:
      labels: class ids, ``[R, *S]``; an id that is no class is no vote.
      rater_mask: ``[R]``, who labelled the image; None: everyone.
      weights: ``[R]``, 0 or more; a rater of weight 2 counts like two. None: 1 each.

    Returns:
      Probabilities ``[*S, L]``, 0 and 1; matrices ``[R, L, L]`` where the truth is the median;
      number of patterns that changed sides one by one; log-likelihood by these matrices.

    Raises:
      ValueError: as `patterns.check`, or if there are more than ten raters:
        `jaccard_median_of_patterns` takes them.

    >>> masks = jnp.array([[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 0]])
    >>> jaccard_median(masks).probs.argmax(axis=-1).tolist()
    [0, 0, 1, 1]
    """
    patterns.check(labels, num_classes, rater_mask)
    if len(labels) > _MOST_RATERS:
        raise ValueError(
            f"labels: expected at most {_MOST_RATERS} raters, got {len(labels)}; count their "
            "patterns on the host for jaccard_median_of_patterns"
        )
    votes = patterns.ballots(labels.reshape(len(labels), -1), num_classes, rater_mask)
    chosen, counts, codes = patterns.group(votes[None], num_classes)
    fused = _of_patterns(chosen, counts, num_classes, weights=weights)
    probs = fused.probs if codes is None else jnp.take(fused.probs, codes.astype(jnp.int32), axis=0)
    return fused._replace(probs=probs.reshape(*labels.shape[1:], num_classes))


def jaccard_median_of_patterns(
    votes: Integer[Array | np.ndarray, "K R"],
    counts: Num[Array | np.ndarray, "K"],
    num_classes: int = 2,
    *,
    weights: Float[Array, "R"] | None = None,
) -> rows.Fusion:
    """Fuses voxels that have been counted by their pattern of votes, as `jaccard_median`.

    Args:
      votes, counts: ``[K, R]`` and ``[K]``, see `pooled.staple_of_patterns`; any number of raters.
      weights: see `jaccard_median`.

    Returns:
      As `jaccard_median`, with probabilities ``[K, L]`` of each pattern.
    """
    # Before they are traced, where whole numbers beyond 2^31 would wrap round.
    return _of_patterns(votes, counts.astype(np.float32), num_classes, weights=weights)


@functools.partial(jax.jit, static_argnames="num_classes")
def _of_patterns(votes, counts, num_classes, *, weights):
    patterns.check_counted(votes, counts, num_classes)
    num_raters = votes.shape[1]
    if weights is None:
        weights = jnp.ones(num_raters, jnp.float32)
    checks.shape("weights", weights, (num_raters,), like="raters")
    votes = patterns.ballots(votes.T, num_classes)
    foreground = jnp.arange(1, num_classes, dtype=votes.dtype)
    find = functools.partial(_mask, votes, counts, weights, no_vote=num_classes)
    inside, flips = jax.vmap(find)(foreground)
    one_hot = jax.nn.one_hot(votes.T, num_classes, dtype=jnp.float32)
    weighted = jnp.sum(rows.weigh_votes(one_hot, weights), axis=1)
    claims = jnp.where(inside.T, weighted[:, 1:], -1)
    chosen = jnp.where(jnp.any(inside, axis=0), 1 + jnp.argmax(claims, axis=-1), 0)
    truth = jax.nn.one_hot(chosen, num_classes, dtype=jnp.float32)
    truth *= jnp.any(weighted > 0, axis=1)[:, None]
    counted = rows.Rows(one_hot, counts, rows.frequencies(one_hot, counts))
    cms, log_likelihood = rows.estimate_matrices(counted, truth)
    return rows.Fusion(truth, cms, jnp.sum(flips), log_likelihood)


def _mask(votes, counts, weights, k, *, no_vote):
    """The median of class k against the rest: which rows are in it ``[K]``, number of flips."""
    marked = jnp.where(votes == no_vote, 2, votes == k)
    marked = jnp.where(weights[:, None] > 0, marked, 2).astype(jnp.uint8)
    size = patterns.number(len(votes), 2)
    if size > patterns.TABLE:
        return _median(marked.T, counts, weights)
    # Votes that differ in other classes alone are one pattern of this one.
    codes = patterns.encode(marked, 2).astype(jnp.int32)
    summed = jnp.zeros(size, jnp.float32).at[codes].add(counts)
    inside, flips = _median(jnp.asarray(patterns.table(len(votes), 2)), summed, weights)
    return inside[codes], flips


def _median(votes, counts, weights):
    """The median of patterns of a mask, 2 for no vote, ``[P, R]``: which are in it, flips."""
    marked, cast = votes == 1, votes != 2
    unanimous = jnp.all(marked | ~cast, axis=1)
    sure = jnp.any(marked, axis=1) & unanimous
    disputed = jnp.any(marked, axis=1) & ~unanimous & (counts > 0)
    # In the mask and marked by the rater; in the mask and voted on.
    mass = counts[:, None, None] * jnp.stack([marked, cast], axis=1)
    size = jnp.sum(mass[:, 0], axis=0)

    def value(overlap):
        both, taken = overlap[:, 0], overlap[:, 1]
        union = taken + size[None] - both
        jaccard = jnp.where(union > 0, both / jnp.where(union > 0, union, 1), 1)
        return jnp.sum(weights[None] * jaccard, axis=1)

    def overlaps(masks):
        exact = jax.lax.Precision.HIGHEST
        return jnp.einsum("np,pkr->nkr", masks.astype(jnp.float32), mass, precision=exact)

    inside = _threshold(marked, cast, weights, sure, disputed)
    inside = inside[jnp.argmax(value(overlaps(inside)))]
    inside = _enumerate(inside, jnp.where(disputed, counts, -1), mass, value, overlaps)

    def step(state):
        inside, flips, _ = state
        now = overlaps(inside[None])
        flipped = now + jnp.where(inside, -1, 1)[:, None, None] * mass
        gain = jnp.where(disputed, value(flipped) - value(now), -jnp.inf)
        best = jnp.argmax(gain)
        better = gain[best] > _SLACK
        return inside.at[best].set(inside[best] ^ better), flips + better, better

    initial = (inside, jnp.int32(0), jnp.bool_(True))
    return jax.lax.while_loop(lambda state: state[2], step, initial)[:2]


def _threshold(marked, cast, weights, sure, disputed):
    """The patterns with more than 0, 1, ..., R - 1 of R votes for them, ``[R, P]``."""
    votes = jnp.sum(weights[None] * marked, axis=1)
    share = votes / jnp.maximum(jnp.sum(weights[None] * cast, axis=1), _SLACK)
    least = jnp.arange(len(weights)) / len(weights) + _SLACK
    return sure[None] | (disputed[None] & (share[None] > least[:, None]))


def _enumerate(inside, counts, mass, value, overlaps):
    """The best of all unions of the most frequent patterns in dispute (of counts above 0)."""
    most = min(_ENUMERATED, len(counts))
    order = jnp.sort(jax.lax.top_k(counts, most)[1])
    free = counts[order] > 0
    rest = inside.at[order].set(inside[order] & ~free)
    unions = (jnp.arange(2**most)[:, None] >> jnp.arange(most)[None]) & 1
    chosen = jnp.where(free[:, None, None], mass[order], 0)
    exact = jax.lax.Precision.HIGHEST
    added = jnp.einsum("np,pkr->nkr", unions.astype(jnp.float32), chosen, precision=exact)
    best = unions[jnp.argmax(value(overlaps(rest[None]) + added))] > 0
    return rest.at[order].set(jnp.where(free, best, inside[order]))
