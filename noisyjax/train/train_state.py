"""Everything a run has to remember, and nothing else."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int

Tree = Any


class TrainState(NamedTuple):
    """The state of a run after `step` updates.

    There is no random key in it: a step's keys come from the seed, the step and the example ids.

    Attributes:
      step: number of updates done, ``[]``.
      model_state: the other collections of the networks (``{"batch_stats": ...}``), may be empty.
      ema: exponential moving average of `params`, or None when it is off.
      healthy: False once a loss or a gradient was not finite; from then on nothing changes any
        more, so that the state is the last good one, ``[]``.
    """

    step: Int[Array, ""]
    params: Tree
    model_state: dict[str, Tree]
    opt_state: Tree
    ema: Tree | None
    healthy: Bool[Array, ""]


def create(
    variables: dict[str, Tree], optimiser: optax.GradientTransformation, *, ema: bool
) -> TrainState:
    """Returns the state before the first update, from what a method's `init` returned.

    The state has step 0, and with `ema` a moving average of the parameters.
    """
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        model_state={name: tree for name, tree in variables.items() if name != "params"},
        opt_state=optimiser.init(params),
        # A copy, because the same buffer cannot be donated twice.
        ema=jax.tree.map(jnp.copy, params) if ema else None,
        healthy=jnp.ones((), jnp.bool_),
    )


def evaluation_variables(state: TrainState) -> dict[str, Tree]:
    """Returns the variables to evaluate with: the averaged parameters when they are kept."""
    params = state.params if state.ema is None else state.ema
    return {"params": params, **state.model_state}
