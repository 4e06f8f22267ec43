"""Trust a label less where the network is uncertain: pixels and whole images (Shi and Wu 2021).

Distilling effective supervision for robust medical image segmentation with noisy labels, MLMI 2021.
The paper's: the uncertainty of each pixel estimates how noisy its label is; a pixel learns from its
label and from a pseudo label, each by its share; an image counts less as a whole the more uncertain
it is. No code was published, and all that follows is ours: how the uncertainty is measured, the
scales, what an image's uncertainty is, and the first steps on the labels alone.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from noisyjax.core import checks, ignored
from noisyjax.methods import base, fused, network


def build(
    segmenter: Any,
    *,
    num_raters: int,
    num_classes: int,
    loss: str = "cross_entropy",
    target: str = "majority",
    passes: int = 4,
    input_noise: float | int = 0.1,
    pixel_scale: float | int = 2.0,
    image_scale: float | int = 1.0,
    warmup_steps: int = 100,
) -> base.Method:
    """Builds the method.

    In each step the network, with dropout and normal noise on the image, predicts each image
    `passes` times without learning; the mean of the predictions is the pseudo label. A training
    step is thus `passes` times forward in one larger batch, then once forward and backward as
    usual; a prediction is one pass.

    Args:
      segmenter: a network of `noisyjax.models`, best with dropout.
      loss: one of `fused.LOSSES`.
      target: the label that is given, "mean", "majority" or "sampled", see `fused.TARGETS`.
      passes: K, at least 2.
      input_noise: standard deviation of the noise on the image in those passes, 0 for dropout
        alone.
      pixel_scale: factor on the variance of the passes, see `label_noise`; 0 keeps the labels.
      image_scale: how fast the weight of an image falls, see `image_weight`; 0 for weights of 1.
      warmup_steps: updates that learn from the labels alone, for at first all is uncertain.
    """
    del num_raters
    compare = jax.vmap(checks.lookup("loss", loss, fused.LOSSES))
    checks.one_of("target", target, ("mean", "majority", "sampled"))
    read = fused.reader(target, num_classes)
    if passes < 2:
        raise ValueError(f"passes: expected at least 2, got {passes}")
    numbers = {"pixel_scale": pixel_scale, "image_scale": image_scale, "input_noise": input_noise}
    for name, value in {**numbers, "warmup_steps": warmup_steps}.items():
        checks.positive(name, value, or_zero=True)
    if not (input_noise or getattr(segmenter, "dropout", 0.0)):
        raise ValueError("input_noise: expected a number > 0 for a network without dropout, got 0")
    predict_noisy = functools.partial(_noisy_predictions, segmenter, input_noise)

    def loss_fn(variables, batch, key, step):
        weight, labels = batch["weight"], read(batch, key, step)
        keys = base.dropout_keys(key, batch["id"], step)
        keys = jax.vmap(lambda own: jax.random.split(own, 1 + passes))(keys)
        predictions = predict_noisy(jax.lax.stop_gradient(variables), batch, keys[:, 1:])
        warm = jnp.where(step < warmup_steps, 0.0, 1.0)
        pseudo = predictions.mean(0)
        counting = ignored.counting_targets(labels)
        noise = warm * jnp.where(counting, label_noise(predictions, scale=pixel_scale), 0.0)
        trust = image_weight(noise, labels, pseudo, scale=image_scale)
        targets = labels + noise[..., None] * (pseudo - labels)
        output, state = network.segment(segmenter, variables, batch, keys[:, 0])
        losses = trust * compare(output.logits, targets)
        metrics = {
            "label_noise": jax.vmap(ignored.mean)(noise, counting),
            "image_weight": trust,
            base.LEARNING: trust,
        }
        return base.weighted(losses, weight, metrics, state)

    init = functools.partial(network.init_segmenter, segmenter)
    predict = functools.partial(network.predict, segmenter)
    return base.Method(init, loss_fn, predict)


def _noisy_predictions(
    segmenter: Any,
    input_noise: float | int,
    variables: base.Variables,
    batch: base.Batch,
    keys: Key[Array, "B K"],
) -> Float[Array, "K B *S L"]:
    """Probabilities of K passes in training mode, with noise on the image."""
    image, passes = batch["image"], keys.shape[1]
    # All passes are one batch, [K B, ...].
    keys = jax.vmap(jax.random.split)(jnp.moveaxis(keys, 1, 0).reshape(-1))
    tile = (passes, *(1,) * (image.ndim - 1))
    normal = jax.vmap(lambda own: jax.random.normal(own, image.shape[1:]))(keys[:, 0])
    noisy = {
        "image": jnp.tile(image, tile) + input_noise * normal,
        "weight": jnp.tile(batch["weight"], passes),
    }
    output, _ = network.segment(segmenter, variables, noisy, keys[:, 1])
    return jax.nn.softmax(output.logits).reshape(passes, *image.shape[:-1], -1)


def label_noise(
    predictions: Float[Array, "K B *S L"], *, scale: float | int = 1.0
) -> Float[Array, "B *S"]:
    """Returns how noisy each pixel's label is held to be, in ``[0, 1]``.

    `scale` times four times the variance over the passes, of the class where it is largest: 0 if
    all passes agree, 1 if half of them are certain of a class and the others of another one.

    >>> label_noise(jnp.array([[[[1.0, 0.0]]], [[[0.0, 1.0]]]]))
    Array([[1.]], dtype=float32)
    """
    return jnp.clip(scale * 4 * predictions.var(0).max(-1), 0.0, 1.0)


def image_weight(
    noise: Float[Array, "B *S"],
    labels: Float[Array, "B *S L"],
    pseudo: Float[Array, "B *S L"],
    *,
    scale: float | int = 1.0,
) -> Float[Array, "B"]:
    r"""Returns how much each image counts, ``exp(-scale u)`` with the `noise` of `label_noise`.

    The uncertainty u of an image is the sum of its pixels' noise over the size of its foreground
    (at least a pixel), the mean of that in the labels and that in the pseudo labels: a mean over
    all pixels would say little but how large the background is. A pixel whose label is zeros does
    not count.

    >>> noise = jnp.array([[0.5, 0.0]])
    >>> labels = jnp.array([[[0.0, 1.0], [1.0, 0.0]]])
    >>> round(float(image_weight(noise, labels, labels)[0]), 4)
    0.6065
    """
    space = tuple(range(1, noise.ndim))
    counting = ignored.counting_targets(labels)
    foreground = jnp.where(counting, 1 - (labels + pseudo)[..., 0] / 2, 0.0).sum(space)
    noise = jnp.where(counting, noise, 0.0)
    return jnp.exp(-scale * noise.sum(space) / jnp.maximum(foreground, 1.0))
