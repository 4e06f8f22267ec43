"""The strength and the smoothness of Gaussian-field noise that real raters show.

Where the boundary of the consensus has the unit normal v, a rater's boundary lies displaced by
``v . X`` along the normal. Over the raters these displacements are Gaussian with the covariance

    ``a^2 (sum_k v_k v'_k n_k^2) exp(-|w - w'|^2 / (2 b^2)) + noise``

between two points of the boundary. They are measured along rays through the boundary, and (a, b)
have the largest likelihood. The variance alone would give `a` from the few independent pieces that
a boundary has; the likelihood also reads how smooth the displacements are, and errs half as much.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Integer
from scipy import linalg, ndimage, optimize

from noisyjax.core import checks
from noisyjax.noise import field_units

# Points of the boundary that are used, and the seed that picks them.
_POINTS = 250
# Distance of the samples along a ray, in voxels.
_STEP = 0.25
# The staircase of voxels: its displacements fall off exponentially with the distance in voxels;
# and what differs from point to point.
_STAIR_LENGTH = 2.0
_WHITE = 0.1
# The smoothness must stand out from the staircase, in voxels; beyond this share of a side it is as
# good as infinite.
_SHORTEST = 3.0
_LONGEST = 2.0

# Shapes are left open here: those of several images may differ.
Labels = (
    Integer[Array, "..."]
    | Bool[Array, "..."]
    | Integer[np.ndarray, "..."]
    | Bool[np.ndarray, "..."]
)


class _Residuals(NamedTuple):
    """What the likelihood reads of one image; M points.

    Attributes:
      scatter: sums over the raters of the products of displacements (voxels^2), ``[M, M]``.
      freedom: the degrees of freedom in it: raters, less one if their mean was taken off.
      alignment: ``sum_k v_k v'_k n_k^2``, ``[M, M]``.
      squared_distances: squared distances as fractions of the sides, ``[M, M]``.
      stairs: correlation of the staircase, ``[M, M]``.
      shortest: the least smoothness that the grid can show.
    """

    scatter: np.ndarray
    freedom: int
    alignment: np.ndarray
    squared_distances: np.ndarray
    stairs: np.ndarray
    shortest: float


def fit(
    labels: Labels | Sequence[Labels], *, consensus: Labels | Sequence[Labels] | None = None
) -> tuple[float, float]:
    """Estimates the (a, b), fractions of the sides, by which simulated raters look like these.

    Runs on the host. Empty masks (raters who did not mark anything) are left out. The likelihood
    reads displacements from the mean of the raters, or from the consensus if there is one. A single
    image with a small structure says little about b; several images of equal kind are pooled.
    Raters who all agree give a = 0 and the default b.

    Args:
      labels: ``[R, *S]``, every class other than 0 is foreground; or a sequence of such arrays, one
        per image, whose shapes and numbers of raters may differ.
      consensus: the label about which the raters scatter, ``[*S]``, or one per image.

    Raises:
      ValueError: if no image has two masks with a boundary (one, where a consensus is given).

    References:
      Nordström et al. 2023, Eq. 8, 17 and 18 for the model; the estimate is ours.
    """
    several = isinstance(labels, (list, tuple))
    images = labels if several else [labels]
    truths = [None] * len(images) if consensus is None else consensus if several else [consensus]
    pairs = zip(images, truths, strict=True)
    per_image = [r for image, truth in pairs if (r := _residuals(image, truth)) is not None]
    if not per_image:
        wanted = "two masks" if consensus is None else "one mask and a consensus"
        raise ValueError(f"labels: expected {wanted} that are neither empty nor full, got fewer")
    variance = sum(np.trace(r.scatter) for r in per_image)
    variance /= sum(r.freedom * np.trace(r.alignment) for r in per_image)
    if variance == 0:
        return 0.0, field_units.DEFAULT_B
    lowest = min(r.shortest for r in per_image)

    def cost(logs: np.ndarray) -> float:
        a, b, stairs = np.exp(logs)
        return sum(_cost(r, a, b, stairs) for r in per_image) if lowest <= b <= _LONGEST else np.inf

    starts = [
        np.log([np.sqrt(variance), b, 0.35]) for b in np.geomspace(lowest * 1.05, _LONGEST / 2, 7)
    ]
    options = {"xatol": 5e-3, "fatol": 0.02, "maxfev": 200}
    best = optimize.minimize(cost, min(starts, key=cost), method="Nelder-Mead", options=options)
    a, b, _ = np.exp(best.x)
    return float(a), float(b)


def _cost(residuals: _Residuals, a: float, b: float, stairs: float) -> float:
    """Minus the log-likelihood, but for a constant."""
    covariance = a * a * residuals.alignment * np.exp(-residuals.squared_distances / (2 * b * b))
    covariance += stairs * stairs * residuals.stairs
    covariance[np.diag_indices_from(covariance)] += _WHITE * _WHITE
    root = linalg.cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
    explained = linalg.cho_solve((root, True), residuals.scatter, check_finite=False)
    return residuals.freedom * np.sum(np.log(np.diag(root))) + 0.5 * np.trace(explained)


def _residuals(labels: Labels, consensus: Labels | None) -> _Residuals | None:
    """Measures one image; None if it has too few masks with a boundary."""
    masks = np.asarray(labels) != 0
    checks.rank("labels", masks, (3, 4))
    sides = np.array(masks.shape[1:])
    flat = masks.reshape(len(masks), -1)
    masks = masks[flat.any(axis=1) & ~flat.all(axis=1)]
    truth = None if consensus is None else np.asarray(consensus) != 0
    if truth is not None:
        checks.shape("consensus", truth, masks.shape[1:], like="labels")
    bounded = truth is None or (truth.any() and not truth.all())
    freedom = len(masks) - (truth is None)
    if freedom < 1 or not bounded:
        return None
    box = _box(masks.any(axis=0) if truth is None else masks.any(axis=0) | truth)
    masks = masks[(slice(None), *box)]
    depths = np.stack([_depth(mask) for mask in masks])
    centre = depths.mean(axis=0) if truth is None else _depth(truth[box])
    points = np.argwhere(np.abs(centre) <= 0.5)
    if len(points) == 0:  # the mean of masks that have nothing in common
        return None
    points = np.random.default_rng(0).permutation(points)[:_POINTS]
    normals = _normals(centre, points)
    spread = np.std(depths[(slice(None), *points.T)])
    measure = _along_rays(centre, points, normals, reach=min(3 + 4 * spread, sides.max() / 2))
    moved = np.stack([measure(mask) for mask in masks])
    moved -= moved.mean(axis=0) if truth is None else measure(truth[box])
    weighted = normals * sides
    return _Residuals(
        scatter=moved.T @ moved,
        freedom=freedom,
        alignment=weighted @ weighted.T,
        squared_distances=_squared_distances(points / sides),
        stairs=np.exp(-np.sqrt(_squared_distances(points)) / _STAIR_LENGTH),
        shortest=_SHORTEST / sides.max(),
    )


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    """The bounding box with a margin of three voxels."""
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    return tuple(slice(max(side.start - 3, 0), side.stop + 3) for side in box)


def _depth(mask: np.ndarray) -> np.ndarray:
    """Signed distance to the faces of a mask, positive inside; the mask has both."""
    inside = ndimage.distance_transform_edt(mask) - 0.5
    outside = 0.5 - ndimage.distance_transform_edt(~mask)
    return np.where(mask, inside, outside).astype(np.float32)


def _normals(centre: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Unit normals that point inwards, ``[M, n]``."""
    smooth = ndimage.gaussian_filter(centre, 1.5, mode="nearest")
    slopes = np.stack([slope[tuple(points.T)] for slope in np.gradient(smooth)], axis=1)
    return slopes / np.maximum(np.linalg.norm(slopes, axis=1, keepdims=True), 1e-6)


