"""A prediction of one case beside the labels that it is judged by, and what metrics share of it."""

import dataclasses
import functools
from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Integer, UInt8

from noisyjax.metrics import calibration, distribution, overlap, surface
from noisyjax.tool import folder
from noisyjax.tool.evaluation import predictions

Spacing = tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How predictions are judged.

    Attributes:
      classes: what is judged by itself, name to class ids: classes of the foreground, and unions.
      num_classes: L.
      empty: what overlap is where masks are empty: "one", "zero" or "nan" for 0/0, or as a library
        has it, one of `overlap.CONVENTIONS`.
      empty_distance: distances where one mask is empty, one of `surface.EMPTY`.
      conventions: of surfaces, of `surface.CONVENTIONS`.
      tolerance: of NSD, in mm.
      percentile: of the distances of the Hausdorff distance, above 0 up to 100.
      tversky: what false positives and misses weigh in the Tversky index.
    """

    classes: Mapping[str, tuple[int, ...]]
    num_classes: int
    empty: str = "one"
    empty_distance: str = "diagonal"
    conventions: tuple[str, ...] = ("monai", "medpy", "deepmind")
    tolerance: float | int = 1.0
    percentile: float | int = 100.0
    tversky: tuple[float | int, ...] = (0.3, 0.7)


def member(array: UInt8[np.ndarray, "*S"], ids: tuple[int, ...]) -> Bool[np.ndarray, "*S"]:
    """Returns where an array of class ids has one of some classes."""
    chosen = np.zeros(256, bool)
    chosen[list(ids)] = True
    return chosen[array]


@dataclasses.dataclass(frozen=True)
class Case:
    """A prediction and the labels of its case.

    Attributes:
      labels: of each rater, ``[R, *S]``; `folder.NO_LABEL` where there is none.
      rater_mask: who labelled the case, ``[R]``.
      truth: ``[*S]`` or None.
    """

    settings: Settings
    prediction: predictions.Prediction
    labels: UInt8[np.ndarray, "R *S"]
    rater_mask: Bool[np.ndarray, "R"]
    truth: UInt8[np.ndarray, "*S"] | None
    spacing: Spacing

    @functools.cached_property
    def has(self) -> frozenset[str]:
        """What metrics can need and is there."""
        predicted = self.prediction
        there = {
            "probabilities": predicted.probs is not None,
            "samples": predicted.samples is not None or bool(self.own_targets),
            "sample probabilities": predicted.sample_probs is not None,
            "rater masks": bool(self.own_targets),
            "raters": bool(self.rater_mask.any()),
            "labels": bool(self.rater_mask.any()) or self.truth is not None,
        }
        return frozenset(name for name, known in there.items() if known)

    @functools.cached_property
    def size(self) -> int:
        """The number of voxels, rounded up: programs are compiled anew for each size."""
        voxels = self.labels[0].size if len(self.labels) else self.prediction.segmentation.size
        size = 2 ** max(10, int(voxels - 1).bit_length())
        return size * 3 // 4 if voxels <= size * 3 // 4 else size

    def flat(
        self, array: np.ndarray, *, before: int = 0, after: int = 0, fill: float | int = 0
    ) -> np.ndarray:
        """Returns an array with one axis of `size` voxels in place of its spatial ones.

        It has so many axes before and after them; further voxels are filled.
        """
        head, tail = array.shape[:before], array.shape[array.ndim - after :]
        lined = array.reshape(*head, -1, *tail)
        missing = self.size - lined.shape[before]
        pad = [(0, 0)] * before + [(0, missing)] + [(0, 0)] * after
        return np.pad(lined, pad, constant_values=fill)

    @functools.cached_property
    def flat_labels(self) -> UInt8[np.ndarray, "R V"]:
        """The raters' labels; further voxels have none."""
        return self.flat(self.labels, before=1, fill=folder.NO_LABEL)

    @functools.cached_property
    def flat_probs(self) -> Float[np.ndarray, "V L"]:
        """The probabilities."""
        return self.flat(self.prediction.probs, after=1)

    def probability(self, ids: tuple[int, ...]) -> Float[np.ndarray, "V"]:
        """The probability of a union of classes."""
        # Rounding may leave it a little above 1.
        return np.minimum(self.flat_probs[:, list(ids)].sum(axis=-1), np.float32(1))

    @functools.cached_property
    def samples(self) -> UInt8[np.ndarray, "N V"]:
        """Class ids of the samples; of none, what is predicted for the raters who are there."""
        predicted = self.prediction
        given = predicted.samples
        if given is None:
            given = predicted.rater_labels[predicted.rater_mask & self.rater_mask]
        return self.flat(given, before=1)

    @functools.cached_property
    def dice_family(self) -> distribution.DiceFamily:
        """How well samples resemble raters' labels, all classes of the foreground as one."""
        return distribution.dice_family(self.samples, self.flat_labels, rater_mask=self.rater_mask)

    @functools.cached_property
    def targets(self) -> dict[str, "Target"]:
        """Each label by which the segmentation is judged: the truth, and the raters by number."""
        by_name = {} if self.truth is None else {"truth": self.truth}
        by_name |= {str(r): self.labels[r] for r in np.flatnonzero(self.rater_mask)}
        return {
            name: Target(self, self.prediction.segmentation, ids) for name, ids in by_name.items()
        }

    @functools.cached_property
    def own_targets(self) -> dict[int, "Target"]:
        """What is predicted for a rater beside their own label, by the rater's number."""
        predicted = self.prediction
        if predicted.rater_labels is None:
            return {}
        return {
            int(r): Target(self, predicted.rater_labels[r], self.labels[r])
            for r in np.flatnonzero(predicted.rater_mask & self.rater_mask)
        }


