"""Networks: `build` makes a segmenter by name, `annotators.build` the heads of the raters."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
from flax import linen as nn
from jaxtyping import Array, Key

from noisyjax.core import checks
from noisyjax.models import (
    annotators,
    auem,
    cople_net,
    encoder_unet,
    highres3dnet,
    multires_unet,
    nnunet_style,
    rar_unet,
    unet,
)

MODELS = {
    "unet": unet.UNet,
    # The segmenter inside the published Probabilistic U-Net (Kohl et al. 2018).
    "prob_unet": functools.partial(
        unet.UNet,
        widths=(32, 64, 128, 192),
        convs_per_level=3,
        norm="none",
        activation="relu",
        down="mean_pool",
    ),
    # All switches off gives the paper's U-Net, `residual_encoders` alone its Residual U-Net.
    "rar_unet": rar_unet.RARUNet,
    "dense_unet": functools.partial(
        rar_unet.RARUNet,
        residual_connections=False,
        attention_decoders=False,
        dense_stages=True,
    ),
    "attention_gate_unet": functools.partial(
        unet.UNet,
        widths=(32, 64, 128, 256, 512),
        norm="batch",
        activation="relu",
        down="pool",
        attention_gates=True,
    ),
    "multires_unet": multires_unet.MultiResUNet,
    "encoder_unet": encoder_unet.EncoderUNet,
    "cople_net": cople_net.COPLENet,
    "nnunet_style": nnunet_style.NNUNetStyle,
    "highres3dnet": highres3dnet.HighRes3DNet,
}


def build(name: str, num_classes: int, **options: Any) -> nn.Module:
    """Makes a segmenter of `MODELS`; options are attributes of the module.

    It is called by `apply(variables, image [B, *S, K], train=, keys=, weight=) -> Segmentation`.
    `num_classes` includes the background.

    Example:
      >>> build("unet", 2, widths=(8, 16)).num_classes
      2
    """
    return checks.lookup("model", name, MODELS)(num_classes=num_classes, **options)


def has_option(name: str, option: str) -> bool:
    """Tells whether a segmenter of `MODELS` has an attribute.

    >>> has_option("unet", "remat"), has_option("highres3dnet", "remat")
    (True, False)
    """
    made = checks.lookup("model", name, MODELS)
    network = made.func if isinstance(made, functools.partial) else made
    return option in (field.name for field in dataclasses.fields(network))


def init(module: nn.Module, key: Key[Array, ""], *inputs: Any) -> dict[str, Any]:
    """Makes the variables of a module, compiling little.

    Of the inputs only shapes and dtypes matter. The result is `{"params": ..., "batch_stats":
    ...}`, the latter with batch normalisation only. XLA spends about a second of optimisation on
    the random numbers of every kernel; they are drawn once, so they are compiled with as little of
    it as possible (20 s become 3 s for a 3-D U-Net).
    """
    quick = jax.jit(module.init, compiler_options={"xla_backend_optimization_level": 1})
    return quick(key, *inputs)


def parameter_count(variables: Mapping[str, Any]) -> int:
    """Number of trained scalars in variables or their `params` tree (arrays or their shapes)."""
    leaves = jax.tree.leaves(variables.get("params", variables))
    return sum(math.prod(leaf.shape) for leaf in leaves)
