"""Masks made so large that they cover the label, by a run's out-of-fold predictions.

For every held-out case and class two things are counted, of the worst of its raters: how often the
predicted mask must be dilated to cover a share of the label (`SHARES`), and which share of the
label the mask of all voxels of at least a probability misses (`THRESHOLDS`). The quantile of the
first is a margin, and the least threshold at which the second is small enough a mask of bounded
risk, see `noisyjax.decisions.guarantees`. Both stand in ``calibration.json`` of the run.
"""

import fractions
import math
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, Int, UInt8

from noisyjax.core import checks, files, ignored
from noisyjax.data.volumes import preprocess
from noisyjax.decisions import guarantees
from noisyjax.tool.training import run_files

NAME = "guarantees"

# Shares of a label that a margin may be made to cover.
SHARES = (0.9, 0.95, 0.99, 1.0)
DEFAULT_SHARE = 0.95
# Least probabilities of a mask, from small masks to the whole image: 1 - lambda.
THRESHOLDS = (*(n / 100 for n in range(99, 0, -1)), 0.005, 0.002, 0.001, 0.0)


class Judged(NamedTuple):
    """What was counted, of one case or of n (with a leading axis), for C classes.

    Attributes:
      dilations: that cover each of `SHARES`, inf where the predicted mask is empty, ``[C, T]``.
      losses: the share of the label that is missed at each of `THRESHOLDS`, ``[C, K]``.
    """

    dilations: Float[np.ndarray, "*n C T"]
    losses: Float[np.ndarray, "*n C K"]


class Guarantees(NamedTuple):
    """What was counted of all cases of a run.

    Attributes:
      cases: n.
      decision: by which the masks were made of the probabilities.
      dilations: sorted, ``[n, C, T]``.
      losses: mean over cases, ``[C, K]``.
    """

    cases: int
    decision: str
    dilations: Float[np.ndarray, "n C T"]
    losses: Float[np.ndarray, "C K"]

    def margins(self, alpha: float, share: float) -> tuple[int, ...]:
        """Returns how often the mask of each class is to be dilated.

        Raises `ValueError` if the cases are too few, or too many of their masks are empty.
        """
        checks.one_of("share", share, SHARES)
        self._check("margin", alpha)
        found = []
        for label, scores in enumerate(self.dilations[..., SHARES.index(share)].T, 1):
            count = float(guarantees.conformal_quantile(jnp.asarray(scores), alpha=alpha))
            if math.isinf(count):
                empty = int(np.isinf(scores).sum())
                raise ValueError(
                    f"margin: expected masks that dilations make cover their labels, but of class "
                    f"{label} {empty} of {self.cases} out-of-fold masks are empty where the label "
                    f"is not, too many for {alpha}"
                )
            found.append(int(count))
        return tuple(found)

    def thresholds(self, alpha: float) -> tuple[float, ...]:
        """Returns the least probability of each class's mask; `ValueError` of too few cases."""
        self._check("risk", alpha)
        lambdas = 1 - np.array(THRESHOLDS, np.float32)
        found = []
        for mean in self.losses:
            # Of the cases' losses the sum alone counts.
            losses = np.broadcast_to(mean, (self.cases, len(mean)))
            least = guarantees.risk_control(
                jnp.asarray(losses, jnp.float32), jnp.asarray(lambdas), alpha=alpha
            )
            found.append(THRESHOLDS[int(np.abs(lambdas - float(least)).argmin())])
        return tuple(found)

    def _check(self, name: str, alpha: float) -> None:
        if not 0 < alpha < 1:
            raise ValueError(f"{name}: expected a number in (0, 1), got {alpha}")
        if guarantees.conformal_rank(self.cases, alpha=alpha) > self.cases:
            wanted = math.ceil(1 / fractions.Fraction(alpha).limit_denominator(2**15)) - 1
            raise ValueError(
                f"{name}: {alpha} needs at least {wanted} cases that were predicted out of fold, "
                f"the run has {self.cases}"
            )


def judge(
    segmentation: UInt8[np.ndarray, "*S"],
    probs: Float[np.ndarray, "*S L"],
    labels: UInt8[np.ndarray, "R *S"],
) -> Judged:
    """Counts both of one case, for every class but the background, of the worst of its labels.

    A label that is ignored everywhere says nothing; one of the case's must not be.
    """
    dilations, losses = [], []
    labels = labels[(labels != ignored.IGNORE).reshape(len(labels), -1).any(axis=1)]
    for label in range(1, probs.shape[-1]):
        mask, own = segmentation == label, probs[..., label]
        each = [given == label for given in labels]
        dilations.append(np.max([_dilations(mask, truth) for truth in each], axis=0))
        losses.append(np.max([_losses(own[truth]) for truth in each], axis=0))
    return Judged(np.array(dilations), np.array(losses))


