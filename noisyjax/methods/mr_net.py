"""Segment as any mixture of the raters would (MR-Net, Ji et al. 2021).

Learning calibrated medical image segmentation via multi-rater agreement modeling, CVPR 2021.

The paper's: the network is given how much of each rater is in the label that it is to predict; in
training that is one rater, random shares, or equal shares; a second head gives each rater's label
back; where the raters that it makes differ, a refinement stage looks again. Ours: the shares act on
the segmenter's last features, not at the bottleneck, so that any segmenter serves and a prediction
for another mixture costs no second pass through it; both stages count alike in the loss; no
gradient flows through the attention; background is a class like others, so that cross-entropy of
the classes stands for the paper's binary one; and raters who did not label an image have no share.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from noisyjax.core import blur, checks, ignored, rng
from noisyjax.losses import entropy
from noisyjax.methods import base, network
from noisyjax.models import multi_rater


def build(
    segmenter: Any,
    *,
    num_raters: int,
    num_classes: int,
    reconstruction_weight: float | int = 0.3,
    blur_sigma: float | int = 2.0,
    norm: str = "instance",
) -> base.Method:
    """Builds the method.

    It predicts the mixture with equal shares as the truth, and each rater by the second head. A
    training step is one pass of the segmenter, forward and backward, and three small heads on its
    features; a prediction likewise forward. The published training is Adam with learning rate 1e-4
    and weight decay 5e-4, on batches of 8 images of 256 x 256.

    Args:
      reconstruction_weight: share of the raters' reconstruction in the loss, in ``[0, 1]``; the
        paper's is 0.3.
      blur_sigma: standard deviation in voxels of the blur of the attention, 0 for none.
      norm: normalisation of the heads, "instance", "group" or "none".
    """
    checks.positive("blur_sigma", blur_sigma, or_zero=True)
    if not 0 <= reconstruction_weight <= 1:
        raise ValueError(
            f"reconstruction_weight: expected a number in [0, 1], got {reconstruction_weight}"
        )
    modules = {
        "segmenter": segmenter,
        "coarse": multi_rater.ExpertnessHead(num_classes, norm=norm),
        "raters": multi_rater.RaterHead(num_raters, num_classes, norm=norm),
        "refined": multi_rater.ExpertnessHead(num_classes, norm=norm),
    }
    heads = functools.partial(_run_heads, modules, blur_sigma)

    def init(key: jax.Array, batch: base.Batch) -> base.Variables:
        image = batch["image"]
        variables = network.init_segmenter(segmenter, key, batch)
        features = network.evaluate(segmenter, variables, image).features
        maps = jnp.zeros((*image.shape[:-1], num_classes))
        shares = jnp.zeros((len(image), num_raters))
        inputs = {
            "coarse": ((features,), shares),
            "raters": ((features, maps),),
            "refined": ((features, maps), shares),
        }
        return network.merge(variables, network.init_heads(modules, key, inputs))

    def loss_fn(variables, batch, key, step):
        present, weight = batch["rater_mask"], batch["weight"]
        keys = base.dropout_keys(key, batch["id"], step)
        output, state = network.segment(segmenter, variables, batch, keys)
        shares = sample_expertness(key, batch["id"], present, step)
        coarse, raters, refined = heads(variables, output.features, shares)
        labels = jax.nn.one_hot(batch["labels"].astype(jnp.int32), num_classes)
        mixed = mixed_label(shares, labels)
        nll, first = _cross_entropy(refined, mixed), _cross_entropy(coarse, mixed)
        each = jax.vmap(_cross_entropy, (1, 1), 1)(raters, labels)
        again = (each * present).sum(1) / jnp.maximum(present.sum(1), 1)
        losses = (1 - reconstruction_weight) * (first + nll) / 2 + reconstruction_weight * again
        metrics = {"nll": nll, "coarse": first, "reconstruction": again}
        return base.weighted(losses, weight, metrics, state)

    def predict(variables: base.Variables, image: jax.Array) -> base.Prediction:
        features = network.evaluate(segmenter, variables, image).features
        shares = jnp.full((len(image), num_raters), 1 / num_raters)
        _, raters, refined = heads(variables, features, shares)
        return base.Prediction(jax.nn.softmax(refined), rater_probs=jax.nn.softmax(raters))

    return base.Method(init, loss_fn, predict)


def mixed_label(
    shares: Float[Array, "B R"], labels: Float[Array, "B R *S L"]
) -> Float[Array, "B *S L"]:
    """Returns the raters' labels by their shares, ``[B, *S, L]``.

    Where a rater's label is zeros the others have the share; zeros where nobody with a share has
    one.

    >>> labels = jnp.array([[[[1.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]]])
    >>> mixed_label(jnp.array([[0.75, 0.25]]), labels).tolist()
    [[[0.75, 0.25], [0.0, 1.0]]]
    """
    mixed = jnp.einsum("br,br...->b...", shares, labels)
    missing = (~ignored.counting_targets(labels)).astype(mixed.dtype)
    # Exactly 1 where nothing is missing.
    left = 1 - jnp.einsum("br,br...->b...", shares, missing)
    return mixed / jnp.maximum(left, jnp.finfo(mixed.dtype).eps)[..., None]


def _run_heads(
    modules: dict[str, Any],
    blur_sigma: float | int,
    variables: base.Variables,
    features: Array,
    shares: Array,
) -> tuple[Array, Array, Array]:
    """Logits of the first stage, of the raters and of the second stage."""

    def run(name: str, *inputs) -> Array:
        return network.run(name, modules[name], variables, *inputs)[0]

    coarse = run("coarse", (features,), shares)
    maps = jax.nn.softmax(coarse)
    raters = run("raters", (features, maps))
    rater_probs = jax.lax.stop_gradient(jax.nn.softmax(raters))
    weight = 1 + attention(rater_probs, blur_sigma=blur_sigma)[..., None]
    attended = features * weight.astype(features.dtype)
    return coarse, raters, run("refined", (attended, maps), shares)


def sample_expertness(
    key: Array, ids: Int[Array, "B"], rater_mask: Bool[Array, "B R"], step: Int[Array, ""]
) -> Float[Array, "B R"]:
    """Draws the share of each rater in the label of an example, anew in each step.

    With equal probability it is all of one rater, uniformly random shares, or equal shares; those
    who did not label the example have none. `key` is the run's `rng.root_key`.
    """
    alone = base.sample_rater(key, ids, rater_mask, step)
    keys = rng.example_keys(rng.purpose_key(key, "expertness"), ids, epoch=step + 1)

    def draw(own: Array, one: Array, present: Array) -> Array:
        kind, shares = jax.random.split(own)
        # Normalised exponential numbers are uniform on the simplex.
        random = jax.random.exponential(shares, present.shape)
        kinds = jnp.stack([one.astype(random.dtype), random, jnp.ones_like(random)])
        chosen = kinds[jax.random.randint(kind, (), 0, len(kinds))] * present
        return chosen / jnp.maximum(chosen.sum(), jnp.finfo(random.dtype).tiny)

    return jax.vmap(draw)(keys, alone, rater_mask)


def attention(
    rater_probs: Float[Array, "B R *S L"], *, blur_sigma: float | int = 2.0
) -> Float[Array, "B *S"]:
    """Returns where to look again: twice the raters' standard deviation, or its blur if larger.

    In ``[0, 1]``, by the class in which the raters differ most: 0 where they agree, 1 where half of
    them are certain of one class and half of another. `blur_sigma` is in voxels, 0 for none.
    """
    spread = 2 * rater_probs.std(1).max(-1)
    if not blur_sigma:
        return spread
    return jnp.maximum(spread, jax.vmap(lambda x: blur.gaussian_blur(x, blur_sigma))(spread))


def _cross_entropy(logits: Array, targets: Array) -> Array:
    """The mean over space, ``[B]``."""
    return jax.vmap(entropy.mean_soft_cross_entropy)(logits, targets)
