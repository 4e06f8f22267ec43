"""Networks of `noisyjax.models` in PyTorch, on the same trees of parameters: peers.

PyTorch comes with the extra `bench`; without it this module can be imported but not used.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

try:
    import torch
    from torch.nn import functional
except ImportError:
    torch = functional = None

_EPSILON = 1e-5


def unet(params: Mapping[str, Any], x: "torch.Tensor") -> "torch.Tensor":
    """Applies `models.unet` to ``x [B, K, *S]``; logits ``[B, L, *S]``. `params` are of `from_jax`.

    Sides are divisible by 2 to the number of levels less one.
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


def highres3dnet(params: Mapping[str, Any], x: "torch.Tensor") -> "torch.Tensor":
    """Applies `models.highres3dnet` as in training, with the statistics of the batch.

    ``x [B, K, *S]`` gives logits ``[B, L, *S]``; `params` is the tree of `from_jax`.
    """

    def conv(name: str, x: "torch.Tensor", dilation: int = 1) -> "torch.Tensor":
        kernel = params[name]["kernel"]
        padding = dilation * (kernel.shape[-1] // 2)
        return _conv(x)(x, kernel, padding=padding, dilation=dilation)

    def norm(name: str, x: "torch.Tensor") -> "torch.Tensor":
        own = params[name]
        return functional.batch_norm(
            x, None, None, own["scale"], own["bias"], training=True, eps=_EPSILON
        )

    x = functional.relu(norm("norm", conv("conv", x)))
    for level, index in itertools.product(range(len(params)), range(3)):
        name, y = f"block{level}_{index}", x
        if f"{name}_conv0" not in params:
            break
        for half in range(2):
            y = functional.relu(norm(f"{name}_norm{half}", y))
            y = conv(f"{name}_conv{half}", y, 2**level)
        grown = y.shape[1] - x.shape[1]
        sides = (0, 0) * (x.ndim - 2)
        x = y + functional.pad(x, (*sides, grown // 2, grown - grown // 2))
    x = functional.relu(norm("head_norm", conv("head", x)))
    return norm("logits_norm", conv("logits", x))


# name in `models` -> f(params, image [B, K, *S]) -> logits [B, L, *S]
NETWORKS = {"unet": unet, "highres3dnet": highres3dnet}


def training_step(
    params: Mapping[str, Any],
    image: np.ndarray,
    labels: np.ndarray,
    *,
    network: str,
    learning_rate: float,
    channels_last: bool,
) -> Callable[[], float]:
    """Prepares a step of Adam on the cross-entropy, a function that returns the loss.

    Args:
      params: tree of `from_jax`; the step updates a copy in the wanted layout.
      image: ``[B, *S, K]``, float32.
      labels: ``[B, *S]``, class ids.
      network: a key of `NETWORKS`.
      learning_rate: of Adam.
      channels_last: whether images and kernels lie channels last in memory.
    """
    last = {4: torch.channels_last, 5: torch.channels_last_3d}[image.ndim]
    layout = last if channels_last else torch.contiguous_format

    def copied(tree: Any) -> Any:
        if isinstance(tree, Mapping):
            return {name: copied(child) for name, child in tree.items()}
        memory = layout if tree.ndim == image.ndim else torch.contiguous_format
        return tree.detach().clone(memory_format=memory).requires_grad_()

    params = copied(params)
    image = torch.from_numpy(np.moveaxis(image, -1, 1).copy()).to(memory_format=layout)
    labels = torch.from_numpy(labels.astype(np.int64))
    optimiser = torch.optim.Adam(list(leaves(params)), lr=learning_rate)

    def step() -> float:
        optimiser.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(NETWORKS[network](params, image), labels)
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def from_jax(params: Mapping[str, Any]) -> dict[str, Any]:
    """Turns parameters of a network into PyTorch tensors that take gradients.

    Arrays are channels last; kernels become ``[O, C, *K]``.
    """

    def convert(name: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: convert(key, child) for key, child in value.items()}
        array = np.array(value)
        if name == "kernel":
            array = np.moveaxis(array, (-1, -2), (0, 1)).copy()
        return torch.from_numpy(np.atleast_1d(array)).requires_grad_()

    return convert("", params)


def leaves(tree: Mapping[str, Any]) -> Iterator[Any]:
    """Yields the tensors of a tree."""
    for child in tree.values():
        if isinstance(child, Mapping):
            yield from leaves(child)
        else:
            yield child


def _block(params: Mapping[str, Any], x: "torch.Tensor", stride: int = 1) -> "torch.Tensor":
    x = _conv(x)(x, params["conv"]["kernel"], stride=stride, padding=1)
    norm = params["norm"]
    x = functional.instance_norm(x, weight=norm["scale"], bias=norm["bias"], eps=_EPSILON)
    return functional.prelu(x, params["activation"]["slope"])


def _conv(x: "torch.Tensor") -> Callable[..., "torch.Tensor"]:
    return {4: functional.conv2d, 5: functional.conv3d}[x.ndim]
