"""Train one network as nnU-Net does (Isensee et al. 2021), on one target per image.

nnU-Net knows one label per image; with several, UMA-Net's tables give it their majority vote.

nnU-Net's: the sum of the Dice loss, without the background and with 1e-5 above and below, and the
cross-entropy; the same at the coarser levels of the decoder with half the weight from level to
level, none for the coarsest, the weights adding up to 1, and labels sampled by nearest neighbour;
prediction by the mean over all mirror images, of the logits as in its second version. The network
is `models.nnunet_style`; any other is trained the same way, without deep supervision unless its
output has it. SGD with Nesterov momentum 0.99, rate 1e-2, "poly", weight decay 3e-5 and a bound of
12 on the gradient belong into the section ``train`` of a config, mirroring, rotation, scaling,
noise, blur, brightness, contrast and gamma into ``data.augment``.

Not here: what nnU-Net plans from the data (spacing, intensities, patches, number of levels,
anisotropic kernels), patches forced to the foreground, low-resolution and inverted gamma
augmentation, a probability for each kind of change, sliding windows with Gaussian weights, the
ensemble of folds and the removal of components. Dice is taken per example, as in 3-D nnU-Net; in
2-D that pools a batch.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from noisyjax.core import checks, class_regions
from noisyjax.methods import base, deep_supervision, fused, network


def build(
    segmenter: Any,
    *,
    num_raters: int,
    num_classes: int,
    target: str = "majority",
    mirror: bool = True,
    regions: class_regions.Regions | None = None,
) -> base.Method:
    """Builds the method.

    Args:
      target: one of `fused.TARGETS`.
      mirror: whether a prediction is the mean over all mirror images, of which there are 4 in 2-D
        and 8 in 3-D; it costs as many times as much.
      regions: what the network predicts, a channel each, in place of the classes.
    """
    del num_raters
    read = fused.reader(target, num_classes)
    compare = fused.of_regions(fused.LOSSES["cross_entropy_and_soft_dice"], regions)
    weighed = functools.partial(deep_supervision.loss, compare)

    def loss_fn(variables, batch, key, step):
        keys = base.dropout_keys(key, batch["id"], step)
        output, state = network.segment(segmenter, variables, batch, keys)
        every = (output.logits, *output.deep)
        losses = jax.vmap(weighed)(every, read(batch, key, step))
        return base.weighted(losses, batch["weight"], {}, state)

    def predict(variables: base.Variables, image: Array) -> base.Prediction:
        def logits(image: Array) -> Array:
            return network.evaluate(segmenter, variables, image).logits

        mean = mirrored_mean(logits, image) if mirror else logits(image)
        return network.prediction(mean, regions)

    init = functools.partial(network.init_segmenter, segmenter)
    return base.Method(init, loss_fn, predict, regions=regions, **fused.needs(target))


def mirrored_mean(
    function: Callable[[Array], Array], image: Float[Array, "B *S K"]
) -> Float[Array, "B *S L"]:
    """Returns the mean of a function's values for all mirror images, mirrored back."""
    checks.rank("image", image, (3, 4, 5))
    num_axes = image.ndim - 2

    def one(flipped: Bool[Array, "n"]) -> Array:
        return _flip(function(_flip(image, flipped)), flipped)

    # One after the other: the memory is that of one image, and the network is compiled once.
    subsets = np.array(list(itertools.product((False, True), repeat=num_axes)))
    return jax.lax.map(one, jnp.asarray(subsets)).mean(0)


def _flip(array: Array, flipped: Bool[Array, "n"]) -> Array:
    """Mirrors `[B, *S, C]` along the spatial axes that are chosen."""
    for axis, chosen in enumerate(flipped, start=1):
        array = jnp.where(chosen, jnp.flip(array, axis), array)
    return array
