"""The U-Net of `models.unet` in PyTorch, on the same tree of parameters: a peer for times and values.

PyTorch comes with the extra `bench`; without it this module can be imported but not used.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

try:
    import torch
    from torch.nn import functional
except ImportError:
    torch = functional = None

_LEVEL = ("conv", "norm", "activation")


def forward(params: Mapping[str, Any], x: "torch.Tensor") -> "torch.Tensor":
    """Applies the network.

    Args:
      params: tree of `from_jax`.
      x: `[B, K, *S]`, sides divisible by 2 to the number of levels less one.

    Returns:
      Logits `[B, L, *S]`.
    """
    levels = sum(name.startswith("encoder") for name in params) // 2
    skips = []
    for level in range(levels):
        x = _block(params[f"encoder{level}_0"], x, stride=1 + (level > 0))
        x = _block(params[f"encoder{level}_1"], x)
        skips.append(x)
    mode = {4: "bilinear", 5: "trilinear"}[x.ndim]
    for level in reversed(range(levels - 1)):
        x = torch.cat([functional.interpolate(x, scale_factor=2, mode=mode), skips[level]], 1)
        x = _block(params[f"decoder{level}_0"], x)
        x = _block(params[f"decoder{level}_1"], x)
    return _conv(x)(x, params["logits"]["kernel"], params["logits"]["bias"])


def from_jax(params: Mapping[str, Any]) -> dict[str, Any]:
    """Turns parameters of `models.unet.UNet` into PyTorch tensors that take gradients.

    Args:
      params: the `params` tree, arrays channels last.

    Returns:
      The same tree; kernels are `[O, C, *K]`.
    """

    def convert(name: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: convert(key, child) for key, child in value.items()}
        array = np.array(value)
        if name == "kernel":
            array = np.moveaxis(array, (-1, -2), (0, 1)).copy()
        return torch.from_numpy(np.atleast_1d(array)).requires_grad_()

    return convert("", params)
