"""Adaptive denoising learning: leave the examples of highest loss out of each epoch's updates.

A strategy around any method. A network learns what is regular before what is noisy, so that early
on the noisy masks are those of high loss; later it fits them as well, and fewer are left out. The
losses on record and the set that is left out are part of the run's state: a run that is taken up
again goes on as if it had never stopped.
"""

import dataclasses
import fractions
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from noisyjax.core import checks
from noisyjax.methods import base, noise_rate

# Name of the collection of variables: "losses" [N], NaN before the first one, and "removed" [N].
COLLECTION = "adl"


def _line(epoch: Any, noise: Any, epochs: Any, masks: Any, smaller: Any, larger: Any) -> Any:
    """The three pieces of Eq. 5: a falling line between two plateaus that it meets."""
    falling = 3 * noise * masks / 5 - masks * epoch / epochs
    return larger(smaller(falling, noise * masks / 2), noise * masks / 10)


def num_removed(
    epoch: int, *, alpha: float | int, beta: float | int, epochs: int, masks: int
) -> int:
    """Returns how many masks take no part in an epoch, N(t) rounded down.

    With ``noise = (1 - alpha) beta`` it is half of ``noise masks`` at first, falls by ``masks /
    epochs`` in each epoch, and stays at a tenth of ``noise masks`` (Eq. 5 of the paper on RAR-U-Net
    and adaptive denoising learning). It is exact for the decimals that `alpha` and `beta` are
    written with.

    Args:
      epoch: t, in ``0..epochs``. Before the first epoch no loss is known: none in epoch 0.
      alpha: overlap (Dice) of a noisy mask with the clean one, 1 for no noise, in ``[0, 1]``.
      beta: share of the masks that are noisy, in ``[0, 1]``.
      epochs: x, of the whole training.
      masks: y, in the training set.

    >>> [num_removed(t, alpha=0.68, beta=0.75, epochs=50, masks=2000) for t in (0, 1, 2, 7)]
    [0, 240, 208, 48]
    """
    for name, share in (("alpha", alpha), ("beta", beta)):
        if not 0 <= share <= 1:
            raise ValueError(f"{name}: expected a number in [0, 1], got {share}")
    checks.positive("epochs", epochs)
    checks.positive("masks", masks, or_zero=True)
    if not 0 <= epoch <= epochs:
        raise ValueError(f"epoch: expected one in 0..{epochs}, got {epoch}")
    if epoch == 0:
        return 0
    exact, total = fractions.Fraction, fractions.Fraction(masks)
    # In binary, 1 - 0.68 is a little less than 0.32, and a whole number would be rounded down.
    noise = (1 - exact(str(float(alpha)))) * exact(str(float(beta)))
    return int(_line(epoch, noise, epochs, total, min, max))


def removal_schedule(
    epoch: Int[Array, ""] | Float[Array, ""], *, noise: Float[Array, ""], epochs: int, masks: int
) -> Float[Array, ""]:
    """Returns N(t) before it is rounded, for use on the device; `noise` is ``(1 - alpha) beta``."""
    return _line(epoch, noise, float(epochs), float(masks), jnp.minimum, jnp.maximum)


def highest(losses: Float[Array, "N"], count: Int[Array, ""]) -> Bool[Array, "N"]:
    """Marks the examples of highest recorded loss, of equal ones the earlier first.

    A loss without a record is NaN. Fewer than `count` are marked where there are fewer records.
    """
    known = ~jnp.isnan(losses)
    order = jnp.argsort(jnp.where(known, -losses, jnp.inf))
    rank = jnp.zeros(losses.shape, jnp.int32).at[order].set(jnp.arange(losses.size))
    return known & (rank < count)


