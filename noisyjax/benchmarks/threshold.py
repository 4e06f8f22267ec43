"""The Dice-optimal mask of a marginal, by the fixed point and by sorting all voxels.

The peer is Listing 3 of Nordström et al. 2023, written anew in NumPy: sort the voxels, sum them up
from the largest one down, take the best Dice. It is timed in float64, and in float32, where its
long sum costs it the exact threshold.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from noisyjax import decisions
from noisyjax.benchmarks import harness
from noisyjax.noise import gaussian_field


@dataclasses.dataclass(frozen=True)
class Setup:
    """A marginal to decide on.

    Attributes:
      size: voxels along each of three axes.
      strength: a of the Gaussian-field noise.
      peer: "" as NumPy is all that the peers need.
    """

    size: int
    strength: float = 0.03
    peer: str = ""

    def marginal(self) -> Float[np.ndarray, "D H W"]:
        """The marginal of twelve noisy balls, ``[D, H, W]`` float32, the same at every call."""
        rng = np.random.default_rng(0)
        position = (np.arange(self.size, dtype=np.float32) + 0.5) / self.size
        label = np.zeros((self.size,) * 3, bool)
        for _ in range(12):
            centre, radius = rng.uniform(0.25, 0.75, 3), rng.uniform(0.05, 0.2)
            axes = np.meshgrid(
                *(np.square(position - c) for c in centre), indexing="ij", sparse=True
            )
            label |= sum(axes) < radius**2
        return np.asarray(gaussian_field.marginal(jnp.asarray(label), a=self.strength))

    def sides(self) -> dict[str, Callable[[int], harness.Work]]:
        """Ours and the listing in two precisions by name."""
        return {
            "ours": functools.partial(ours, self),
            "numpy float64": functools.partial(numpy_peer, self, dtype="float64"),
            "numpy float32": functools.partial(numpy_peer, self, dtype="float32"),
        }


SETUPS = {"threshold_64": Setup(64), "threshold_128": Setup(128), "threshold_256": Setup(256)}
SMOKE = Setup(16)


def ours(setup: Setup, threads: int) -> harness.Work:
    """Compiles `decisions.dice_optimal`; `params` is the number of voxels."""
    del threads
    m = jnp.asarray(setup.marginal())
    compiled, compile_s = harness.compiled(jax.jit(decisions.dice_optimal), m)
    return harness.Work(lambda: jax.block_until_ready(compiled(m)), m.size, compile_s)


def numpy_peer(setup: Setup, threads: int, *, dtype: str) -> harness.Work:
    """Builds the listing for a marginal of a dtype; `params` is the number of voxels."""
    del threads
    m = setup.marginal().astype(dtype)
    return harness.Work(lambda: by_sorting(m), m.size, 0.0)


def by_sorting(m: Float[np.ndarray, "*S"]) -> Bool[np.ndarray, "*S"]:
    """Returns the Dice-optimal mask ``[*S]`` as Listing 3 of the paper finds it."""
    falling = np.flip(np.sort(m, axis=None))
    dice = 2 * np.cumsum(falling) / (np.sum(m) + np.arange(1, m.size + 1))
    return m >= np.max(dice) / 2
