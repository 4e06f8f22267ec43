"""Learning-rate schedules and optimisers, by name."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from noisyjax.core import checks

MOMENTUM = 0.9
POLY_POWER = 0.9


def _constant(peak: float, steps: int) -> optax.Schedule:
    return optax.constant_schedule(peak)


def _cosine(peak: float, steps: int) -> optax.Schedule:
    return optax.cosine_decay_schedule(peak, steps)


def _poly(peak: float, steps: int) -> optax.Schedule:
    return optax.polynomial_schedule(peak, 0.0, POLY_POWER, steps)


SCHEDULES = {"constant": _constant, "cosine": _cosine, "poly": _poly}


def schedule(
    name: str, *, learning_rate: float, total_steps: int, warmup_steps: int = 0
) -> optax.Schedule:
    """Builds a learning-rate schedule with a linear warm-up.

    Args:
      name: "constant", "cosine" (to zero) or "poly" (``(1 - t)^0.9``, to zero).
      learning_rate: the rate after the warm-up.
      total_steps: length of the run; the decay takes what the warm-up leaves of it.
      warmup_steps: updates over which the rate grows linearly; the first update already moves, at
        ``learning_rate / (warmup_steps + 1)``.

    Returns:
      A function from the number of updates done to the rate.

    Raises:
      ValueError: if the name is unknown or the warm-up does not fit into the run.

    >>> rate = schedule("constant", learning_rate=0.3, total_steps=9, warmup_steps=2)
    >>> [round(float(rate(step)), 3) for step in range(4)]
    [0.1, 0.2, 0.3, 0.3]
    """
    build = checks.lookup("schedule", name, SCHEDULES)
    if not 0 <= warmup_steps < max(total_steps, 1):
        raise ValueError(
            f"warmup_steps: expected 0 <= warmup_steps < {total_steps} (the run's steps), "
            f"got {warmup_steps}"
        )
    main = build(learning_rate, total_steps - warmup_steps)
    if warmup_steps == 0:
        return main
    first = learning_rate / (warmup_steps + 1)
    warmup = optax.linear_schedule(first, learning_rate, warmup_steps)
    return optax.join_schedules([warmup, main], [warmup_steps])


def _matrices(params: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) > 1, params)


def _adamw(rate: optax.ScalarOrSchedule, decay: float) -> optax.GradientTransformation:
    return optax.adamw(rate, weight_decay=decay, mask=_matrices)


def _adam(rate: optax.ScalarOrSchedule, decay: float) -> optax.GradientTransformation:
    return optax.chain(optax.add_decayed_weights(decay, _matrices), optax.adam(rate))


def _sgd(rate: optax.ScalarOrSchedule, decay: float) -> optax.GradientTransformation:
    return optax.chain(optax.add_decayed_weights(decay, _matrices), optax.sgd(rate))


def _momentum(rate: optax.ScalarOrSchedule, decay: float) -> optax.GradientTransformation:
    sgd = optax.sgd(rate, momentum=MOMENTUM)
    return optax.chain(optax.add_decayed_weights(decay, _matrices), sgd)


def _nesterov(rate: optax.ScalarOrSchedule, decay: float) -> optax.GradientTransformation:
    sgd = optax.sgd(rate, momentum=MOMENTUM, nesterov=True)
    return optax.chain(optax.add_decayed_weights(decay, _matrices), sgd)


OPTIMISERS = {
    "adamw": _adamw,
    "adam": _adam,
    "sgd": _sgd,
    "momentum": _momentum,
    "nesterov": _nesterov,
}


def build(
    name: str,
    learning_rate: optax.ScalarOrSchedule,
    *,
    weight_decay: float = 0.0,
    gradient_clip: float = 0.0,
    head_learning_rate: float = 1.0,
    param_labels: Callable[[Any], Any] | None = None,
) -> optax.GradientTransformation:
    """Builds an optimiser.

    Weight decay leaves parameters with fewer than two axes alone (biases, the scales of
    normalisations, activation slopes). It is decoupled for "adamw" (Loshchilov & Hutter 2019,
    Algorithm 2) and a term of the gradient for the others.

    Args:
      name: "adamw", "adam", "sgd", "momentum" (0.9) or "nesterov" (0.9).
      learning_rate: a rate or a schedule.
      weight_decay: strength of the decay.
      gradient_clip: largest global norm of the gradient, 0 for no clipping.
      head_learning_rate: factor on the learning rate of the annotators' parameters.
      param_labels: ``params -> tree of "model" or "annotators"``, needed when the factor is not 1.

    Returns:
      An optax transformation.

    Raises:
      ValueError: if the name is unknown, a number is negative or `param_labels` is missing.
    """
    checks.positive("weight_decay", weight_decay, or_zero=True)
    checks.positive("gradient_clip", gradient_clip, or_zero=True)
    checks.positive("head_learning_rate", head_learning_rate, or_zero=True)
    optimiser = checks.lookup("optimizer", name, OPTIMISERS)(learning_rate, weight_decay)
    parts = [optax.clip_by_global_norm(gradient_clip)] if gradient_clip else []
    parts.append(optimiser)
    if head_learning_rate != 1:
        if param_labels is None:
            raise ValueError("param_labels: needed when head_learning_rate is not 1")
        # The factor comes last: an adaptive optimiser would undo a factor on the gradient.
        factors = {"model": optax.identity(), "annotators": optax.scale(head_learning_rate)}
        parts.append(optax.multi_transform(factors, param_labels))
    return optax.chain(*parts)
