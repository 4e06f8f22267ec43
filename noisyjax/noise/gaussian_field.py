"""Label noise by random deformations: every displacement is a smooth Gaussian field.

The noisy label is ``L(w) = l(w + X(w))``, and background where ``w + X(w)`` leaves the image. The
components of X are independent centred Gaussian fields on the unit cube with the kernel
``k(w, w') = a^2 exp(-|w - w'|^2 / (2 b^2))`` (Nordström et al. 2023, Marginal Thresholding in Noisy
Image Segmentation, Eq. 8, 17 and 18). The strength `a` and the smoothness `b` are fractions of the
side of the image: along an axis of n voxels, ``a * n`` and ``b * n`` voxels. Voxel i of n has its
centre at ``(i + 1/2) / n``.

The kernel is a product over the axes, so its Karhunen-Loeve expansion is one too: with the
eigenvectors and eigenvalues of the Gram matrix of each axis, ``B_i = V_i sqrt(Lambda_i)``, the
field ``a (B_1 x ... x B_n) z`` with standard normal z has exactly this kernel, at the edges and in
the corners as well. For the default `b` 11 eigenvalues per axis count at any resolution.
"""

import functools
import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer, Key

from noisyjax.core import checks
from noisyjax.noise import field_fit, field_units

DEFAULT_B = field_units.DEFAULT_B
from_millimetres = field_units.from_millimetres
fit = field_fit.fit

# Eigenvalues of an axis below this share of the largest are left out.
_TOLERANCE = 1e-6
# At least this wide (in voxels) a Gaussian is as good as constant over a voxel.
_WIDE = 3.0
# Stands for a standard deviation of 0 (in voxels) where one divides by it.
_SMALLEST_SIGMA = 1e-6
# Voxels of a slab: its indices stay in the cache of a core.
_SLAB = 2**17

Strength = field_units.Strength
Smoothness = field_units.Smoothness
Label = Integer[Array, "*S"] | Bool[Array, "*S"]
SoftLabel = Integer[Array, "*S"] | Bool[Array, "*S"] | Float[Array, "*S"]


def displacement(
    key: Key[Array, ""], shape: Sequence[int], *, a: Strength, b: Smoothness = DEFAULT_B
) -> Float[Array, "n *S"]:
    """Draws a displacement field X, ``[n, *S]`` float32 in voxels.

    Args:
      shape: ``S``, the voxels along each of the n axes.
      a: strength, the standard deviation of X as a fraction of the side: one number, one per axis
        ``[n]``, or an array over the grid ``[*S]`` or ``[n, *S]`` where the noise is not equally
        strong everywhere (then the kernel is ``a(w) a(w') exp(...)``). It may be traced.
      b: smoothness, the length of correlation as a fraction of the side, one number or one per
        axis. Positive Python numbers: the number of eigenvectors depends on it.

    References:
      Nordström et al. 2023, Eq. 8, 17 and Theorem 3. Their listing filters white noise; zeros
      outside of the image then lower the standard deviation to 0.42 a in the corners of a volume.

    >>> displacement(jax.random.key(0), (16, 24), a=0.02).shape
    (2, 16, 24)
    """
    scale = field_units.in_voxels(a, tuple(shape))
    lines, last = _lines(key, tuple(shape), _axis_constant(scale), b)
    field = jnp.matmul(lines, last, precision=jax.lax.Precision.HIGHEST)
    return field if _axis_constant(scale) is not None else field * scale


def deform(
    key: Key[Array, ""],
    label: Label,
    *,
    a: Strength,
    b: Smoothness = DEFAULT_B,
    order: int = 0,
) -> Label:
    """Draws a noisy label: a label map moved by a random displacement, background outside (Eq. 18).

    Equal to warping by `displacement` of the same key, but the displacement never exists as a
    whole.

    Args:
      label: class ids ``[*S]``, 2-D or 3-D, any number of classes, integers or bool; one
        displacement moves them all.
      a: strength, as in `displacement`. A spatially varying strength is allowed; `marginal` does
        not cover it, average draws instead.
      b: smoothness, as in `displacement`.
      order: 0 takes the nearest voxel, exact for Eq. 18 on a grid. 1 interpolates the one-hot label
        linearly and takes the class of the largest share (the lowest id of equal ones).

    >>> label = jnp.zeros((16, 16), jnp.uint8).at[4:12, 4:12].set(1)
    >>> deform(jax.random.key(0), label, a=0.0).sum()
    Array(64, dtype=uint32)
    """
    checks.rank("label", label, (2, 3))
    checks.one_of("order", order, (0, 1))
    scale = field_units.in_voxels(a, label.shape)
    lines, last = _lines(key, label.shape, _axis_constant(scale), b)
    lines = jnp.swapaxes(lines, 0, 1)
    grid = None if _axis_constant(scale) is not None else jnp.swapaxes(scale, 0, 1)
    look_up = _nearest if order == 0 else _linear
    slabs = functools.partial(_by_slabs, look_up, shape=label.shape, last=last)
    # On CPU a slab's displacements and indices are used while they are in the cache: 2.5 times as
    # fast as the whole volume at once, with a fifth of the memory. Elsewhere loops cost more.
    planes = _slab_planes(label.shape)
    # The border of background stands for everything outside.
    padded = jnp.pad(label, 1).reshape(-1)
    return jax.lax.platform_dependent(
        padded,
        lines,
        grid,
        cpu=functools.partial(slabs, planes=planes),
        default=functools.partial(slabs, planes=label.shape[0]),
    )


