"""One update, as a pure function."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from noisyjax.methods import base
from noisyjax.train import train_state

Batch = dict[str, Array]
Scalar = Float[Array, ""]


class Report(NamedTuple):
    """What a step says about itself.

    Attributes:
      metrics: name to (sum, count) over the batch on all devices; "loss" and "grad_norm" always.
      healthy: False if this or an earlier step was not finite, ``[]``.
    """

    metrics: dict[str, tuple[Scalar, Scalar]]
    healthy: Bool[Array, ""]


class _Sums(NamedTuple):
    """What a batch adds up to; sums of parts of it can be added.

    Attributes:
      weight: by which the loss is divided.
      given: weight of the examples.
      present: how many they are, without padding.
    """

    loss: Scalar
    weight: Scalar
    given: Scalar
    present: Scalar
    metrics: dict[str, tuple[Scalar, Scalar]]
    records: Any
    grads: Any
    model_state: Any


def _add(tree: Any, axis_name: str | None) -> Any:
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def _over_microbatches(function: Callable[[Batch], Any], batch: Batch, microbatches: int) -> Any:
    """Adds up ``function(microbatch)``, one microbatch of the batch after the other."""
    if microbatches == 1:
        return function(batch)
    cut = jax.tree.map(lambda leaf: leaf.reshape(microbatches, -1, *leaf.shape[1:]), batch)
    shapes = jax.eval_shape(function, jax.tree.map(lambda leaf: leaf[0], cut))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def add(sums: Any, microbatch: Batch) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, sums, function(microbatch)), None

    return jax.lax.scan(add, zeros, cut)[0]


def gradients(
    state: train_state.TrainState,
    batch: Batch,
    key: Array,
    *,
    method: base.Method,
    axis_name: str | None,
    microbatches: int = 1,
) -> tuple[Any, Any, dict[str, tuple[Scalar, Scalar]]]:
    """Returns the mean gradient over a batch that may be spread over devices.

    Examples count by their weight, 1 in the mean over all batches.

    Sums are added over the microbatches and the devices before the one division, so their numbers
    and the padding change nothing. What looks across examples (batch statistics, co-teaching's
    ranks) looks across one microbatch on all devices.

    Args:
      batch: this device's part of the batch.
      key: the run's root key.
      axis_name: name of the device axis, or None on one device.
      microbatches: the part is cut into so many, taken one after the other: activations need that
        much less memory. It must divide the part's examples.

    Returns:
      (gradients like ``state.params``, model state, metrics with "loss").
    """

    def sums(batch: Batch) -> _Sums:
        def loss_fn(params: Any) -> tuple[Scalar, Any]:
            return method.loss_fn({"params": params, **state.model_state}, batch, key, state.step)

        (loss, (weight, aux)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        weighted = jax.tree.map(lambda leaf: leaf * weight, aux.model_state)
        given, present = batch["weight"].sum(), (batch["weight"] > 0).sum(dtype=jnp.float32)
        return _Sums(loss, weight, given, present, aux.metrics, aux.records, grads, weighted)

    whole = _add(_over_microbatches(sums, batch, microbatches), axis_name)
    total = jnp.maximum(whole.weight, jnp.finfo(jnp.float32).tiny)
    grads, mean = jax.tree.map(lambda leaf: leaf / total, (whole.grads, whole.model_state))
    # Else an example of little weight would count in full where it is alone in a batch.
    mean_weight = whole.given / jnp.maximum(whole.present, 1.0)
    grads = jax.tree.map(lambda leaf: leaf * mean_weight, grads)
    # A batch in which no example counts says nothing.
    known = {name: state.model_state[name] for name in mean}
    mean = jax.tree.map(lambda new, old: jnp.where(whole.weight > 0, new, old), mean, known)
    model_state = {**state.model_state, **mean}
    if method.record is not None:
        model_state = method.record(model_state, whole.records, state.step)
    return grads, model_state, {**whole.metrics, "loss": (whole.loss, whole.weight)}


def _average(ema: Any, params: Any, step: Array, decay: float) -> Any:
    # Early on the average forgets quickly, or it would stay near the initial parameters.
    decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return optax.incremental_update(params, ema, 1 - decay)


def train_step(
    state: train_state.TrainState,
    batch: Batch,
    key: Array,
    *,
    method: base.Method,
    optimiser: optax.GradientTransformation,
    transform: Callable[[Batch, Array], Batch],
    ema: float,
    axis_name: str | None,
    microbatches: int = 1,
) -> tuple[train_state.TrainState, Report]:
    """Does one update.

    A step whose loss or gradient is not finite changes nothing but `healthy`, and neither does any
    step after it. The host may thus look late, and still finds the last good state.

    Args:
      batch, key, axis_name, microbatches: see `gradients`.
      transform: ``(batch, key) -> batch``, the part of the input pipeline that runs on the device
        (fresh label noise, augmentation).
      ema: decay of the parameters' moving average; read when the state has one.
    """
    grads, model_state, metrics = gradients(
        state,
        transform(batch, key),
        key,
        method=method,
        axis_name=axis_name,
        microbatches=microbatches,
    )
    norm = optax.tree.norm(grads)
    healthy = state.healthy & jnp.isfinite(metrics["loss"][0]) & jnp.isfinite(norm)
    updates, opt_state = optimiser.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    new = train_state.TrainState(
        step=state.step + 1,
        params=params,
        model_state=model_state,
        opt_state=opt_state,
        ema=None if state.ema is None else _average(state.ema, params, state.step, ema),
        healthy=healthy,
    )
    kept = jax.tree.map(lambda fresh, old: jnp.where(healthy, fresh, old), new, state)
    report = Report({**metrics, "grad_norm": (norm, jnp.ones_like(norm))}, healthy)
    return kept._replace(healthy=healthy), report
