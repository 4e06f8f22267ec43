"""How strong a noise has to be for its labels to have a wanted Dice to the truth.

Noises measure their strength in units of their own: a share of the image, voxels, a number of
cuts. The mean Dice between the noisy labels and the truths is a scale that all of them share, so
that experiments with different noises can be compared at equal damage.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Integer, Key

from noisyjax.core import checks, rng

Truths = (
    Bool[Array, "B *S"]
    | Integer[Array, "B *S"]
    | Bool[np.ndarray, "B *S"]
    | Integer[np.ndarray, "B *S"]
)

# About this many voxels are made noisy at a time.
_CHUNK = 2**21


class Severity(NamedTuple):
    """A strength and what it does.

    Attributes:
      strength: of the noise, an int for a discrete noise.
      dice: the mean Dice that was reached with it, on the same truths and keys.
    """

    strength: float | int
    dice: float


def solve_severity(
    noise: Callable[..., Any],
    truths: Truths,
    target_dice: float,
    key: Key[Array, ""],
    *,
    bounds: tuple[float | int, float | int] | None = None,
    discrete: bool = False,
    draws: int = 1,
    num_classes: int = 2,
    tolerance: float = 1e-3,
    max_steps: int = 30,
) -> Severity:
    """Finds the strength at which noisy labels have a wanted mean Dice to the truths.

    Bisection, every strength on the same random numbers: the Dice then falls with the strength
    almost without noise of its own. Of all strengths tried the one nearest to the target is
    returned; the Dice of a discrete noise, or of one that moves in whole voxels, falls in steps, so
    look at what was reached.

    Args:
      noise: ``f(key, truth [*S], strength) -> label [*S]`` of one example; a parameter named
        ``strength`` is passed by its name. It is jitted and vmapped. A strength of 0 need not, but
        usually does, leave the truth alone, and the Dice falls as the strength grows.
      truths: ``[B, *S]`` masks or class ids. Truths without foreground do not count.
      target_dice: the wanted mean Dice, in (0, 1].
      key: random key; example b draws from ``rng.example_key(key, b)``.
      bounds: the smallest and largest strength to consider. None is 0 to the longest side of the
        image, from 1 upwards in doubling steps, so that the strongest noises are only tried if
        need be.
      discrete: whether strengths are whole numbers. They are then given to the noise as Python
        ints, so that they may decide shapes and loop counts, and each is compiled anew; otherwise
        they are traced float32 scalars.
      draws: noisy labels per truth; more of them make the result depend less on the key.
      num_classes: L; the Dice of an example is the mean over the foreground classes in its truth.
      tolerance: a Dice this close to the target is good enough.
      max_steps: largest number of bisections.

    Raises:
      ValueError: if the target lies outside of what the bounds can reach (the message tells what
        they can), or no truth has any foreground.

    >>> from noisyjax.noise import morphology
    >>> truths = jnp.zeros((2, 32, 32), bool).at[:, 8:24, 8:24].set(True)
    >>> erode = lambda key, mask, strength: morphology.erode(mask, radius=strength)
    >>> solve_severity(erode, truths, 0.7, rng.root_key(0))
    Severity(strength=2.0, dice=0.7200000286102295)
    """
    _check(truths, target_dice, bounds, draws, num_classes)
    measure = _mean_dice(noise, jnp.asarray(truths), key, discrete, draws, num_classes)
    tried = {}

    def dice(strength):
        if strength not in tried:
            tried[strength] = measure(strength)
        return tried[strength]

    low, high = bounds or (0, max(truths.shape[1:]))
    if discrete:
        low, high = math.ceil(low), math.floor(high)
    at_low = dice(low)
    if bounds is None:
        high = _first_below(dice, target_dice, high)
    if not at_low + tolerance >= target_dice >= dice(high) - tolerance:
        raise ValueError(
            f"target_dice: expected {dice(high):.4g} to {at_low:.4g}, the range of strengths from "
            f"{low} to {high}, got {target_dice}"
        )
    for _ in range(max_steps):
        middle = (low + high) // 2 if discrete else _halfway(low, high)
        close = min(abs(d - target_dice) for d in tried.values()) <= tolerance
        if close or middle in (low, high):
            break
        low, high = (middle, high) if dice(middle) > target_dice else (low, middle)
    strength, reached = min(tried.items(), key=lambda item: abs(item[1] - target_dice))
    return Severity(strength if discrete else float(strength), reached)


def mean_dice(
    noise: Callable[..., Any],
    truths: Truths,
    strengths: Sequence[float | int],
    key: Key[Array, ""],
    *,
    draws: int = 1,
    num_classes: int = 2,
) -> list[float]:
    """Returns the mean Dice of noisy labels to the truths for each of the strengths.

    It is measured as in `solve_severity`, with the same arguments: the same key gives the same
    Dice. The strengths are traced.
    """
    checks.positive("draws", draws)
    measure = _mean_dice(noise, jnp.asarray(truths), key, False, draws, num_classes)
    return [measure(strength) for strength in strengths]


def _check(truths, target_dice, bounds, draws, num_classes):
    checks.positive("draws", draws)
    if not 0 < target_dice <= 1:
        raise ValueError(f"target_dice: expected a number in (0, 1], got {target_dice}")
    checks.at_least("num_classes", num_classes, 2)
    if bounds is not None and not 0 <= bounds[0] < bounds[1]:
        raise ValueError(f"bounds: expected 0 <= low < high, got {bounds}")
    if not np.any((np.asarray(truths) > 0) & (np.asarray(truths) < num_classes)):
        raise ValueError(f"truths: expected foreground in one of {len(truths)} truths, got none")


def _first_below(dice, target, largest):
    """The first of 1, 2, 4, ... whose Dice is not above the target, or the largest allowed."""
    strength = 1
    while strength < largest and dice(strength) > target:
        strength *= 2
    return min(strength, largest)


def _halfway(low, high):
    """The middle as a float32, which is what the noise receives."""
    return float(np.float32((low + high) / 2))


def _mean_dice(noise, truths, key, discrete, draws, num_classes):
    """Returns strength -> mean Dice over examples and draws, compiled once (per discrete one)."""
    keys = rng.example_keys(key, jnp.arange(len(truths)))
    keys = jax.vmap(lambda k: jax.random.split(k, draws))(keys).reshape(-1)
    examples = jnp.repeat(jnp.arange(len(truths)), draws)
    by_name = "strength" in inspect.signature(noise).parameters

    def scores(strength, truths, keys):
        def score(drawn):
            key, truth = drawn[0], truths[drawn[1]]
            made = noise(key, truth, strength=strength) if by_name else noise(key, truth, strength)
            return _dice(made, truth, num_classes)

        return jax.lax.map(score, (keys, examples), batch_size=_chunk(truths, len(keys)))

    # Truths that were constants would be computed with at compile time, slowly.
    compiled = jax.jit(scores, static_argnums=(0,) if discrete else ())

    def measure(strength):
        given = strength if discrete else jnp.float32(strength)
        return float(np.nanmean(np.asarray(compiled(given, truths, keys), np.float64)))

    return measure


def _chunk(truths, total):
    """Number of labels made at a time; it divides their total, so that all chunks are alike."""
    largest = max(1, _CHUNK // math.prod(truths.shape[1:]))
    return max(n for n in range(1, min(total, largest) + 1) if total % n == 0)


def _dice(label, truth, num_classes):
    """Mean Dice over the foreground classes of the truth, ``[]``; NaN if it has none."""
    classes = jnp.arange(1, num_classes).reshape(-1, *[1] * truth.ndim)
    in_label = label.astype(jnp.int32)[None] == classes
    in_truth = truth.astype(jnp.int32)[None] == classes
    space = tuple(range(1, in_truth.ndim))
    both = jnp.sum(in_label & in_truth, axis=space)
    volume = jnp.sum(in_truth, axis=space)
    dice = 2 * both / jnp.maximum(volume + jnp.sum(in_label, axis=space), 1)
    return jnp.mean(dice, where=volume > 0)
