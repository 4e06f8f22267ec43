"""The one policy for random keys.

A key is ``fold_in(seed, purpose, example id, epoch, rater)``. What an example receives depends on
nothing else: not on its batch, its position there, the number of devices, hosts or workers.

Threefry is asked for by name because it is the implementation whose draws under ``vmap`` over keys
equal a loop over the keys; others trade that away for speed.

Keys are typed (``jax.random.key``), so that a key cannot be mistaken for data.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Integer, Key

from noisyjax.core import checks

IMPLEMENTATION = "threefry2x32"

# A number on the host or a scalar on the device.
Index = int | np.integer | Integer[Array, ""]

# The numbers are part of every stored run: append new purposes, never renumber.
PURPOSES = {
    "init": 0,
    "noise": 1,
    "rater_mask": 2,
    "input_noise": 3,
    "augment": 4,
    "dropout": 5,
    "ties": 6,
    "shuffle": 7,
    "sample": 8,
    "raters": 9,
    "latents": 10,
    "replaced_cases": 11,
    "replacement": 12,
    "expertness": 13,
    "patches": 14,
}


def root_key(seed: Index) -> Key[Array, ""]:
    """Returns the typed key ``[]`` from which all keys of a run descend.

    The seed may be traced, so that seeds can run side by side under `vmap`.
    """
    return jax.random.key(seed, impl=IMPLEMENTATION)


def purpose_key(seed: Index | Key[Array, ""], purpose: str) -> Key[Array, ""]:
    """Returns the typed key ``[]`` of one purpose, of `PURPOSES`, of a run.

    `seed` is the run's seed or its `root_key`. Two purposes never share a key, so that for example
    another augmentation leaves the label noise as it was.
    """
    checks.one_of("purpose", purpose, PURPOSES)
    is_key = isinstance(seed, jax.Array) and jnp.issubdtype(seed.dtype, jax.dtypes.prng_key)
    return jax.random.fold_in(seed if is_key else root_key(seed), PURPOSES[purpose])


def example_key(key: Key[Array, ""], example_id: Index, *, epoch: Index = 0) -> Key[Array, ""]:
    """Returns the typed key ``[]`` of one example, for one epoch or for the whole run.

    Args:
      key: of a purpose, ``[]``.
      example_id: unique in the source, ``[]`` int32.
      epoch: 0 for a draw that stays frozen during the whole run; a draw that is renewed in each
        epoch passes ``1 + epoch``.
    """
    return jax.random.fold_in(jax.random.fold_in(key, example_id), epoch)


def example_keys(
    key: Key[Array, ""],
    example_ids: Integer[Array, "B"] | Integer[np.ndarray, "B"],
    *,
    epoch: Index = 0,
) -> Key[Array, "B"]:
    """Returns `example_key` for each of the ids ``[B]`` of a batch, typed keys ``[B]``."""
    return jax.vmap(lambda example_id: example_key(key, example_id, epoch=epoch))(example_ids)


def rater_keys(key: Key[Array, ""], num_raters: int) -> Key[Array, "R"]:
    """Returns one key per rater of an example, typed ``[R]``.

    The key of rater r does not depend on how many raters there are.
    """
    return jax.vmap(lambda rater: jax.random.fold_in(key, rater))(jnp.arange(num_raters))
