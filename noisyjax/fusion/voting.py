"""Fusion that treats every rater alike: the mean label and the majority vote."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer, Key

from noisyjax.fusion import patterns


def _votes(labels, num_classes, rater_mask):
    """The number of votes for each class, float32 ``[*S, L]``."""
    patterns.check(labels, num_classes, rater_mask)
    # Wide enough for every class id, so that none wraps round onto another.
    ballots = jax.nn.one_hot(labels.astype(jnp.int32), num_classes, dtype=bool)
    if rater_mask is not None:
        ballots &= rater_mask.reshape((-1,) + (1,) * labels.ndim)
    return jnp.sum(ballots, axis=0, dtype=jnp.float32)


def mean(
    labels: Integer[Array, "R *S"],
    num_classes: int,
    *,
    rater_mask: Bool[Array, "R"] | None = None,
) -> Float[Array, "*S L"]:
    """Returns the share of raters who chose each class, ``[*S, L]``; 1/L where nobody voted.

    Args:
      labels: class ids, ``[R, *S]``; an id that is no class (an ignore label such as 255) is no
        vote.
      rater_mask: ``[R]``, who labelled the image; the others have no vote.

    >>> mean(jnp.array([[0, 1], [0, 1], [0, 0], [1, 1]]), 2)
    Array([[0.75, 0.25],
           [0.25, 0.75]], dtype=float32)
    """
    votes = _votes(labels, num_classes, rater_mask)
    total = jnp.sum(votes, axis=-1, keepdims=True)
    return jnp.where(total > 0, votes / jnp.maximum(total, 1), 1 / num_classes)


def majority(
    labels: Integer[Array, "R *S"],
    num_classes: int,
    *,
    rater_mask: Bool[Array, "R"] | None = None,
    key: Key[Array, ""] | None = None,
) -> Int[Array, "*S"]:
    """Returns the class that most raters chose, ``[*S]`` int32.

    Among classes with equally many votes, all of them where nobody voted, one is drawn uniformly at
    random, at every voxel anew, if a key is given; without a key the lowest class id wins, which
    favours the background.

    Args:
      labels: class ids, ``[R, *S]``; an id that is no class is no vote.
      rater_mask: ``[R]``, who labelled the image; the others have no vote.
      key: breaks ties; the example's key of purpose "ties".

    >>> majority(jnp.array([[0, 1], [0, 2], [1, 2], [1, 2]]), 3)
    Array([0, 2], dtype=int32)
    """
    votes = _votes(labels, num_classes, rater_mask)
    if key is not None:
        # Votes are whole numbers, so that less than a half decides among equals only.
        votes += 0.5 * jax.random.uniform(key, votes.shape)
    return jnp.argmax(votes, axis=-1).astype(jnp.int32)
