"""What Gaussian-field noise does to a label, and to the masks that are best for it.

Nordström et al. 2023, Figure 1: columns of growing strength; rows for the mean of a few samples,
the marginal, and the masks that are optimal for Accuracy and for Dice.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import matplotlib.figure
import numpy as np
from jaxtyping import Array, Float, Integer, Key

from noisyjax import decisions
from noisyjax.noise import gaussian_field

ROWS = ("mean of samples", "marginal", "best for accuracy", "best for Dice")


def rows(
    key: Key[Array, ""],
    label: Integer[Array, "*S"],
    *,
    a: Float[Array, ""],
    b: float = gaussian_field.DEFAULT_B,
    samples: int = 5,
) -> Float[Array, "4 *S"]:
    """Computes the rows of one column, ``[4, *S]`` in [0, 1] as `ROWS`, from a binary label.

    Args:
      a: strength of the noise, a fraction of the side.
      b: its smoothness, likewise.
      samples: number of samples in the mean.
    """
    draws = jax.vmap(lambda k: gaussian_field.deform(k, label, a=a, b=b))(
        jax.random.split(key, samples)
    )
    m = gaussian_field.marginal(label, a=a)
    masks = decisions.accuracy_optimal(m), decisions.dice_optimal(m)
    return jnp.stack([draws.astype(jnp.float32).mean(0), m, *(x.astype(m.dtype) for x in masks)])


def figure(
    key: Key[Array, ""],
    label: Integer[Array, "*S"],
    strengths: Sequence[float],
    *,
    b: float = gaussian_field.DEFAULT_B,
    samples: int = 5,
) -> matplotlib.figure.Figure:
    """Draws the four `rows` of a binary label ``[*S]``, a column for each strength.

    Strengths, fractions of the side, have the same displacements but for their size. Of a volume
    the slice with most foreground is shown, of what was computed in three dimensions. `b` and
    `samples` are those of `rows`.
    """
    compute = jax.jit(lambda a: rows(key, label, a=a, b=b, samples=samples))
    columns = np.stack([compute(jnp.float32(a)) for a in strengths])
    if label.ndim == 3:
        columns = columns[:, :, int(np.asarray(label).sum((1, 2)).argmax())]
    figure = matplotlib.figure.Figure(figsize=(1.6 * len(strengths) + 0.5, 6.6))
    axes = figure.subplots(len(ROWS), len(strengths), squeeze=False)
    for row, name in enumerate(ROWS):
        axes[row, 0].set_ylabel(name, fontsize=8)
        for column, a in enumerate(strengths):
            one = axes[row, column]
            one.imshow(columns[column, row], cmap="gray", vmin=0, vmax=1)
            one.set(xticks=[], yticks=[])
            if row == 0:
                one.set_title(f"a = {a:g}", fontsize=8)
    figure.tight_layout(pad=0.4)
    return figure
