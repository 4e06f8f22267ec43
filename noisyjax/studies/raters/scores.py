"""Compares each rater with an estimate of the truth.

Sensitivity and specificity are counted over the voxels of all of a rater's images, so that large
objects count more; Dice, bias and agreement are means over images.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer

from noisyjax.data.labels import fuse
from noisyjax.metrics import confusion, overlap, raters, tabulate
from noisyjax.studies.raters import references

NOT_PERSISTENT = (
    "the raters of {name} are not the same persons in every image: a row says how the labels in "
    "its position do, and nothing about a person"
)


class Cases(NamedTuple):
    """Each rater's numbers on each of N images, NaN where the rater did not label it.

    Attributes:
      dice: to the estimated truth, mean over the classes of the foreground, ``[N, R]``.
      sensitivity: of each class of the foreground, ``[N, R, L - 1]``; likewise specificity.
      bias: log2 of the foreground volume over the estimated one, ``[N, R]``; NaN if one is zero.
      agreement: mean Dice to the other raters, ``[N, R]``.
    """

    names: tuple[str, ...]
    dice: Float[np.ndarray, "N R"]
    sensitivity: Float[np.ndarray, "N R C"]
    specificity: Float[np.ndarray, "N R C"]
    bias: Float[np.ndarray, "N R"]
    agreement: Float[np.ndarray, "N R"]


class Rater(NamedTuple):
    """A rater's numbers over all images that the rater labelled.

    Attributes:
      images: how many they labelled.
      sensitivity: of each class of the foreground, over all voxels, ``[L - 1]``; likewise
        specificity.
      dice: to the estimated truth, over images.
      bias: log2 volume ratio, over the images where neither volume is zero.
      missed: images with foreground in the estimate only.
      added: images with foreground in the label only.
      trace: of the matrix, over L: how often the rater is right, classes counting alike.
      agreement: Dice to the other raters, over images.
      worst: indices of the images, the lowest Dice first.
    """

    name: str
    images: int
    sensitivity: Float[np.ndarray, "C"]
    specificity: Float[np.ndarray, "C"]
    dice: tabulate.Summary
    bias: tabulate.Summary
    missed: int
    added: int
    trace: float
    agreement: tabulate.Summary
    worst: tuple[int, ...]


class Report(NamedTuple):
    """The numbers of all raters: of each, on each image, and their matrices ``[R, L, L]``.

    `notes` are sentences that a reader should know.
    """

    reference: references.Reference
    raters: tuple[Rater, ...]
    cases: Cases
    cms: Float[np.ndarray, "R L L"]
    notes: tuple[str, ...]


def build(reference: references.Reference) -> Report:
    """Compares each rater with a reference, over the images that the rater labelled.

    The matrices are those of the reference, or counted over the voxels of all images if it has
    none: entry (i, j) is the probability that the rater says i where the estimate is j. The notes
    say if raters differ from image to image, and what is odd about the reference's matrices
    (`confusion.orientation_warnings`).
    """
    num_classes = reference.examples.data.num_classes

    def one(case: dict[str, Array]) -> tuple[Array, Array]:
        labels, mask = case["labels"], case["rater_mask"]
        counted = raters.joint_counts(labels, case["truth"], num_classes, rater_mask=mask)
        return counted, raters.agreement(labels, num_classes, rater_mask=mask)

    tables, agreement = fuse.map_cases(one, reference.take, len(reference.examples))
    cases = _cases(reference, tables, agreement)
    # Whole numbers until here, so that nothing is lost over many images.
    total = tables.sum(axis=0, dtype=np.int64)
    cms = reference.cms
    if cms is None:
        cms = np.asarray(raters.matrices(jnp.asarray(total, jnp.float32)))
    each = tuple(
        _rater(reference, index, cases, tables[:, index], total[index], cms[index])
        for index in range(len(reference.names))
    )
    notes = []
    if not reference.persistent:
        notes.append(NOT_PERSISTENT.format(name=reference.examples.data.name))
    if reference.cms is not None:
        notes += confusion.orientation_warnings(cms, reference.names)
    return Report(reference, each, cases, cms, tuple(notes))


def _cases(
    reference: references.Reference,
    tables: Integer[np.ndarray, "N R L L"],
    agreement: Float[np.ndarray, "N R"],
) -> Cases:
    examples = reference.examples
    mask = examples.rater_masks
    counts = raters.overlap_counts(jnp.asarray(tables))

    def labelled(values: Array) -> np.ndarray:
        return np.where(mask.reshape(*mask.shape, *(1,) * (values.ndim - 2)), values, np.nan)

    return Cases(
        names=tuple(examples.data.case_name(int(i)) for i in examples.ids),
        dice=labelled(overlap.dice(counts)[..., 1:].mean(axis=-1)),
        sensitivity=labelled(overlap.recall(counts)[..., 1:]),
        specificity=labelled(overlap.specificity(counts)[..., 1:]),
        bias=labelled(raters.log_volume_ratio(jnp.asarray(tables))),
        agreement=agreement,
    )


def _rater(
    reference: references.Reference,
    index: int,
    cases: Cases,
    tables: Integer[np.ndarray, "N L L"],
    total: Integer[np.ndarray, "L L"],
    cm: Float[np.ndarray, "L L"],
) -> Rater:
    labelled = np.flatnonzero(reference.examples.rater_masks[:, index])
    in_label = tables[labelled, 1:, :].sum(axis=(1, 2)) > 0
    in_truth = tables[labelled, :, 1:].sum(axis=(1, 2)) > 0
    # In 64 bits on the host: a class's voxels of all images may pass the range of int32.
    tp, label, true = np.diagonal(total), total.sum(axis=1), total.sum(axis=0)
    counts = overlap.Counts(tp, label - tp, true - tp, total.sum() - label - true + tp)
    dice = cases.dice[labelled, index]
    order = np.argsort(dice, kind="stable")
    return Rater(
        name=reference.names[index],
        images=len(labelled),
        sensitivity=np.asarray(overlap.recall(counts))[1:],
        specificity=np.asarray(overlap.specificity(counts))[1:],
        dice=tabulate.summarise(dice.tolist()),
        bias=tabulate.summarise(cases.bias[labelled, index].tolist()),
        missed=int((in_truth & ~in_label).sum()),
        added=int((in_label & ~in_truth).sum()),
        trace=float(np.trace(cm) / len(cm)),
        agreement=tabulate.summarise(cases.agreement[labelled, index].tolist()),
        worst=tuple(int(i) for i in labelled[order]),
    )


def headline(report: Report) -> str:
    """Returns what was compared with what, in one sentence."""
    reference = report.reference
    count = len(reference.examples)
    return f"{reference.title}: {count} images, compared with {reference.estimate}"
