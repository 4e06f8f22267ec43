"""What raters said of a case, as counted patterns, and an estimate of the truth from all cases."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Integer, UInt8
from scipy import ndimage

from noisyjax import fusion
from noisyjax.core import checks
from noisyjax.fusion import patterns
from noisyjax.metrics import agreement
from noisyjax.tool import folder
from noisyjax.tool.raters import votes

REFERENCES = ("staple", "majority", "truth")
REGIONS = ("union-dilated", "union", "all")


class CaseVotes(NamedTuple):
    """The votes of a case.

    Attributes:
      whole: of all voxels, patterns ``[P, R + 1]``; the last column is the truth.
      inside: of the voxels of the region alone.
      sums: of the voxels of the region, what agreement follows from, for each set of raters.
      rater_mask: who labelled the case, ``[R]``.
      voxel: its volume in ml.
    """

    whole: votes.Votes
    inside: votes.Votes
    sums: tuple[agreement.AgreementSums, ...]
    rater_mask: Bool[np.ndarray, "R"]
    voxel: float


def with_truth(
    case: folder.CaseLabels,
) -> tuple[UInt8[np.ndarray, "n *S"], Bool[np.ndarray, "n"]]:
    """Returns the labels of the R raters and the truth, ``[R + 1, *S]``, and which there are."""
    none = np.full(case.labels.shape[1:], folder.NO_LABEL, np.uint8)
    truth = none if case.truth is None else case.truth
    known = np.append(case.rater_mask, case.truth is not None)
    return np.concatenate([case.labels, truth[None]]), known


def foreground_box(labels: Integer[np.ndarray, "R *S"], num_classes: int) -> tuple[slice, ...]:
    """Returns the smallest box that holds what any rater marked; one voxel if that is nothing."""
    marked = ((labels > 0) & (labels < num_classes)).any(axis=0)
    box = ndimage.find_objects(marked.astype(np.uint8))
    return box[0] if box else (slice(0, 1),) * marked.ndim


def region(
    labels: Integer[np.ndarray, "R *S"],
    num_classes: int,
    *,
    name: str,
    margin: float | int,
    spacing: Sequence[float | int],
) -> Bool[np.ndarray, "*S"]:
    """Returns the voxels on which agreement is counted, ``[*S]``.

    Args:
      labels: of all raters, ``[R, *S]``.
      name: "union" of all masks, "union-dilated" by the margin (a ball), or "all".
      margin: in mm.
      spacing: of the voxels in mm.
    """
    shape = labels.shape[1:]
    if name == "all":
        return np.ones(shape, bool)
    union = ((labels > 0) & (labels < num_classes)).any(axis=0)
    box = foreground_box(labels, num_classes)
    if name == "union" or not union.any():
        return union
    # No further than the margin reaches.
    steps = [math.ceil(margin / size) for size in spacing]
    box = tuple(
        slice(max(0, part.start - step), part.stop + step)
        for part, step in zip(box, steps, strict=True)
    )
    near = ndimage.distance_transform_edt(~union[box], sampling=spacing) <= margin * (1 + 1e-6)
    grown = np.zeros(shape, bool)
    grown[box] = near
    return grown


def count(
    case: folder.CaseLabels,
    num_classes: int,
    *,
    region_name: str,
    margin: float | int,
    sets: Sequence[Sequence[int]],
) -> CaseVotes:
    """Counts the patterns of votes of a case, and what agreement of sets of raters follows from."""
    given, known = with_truth(case)
    codes, tally = patterns.of_image(given, num_classes, rater_mask=known)
    where = region(case.labels, num_classes, name=region_name, margin=margin, spacing=case.spacing)
    return CaseVotes(
        whole=votes.count(codes, tally),
        inside=votes.count(codes[where], tally),
        sums=tuple(
            agreement.sums(case.labels[list(raters)], num_classes, where=where) for raters in sets
        ),
        rater_mask=case.rater_mask,
        voxel=math.prod(case.spacing) / 1000,
    )


@dataclasses.dataclass(frozen=True)
class Reference:
    """An estimate of the truth: what it says where raters vote as they do.

    Attributes:
      name: one of `REFERENCES`.
      raters: whose votes decide, indices ``[Q]``.
      labels: pattern of their votes to class; empty if it is the known truth.
    """

    name: str
    raters: tuple[int, ...]
    num_classes: int
    labels: Mapping[tuple[int, ...], int]

    def of(self, given: Int[np.ndarray, "P n"]) -> Int[np.ndarray, "P"]:
        """Returns the class of each pattern ``[P, R + 1]``; L where there is no label at all."""
        if self.name == "truth":
            return given[:, -1]
        chosen, none = given[:, list(self.raters)].tolist(), self.num_classes
        return np.array([self.labels.get(tuple(votes), none) for votes in chosen], np.int32)

    def of_image(
        self, given: Integer[np.ndarray, "n *S"], known: Bool[np.ndarray, "n"]
    ) -> UInt8[np.ndarray, "*S"]:
        """Returns the class of each voxel, or `folder.NO_LABEL`.

        Args:
          given: class ids of the R raters and the truth, ``[R + 1, *S]``.
          known: which of these there are.
        """
        codes, tally = patterns.of_image(given, self.num_classes, rater_mask=known)
        estimated = patterns.spread(self.of(tally.votes), tally, codes)
        none = estimated == self.num_classes
        return np.where(none, folder.NO_LABEL, estimated).astype(np.uint8)

    def beside(self, given: votes.Votes) -> votes.Votes:
        """Puts the reference in the place of the truth, the last column of the patterns."""
        changed = np.column_stack([given.patterns[:, :-1], self.of(given.patterns)])
        return given._replace(patterns=changed)


def reference(
    name: str, cases: Sequence[CaseVotes], raters: Sequence[int], num_classes: int
) -> Reference:
    """Estimates the truth of all cases at once, from their counted votes.

    "staple" has one matrix per rater over all voxels of all cases; of "majority" a tie goes to the
    lower class; "truth" is that of the folder.

    Raises:
      ValueError: if the name is unknown, or a truth is asked for and a case has none.
    """
    checks.one_of("reference", name, REFERENCES)
    if name == "truth":
        if any((case.whole.patterns[:, -1] == num_classes).all() for case in cases):
            raise ValueError("reference: expected staple or majority, for there is no truth")
        return Reference(name, tuple(raters), num_classes, {})
    parts = [case.whole._replace(patterns=case.whole.patterns[:, list(raters)]) for case in cases]
    pooled = votes.add(parts)
    if name == "majority":
        chosen = (pooled.patterns[:, :, None] == np.arange(num_classes)).sum(axis=1).argmax(axis=1)
    else:
        fused = fusion.staple_of_patterns(pooled.patterns, pooled.counts, num_classes)
        chosen = np.asarray(fused.probs.argmax(axis=-1))
    chosen = np.where((pooled.patterns == num_classes).all(axis=1), num_classes, chosen)
    given = map(tuple, pooled.patterns.tolist())
    labels = dict(zip(given, map(int, chosen), strict=True))
    return Reference(name, tuple(raters), num_classes, labels)
