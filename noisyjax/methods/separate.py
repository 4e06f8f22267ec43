"""Train one network per annotator on their labels alone, and average what the networks predict.

The baseline of "separate CNNs" in Zhang et al. 2020, Table 1: it knows who gave a label and learns
nothing about one annotator from the others. A network sees as many images as its annotator
labelled; that of an annotator without any label stays as it was initialised, so leave them out.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from noisyjax import fusion
from noisyjax.core import checks, rng
from noisyjax.methods import base, fused, network


def build(
    segmenter: Any, *, num_raters: int, num_classes: int, loss: str = "cross_entropy"
) -> base.Method:
    """Builds the method, which predicts each annotator's label, and their mean as the truth.

    The variables of the R networks stand stacked, ``[R, ...]`` each. An example's loss is the sum
    over those who labelled it, so with an optimiser that treats each parameter by itself every
    network learns as if it were alone; a bound on the norm of the gradient is one for all of them.

    Args:
      loss: one of `fused.LOSSES`.
    """
    compare = jax.vmap(checks.lookup("loss", loss, fused.LOSSES))

    def init(key: jax.Array, batch: base.Batch) -> base.Variables:
        keys = rng.rater_keys(key, num_raters)
        return jax.lax.map(lambda own: network.init_segmenter(segmenter, own, batch), keys)

    def target(labels: jax.Array, present: jax.Array) -> jax.Array:
        return fusion.mean(labels[None], num_classes, rater_mask=present[None])

    def loss_fn(variables, batch, key, step):
        keys = base.dropout_keys(key, batch["id"], step)

        def loss_of_one(rater: int, own: base.Variables) -> tuple[jax.Array, dict[str, Any]]:
            labels, present = batch["labels"][:, rater], batch["rater_mask"][:, rater]
            weight = batch["weight"] * present
            own_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, rater)
            output, state = network.segment(segmenter, own, {**batch, "weight": weight}, own_keys)
            losses = compare(output.logits, jax.vmap(target)(labels, present)) * present
            return losses, _where_seen(state, own, weight, network.axis_name(segmenter))

        losses, state = _each(loss_of_one, variables, num_raters)
        return base.weighted(losses.sum(0), batch["weight"], {}, state)

    def predict(variables: base.Variables, image: jax.Array) -> base.Prediction:
        def probs_of_one(rater: int, own: base.Variables) -> jax.Array:
            del rater
            return network.predict(segmenter, own, image).probs

        rater_probs = jnp.moveaxis(_each(probs_of_one, variables, num_raters), 0, 1)
        return base.Prediction(rater_probs.mean(1), rater_probs=rater_probs)

    return base.Method(init, loss_fn, predict)


def _each(function: Callable[[int, Any], Any], tree: Any, num_raters: int) -> Any:
    """Stacks what a function of (r, network r's part of a stacked tree) returns for every r.

    It is a plain loop, for on a CPU both others are slow: `jax.vmap` makes grouped convolutions of
    R kernels (a training step of 5 networks takes 4 times as long), and in the body of a
    `jax.lax.map` XLA has only its slow convolutions (13 times). The loop costs 5 times what one
    network does, and 1.5 times its compilation.
    """

    def part(rater: int) -> Any:
        return jax.tree.map(lambda leaf: leaf[rater], tree)

    results = [function(rater, part(rater)) for rater in range(num_raters)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)


def _where_seen(
    state: dict[str, Any], before: base.Variables, weight: jax.Array, axis_name: str | None
) -> dict[str, Any]:
    """Returns the updated statistics, or those before if the rater labelled none of the batch."""
    count = weight.sum() if axis_name is None else jax.lax.psum(weight.sum(), axis_name)
    return {
        kind: jax.tree.map(lambda new, old: jnp.where(count > 0, new, old), tree, before[kind])
        for kind, tree in state.items()
    }
