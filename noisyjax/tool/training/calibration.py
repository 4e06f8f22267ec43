"""What out-of-fold predictions say of a run's probabilities and masks: ``calibration.json``.

Labels are those that the run has learnt from: a truth that only judges stays unseen.
"""

import os
import pathlib
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from noisyjax.core import class_regions, files
from noisyjax.metrics import overlap
from noisyjax.tool import folder
from noisyjax.tool.training import components, run_files, temperature

# Voxels of each case that the temperature is fitted on, at most.
_VOXELS = 20_000


class Calibration(NamedTuple):
    """How what the networks predict is adjusted.

    Attributes:
      temperature: of the probabilities of each network.
      largest: ids of the classes of which only the largest component stays.
    """

    temperature: float = 1.0
    largest: tuple[int, ...] = ()

    def adjust(
        self, probs: Float[np.ndarray, "*S C"], regions: class_regions.Regions | None
    ) -> Float[np.ndarray, "*S C"]:
        """Returns one network's probabilities, of classes or regions, at the temperature."""
        if regions is None:
            return temperature.scaled(probs, self.temperature)
        return temperature.scaled_regions(probs, self.temperature)


class Case(NamedTuple):
    """An out-of-fold prediction beside what was to be learnt of its case.

    Attributes:
      probs: of the classes, or of the regions of a run of such, ``[*S, C]``.
      segmentation: class ids, ``[*S]``.
      labels: class ids, `folder.NO_LABEL` where there is none, ``[R, *S]``.
    """

    name: str
    probs: Float[np.ndarray, "*S C"]
    segmentation: UInt8[np.ndarray, "*S"]
    labels: UInt8[np.ndarray, "R *S"]


def fit(
    cases: Iterable[Case],
    class_names: tuple[str, ...],
    *,
    regions: class_regions.Regions | None,
    seed: int,
) -> dict[str, Any]:
    """Fits the temperature, and finds the classes that gain by their largest component alone.

    Returns:
      The content of ``calibration.json``: "temperature"; "cross_entropy", "before" and "after" it;
      "voxels"; and "largest_component", for each class of the foreground "before", "after" (mean
      Dice), "labels" and whether it is "applied".
    """
    probs, targets = [], []
    dice: dict[str, list[tuple[float, float]]] = {name: [] for name in class_names[1:]}
    for case in cases:
        for one, target in _sampled(case, len(class_names), regions, seed):
            probs.append(one)
            targets.append(target)
        for label, name in enumerate(class_names[1:], 1):
            dice[name] += _dice(case, label)
    own = (np.concatenate(probs), np.concatenate(targets)) if probs else (np.zeros((0, 2)),) * 2
    best = temperature.fit(*own)
    gains = {name: components.gain(pairs) for name, pairs in dice.items()}
    return {
        "temperature": best,
        "cross_entropy": {
            "before": temperature.cross_entropy(*own, 1.0),
            "after": temperature.cross_entropy(*own, best),
        },
        "voxels": len(own[0]),
        "largest_component": {
            name: {**gain._asdict(), "applied": gain.is_gain} for name, gain in gains.items()
        },
    }


def _sampled(
    case: Case, num_classes: int, regions: class_regions.Regions | None, seed: int
) -> Iterator[tuple[Float[np.ndarray, "N C"], Float[np.ndarray, "N C"]]]:
    """Yields probabilities and targets of some voxels, the same whenever it is called."""
    probs = case.probs.reshape(-1, case.probs.shape[-1])
    labels = case.labels.reshape(len(case.labels), -1)
    draw = np.random.default_rng([seed, zlib.crc32(case.name.encode())])
    count = min(_VOXELS, len(probs))
    chosen = np.sort(draw.choice(len(probs), count, replace=False, shuffle=False))
    votes = np.stack([(labels[:, chosen] == c).sum(axis=0) for c in range(num_classes)], axis=-1)
    votes = votes.astype(np.float32)
    if regions is None:
        yield probs[chosen], votes
        return
    inside = votes @ regions.membership.T
    outside = votes.sum(axis=-1, keepdims=True) - inside
    for one, no, yes in zip(probs[chosen].T, outside.T, inside.T, strict=True):
        yield temperature.as_pairs(one), np.stack([no, yes], axis=-1)


def _dice(case: Case, label: int) -> list[tuple[float, float]]:
    """Returns the Dice of a class to each rater's label, with all components and the largest."""
    whole = case.segmentation == label
    both = whole, components.largest(whole)
    pairs = []
    for given in case.labels:
        known, truth = given != folder.NO_LABEL, given == label
        if known.any():
            pairs.append(tuple(_overlap(mask & known, truth) for mask in both))
    return pairs


def _overlap(mask: Bool[np.ndarray, "*S"], truth: Bool[np.ndarray, "*S"]) -> float:
    tp, guess, true = (int(each.sum()) for each in (mask & truth, mask, truth))
    # No Dice needs what is neither.
    counts = overlap.Counts(*np.array([[tp], [guess - tp], [true - tp], [0]]))
    return float(overlap.dice(counts)[0])


def read(run: str | os.PathLike, class_names: tuple[str, ...]) -> Calibration:
    """Reads what was fitted; what changes nothing where there were no predictions to fit it on.

    Raises:
      ValueError: if the file is damaged; it is named.
    """
    path = pathlib.Path(run) / run_files.CALIBRATION
    if not path.exists():
        return Calibration()
    try:
        return parse(files.read_json(path), class_names)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected what noisyjax train has written, got {error}") from None


def parse(content: Mapping[str, Any], class_names: tuple[str, ...]) -> Calibration:
    """Returns what `fit` has fitted; `ValueError`, `KeyError` or `TypeError` of anything else."""
    value, each = content["temperature"], content["largest_component"]
    low, high = temperature.RANGE
    if type(value) not in (int, float) or not low * 0.99 <= value <= high * 1.01:
        raise ValueError(f"temperature: expected a number in {low}..{high}, got {value!r:.80}")
    if not isinstance(each, Mapping) or each.keys() != set(class_names[1:]):
        raise ValueError(
            f"largest_component: expected {', '.join(class_names[1:])}, got {each!r:.80}"
        )
    applied = [each[name]["applied"] is True for name in class_names[1:]]
    return Calibration(float(value), tuple(np.flatnonzero([False, *applied]).tolist()))
