"""Networks: `build` makes a segmenter by name, `annotators.build` the heads of the raters."""

import math
from collections.abc import Mapping
from typing import Any

import jax
from flax import linen as nn

from noisyjax.core import checks
from noisyjax.models import annotators, unet

MODELS = {"unet": unet.UNet}


def build(name: str, num_classes: int, **options: Any) -> nn.Module:
    """Makes a segmenter.

    Args:
      name: a key of `MODELS`.
      num_classes: L, background included.
      **options: attributes of the module.

    Returns:
      A module: `apply(variables, image [B, *S, K], train=, keys=, weight=) -> Segmentation`.

    Raises:
      ValueError: if the name is unknown.

    Example:
      >>> build("unet", 2, widths=(8, 16)).num_classes
      2
    """
    return checks.lookup("model", name, MODELS)(num_classes=num_classes, **options)


def parameter_count(variables: Mapping[str, Any]) -> int:
    """Number of trained scalars.

    Args:
      variables: what `init` returned, or its `params` tree; arrays or their shapes.

    Returns:
      The sum of the sizes of all parameters.
    """
    leaves = jax.tree.leaves(variables.get("params", variables))
    return sum(math.prod(leaf.shape) for leaf in leaves)
