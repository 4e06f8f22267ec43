"""Fusion by counting votes: the mean label and the majority vote; class ids of probabilities.

A tie is decided by a rule with a name: "lowest", the lowest class id, which favours the
background; "random", one of the tied classes, drawn uniformly at every voxel anew; "undecided", an
id of its own (ITK's LabelVoting).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer, Key

from noisyjax.core import checks, ignored
from noisyjax.fusion import patterns

TIES = ("lowest", "random", "undecided")
# Rounding parts what would be equal; relative to the largest.
_SAME = 1e-6


def _votes(labels, num_classes, rater_mask, weights):
    """The number of votes for each class, float32 ``[*S, L]``."""
    patterns.check(labels, num_classes, rater_mask)
    # Wide enough for every class id, so that none wraps round onto another.
    ballots = jax.nn.one_hot(labels.astype(jnp.int32), num_classes, dtype=bool)
    each = (-1,) + (1,) * labels.ndim
    if rater_mask is not None:
        ballots &= rater_mask.reshape(each)
    if weights is None:
        return jnp.sum(ballots, axis=0, dtype=jnp.float32)
    checks.shape("weights", weights, labels.shape[:1], like="labels")
    return jnp.sum(jnp.where(ballots, weights.astype(jnp.float32).reshape(each), 0), axis=0)


def mean(
    labels: Integer[Array, "R *S"],
    num_classes: int,
    *,
    rater_mask: Bool[Array, "R"] | None = None,
    weights: Float[Array, "R"] | None = None,
) -> Float[Array, "*S L"]:
    """Returns the share of raters who chose each class, ``[*S, L]``; zeros where nobody voted.

    Args:
      labels: class ids, ``[R, *S]``; an id that is no class (`ignored.IGNORE`, 255) is no vote.
      rater_mask: ``[R]``, who labelled the image; the others have no vote.
      weights: ``[R]``, 0 or more; a rater of weight 2 counts like two. None: 1 each.

    >>> mean(jnp.array([[0, 1], [0, 1], [0, 0], [1, 1]]), 2)
    Array([[0.75, 0.25],
           [0.25, 0.75]], dtype=float32)
    """
    votes = _votes(labels, num_classes, rater_mask, weights)
    total = jnp.sum(votes, axis=-1, keepdims=True)
    return votes / jnp.where(total > 0, total, 1)


def majority(
    labels: Integer[Array, "R *S"],
    num_classes: int,
    *,
    rater_mask: Bool[Array, "R"] | None = None,
    weights: Float[Array, "R"] | None = None,
    ties: str | None = None,
    undecided: int | None = None,
    key: Key[Array, ""] | None = None,
) -> Int[Array, "*S"]:
    """Returns the class that most raters chose, ``[*S]`` int32.

    Among classes with equally many votes the rule for ties decides, and says what is where nobody
    voted, see `decide`.

    Args:
      labels: class ids, ``[R, *S]``; an id that is no class is no vote.
      rater_mask: ``[R]``, who labelled the image; the others have no vote.
      weights: ``[R]``, 0 or more; a rater of weight 2 counts like two. None: 1 each.
      ties, undecided: see `decide`.
      key: breaks ties at random; the example's key of purpose "ties".

    >>> majority(jnp.array([[0, 1], [0, 2], [1, 2], [1, 2]]), 3)
    Array([0, 2], dtype=int32)
    """
    votes = _votes(labels, num_classes, rater_mask, weights)
    return decide(votes, ties=ties, undecided=undecided, key=key)


def decide(
    probs: Float[Array, "*S L"],
    *,
    ties: str | None = None,
    undecided: int | None = None,
    key: Key[Array, ""] | None = None,
) -> Int[Array, "*S"]:
    """Returns the most probable class at every voxel, ``[*S]`` int32, and says what ties become.

    Probabilities (or numbers of votes) that differ by no more than a millionth of the largest are a
    tie: those of EM are not more exact. Where all are zeros it is `ignored.IGNORE`, 255, unless
    they are "undecided".

    Args:
      probs: of each class, as a fusion gives them, ``[*S, L]``.
      ties: one of `TIES`; None: "undecided" with an id of it, "random" with a key, else "lowest".
      undecided: the id of ties that are "undecided", and for these only: L, 255, or another.
      key: draws ties that are "random", and is for these only.

    Raises:
      ValueError: if the rule is unknown, lacks its id or key, or has that of another.

    >>> probs = jnp.array([[0.2, 0.8], [0.5, 0.5]])
    >>> decide(probs).tolist(), decide(probs, undecided=255).tolist()
    ([1, 0], [1, 255])
    """
    if ties is None:
        ties = "random" if key is not None else "lowest" if undecided is None else "undecided"
    checks.one_of("ties", ties, TIES)
    for name, value, of in (("undecided", undecided, "undecided"), ("key", key, "random")):
        if (value is not None) != (ties == of):
            wanted = "one" if ties == of else "none"
            raise ValueError(f'{name}: expected {wanted} where ties are "{ties}"')
    tied = probs >= (1 - _SAME) * jnp.max(probs, axis=-1, keepdims=True)
    scores = tied
    if key is not None:
        scores = jnp.where(tied, probs + 0.5 * jax.random.uniform(key, probs.shape), -jnp.inf)
    chosen = jnp.argmax(scores, axis=-1).astype(jnp.int32)
    chosen = jnp.where(ignored.counting_targets(probs), chosen, ignored.IGNORE)
    if undecided is not None:
        chosen = jnp.where(jnp.sum(tied, axis=-1) > 1, undecided, chosen)
    return chosen