def marginal(label: SoftLabel, *, a: Strength) -> Float[Array, "*S"]:
    """Returns the probability of every voxel to be foreground in a noisy label, ``[*S]`` float32.

    ``E[L] = l * N(0, diag((a n_i)^2))``, zero outside: the label blurred, whatever the smoothness b
    (Theorem 1, Eq. 19). Along an axis with ``a n_i`` of 3 voxels or more the Gaussian is sampled,
    as by ``scipy.ndimage.gaussian_filter(label, a * shape, mode="constant", truncate=8)``; below,
    it is integrated over voxels (sampled, it is wrong by up to 0.17 at 0.4 voxels), which is the
    exact mean of `deform` with order 0.

    Args:
      label: ``[*S]``, 0 and 1. The mean is linear in the label, so soft labels are allowed; of
        several classes, pass one at a time as ``labels == k``.
      a: strength, one number or one per axis ``[n]``; may be traced. No closed form is known here
        for a strength that varies over the grid: average draws of `deform`.

    >>> m = marginal(jnp.array([[0, 0, 1, 1, 1, 1]]), a=(0.0, 0.1))[0]
    >>> [round(float(p), 2) for p in m]
    [0.01, 0.2, 0.8, 0.99, 0.99, 0.8]
    """
    x = label.astype(jnp.float32)
    for axis, sigma in enumerate(_sigmas(a, label.shape)):
        offset = jnp.arange(label.shape[axis], dtype=jnp.float32)
        kernel = _kernel(offset[:, None] - offset[None, :], sigma)
        blurred = jnp.tensordot(kernel, x, axes=(1, axis), precision=jax.lax.Precision.HIGHEST)
        x = jnp.moveaxis(blurred, 0, axis)
    return x


def expected_volume_loss(label: SoftLabel, *, a: Strength) -> Float[Array, ""]:
    """Returns the share of the image by which noisy labels are smaller than the label on average.

    ``E|L| = |l| - loss``: what the blur moves out of the image (Theorem 2, Eq. 20 and 21). In
    closed form for a label that is constant on voxels, with the integral of the normal distribution
    function along each axis.

    Args:
      label: ``[*S]``, 0 and 1.
      a: strength, as in `marginal`.

    Returns:
      ``[]`` float32, a fraction of the image's volume; relatively exact, also when it is tiny.

    >>> float(expected_volume_loss(jnp.ones((8, 8)), a=0.0))
    0.0
    """
    mass = label.astype(jnp.float32)
    lost = jnp.zeros_like(mass)
    for sigma, size in zip(_sigmas(a, label.shape), label.shape, strict=True):
        out = _mass_outside(size, sigma).reshape(-1, *[1] * (mass.ndim - 1))
        # What is lost along this axis adds to what is lost of the rest; sums of positive terms.
        lost = jnp.sum(mass * out + lost * (1 - out), axis=0)
        mass = jnp.sum(mass, axis=0)
    return lost / label.size


@functools.lru_cache(maxsize=256)
def _roots(size: int, b: float) -> Float[np.ndarray, "size r"]:
    """``V sqrt(Lambda)`` of the correlations along an axis, without what the tolerance cuts."""
    centres = (np.arange(size) + 0.5) / size
    gram = np.exp(-np.square(centres[:, None] - centres[None, :]) / (2 * b * b))
    values, vectors = np.linalg.eigh(gram)
    kept = values > _TOLERANCE * values[-1]
    return (vectors[:, kept] * np.sqrt(values[kept])).astype(np.float32)


def _lines(key, shape, scale, b):
    """The field but for the product along the last axis: ``[n, *S[:-1], r]`` and ``[r, S[-1]]``."""
    *roots, last = [
        _roots(size, axis_b)
        for size, axis_b in zip(shape, field_units.lengths(b, len(shape)), strict=True)
    ]
    ranks = [root.shape[1] for root in (*roots, last)]
    lines = jax.random.normal(key, (len(shape), *ranks))
    lines = lines if scale is None else lines * scale
    for axis, root in enumerate(roots, start=1):
        spread = jnp.tensordot(root, lines, axes=(1, axis), precision=jax.lax.Precision.HIGHEST)
        lines = jnp.moveaxis(spread, 0, axis)
    return lines, last.T


