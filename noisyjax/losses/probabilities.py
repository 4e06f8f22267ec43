"""What the losses of probabilities make of numbers that are none."""

import jax.numpy as jnp
from jaxtyping import Array, Float

# Softmax and sigmoid round to either side of 1, in half precision by this much.
_SLACK = 1e-2


def refuse_others(loss: Float[Array, "..."], *probs: Array) -> Float[Array, "..."]:
    """Returns a loss as it is, or NaN, its gradient too, unless arrays hold probabilities alone.

    NaN and what lies outside of ``[0, 1]`` are none: logits given by mistake would often pass for
    perfect overlap, which trains nothing and says nothing. What does not count must be cleaned
    before.

    >>> refuse_others(jnp.array(0.5), jnp.array([0.0, 1.0])), refuse_others(
    ...     jnp.array(0.5), jnp.array([-3.0, 3.0]))
    (Array(0.5, dtype=float32), Array(nan, dtype=float32))
    """
    valid = jnp.array(True)
    for p in probs:
        # False for NaN.
        valid &= jnp.all((p >= -_SLACK) & (p <= 1.0 + _SLACK))
    return loss * jnp.where(valid, 1.0, jnp.nan).astype(loss.dtype)


def at_least_float32(*arrays: Array) -> tuple[Array, ...]:
    """Returns arrays in float32 at least: sums of half-precision numbers end at 65504."""
    dtype = jnp.promote_types(jnp.result_type(*arrays), jnp.float32)
    return tuple(array.astype(dtype) for array in arrays)
