"""Learning-rate schedules and optimisers, by name."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from noisyjax.core import checks

MOMENTUM = 0.9
POLY_POWER = 0.9
DECAY_RATE = 0.96


def _constant(t: Array, epochs: Array, decay: float | int) -> Array:
    return jnp.ones_like(t)


def _cosine(t: Array, epochs: Array, decay: float | int) -> Array:
    return 0.5 * (1 + jnp.cos(jnp.pi * t))


def _poly(t: Array, epochs: Array, decay: float | int) -> Array:
    return (1 - t) ** POLY_POWER


def _exponential(t: Array, epochs: Array, decay: float | int) -> Array:
    return jnp.float32(decay) ** epochs


# The share of the rate after the warm-up, by the share of the run that is done since, and the whole
# epochs.
SCHEDULES = {
    "constant": _constant,
    "cosine": _cosine,
    "poly": _poly,
    "exponential": _exponential,
}


class Schedule(NamedTuple):
    """A learning rate by the number of updates done; made by `schedule`, which documents it."""

    name: str
    learning_rate: float | int
    total_steps: int | Int[Array, ""]
    warmup_steps: int | Int[Array, ""]
    steps_per_epoch: int | Int[Array, ""]
    decay_rate: float | int

    def __call__(self, count: int | Int[Array, ""]) -> Float[Array, ""]:
        """Returns the rate of the update after `count` others."""
        done = jnp.asarray(count - self.warmup_steps, jnp.float32)
        share = jnp.clip(done / jnp.maximum(self.total_steps - self.warmup_steps, 1), 0, 1)
        epochs = jnp.floor(jnp.maximum(done, 0) / self.steps_per_epoch)
        later = SCHEDULES[self.name](share, epochs, self.decay_rate)
        warm = (count + 1) / (self.warmup_steps + 1)
        return jnp.float32(self.learning_rate) * jnp.where(done < 0, warm, later)


def schedule(
    name: str,
    *,
    learning_rate: float,
    total_steps: int,
    warmup_steps: int = 0,
    steps_per_epoch: int = 1,
    decay_rate: float | int = DECAY_RATE,
) -> Schedule:
    """Builds a learning-rate schedule with a linear warm-up: updates done to rate.

    Args:
      name: "constant", "cosine" (to zero), "poly" (``(1 - t)^0.9``, to zero) or "exponential"
        (times `decay_rate` after each epoch, counted from the end of the warm-up).
      learning_rate: the rate after the warm-up.
      total_steps: length of the run; the decay takes what the warm-up leaves of it.
      warmup_steps: updates over which the rate grows linearly; the first update already moves, at
        ``learning_rate / (warmup_steps + 1)``.
      decay_rate: what "exponential" leaves of the rate after an epoch, in ``(0, 1]``.

    Raises:
      ValueError: if the name is unknown, the warm-up does not fit into the run, or the rate or the
        decay is out of its range.

    >>> rate = schedule("constant", learning_rate=0.3, total_steps=9, warmup_steps=2)
    >>> [round(float(rate(step)), 3) for step in range(4)]
    [0.1, 0.2, 0.3, 0.3]
    """
    checks.lookup("schedule", name, SCHEDULES)
    if not 0 <= warmup_steps < max(total_steps, 1):
        raise ValueError(
            f"warmup_steps: expected 0 <= warmup_steps < {total_steps} (the run's steps), "
            f"got {warmup_steps}"
        )
    checks.positive("learning_rate", learning_rate, or_zero=True)
    checks.positive("steps_per_epoch", steps_per_epoch)
    if not 0 < decay_rate <= 1:
        raise ValueError(f"decay_rate: expected a number in (0, 1], got {decay_rate}")
    return Schedule(name, learning_rate, total_steps, warmup_steps, steps_per_epoch, decay_rate)


class _Position(NamedTuple):
    """Where a run is in its schedule; its lengths are data, so that all runs share a program."""

    count: Int[Array, ""]
    total_steps: Int[Array, ""]
    warmup_steps: Int[Array, ""]
    steps_per_epoch: Int[Array, ""]


def _scheduled(rate: Schedule) -> optax.GradientTransformation:
    """Multiplies updates by the rate of a schedule."""
    lengths = _Position._fields[1:]

    def init(params: Any) -> _Position:
        del params
        return _Position(jnp.int32(0), *(jnp.int32(getattr(rate, name)) for name in lengths))

    def update(updates: Any, state: _Position, params: Any = None) -> tuple[Any, _Position]:
        del params
        own = rate._replace(**{name: getattr(state, name) for name in lengths})(state.count)
        scaled = jax.tree.map(lambda leaf: (own * leaf).astype(leaf.dtype), updates)
        return scaled, state._replace(count=state.count + 1)

    return optax.GradientTransformation(init, update)


def _matrices(params: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) > 1, params)


def _moments() -> optax.GradientTransformation:
    """Returns Adam's direction; of all parameters laid end to end, which compiles sooner."""
    return optax.flatten(optax.scale_by_adam())


