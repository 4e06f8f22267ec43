"""Structural similarity of two images, and the loss made of it (Wang et al. 2004)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from noisyjax.core import blur, checks, ignored
from noisyjax.losses import probabilities


def ssim(
    x: Float[Array, "*S"],
    y: Float[Array, "*S"],
    *,
    window: int = 11,
    sigma: float | int = 1.5,
    data_range: float | int = 1.0,
) -> Float[Array, "*S"]:
    r"""Returns the structural similarity around each voxel ``[*S]``, in ``[-1, 1]``; 1 is equality.

    .. math:: \frac{(2 \mu_x \mu_y + c_1)(2 \sigma_{xy} + c_2)}
              {(\mu_x^2 + \mu_y^2 + c_1)(\sigma_x^2 + \sigma_y^2 + c_2)}

    Means and (co)variances are those of a window with Gaussian weights; ``c_1 = (0.01 d)^2`` and
    ``c_2 = (0.03 d)^2`` with d the data range. Outside of the image lie zeros, in both images.
    Images are of any rank; channels by `vmap`.

    Args:
      window: side of the window in voxels, odd.
      sigma: standard deviation of its weights in voxels.
      data_range: d, the distance of the largest possible value to the smallest.

    References:
      Wang et al., Image quality assessment, IEEE TIP 2004, Eq. 13 with the published constants.

    >>> ssim(jnp.zeros((3, 3)), jnp.zeros((3, 3)))[1]
    Array([1., 1., 1.], dtype=float32)
    """
    checks.shape("y", y, x.shape, like="x")
    checks.positive("sigma", sigma)
    checks.positive("data_range", data_range)
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window: expected an odd number > 0, got {window}")

    # In the middle between two integers, for the blur rounds the radius of its kernel.
    truncate = (window // 2 + 0.25) / sigma

    def mean(z: Array) -> Array:
        return blur.gaussian_blur(z, sigma, truncate=truncate)

    mean_x, mean_y = mean(x), mean(y)
    # The variances cannot be negative but by rounding.
    var_x = jnp.maximum(mean(x * x) - mean_x * mean_x, 0.0)
    var_y = jnp.maximum(mean(y * y) - mean_y * mean_y, 0.0)
    covariance = mean(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return above / ((mean_x * mean_x + mean_y * mean_y + c1) * (var_x + var_y + c2))


def ssim_loss(
    probs: Float[Array, "*S L"],
    targets: Float[Array, "*S L"],
    *,
    window: int = 11,
    sigma: float | int = 1.5,
    include_background: bool = False,
    where: Bool[Array, "*S"] | None = None,
) -> Float[Array, ""]:
    """Returns 1 minus the mean structural similarity of one example, in ``[0, 2]``: 0 is equality.

    Its gradient is finite everywhere. What is no probability gives NaN.

    Args:
      probs: predicted probabilities, ``[*S, L]``.
      targets: one-hot labels or soft labels, ``[*S, L]``.
      window, sigma: see `ssim`.
      include_background: whether class 0 is part of the mean over classes.
      where: the voxels that count, ``[*S]``, but for those of targets that are zeros. The others
        lie outside of the image, for the windows too; without any the loss is 0.

    >>> mask = jnp.zeros((8, 8, 2)).at[2:6, 2:6, 1].set(1.0)
    >>> float(ssim_loss(mask, mask))
    0.0
    """
    checks.shape("targets", targets, probs.shape, like="probs")
    if where is not None:
        checks.shape("where", where, probs.shape[:-1], like="probs")
    where = ignored.counting_targets(targets, where)
    probs, targets = (jnp.where(where[..., None], maps, 0.0) for maps in (probs, targets))
    if not include_background:
        if probs.shape[-1] < 2:
            raise ValueError(
                "probs: expected at least two classes when the background is left out, "
                f"got shape {probs.shape}"
            )
        probs, targets = probs[..., 1:], targets[..., 1:]

    def of_class(p: Array, t: Array) -> Array:
        return ssim(p, t, window=window, sigma=sigma)

    probs, targets = probabilities.at_least_float32(probs, targets)
    similar = jax.vmap(of_class, in_axes=(-1, -1))(probs, targets)
    similarity = ignored.mean(similar, jnp.broadcast_to(where[None], similar.shape))
    loss = jnp.where(jnp.any(where), 1.0 - similarity, 0.0)
    return probabilities.refuse_others(loss, probs, targets)
