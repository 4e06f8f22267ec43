"""How strong each of the five noises of annotators is at a wanted mean Dice to the truth.

UMA-Net, section IV-A, trains on five simulated annotators who all are as far from the truth: their
mean Dice is 0.8 (low noise, LN) or 0.7 (high noise, HN).
"""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Integer, Key

from noisyjax.core import ignored
from noisyjax.data import source
from noisyjax.noise import annotation, severity

# level -> mean Dice
DICE = {"LN": 0.8, "HN": 0.7}

# Labels per truth: the more their Dice varies, the more of them have the same mean as the next. An
# erased structure is mostly all or nothing.
_DRAWS = {
    "erode_or_dilate": 4, "shift": 4, "reverse_square": 16, "polygonise": 2, "erase": 64
}  # fmt: skip


def _foreground(truths: Integer[np.ndarray, "B *S"]) -> Integer[Array, "B *S"]:
    return jnp.asarray((truths != 0) & ignored.known(truths), jnp.uint8)


def truths(data: Sequence[source.Source], *, count: int) -> Integer[np.ndarray, "B *S"]:
    """Returns the truths ``[B, *S]`` of up to `count` first examples of each source, concatenated.

    Raises:
      ValueError: if a source knows no truth, or the shapes differ.
    """
    arrays = []
    for one in data:
        if not one.has_truth:
            raise ValueError(f"{one.name}: the truth is asked for, but it is not known")
        ids = np.arange(min(count, len(one.examples)))
        arrays.append(source.take(one.examples, ids)["truth"])
    shapes = {part.shape[1:] for part in arrays}
    if len(shapes) > 1:
        raise ValueError(f"data: expected truths of one shape, got {sorted(shapes)}")
    return np.concatenate(arrays)


def solve(
    key: Key[Array, ""], truths: Integer[np.ndarray, "B *S"], *, dice: float | int
) -> dict[str, severity.Severity]:
    """Finds the strength of each noise at which its labels have a wanted mean Dice.

    Args:
      truths: ``[B, *S]``, anything but 0 is foreground; a few hundred of them for a mean that holds
        for others.
      dice: the mean Dice to the truths, in (0, 1).

    Returns:
      A key of `annotation.NOISES` each to its strength and the Dice that was reached.

    Raises:
      ValueError: if a noise cannot be so strong.
    """
    masks = _foreground(truths)
    return {
        name: severity.solve_severity(noise, masks, dice, key, draws=_DRAWS[name])
        for name, noise in annotation.NOISES.items()
    }


def measure(
    key: Key[Array, ""],
    truths: Integer[np.ndarray, "B *S"],
    levels: Sequence[Mapping[str, float | int]],
) -> list[dict[str, float]]:
    """Returns the mean Dice of each noise's labels at each level, measured as in `solve`.

    A level holds the strength of every noise of `annotation.NOISES`.
    """
    masks = _foreground(truths)
    means = {
        name: severity.mean_dice(
            annotation.NOISES[name], masks, [level[name] for level in levels], key, draws=draws
        )
        for name, draws in _DRAWS.items()
    }
    return [{name: dice[index] for name, dice in means.items()} for index in range(len(levels))]