def _adamw(rate: float, decay: float, momentum: float) -> optax.GradientTransformation:
    parts = (_moments(), optax.add_decayed_weights(decay, _matrices), optax.scale(-rate))
    return optax.chain(*parts)


def _adam(rate: float, decay: float, momentum: float) -> optax.GradientTransformation:
    return optax.chain(optax.add_decayed_weights(decay, _matrices), _moments(), optax.scale(-rate))


def _sgd(rate: float, decay: float, momentum: float) -> optax.GradientTransformation:
    return optax.chain(optax.add_decayed_weights(decay, _matrices), optax.sgd(rate))


def _momentum(rate: float, decay: float, momentum: float) -> optax.GradientTransformation:
    sgd = optax.sgd(rate, momentum=momentum)
    return optax.chain(optax.add_decayed_weights(decay, _matrices), sgd)


def _nesterov(rate: float, decay: float, momentum: float) -> optax.GradientTransformation:
    sgd = optax.sgd(rate, momentum=momentum, nesterov=True)
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
    learning_rate: float | int | Schedule,
    *,
    weight_decay: float = 0.0,
    momentum: float | int = MOMENTUM,
    gradient_clip: float = 0.0,
    head_learning_rate: float = 1.0,
    param_labels: Callable[[Any], Any] | None = None,
) -> optax.GradientTransformation:
    """Builds an optimiser: "adamw", "adam", "sgd", "momentum" or "nesterov".

    Weight decay leaves parameters with fewer than two axes alone (biases, the scales of
    normalisations, activation slopes). It is decoupled for "adamw" (Loshchilov & Hutter 2019,
    Algorithm 2) and a term of the gradient for the others.

    Args:
      momentum: share of the last step in the next one, of "momentum" and "nesterov", in ``[0, 1)``.
      gradient_clip: largest global norm of the gradient, 0 for no clipping.
      head_learning_rate: factor on the learning rate of the annotators' parameters.
      param_labels: ``params -> tree of "model" or "annotators"``, needed when the factor is not 1.
    """
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum: expected a number in [0, 1), got {momentum}")
    checks.positive("weight_decay", weight_decay, or_zero=True)
    checks.positive("gradient_clip", gradient_clip, or_zero=True)
    checks.positive("head_learning_rate", head_learning_rate, or_zero=True)
    changes = isinstance(learning_rate, Schedule)
    first = 1.0 if changes else float(learning_rate)
    optimiser = checks.lookup("optimizer", name, OPTIMISERS)(first, weight_decay, momentum)
    parts = [optax.clip_by_global_norm(gradient_clip)] if gradient_clip else []
    parts.append(optimiser)
    if changes:
        parts.append(_scheduled(learning_rate))
    if head_learning_rate != 1:
        if param_labels is None:
            raise ValueError("param_labels: needed when head_learning_rate is not 1")
        # The factor comes last: an adaptive optimiser would undo a factor on the gradient.
        factors = {"model": optax.identity(), "annotators": optax.scale(head_learning_rate)}
        parts.append(optax.multi_transform(factors, param_labels))
    return optax.chain(*parts)
