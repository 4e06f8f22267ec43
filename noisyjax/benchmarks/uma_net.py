"""One training step of UMA-Net beside that of its plain U-Net on the majority vote.

Both sides train the same segmenter on the same batch: forward and backward pass and Adam.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from noisyjax import methods, models
from noisyjax.benchmarks import harness
from noisyjax.core import compilation, rng
from noisyjax.train import step, train_state

_CLASSES = 2


@dataclasses.dataclass(frozen=True)
class Setup:
    """A segmenter and the batch it is trained on.

    Attributes:
      shape: ``[B, *S]`` of the batch; images have one channel.
      widths: channels of the segmenter's levels.
      num_raters: R.
      peer: "" as nothing beyond our own packages is needed.
    """

    shape: tuple[int, ...]
    widths: tuple[int, ...]
    num_raters: int = 5
    peer: str = ""

    def batch(self) -> methods.Batch:
        """Images, balls that every rater shifts, the same at every call."""
        draw = np.random.default_rng(0)
        size, *sides = self.shape
        axes = np.meshgrid(*(np.linspace(-1, 1, side) for side in sides), indexing="ij")
        centres = draw.uniform(-0.3, 0.3, (size, self.num_raters, len(sides)))
        distances = sum(
            (axis - centres[..., i].reshape(size, -1, *(1,) * len(sides))) ** 2
            for i, axis in enumerate(axes)
        )
        image = distances.mean(1)[..., None] + draw.normal(0, 0.1, (*self.shape, 1))
        return {
            "image": jnp.asarray(image, jnp.float32),
            "labels": jnp.asarray(distances < 0.3, jnp.uint8),
            "rater_mask": jnp.ones((size, self.num_raters), bool),
            "weight": jnp.ones(size),
            "id": jnp.arange(size, dtype=jnp.int32),
        }

    def sides(self) -> dict[str, Callable[[int], harness.Work]]:
        """Ours and the plain network by name."""
        return {
            "ours": functools.partial(training_step, self, method="uma_net"),
            "plain U-Net": functools.partial(training_step, self, method="majority"),
        }


SETUPS = {
    "uma_net_step": Setup((8, 64, 64), (16, 32, 64)),
    "uma_net_step_3d": Setup((1, 24, 24, 24), (16, 32)),
}
SMOKE = Setup((2, 8, 8), (4, 8), num_raters=2)


def training_step(setup: Setup, threads: int, *, method: str) -> harness.Work:
    """Compiles the update of a method of `methods.METHODS` with its default options.

    The step updates its state in place. `params` is the number of parameters that predict, the same
    for every method.
    """
    del threads
    segmenter = models.build("unet", _CLASSES, widths=setup.widths)
    made = methods.build(method, segmenter, num_raters=setup.num_raters, num_classes=_CLASSES)
    optimiser, batch, key = optax.adam(1e-3), setup.batch(), rng.root_key(0)
    quick = {"xla_backend_optimization_level": 1}
    variables = jax.jit(made.init, compiler_options=quick)(key, batch)
    state = train_state.create(variables, optimiser, ema=False)
    update = functools.partial(
        step.train_step,
        method=made,
        optimiser=optimiser,
        transform=lambda batch, key: batch,
        ema=0.0,
        axis_name=None,
    )
    options = compilation.options(jax.default_backend())
    jitted = jax.jit(update, donate_argnums=0, compiler_options=options)
    compiled, compile_s = harness.compiled(jitted, state, batch, key)
    held = [state]

    def run() -> float:
        held[0], report = compiled(held[0], batch, key)
        jax.block_until_ready(held)
        total, count = report.metrics["loss"]
        return float(total / count)

    params = models.parameter_count(variables["params"]["segmenter"])
    return harness.Work(run, params, compile_s)