def fit(judged: Iterable[Judged], *, decision: str) -> Guarantees:
    """Puts together what was counted of single cases."""
    cases = list(judged)
    if not cases:
        return _none(decision)
    dilations = np.sort([case.dilations for case in cases], axis=0)
    losses = np.mean([case.losses for case in cases], axis=0)
    return Guarantees(len(cases), decision, dilations, losses)


def _none(decision: str) -> Guarantees:
    return Guarantees(0, decision, np.zeros((0, 0, len(SHARES))), np.zeros((0, len(THRESHOLDS))))


def to_json(found: Guarantees, class_names: Sequence[str]) -> dict[str, Any]:
    """Returns what stands in ``calibration.json``, see `read`."""
    content = {"cases": found.cases, "decision": found.decision, "thresholds": THRESHOLDS}
    classes = {
        name: {"dilations": dict(zip(map(str, SHARES), scores.T, strict=True)), "missed": losses}
        for name, scores, losses in zip(
            class_names[1:], np.moveaxis(found.dilations, 1, 0), found.losses, strict=False
        )
    }
    return {**content, "classes": classes}


def read(run: str | os.PathLike, class_names: Sequence[str]) -> Guarantees:
    """Reads what was counted of a run.

    Raises:
      ValueError: if the run has no out-of-fold predictions, or the file is damaged.
    """
    path = pathlib.Path(run) / run_files.CALIBRATION
    if not path.exists():
        raise ValueError(
            f"margin, risk: expected a run of folds, which predicts cases out of fold, got {run}"
        )
    try:
        content = files.read_json(path)[NAME]
        if content["thresholds"] != list(THRESHOLDS):
            raise ValueError(f"thresholds: expected those of this version, got {content!r:.80}")
        count, decision = content["cases"], content["decision"]
        if type(count) is not int or count < 0 or not isinstance(decision, str):
            raise ValueError(f"expected cases and a decision, got {content!r:.80}")
        if not count:
            return _none(decision)
        each = [content["classes"][name] for name in class_names[1:]]
        dilations = np.array([
            [[float(n) for n in own["dilations"][str(share)]] for share in SHARES] for own in each
        ])  # fmt: skip
        losses = np.array([own["missed"] for own in each], float)
        if dilations.shape != (len(each), len(SHARES), count) or not (dilations >= 0).all():
            raise ValueError(f"dilations: expected {count} numbers for each share")
        if losses.shape != (len(each), len(THRESHOLDS)) or not (abs(losses - 0.5) <= 0.5).all():
            raise ValueError(f"missed: expected {len(THRESHOLDS)} numbers in [0, 1]")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected {NAME} as noisyjax train has written them, got {error}; without "
            f"{run_files.SUMMARY} it writes them again"
        ) from None
    return Guarantees(count, decision, np.moveaxis(dilations, -1, 0), losses)


def dilated(mask: Bool[np.ndarray, "*S"], count: int) -> Bool[np.ndarray, "*S"]:
    """Returns a mask dilated so many times by the voxels beside, above and below.

    >>> dilated(np.array([True, False, False, False]), 2).astype(int)
    array([1, 1, 1, 0])
    """
    checks.masks(mask=mask)
    if not count or not mask.any():
        return mask
    box = preprocess.bounding_box(mask, margin=count)
    grown = np.zeros_like(mask)
    inside = tuple(slice(*ends) for ends in box)
    grown[inside] = _steps(mask[inside]) <= count
    return grown


def _steps(mask: Bool[np.ndarray, "*S"]) -> Int[np.ndarray, "*S"]:
    """Returns the fewest steps along the axes from every voxel to a mask that is not empty."""
    return scipy.ndimage.distance_transform_cdt(~mask, metric="taxicab")


def _dilations(
    mask: Bool[np.ndarray, "*S"], truth: Bool[np.ndarray, "*S"]
) -> Float[np.ndarray, "T"]:
    """Returns `guarantees.dilations_to_cover` for all of `SHARES`."""
    if not truth.any():
        return np.zeros(len(SHARES))
    if not mask.any():
        return np.full(len(SHARES), np.inf)
    # No way along the axes between two voxels of a box leaves it.
    inside = tuple(slice(*ends) for ends in preprocess.bounding_box(mask | truth))
    steps = np.sort(_steps(mask[inside])[truth[inside]])
    parts = [fractions.Fraction(share).limit_denominator(1000) for share in SHARES]
    return steps[[math.ceil(len(steps) * part) - 1 for part in parts]].astype(float)


def _losses(probs: Float[np.ndarray, "V"]) -> Float[np.ndarray, "K"]:
    """Returns the share of a label that is missed at each threshold; 0 of an empty one."""
    if not len(probs):
        return np.zeros(len(THRESHOLDS))
    below = np.searchsorted(np.sort(probs), np.array(THRESHOLDS, probs.dtype), side="left")
    return below / len(probs)
