"""One temperature for the probabilities of a network, fitted on cases that it has not seen.

What was trained is mostly too sure. Its logits are divided by a temperature T, which leaves the
most probable class as it is: ``p^(1/T)``, normalised. The cross-entropy to the labels is convex in
1/T, so that its minimum is found by Newton's method within a bracket.

References:
  Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
"""

import numpy as np
from jaxtyping import Float

from noisyjax.core import checks

# Probabilities that are kept in 16 bits are 0 below: a label there would have no likelihood.
LEAST = 2.0**-20
# Temperatures that are looked at.
RANGE = (0.05, 20.0)
# The search ends when 1/T moves by less, relative to itself.
_TOLERANCE = 1e-6
_MOST_STEPS = 100
# Voxels.
_AT_ONCE = 2**20


def scaled(probs: Float[np.ndarray, "*S L"], temperature: float) -> Float[np.ndarray, "*S L"]:
    """Returns probabilities of classes at a temperature; at 1 they are as they were.

    >>> scaled(np.array([0.2, 0.8], np.float32), 0.5).round(3)
    array([0.059, 0.941], dtype=float32)
    """
    checks.positive("temperature", temperature)
    if temperature == 1:
        return probs
    flat = probs.reshape(-1, probs.shape[-1])
    changed = np.empty_like(flat)
    # A part at a time: a large case leaves no room for copies of all of it.
    for start in range(0, len(flat), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        logs = np.log(np.maximum(flat[part], LEAST)) / temperature
        raised = np.exp(logs - logs.max(axis=-1, keepdims=True))
        changed[part] = raised / raised.sum(axis=-1, keepdims=True)
    return changed.reshape(probs.shape)


def scaled_regions(
    probs: Float[np.ndarray, "*S G"], temperature: float
) -> Float[np.ndarray, "*S G"]:
    """Returns probabilities of regions, each by itself, at a temperature."""
    if temperature == 1:
        return probs
    each = np.moveaxis(probs, -1, 0)
    return np.stack([scaled(as_pairs(one), temperature)[..., 1] for one in each], axis=-1)


def as_pairs(probs: Float[np.ndarray, "*S"]) -> Float[np.ndarray, "*S 2"]:
    """Returns the probabilities of being outside and inside of a region."""
    return np.stack([1 - probs, probs], axis=-1)


def fit(probs: Float[np.ndarray, "N L"], targets: Float[np.ndarray, "N L"]) -> float:
    """Returns the temperature, within `RANGE`, of the least cross-entropy to the targets.

    Args:
      probs: of the classes of N voxels.
      targets: what the labels say of them, which may be weighted; a voxel of zeros does not count.

    Returns:
      T; 1 if no voxel counts.

    Raises:
      ValueError: if the shapes differ.

    >>> fit(np.array([[0.1, 0.9]]), np.array([[0.3, 0.7]])).__round__(3)
    2.593
    """
    logs, targets = _counting(probs, targets)
    if not len(logs):
        return 1.0
    low, high = 1 / RANGE[1], 1 / RANGE[0]
    weights = targets.sum(axis=-1)
    given = (targets * logs).sum()
    inverse = 1.0
    for _ in range(_MOST_STEPS):
        raised = np.exp(inverse * logs - (inverse * logs).max(axis=-1, keepdims=True))
        at = raised / raised.sum(axis=-1, keepdims=True)
        mean = (at * logs).sum(axis=-1)
        slope = (weights * mean).sum() - given
        curvature = (weights * ((at * np.square(logs)).sum(axis=-1) - np.square(mean))).sum()
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        step = inverse - slope / curvature if curvature > 0 else np.inf
        following = step if low < step < high else (low + high) / 2
        if abs(following - inverse) <= _TOLERANCE * inverse:
            return float(1 / following)
        inverse = following
    return float(1 / inverse)


def cross_entropy(
    probs: Float[np.ndarray, "N L"], targets: Float[np.ndarray, "N L"], temperature: float
) -> float:
    """Returns the mean cross-entropy to the targets at a temperature, in nats; NaN of no voxel."""
    logs, targets = _counting(probs, targets)
    total = targets.sum()
    if not total:
        return float("nan")
    logs = logs / temperature
    highest = logs.max(axis=-1, keepdims=True)
    normaliser = highest + np.log(np.exp(logs - highest).sum(axis=-1, keepdims=True))
    return float((targets * (normaliser - logs)).sum() / total)


def _counting(
    probs: Float[np.ndarray, "N L"], targets: Float[np.ndarray, "N L"]
) -> tuple[Float[np.ndarray, "n L"], Float[np.ndarray, "n L"]]:
    """Returns logarithms and targets of the voxels that count, in float64."""
    checks.shape("targets", targets, probs.shape, like="probs")
    counts = targets.sum(axis=-1) > 0
    logs = np.log(np.maximum(probs[counts].astype(np.float64), LEAST))
    return logs, targets[counts].astype(np.float64)
