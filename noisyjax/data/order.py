"""Random orders on the host, the same on every machine and with every version of NumPy."""

import numpy as np
from jaxtyping import Int

from noisyjax.core import rng


def permutation(size: int, *, seed: int, epoch: int = 0) -> Int[np.ndarray, "size"]:
    """Returns a random order of ``0..size - 1``, int64.

    The order sorts the raw numbers of Philox (Salmon et al. 2011), a counter-based stream that
    NumPy keeps fixed, which it does not promise of its own `permutation`. Epoch 0 is an order that
    stays for the whole run; one that is renewed in each epoch passes ``1 + epoch``.
    """
    words = np.random.SeedSequence((seed, rng.PURPOSES["shuffle"], epoch)).generate_state(
        2, np.uint64
    )
    return np.argsort(np.random.Philox(key=words).random_raw(size), kind="stable")