def _by_slabs(look_up, padded, lines, grid, *, shape, last, planes):
    """Moves `planes` planes of the major axis at a time; `lines` and `grid` are ``[S[0], n, ..]``.

    `grid` is the strength in voxels where that varies, or None.
    """
    count = -(-shape[0] // planes)

    def cut(x):
        x = jnp.pad(x, [(0, count * planes - shape[0])] + [(0, 0)] * (x.ndim - 1))
        return x.reshape(count, planes, *x.shape[1:])

    def move(slab):
        first, lines, grid = slab
        positions = []
        for axis, size in enumerate(shape):
            steps = jnp.matmul(lines[:, axis], last, precision=jax.lax.Precision.HIGHEST)
            steps = steps if grid is None else steps * grid[:, axis]
            index = jnp.arange(size if axis else planes) + (0 if axis else first)
            index = index.astype(jnp.float32)
            positions.append(
                steps + index.reshape([-1 if k == axis else 1 for k in range(len(shape))])
            )
        return look_up(padded, positions, shape)

    firsts = jnp.arange(count) * planes
    slabs = (firsts, cut(lines), None if grid is None else cut(grid))
    if count == 1:
        return move(jax.tree.map(lambda x: x[0], slabs))
    moved = jax.lax.map(move, slabs)
    return moved.reshape(count * planes, *shape[1:])[: shape[0]]


def _slab_planes(shape):
    """Planes of a slab: near `_SLAB` voxels, and slabs as equal as can be."""
    count = max(1, round(math.prod(shape) / _SLAB))
    return -(-shape[0] // min(count, shape[0]))


def _nearest(padded, positions, shape):
    """The label at the nearest voxels, from the flat label with a border of one voxel."""
    # Clipped to positive numbers first, so that cutting off the fraction rounds down.
    steps = [
        jnp.clip(position + 1.5, 0, size + 1.5).astype(jnp.int32)
        for position, size in zip(positions, shape, strict=True)
    ]
    return _take(padded, steps, shape)


def _linear(padded, positions, shape):
    """The class with the largest share among the corners around every position."""
    low = [jnp.clip(jnp.floor(p), -2, n) for p, n in zip(positions, shape, strict=True)]
    # A position that was clipped has background on both sides, so its fraction does not matter.
    fractions = [p - jnp.floor(p) for p in positions]
    classes, weights = [], []
    for corner in itertools.product((0, 1), repeat=len(shape)):
        steps = [
            jnp.clip(start.astype(jnp.int32) + (side + 1), 0, size + 1)
            for start, side, size in zip(low, corner, shape, strict=True)
        ]
        classes.append(_take(padded, steps, shape))
        sides = zip(fractions, corner, strict=True)
        weights.append(math.prod(part if side else 1 - part for part, side in sides))
    best, winner = jnp.full_like(weights[0], -1), classes[0]
    for candidate in classes:
        share = sum(jnp.where(c == candidate, w, 0) for c, w in zip(classes, weights, strict=True))
        better = (share > best) | ((share == best) & (candidate < winner))
        best, winner = jnp.where(better, share, best), jnp.where(better, candidate, winner)
    return winner


def _take(padded, steps, shape):
    flat = 0
    for step, size in zip(steps, shape, strict=True):
        flat = flat * (size + 2) + step
    return padded.at[flat].get(mode="promise_in_bounds")


def _kernel(offset, sigma):
    """The mass of a Gaussian in the voxels at whole offsets from its centre."""
    sigma = jnp.maximum(sigma, _SMALLEST_SIGMA)
    sampled = jnp.exp(-0.5 * jnp.square(offset / sigma)) / (sigma * math.sqrt(2 * math.pi))
    width = sigma * math.sqrt(2)
    upper, lower = jax.lax.erf((offset + 0.5) / width), jax.lax.erf((offset - 0.5) / width)
    return jnp.where(sigma < _WIDE, 0.5 * (upper - lower), sampled)


def _mass_outside(size, sigma):
    """The share of each voxel's mass that a Gaussian moves out of the axis, ``[size]``."""
    edges = jnp.arange(size + 1, dtype=jnp.float32) / jnp.maximum(sigma, _SMALLEST_SIGMA)

    # The integral of P(Z > t) from x to infinity.
    def tail(x):
        density = jnp.exp(-0.5 * jnp.square(x)) / math.sqrt(2 * math.pi)
        return density - x * 0.5 * jax.lax.erfc(x / math.sqrt(2))

    low = sigma * (tail(edges[:-1]) - tail(edges[1:]))
    return low + low[::-1]


def _axis_constant(scale):
    """The strength if it does not vary over the grid, else None."""
    return scale if all(size == 1 for size in scale.shape[1:]) else None


def _sigmas(a: Strength, shape: tuple[int, ...]) -> Float[Array, "n"]:
    """The strength in voxels along each axis."""
    scale = field_units.in_voxels(a, shape)
    if _axis_constant(scale) is None:
        raise ValueError(f"a: expected one number or one per axis, got the shape {scale.shape}")
    return scale.reshape(-1)