@jax.jit
def _calibrated(
    p: Float[Array, "V"], truth: Bool[Array, "V"], where: Bool[Array, "V"]
) -> dict[str, Float[Array, ""]]:
    binned = calibration.bins(p, truth, where=where)
    return {
        "ece": calibration.ece(binned),
        "mce": calibration.mce(binned),
        "ace": calibration.ace(binned),
        "adaptive_ece": calibration.adaptive_ece(p, truth, where=where),
        "brier": calibration.brier(p, truth, where=where),
    }


@dataclasses.dataclass(frozen=True)
class Target:
    """A segmentation beside one label.

    Attributes:
      segmentation: class ids ``[*S]``.
      label: likewise; a voxel without a label does not count.
    """

    case: Case
    segmentation: UInt8[np.ndarray, "*S"]
    label: UInt8[np.ndarray, "*S"]

    @functools.cached_property
    def valid(self) -> Bool[np.ndarray, "*S"]:
        """Where there is a label."""
        return self.label < self.case.settings.num_classes

    @functools.cached_property
    def masks(self) -> list[tuple[Bool[np.ndarray, "*S"], Bool[np.ndarray, "*S"]]]:
        """Prediction and label of each of the K classes."""
        classes = self.case.settings.classes.values()
        return [
            (member(self.segmentation, ids) & self.valid, member(self.label, ids))
            for ids in classes
        ]

    @functools.cached_property
    def counts(self) -> overlap.Counts:
        """Voxels of each class, ``[K]``."""
        total = int(self.valid.sum())
        table = [
            (int((one & other).sum()), int(one.sum()), int(other.sum()))
            for one, other in self.masks
        ]
        tp, guess, true = np.array(table, np.int64).T
        return overlap.Counts(tp, guess - tp, true - tp, total - guess - true + tp)

    @functools.cached_property
    def distances(self) -> dict[str, tuple[surface.Surface, surface.Hausdorff]]:
        """Distances of surfaces by each convention, ``[K]`` each."""
        settings = self.case.settings
        by_convention = {}
        for convention in settings.conventions:
            each = [
                surface.surface_and_hausdorff(
                    one,
                    other,
                    spacing=self.case.spacing,
                    convention=convention,
                    tolerance=settings.tolerance,
                    percentile=settings.percentile,
                    empty=settings.empty_distance,
                )
                for one, other in self.masks
            ]
            surfaces, hausdorffs = (np.array(part, float).T for part in zip(*each, strict=True))
            by_convention[convention] = (
                surface.Surface(*surfaces),
                surface.Hausdorff(*hausdorffs),
            )
        return by_convention

    @functools.cached_property
    def flat_valid(self) -> Bool[np.ndarray, "V"]:
        """Where there is a label."""
        return self.case.flat(self.valid)

    @functools.cached_property
    def flat_label(self) -> Integer[np.ndarray, "V"]:
        """The label."""
        return self.case.flat(self.label, fill=folder.NO_LABEL)

    @functools.cached_property
    def calibration(self) -> dict[str, Float[np.ndarray, "K"]]:
        """Errors of the probability of each class against the rest."""
        of_classes = [
            jax.device_get(
                _calibrated(self.case.probability(ids), self.case.flat(other), self.flat_valid)
            )
            for ids, (_, other) in zip(self.case.settings.classes.values(), self.masks, strict=True)
        ]
        return {name: np.array([one[name] for one in of_classes]) for name in of_classes[0]}
