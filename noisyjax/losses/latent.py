"""Terms of losses with latent variables: likelihoods of drawn segmentations, KL divergences."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer

from noisyjax.core import checks
from noisyjax.losses import entropy

# From here on Stirling's series has the digits of float32.
_SHIFT = 8


def ssn_nll(
    logits: Float[Array, "N *S L"],
    labels: Integer[Array, "*S"],
    *,
    where: Bool[Array, "*S"] | None = None,
) -> Float[Array, ""]:
    r"""Returns the negative log-likelihood of a label under N drawn segmentations, in nats.

    .. math:: \log N - \log \sum_n \exp \sum_i \log \mathrm{softmax}(\eta_{n,i})_{y_i}

    It sums over pixels, for a draw explains the label as a whole or not. Divide by their number
    afterwards, if at all.

    Args:
      logits: eta of each draw, ``[N, *S, L]``.
      labels: y, class ids, ``[*S]``; one that counts but is not in ``0..L-1`` gives NaN. Several
        raters by `vmap` over the labels.
      where: the pixels that count, ``[*S]``, but for those of label 255.

    References:
      Monteiro et al., Stochastic segmentation networks, NeurIPS 2020.

    >>> round(float(ssn_nll(jnp.zeros((3, 2, 2)), jnp.array([0, 1]))), 4)
    1.3863
    """
    checks.shape("labels", labels, logits.shape[1:-1], like="logits")
    checks.ids("labels", labels)
    checks.masks(where=where)
    checks.at_least("draws", len(logits), 1)
    logits = _at_least_float32(logits)

    def log_likelihood(draw: Array) -> Array:
        return -jnp.sum(entropy.cross_entropy(draw, labels, where=where))

    log_likelihoods = jax.vmap(log_likelihood)(logits)
    # Of draws that are all impossible, in float32, none is to be preferred.
    log_likelihoods = jnp.maximum(log_likelihoods, jnp.finfo(logits.dtype).min)
    return np.log(len(logits)) - jax.nn.logsumexp(log_likelihoods)


def kl_gaussian(
    mean: Float[Array, "Z"], tril: Float[Array, "Z Z"], *, prior_std: float | int
) -> Float[Array, ""]:
    r"""Returns ``KL(N(m, T T') || N(0, s^2 I))`` in nats.

    .. math:: \frac{1}{2} \left( \frac{\|T\|^2 + \|m\|^2}{s^2} - Z \right)
              - \sum_k \log \frac{|T_{kk}|}{s}

    Args:
      mean: m, ``[Z]``; the latents of several raters by `vmap`.
      tril: T, ``[Z, Z]``; what stands above its diagonal is not read. A diagonal of 0, whose KL is
        infinite, counts as the smallest number, without gradient.
      prior_std: s.

    >>> kl_gaussian(jnp.array([2.0]), jnp.array([[1.0]]), prior_std=1.0)
    Array(2., dtype=float32)
    """
    checks.rank("mean", mean, 1)
    checks.shape("tril", tril, mean.shape * 2, like="mean")
    checks.positive("prior_std", prior_std)
    least = float(jnp.finfo(jnp.result_type(tril)).tiny)
    mean, tril = _at_least_float32(mean), _at_least_float32(tril)
    diagonal = jnp.maximum(jnp.abs(jnp.diagonal(tril)), least)
    below = jnp.tril(tril, -1) / prior_std
    # Of the diagonal each term is 0 at the prior, and no small difference of large numbers.
    logs = 2.0 * (jnp.log(diagonal) - np.log(prior_std))
    squares = jnp.sum(jnp.square(mean / prior_std)) + jnp.sum(jnp.square(below))
    return 0.5 * (squares + jnp.sum(jnp.expm1(logs) - logs))


def kl_dirichlet_flat(concentration: Float[Array, "K"]) -> Float[Array, ""]:
    r"""Returns ``KL(Dir(a) || Dir(1))`` in nats, the prior being flat.

    .. math:: \log \frac{\Gamma(A)}{\Gamma(K)} - \sum_k \log \Gamma(a_k)
              + \sum_k (a_k - 1) (\psi(a_k) - \psi(A)), \qquad A = \sum_k a_k

    Args:
      concentration: a, above 0, ``[K]``. It grows without bound for a to 0: in float32, less than
        1e-18 counts as that, without gradient, in float16 less than 0.008.

    >>> round(float(kl_dirichlet_flat(jnp.array([2.0, 1.0]))), 4)
    0.1931
    """
    checks.rank("concentration", concentration, 1)
    # The gradient reaches 1 / a^2 on its way back.
    least = max(1e-18, 2.0 / float(jnp.finfo(jnp.result_type(concentration)).max) ** 0.5)
    a = jnp.maximum(_at_least_float32(concentration), least)
    beyond = a - 1.0
    of_each = _gamma_term(1.0, a, beyond)
    return jnp.sum(of_each) - _gamma_term(float(a.size), jnp.sum(a), jnp.sum(beyond))


def _gamma_term(c: float, a: Float[Array, "*K"], beyond: Float[Array, "*K"]) -> Float[Array, "*K"]:
    r"""Returns ``log Gamma(c) - log Gamma(a) + d psi(a) - d`` of ``a = c + d``, d being `beyond`.

    It grows as a logarithm, and is made of terms that are small where d is: the differences of the
    functions themselves would leave few digits of a small divergence. The first terms are those of
    ``psi'(a) = sum_j 1 / (a + j)^2``, integrated, the rest is Stirling's series.

    .. math:: \int_0^d t \psi'(c + t) dt
              = \sum_j \log \frac{a + j}{c + j} - \frac{d}{a + j}
    """
    total = jnp.log(a / c) - beyond / a
    for j in range(1, _SHIFT):
        total += jnp.log1p(beyond / (c + j)) - beyond / (a + j)
    start, end = c + _SHIFT, 1.0 / (a + _SHIFT)
    square = end * end
    total -= (start - 0.5) * jnp.log1p(beyond / start)
    # Of log Gamma at both ends, of psi at one.
    total += (1.0 - 1.0 / (30.0 * start**2)) / (12.0 * start)
    total -= end * (1.0 - square / 30.0) / 12.0
    return total - beyond * (0.5 * end + square * (1.0 - square / 10.0) / 12.0)


def _at_least_float32(x: Array) -> Array:
    return jnp.asarray(x, jnp.promote_types(jnp.result_type(x), jnp.float32))
