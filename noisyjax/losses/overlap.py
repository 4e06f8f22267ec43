"""Losses on the overlap of two soft masks."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def soft_dice(
    probs: Float[Array, "*S L"],
    targets: Float[Array, "*S L"],
    *,
    where: Bool[Array, "*S"] | None = None,
    include_background: bool = False,
    smooth: float = 1e-5,
    power: int = 1,
) -> Float[Array, ""]:
    r"""Returns the soft Dice loss of one example, in ``[0, 1]``: 0 is perfect overlap.

    .. math:: 1 - \frac{1}{L} \sum_l
              \frac{2 \sum_i p_{il} t_{il} + s}{\sum_i p_{il}^k + \sum_i t_{il}^k + s}

    Args:
      probs: predicted probabilities, ``[*S, L]``.
      targets: one-hot labels or soft labels, ``[*S, L]``.
      where: the pixels that count, ``[*S]``.
      include_background: whether class 0 is part of the mean over classes.
      smooth: s, in voxels, added above and below. It decides what a class means that is absent
        from `targets`: with the small default, any predicted voxel of it costs the full loss of
        the class; absent from both counts as perfect overlap, also for ``smooth=0``.
      power: k, the power of the terms below: 1, or 2 as in V-Net. Soft labels reach 0 only with 2.

    Returns:
      The loss, ``[]``. Its gradient is finite everywhere.

    Raises:
      ValueError: if no class is left without the background.

    References:
      Milletari et al., V-Net, 3DV 2016 (squares below). Drozdzal et al. 2016 (first powers).

    >>> mask = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> float(soft_dice(mask, mask)), float(soft_dice(mask[::-1], mask, smooth=0.0))
    (0.0, 1.0)
    """
    if not include_background:
        if probs.shape[-1] < 2:
            raise ValueError(
                "probs: expected at least two classes when the background is left out, "
                f"got shape {probs.shape}"
            )
        probs, targets = probs[..., 1:], targets[..., 1:]
    if where is not None:
        probs = jnp.where(where[..., None], probs, 0.0)
        targets = jnp.where(where[..., None], targets, 0.0)
    space = tuple(range(probs.ndim - 1))
    above = 2.0 * jnp.sum(probs * targets, axis=space) + smooth
    below = jnp.sum(probs**power, axis=space) + jnp.sum(targets**power, axis=space) + smooth
    # The inner `where` keeps the quotient of the branch that is not taken out of the gradient.
    filled = below > 0.0
    dice = jnp.where(filled, above / jnp.where(filled, below, 1.0), 1.0)
    return 1.0 - jnp.mean(dice)
