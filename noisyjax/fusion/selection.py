"""SIMPLE: raters are weighted by their performance, and the worst are left out.

Langerak et al. 2010, "Label fusion in atlas-based segmentation using a selective and iterative
method for performance level estimation (SIMPLE)", IEEE TMI 29(12). With the majority vote of all
raters as the first consensus T, repeat

    phi_r = Dice of rater r and T
    leave out the raters with phi_r < mean - alpha sd
    T = majority vote of the others, each with the weight phi_r

until nobody is left out.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Integer, Num

from noisyjax.core import checks
from noisyjax.fusion import patterns, rows

# Raters whose performance differs by rounding alone stay together.
_SLACK = 1e-6
_STATIC = ("num_classes", "alpha", "max_iterations")


@patterns.checked_on_host
@functools.partial(jax.jit, static_argnames=_STATIC)
def simple(
    labels: Integer[Array, "R *S"],
    num_classes: int = 2,
    *,
    rater_mask: Bool[Array, "R"] | None = None,
    alpha: float = 1.0,
    max_iterations: int = 100,
) -> rows.Fusion:
    """Fuses the labels of one image by SIMPLE.

    The performance is the Dice over the voxels on which a rater voted; of more than two classes
    the mean over all but class 0; 1 for a class that neither has. Mean and standard deviation (the
    divisor is their number) are those of the raters who are left. Ties go to the lowest class. A
    single rater's label, and empty ones, are returned as they are; zeros where none of those left
    voted.

    Args:
      labels: class ids, ``[R, *S]``; an id that is no class is no vote.
      rater_mask: ``[R]``, who labelled the image; None: everyone.
      alpha: how many standard deviations below the mean a rater may be.
      max_iterations: at most so many rounds.

    Returns:
      Shares of the weighted votes ``[*S, L]``; matrices ``[R, L, L]`` of all raters, also of those
      left out, where the truth is the consensus; number of rounds; log-likelihood by these
      matrices.

    >>> masks = jnp.array([[0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 1, 1, 0, 0], [1, 0, 0, 1, 1]])
    >>> simple(masks).probs.argmax(axis=-1).tolist()
    [0, 1, 1, 1, 0]
    """
    patterns.check(labels, num_classes, rater_mask)
    votes = patterns.ballots(labels.reshape(len(labels), -1), num_classes, rater_mask)
    chosen, counts, codes = patterns.group(votes[None], num_classes)
    fused = _of_patterns(chosen, counts, num_classes, alpha=alpha, max_iterations=max_iterations)
    probs = fused.probs if codes is None else jnp.take(fused.probs, codes.astype(jnp.int32), axis=0)
    return fused._replace(probs=probs.reshape(*labels.shape[1:], num_classes))


def simple_of_patterns(
    votes: Integer[Array | np.ndarray, "K R"],
    counts: Num[Array | np.ndarray, "K"],
    num_classes: int = 2,
    *,
    alpha: float = 1.0,
    max_iterations: int = 100,
) -> rows.Fusion:
    """Fuses voxels that have been counted by their pattern of votes, as `simple`.

    Args:
      votes, counts: ``[K, R]`` and ``[K]``, see `pooled.staple_of_patterns`.
      alpha, max_iterations: see `simple`.

    Returns:
      As `simple`, with shares ``[K, L]`` of each pattern.
    """
    # Before they are traced, where whole numbers beyond 2^31 would wrap round.
    counts = counts.astype(np.float32)
    return _of_patterns(votes, counts, num_classes, alpha=alpha, max_iterations=max_iterations)


@functools.partial(jax.jit, static_argnames=_STATIC)
def _of_patterns(votes, counts, num_classes, *, alpha, max_iterations):
    patterns.check_counted(votes, counts, num_classes)
    checks.positive("alpha", alpha, or_zero=True)
    checks.positive("max_iterations", max_iterations)
    one_hot = jax.nn.one_hot(patterns.ballots(votes.T, num_classes).T, num_classes)
    present = jnp.any((one_hot > 0) & (counts > 0)[:, None, None], axis=(0, 2))

    def share(weights):
        return rows.mean_vote(rows.weigh_votes(one_hot, weights))

    def step(state):
        kept, weights, iterations, _ = state
        performance = _dice(one_hot, counts, _decided(share(weights)))
        mean = _mean(performance, kept)
        deviation = jnp.sqrt(_mean((performance - mean) ** 2, kept))
        stay = kept & (performance >= mean - alpha * deviation - _SLACK)
        # Raters none of whom has anything in common with the consensus count alike.
        weights = jnp.where(jnp.any(stay & (performance > 0)), performance, 1) * stay
        return stay, weights, iterations + 1, jnp.any(stay != kept)

    def unfinished(state):
        return state[3] & (state[2] < max_iterations)

    initial = (present, present.astype(jnp.float32), jnp.int32(0), jnp.bool_(True))
    _, weights, iterations, _ = jax.lax.while_loop(unfinished, step, initial)
    probs = share(weights)
    counted = rows.Rows(one_hot, counts, rows.frequencies(one_hot, counts))
    cms, log_likelihood = rows.estimate_matrices(counted, _decided(probs))
    return rows.Fusion(probs, cms, iterations, log_likelihood)


def _decided(probs):
    return jax.nn.one_hot(jnp.argmax(probs, axis=-1), probs.shape[-1], dtype=jnp.float32)


def _mean(values, where):
    return jnp.sum(values * where) / jnp.maximum(jnp.sum(where), 1)


def _dice(one_hot, counts, truth):
    """The mean Dice of every rater over the foreground, ``[R]``, on the voxels they voted on."""
    exact = jax.lax.Precision.HIGHEST
    cast = jnp.sum(one_hot, axis=-1)
    mass = counts[:, None] * truth
    both = jnp.einsum("mrl,ml->rl", one_hot, mass, precision=exact)
    own = jnp.einsum("mrl,m->rl", one_hot, counts, precision=exact)
    seen = jnp.einsum("mr,ml->rl", cast, mass, precision=exact)
    total = own + seen
    return jnp.mean(jnp.where(total > 0, 2 * both / jnp.where(total > 0, total, 1), 1)[:, 1:], 1)