def wrap(
    method: base.Method,
    *,
    num_examples: int,
    steps_per_epoch: int,
    epochs: int,
    alpha: float | int = 1.0,
    beta: float | int = 0.0,
    estimate: bool = False,
) -> base.Method:
    """Trains a method by adaptive denoising learning.

    The loss of every example is recorded in each epoch, that of the examples left out as well. At
    the end of an epoch those of highest recorded loss are chosen, anew each time: they take no part
    in the next epoch, neither in its gradients nor in its batch statistics, and may come back in
    the one after.

    The ranking is by the method's own loss; the paper's is the Dice loss.

    Args:
      method: any method whose loss reports the examples' losses (`base.Aux.losses`).
      num_examples: N, of the training set; ``batch["index"] [B]`` are rows of it.
      steps_per_epoch: updates in which every example is seen once.
      alpha: overlap of a noisy mask with the clean one, see `num_removed`; not read by `estimate`.
      beta: share of the noisy masks; not read by `estimate`. With 1 and 0 none is left out.
      estimate: whether the share is estimated from the recorded losses at the end of each epoch
        (`noise_rate.estimate_noise_rate`), and ``1 - alpha`` by the distance of the means of the
        two groups. That distance is one of overlaps where the loss is the Dice loss.

    Returns:
      The method, with a further collection of variables, `COLLECTION`, and the metric "removed",
      the share of the examples that were left out.
    """
    checks.positive("num_examples", num_examples)
    checks.positive("steps_per_epoch", steps_per_epoch)
    given = {"alpha": alpha, "beta": beta, "epochs": epochs, "masks": num_examples}
    table = np.array([num_removed(t, **given) for t in range(epochs + 1)], np.int32)

    def count(losses: Array, epoch: Array) -> Array:
        if not estimate:
            return jnp.asarray(table)[epoch]
        estimated = noise_rate.estimate_noise_rate(losses)
        noise = jnp.clip(estimated.gap, 0.0, 1.0) * estimated.rate
        number = removal_schedule(epoch, noise=noise, epochs=epochs, masks=num_examples)
        return number.astype(jnp.int32)

    def init(key: Array, batch: base.Batch) -> base.Variables:
        kept = {
            "losses": jnp.full(num_examples, jnp.nan),
            "removed": jnp.zeros(num_examples, jnp.bool_),
        }
        return {**method.init(key, batch), COLLECTION: kept}

    def predict(variables: base.Variables, image: Array) -> base.Prediction:
        return method.predict(_own(variables), image)

    def record(model_state: dict[str, Any], records: Any, step: Array) -> dict[str, Any]:
        kept, own = model_state[COLLECTION], _own(model_state)
        if method.record is not None:
            own = method.record(own, records["method"], step)
        seen = records["seen"] > 0
        losses = jnp.where(seen, records["losses"], kept["losses"])
        epoch, position = jnp.divmod(step + 1, steps_per_epoch)
        removed = jax.lax.cond(
            position == 0,
            lambda: highest(losses, count(losses, jnp.minimum(epoch, epochs))),
            lambda: kept["removed"],
        )
        return {**own, COLLECTION: {"losses": losses, "removed": removed}}

    return dataclasses.replace(
        method,
        init=init,
        loss_fn=_loss_fn(method, num_examples),
        predict=predict,
        record=record,
    )


def _own(variables: dict[str, Any]) -> dict[str, Any]:
    """The variables of the method inside."""
    return {name: tree for name, tree in variables.items() if name != COLLECTION}


def _loss_fn(method: base.Method, num_examples: int) -> Callable[..., tuple]:
    """Returns the loss over the examples that are not left out, with the record of all."""

    def loss_fn(variables, batch, key, step):
        index, weight = batch["index"], batch["weight"]
        removed = variables[COLLECTION]["removed"][index]
        kept = {**batch, "weight": jnp.where(removed, 0.0, weight)}
        total, (count, aux) = method.loss_fn(_own(variables), kept, key, step)
        if aux.losses is None:
            raise ValueError("method: expected one that reports the examples' losses, got none")
        present = weight > 0
        zeros = jnp.zeros(num_examples)
        records = {
            "losses": zeros.at[index].add(jnp.where(present, aux.losses, 0.0)),
            "seen": zeros.at[index].add(present.astype(jnp.float32)),
            "method": aux.records,
        }
        share = ((removed * weight).sum(), weight.sum())
        taught = aux.metrics.get(base.LEARNING, (kept["weight"].sum(), count))[0]
        metrics = {**aux.metrics, "removed": share, base.LEARNING: (taught, weight.sum())}
        return total, (count, aux._replace(metrics=metrics, records=records))

    return loss_fn
