"""What random changes of an example draw: each kind from a stream of its own key."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Key

# Each kind of change has a stream of its own: switching one on leaves the others as they were.
# Their places are part of every stored run: append new ones.
_STREAMS = (
    "flip",
    "right_angle",
    "free",
    "intensity",
    "smoothing",
    "chosen",
    "gamma",
    "contrast",
    "inverted_gamma",
    "low_resolution",
    "free_chosen",
    "intensity_chosen",
)


def streams(key: Key[Array, ""]) -> dict[str, Key[Array, ""]]:
    """Returns the keys of all kinds of change, of an example's key.

    They are made at once, for each call of the generator is compiled anew.
    """
    keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(np.arange(len(_STREAMS)))
    return dict(zip(_STREAMS, keys, strict=True))


def chosen(key: Key[Array, ""], probabilities: dict[str, float | int]) -> Bool[Array, "kinds"]:
    """Returns which kinds of change happen, each with a probability of its own.

    Further kinds at the end leave the others as they were.

    Args:
      probabilities: of each option that says how large a change is.

    Raises:
      ValueError: if a probability is out of range.
    """
    for option, probability in probabilities.items():
        if not 0 <= probability <= 1:
            raise ValueError(
                f"{option}_probability: expected a number in [0, 1], got {probability}"
            )
    numbers = jax.random.uniform(key, (len(probabilities),))
    return numbers < jnp.array(list(probabilities.values()), jnp.float32)