def _along_rays(centre, points, normals, *, reach):
    """Returns a function from a mask to how many voxels of it lie on the rays, ``[M]``.

    The length is exact on average; the distance to the nearest face of the mask is too short by a
    fifth when the boundary is rough. A ray ends at the edge of the image and where the depth of the
    consensus stops to rise or fall: there begins another piece of the boundary.
    """
    half = int(np.ceil(reach / _STEP))
    steps = np.arange(-half, half + 1) * _STEP
    rays = np.moveaxis(points[:, None] + steps[:, None] * normals[:, None], -1, 0)
    profile = ndimage.map_coordinates(centre, rays, order=1, mode="nearest")
    rising = np.diff(profile, axis=1) > 0
    own = np.ones(profile.shape, bool)
    own[:, half + 1 :] = np.logical_and.accumulate(rising[:, half:], axis=1)
    own[:, :half] = np.logical_and.accumulate(rising[:, :half][:, ::-1], axis=1)[:, ::-1]
    ends = np.array(centre.shape).reshape(-1, 1, 1) - 1
    own &= np.all((rays >= 0) & (rays <= ends), axis=0)

    def measure(mask: np.ndarray) -> np.ndarray:
        on = ndimage.map_coordinates(mask.astype(np.float32), rays, order=1, mode="nearest")
        return np.sum(on * own, axis=1, dtype=np.float64) * _STEP

    return measure


def _squared_distances(points: np.ndarray) -> np.ndarray:
    return np.sum(np.square(points[:, None] - points[None, :]), axis=-1)
