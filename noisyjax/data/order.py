"""Random orders and draws on the host, the same on every machine and with every NumPy."""

import numpy as np
from jaxtyping import Float, Int

from noisyjax.core import rng


def permutation(size: int, *, seed: int, epoch: int = 0) -> Int[np.ndarray, "size"]:
    """Returns a random order of ``0..size - 1``, int64.

    The order sorts raw numbers. Epoch 0 is an order that stays for the whole run; one that is
    renewed in each epoch passes ``1 + epoch``.
    """
    return np.argsort(_raw(size, (seed, rng.PURPOSES["shuffle"], epoch)), kind="stable")


def uniform(size: int, purpose: str, *numbers: int) -> Float[np.ndarray, "size"]:
    """Returns numbers in [0, 1) drawn of a purpose of `rng.PURPOSES` and whole numbers, float64."""
    raw = _raw(size, (rng.PURPOSES[purpose], *numbers))
    return (raw >> np.uint64(11)) * 2.0**-53


def _raw(size: int, words: tuple[int, ...]) -> np.ndarray:
    """Philox (Salmon et al. 2011), a stream that NumPy keeps fixed, unlike what it makes of it."""
    key = np.random.SeedSequence(words).generate_state(2, np.uint64)
    return np.random.Philox(key=key).random_raw(size)
