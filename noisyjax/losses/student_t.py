"""The T-Loss: the likelihood of a heavy-tailed distribution, which wrong labels move little."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from noisyjax.core import checks, ignored
from noisyjax.losses import probabilities

# Beyond it the distribution is normal to the last digit of float32.
_LARGEST_RAW_NU = 40.0
_EPSILON = 1e-8


def t_loss(
    probs: Float[Array, "*S"],
    labels: Num[Array, "*S"] | Bool[Array, "*S"],
    raw_nu: Float[Array, ""] | float | int,
    *,
    log_precision: Float[Array, ""] | float | int = 0.0,
    where: Bool[Array, "*S"] | None = None,
) -> Float[Array, ""]:
    r"""Returns the negative log-density of the errors of one image under a Student t distribution.

    .. math:: \log \Gamma(\nu / 2) - \log \Gamma((\nu + V) / 2) + \frac{V}{2} \log \frac{\pi \nu}{k}
              + \frac{\nu + V}{2} \log \left( 1 + \frac{k}{\nu} \sum_i (y_i - p_i)^2 \right)

    All V pixels are one vector. The fewer the degrees of freedom ``nu = exp(raw_nu) + 1e-8``, which
    are learnt beside the network, the less weigh the images with large errors. The loss may be
    negative, grows with V, and values of images of different sizes do not compare. What is no
    probability gives NaN.

    Args:
      probs: p, probability of the foreground, ``[*S]``.
      labels: y, 0 and 1, ``[*S]``.
      raw_nu: ``[]``, 1 at the start of the published training; above 40 it counts as 40.
      log_precision: ``log k``, ``[]``. The paper has 0, the published code 1.
      where: the pixels that count, ``[*S]``, but for those of label 255; V is their number, and
        without any the loss is 0.

    References:
      Gonzalez-Jimenez et al., Robust T-Loss for medical image segmentation, MICCAI 2023.

    >>> round(float(t_loss(jnp.array([0.0]), jnp.array([1.0]), 0.0)), 4)
    1.8379
    """
    checks.shape("labels", labels, probs.shape, like="probs")
    if where is not None:
        checks.shape("where", where, probs.shape, like="probs")
    where = ignored.counting(labels, where)
    dtype = jnp.promote_types(jnp.result_type(probs), jnp.float32)
    probs, labels = probs.astype(dtype), labels.astype(dtype)
    probs, labels = jnp.where(where, probs, 0.0), jnp.where(where, labels, 0.0)
    squares = jnp.square(labels - probs)
    size = jnp.sum(where, dtype=jnp.int32).astype(dtype)
    log_precision = jnp.asarray(log_precision, dtype)
    total = jnp.exp(log_precision) * jnp.sum(squares)
    nu = jnp.exp(jnp.minimum(jnp.asarray(raw_nu, dtype), _LARGEST_RAW_NU)) + _EPSILON
    # No division by zero where no pixel counts.
    half, half_nu = jnp.maximum(size, 1.0) / 2.0, nu / 2.0
    # The difference of log Gamma(nu / 2) and log Gamma((nu + V) / 2), whose digits end for a large
    # nu before those of the difference do.
    gammas = jax.scipy.special.betaln(half_nu, half) - jax.scipy.special.gammaln(half)
    scale = half * (jnp.log(jnp.pi * (nu + total)) - log_precision)
    loss = jnp.where(size > 0, gammas + scale + half_nu * jnp.log1p(total / nu), 0.0)
    return probabilities.refuse_others(loss, probs, labels)
