"""One training step of a network (cross-entropy, backward pass, Adam) beside PyTorch's.

Both sides hold equal numbers of parameters, see equal data and run on the same cores.
"""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax

from noisyjax import models
from noisyjax.benchmarks import harness, torch_twin
from noisyjax.core import compilation, convolution, upsampling

_LEARNING_RATE = 1e-3


@dataclasses.dataclass(frozen=True)
class Setup:
    """A network and the batch it is trained on.

    Attributes:
      shape: ``[B, *S]`` of the batch; images have one channel.
      widths: channels of every level.
      num_classes: L.
      peer: "torch", "xla" (our network with XLA's own convolutions), or "" for none.
      network: a key of `torch_twin.NETWORKS`.
    """

    shape: tuple[int, ...]
    widths: tuple[int, ...]
    num_classes: int = 2
    peer: str = "torch"
    network: str = "unet"

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Images ``[B, *S, 1]`` float32 and labels ``[B, *S]`` int32, the same at every call."""
        rng = np.random.default_rng(0)
        image = rng.normal(size=(*self.shape, 1)).astype(np.float32)
        return image, rng.integers(0, self.num_classes, self.shape).astype(np.int32)

    def sides(self) -> dict[str, Callable[[int], harness.Work]]:
        """Ours and its peers by name; PyTorch appears in both of its memory layouts."""
        made = {"ours": functools.partial(ours, self)}
        if self.peer == "xla":
            made["xla"] = functools.partial(ours, self, native=True)
        if self.peer == "torch":
            made["torch"] = functools.partial(torch_peer, self)
            made["torch channels last"] = functools.partial(torch_peer, self, channels_last=True)
        return made


SETUPS = {
    "train_step_2d_small": Setup((32, 28, 28), (24, 48, 48)),
    "train_step_2d_large": Setup((4, 256, 256), (16, 32, 64, 128, 256)),
    "train_step_3d": Setup((1, 64, 64, 64), (16, 32, 64, 128, 256)),
    "conv3d_xla": Setup((1, 64, 64, 64), (16, 32, 64, 128, 256), peer="xla"),
    "highres3dnet_step": Setup((1, 32, 32, 32), (16, 32, 64), network="highres3dnet"),
}
SMOKE = Setup((2, 8, 8), (4, 8), peer="")


def ours(setup: Setup, threads: int, *, native: bool = False) -> harness.Work:
    """Compiles the step of our network, which updates its parameters in place.

    `native` asks for XLA's own convolutions in place of ours.
    """
    del threads
    model = _module(setup)
    image, labels = (jnp.asarray(array) for array in setup.batch())
    optimiser = optax.adam(_LEARNING_RATE)

    def loss_fn(params: Any, image: jax.Array, labels: jax.Array) -> jax.Array:
        # Neither side keeps running averages.
        output, _ = model.apply(
            {**variables, "params": params}, image, train=True, mutable="batch_stats"
        )
        targets = jax.nn.one_hot(labels, setup.num_classes)
        return -jnp.sum(targets * jax.nn.log_softmax(output.logits)) / labels.size

    def step(params: Any, state: Any, image: jax.Array, labels: jax.Array) -> tuple:
        loss, gradients = jax.value_and_grad(loss_fn)(params, image, labels)
        updates, state = optimiser.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, loss

    variables = models.init(model, jax.random.key(0), image)
    params = variables.pop("params")
    state = optimiser.init(params)
    start = time.perf_counter()
    with native_convolutions() if native else contextlib.nullcontext():
        options = compilation.options(jax.default_backend())
        jitted = jax.jit(step, donate_argnums=(0, 1), compiler_options=options)
        lowered = jitted.lower(params, state, image, labels)
    compiled = lowered.compile()
    compile_s = time.perf_counter() - start
    held = [params, state]

    def run() -> float:
        *held[:], loss = compiled(*held, image, labels)
        jax.block_until_ready(held)
        return float(loss)

    return harness.Work(run, models.parameter_count(params), compile_s)


@contextlib.contextmanager
def native_convolutions() -> Iterator[None]:
    """Replaces our convolutions by XLA's own in what is traced inside."""

    def native(x: jax.Array, kernel: jax.Array, *, dilation: int = 1) -> jax.Array:
        return convolution.native((1,) * (x.ndim - 2), dilation, x, kernel)

    def strided(x: jax.Array, kernel: jax.Array, *, strides: Sequence[int] = ()) -> jax.Array:
        return convolution.native(tuple(strides) or (2,) * (x.ndim - 2), 1, x, kernel)

    def joined(
        x: jax.Array, skip: jax.Array, kernel: jax.Array, *, strides: Sequence[int] = ()
    ) -> jax.Array:
        up = upsampling.crop(upsampling.linear(x, strides), skip.shape[1:-1])
        return native(jnp.concatenate([up, skip], -1), kernel)

    with (
        mock.patch.object(convolution, "conv", native),
        mock.patch.object(convolution, "strided_conv", strided),
        mock.patch.object(upsampling, "joined_conv", joined),
    ):
        yield


def torch_peer(setup: Setup, threads: int, *, channels_last: bool = False) -> harness.Work:
    """Builds the step of the PyTorch twin on random parameters of the same shapes."""
    import torch

    start = time.perf_counter()
    torch.set_num_threads(threads)
    image, labels = setup.batch()
    shapes = jax.eval_shape(lambda: _module(setup).init(jax.random.key(0), jnp.asarray(image)))
    rng = np.random.default_rng(1)
    params = torch_twin.from_jax(
        jax.tree.map(lambda p: 0.05 * rng.normal(size=p.shape).astype(np.float32), shapes["params"])
    )
    step = torch_twin.training_step(
        params,
        image,
        labels,
        network=setup.network,
        learning_rate=_LEARNING_RATE,
        channels_last=channels_last,
    )
    count = sum(leaf.numel() for leaf in torch_twin.leaves(params))
    return harness.Work(step, count, time.perf_counter() - start)


def _module(setup: Setup) -> Any:
    return models.build(setup.network, setup.num_classes, widths=setup.widths)
