"""Train two networks, each on the examples that the other one finds easiest (Han et al. 2018).

Co-teaching: Robust training of deep neural networks with extremely noisy labels, NeurIPS 2018. Two
networks that differ by their initial parameters err differently; what one of them takes for clean
by its small loss teaches the other, so that a network does not confirm its own mistakes.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from noisyjax.core import checks
from noisyjax.methods import base, fused, network

_NAMES = ("first", "second")


def build(
    segmenter: Any,
    *,
    num_raters: int,
    num_classes: int,
    loss: str = "soft_dice",
    target: str = "mean",
    forget_rate: float | int = 0.2,
    ramp_steps: int = 200,
) -> base.Method:
    """Builds the method, which predicts the mean of the two networks' probabilities.

    Of each batch, over all devices, the share ``1 - forget_rate min(step / ramp_steps, 1)`` of
    smallest losses is kept, at least one example; the number is rounded up.

    Args:
      loss: one of `fused.LOSSES`.
      target: "mean", "majority" or "sampled", see `fused.TARGETS`.
      forget_rate: tau, about the share of noisy examples, in ``[0, 1)``.
      ramp_steps: updates until the share is reached; the paper takes ten epochs.
    """
    del num_raters
    compare = jax.vmap(checks.lookup("loss", loss, fused.LOSSES))
    checks.one_of("target", target, ("mean", "majority", "sampled"))
    read = fused.reader(target, num_classes)
    checks.positive("ramp_steps", ramp_steps)
    if not 0 <= forget_rate < 1:
        raise ValueError(f"forget_rate: expected a number in [0, 1), got {forget_rate}")
    axis_name = network.axis_name(segmenter)

    def init(key: jax.Array, batch: base.Batch) -> base.Variables:
        keys = jax.random.split(key, len(_NAMES))
        made = zip(_NAMES, keys, strict=True)
        return network.merge(
            *(network.init(name, segmenter, own, batch["image"]) for name, own in made)
        )

    def loss_fn(variables, batch, key, step):
        weight, targets = batch["weight"], read(batch, key, step)
        keys = base.dropout_keys(key, batch["id"], step)
        share = 1.0 - forget_rate * jnp.minimum(step / ramp_steps, 1.0)
        losses, easy, states = [], [], []
        for index, name in enumerate(_NAMES):
            own = jax.vmap(jax.random.fold_in, (0, None))(keys, index)
            output, state = network.segment(segmenter, variables, batch, own, name=name)
            losses.append(compare(output.logits, targets))
            easy.append(smallest(losses[-1], weight > 0, share, axis_name=axis_name))
            states.append(state)
        total = (weight * (losses[0] * easy[1] + losses[1] * easy[0])).sum()
        # Over all devices, either network learns from the same number of examples.
        count = (weight * easy[0]).sum()
        agreed = (weight * (easy[0] & easy[1])).sum()
        metrics = {
            "loss": (total, count),
            "agreed": (agreed, count),
            base.LEARNING: (count, weight.sum()),
        }
        aux = base.Aux(metrics, network.merge(*states), losses[0] + losses[1])
        return total, (count, aux)

    def predict(variables: base.Variables, image: jax.Array) -> base.Prediction:
        probs = [network.predict(segmenter, variables, image, name=name).probs for name in _NAMES]
        return base.Prediction(sum(probs) / len(probs))

    return base.Method(init, loss_fn, predict)


def smallest(
    losses: Float[Array, "B"],
    present: Bool[Array, "B"],
    share: Float[Array, ""],
    *,
    axis_name: str | None = None,
) -> Bool[Array, "B"]:
    """Marks the examples of smallest loss, of equal ones the earlier first.

    Of the present examples the given share is marked, rounded up. `axis_name` is the device axis
    over which they are ranked, or None.
    """
    checks.masks(present=present)
    values = jnp.where(present, jax.lax.stop_gradient(losses), jnp.inf)
    start, everything = 0, values
    if axis_name is not None:
        everything = jax.lax.all_gather(values, axis_name, tiled=True)
        start = jax.lax.axis_index(axis_name) * values.size
    order = jnp.argsort(everything)
    rank = jnp.zeros(everything.shape, jnp.int32).at[order].set(jnp.arange(everything.size))
    own = jax.lax.dynamic_slice_in_dim(rank, start, values.size)
    # The slack keeps a rounding error from being rounded up to a whole example.
    count = jnp.ceil(share * jnp.isfinite(everything).sum() - 1e-4)
    return present & (own < count)
