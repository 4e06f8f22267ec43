"""Counts what each rater did beside an estimate of the truth.

Sensitivity and specificity are counted over the voxels of all his images, so that large objects
count more; Dice, bias and agreement are means over images.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer

from noisyjax.data.labels import fuse
from noisyjax.metrics import confusion, overlap, raters, tabulate
from noisyjax.studies.raters import reference

NOT_PERSISTENT = (
    "the raters of {name} are not the same persons in every image: a row says how the labels at "
    "its place do, and nothing about a person"
)


class Cases(NamedTuple):
    """Each rater's numbers on each image, NaN where he did not label it.

    Attributes:
      names: N names.
      dice: to the estimated truth, mean over the classes of the foreground, ``[N, R]``.
      sensitivity: of each class of the foreground, ``[N, R, L - 1]``.
      specificity: likewise.
      bias: log2 of his foreground volume over the estimated one, ``[N, R]``; NaN if one is zero.
      agreement: mean Dice to the other raters, ``[N, R]``.
    """

    names: tuple[str, ...]
    dice: Float[np.ndarray, "N R"]
    sensitivity: Float[np.ndarray, "N R C"]
    specificity: Float[np.ndarray, "N R C"]
    bias: Float[np.ndarray, "N R"]
    agreement: Float[np.ndarray, "N R"]


class Rater(NamedTuple):
    """A rater's numbers over all his images.

    Attributes:
      name: his name.
      images: how many he labelled.
      sensitivity: of each class of the foreground, over all voxels, ``[L - 1]``.
      specificity: likewise.
      dice: to the estimated truth, over his images.
      bias: log2 volume ratio, over the images where he and the estimate found something.
      missed: images where he found nothing, and the estimate something.
      added: images where he found something, and the estimate nothing.
      trace: of his matrix, over L: how often he is right, classes counting alike.
      agreement: Dice to the other raters, over images.
      worst: places of his images, the lowest Dice first.
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
    """The report.

    Attributes:
      evidence: what it was made from.
      raters: R of them.
      cases: the numbers of each image.
      cms: the raters' matrices, ``[R, L, L]``.
      notes: sentences that a reader should know.
    """

    evidence: reference.Evidence
    raters: tuple[Rater, ...]
    cases: Cases
    cms: Float[np.ndarray, "R L L"]
    notes: tuple[str, ...]


def build(evidence: reference.Evidence) -> Report:
    """Counts what each rater did, and puts it together.

    Args:
      evidence: from `rater_evidence`.

    Returns:
      The report.
    """
    num_classes = evidence.examples.data.num_classes

    def one(case: dict[str, Array]) -> tuple[Array, Array]:
        labels, mask = case["labels"], case["rater_mask"]
        counted = raters.joint_counts(labels, case["truth"], num_classes, rater_mask=mask)
        return counted, raters.agreement(labels, num_classes, rater_mask=mask)

    cases_given = {**evidence.given(), "truth": evidence.truth}
    tables, agreement = fuse.map_cases(one, cases_given)
    cases = _cases(evidence, tables, agreement)
    # Whole numbers until here, so that nothing is lost over many images.
    total = tables.sum(axis=0, dtype=np.int64)
    cms = evidence.cms
    if cms is None:
        cms = np.asarray(raters.matrices(jnp.asarray(total, jnp.float32)))
    found = tuple(
        _rater(evidence, place, cases, tables[:, place], total[place], cms[place])
        for place in range(len(evidence.names))
    )
    notes = []
    if not evidence.persistent:
        notes.append(NOT_PERSISTENT.format(name=evidence.examples.data.name))
    if evidence.cms is not None:
        notes += confusion.orientation_warnings(cms, evidence.names)
    return Report(evidence, found, cases, cms, tuple(notes))


def _cases(
    evidence: reference.Evidence,
    tables: Integer[np.ndarray, "N R L L"],
    agreement: Float[np.ndarray, "N R"],
) -> Cases:
    examples = evidence.examples
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
    evidence: reference.Evidence,
    place: int,
    cases: Cases,
    tables: Integer[np.ndarray, "N L L"],
    total: Integer[np.ndarray, "L L"],
    cm: Float[np.ndarray, "L L"],
) -> Rater:
    mine = np.flatnonzero(evidence.examples.rater_masks[:, place])
    found = tables[mine, 1:, :].sum(axis=(1, 2)) > 0
    there = tables[mine, :, 1:].sum(axis=(1, 2)) > 0
    # In 64 bits on the host: a class's voxels of all images may pass the range of int32.
    tp, said, true = np.diagonal(total), total.sum(axis=1), total.sum(axis=0)
    counts = overlap.Counts(tp, said - tp, true - tp, total.sum() - said - true + tp)
    dice = cases.dice[mine, place]
    order = np.argsort(dice, kind="stable")
    return Rater(
        name=evidence.names[place],
        images=len(mine),
        sensitivity=np.asarray(overlap.recall(counts))[1:],
        specificity=np.asarray(overlap.specificity(counts))[1:],
        dice=tabulate.summarise(dice.tolist()),
        bias=tabulate.summarise(cases.bias[mine, place].tolist()),
        missed=int((there & ~found).sum()),
        added=int((found & ~there).sum()),
        trace=float(np.trace(cm) / len(cm)),
        agreement=tabulate.summarise(cases.agreement[mine, place].tolist()),
        worst=tuple(int(i) for i in mine[order]),
    )


def headline(found: Report) -> str:
    """Returns what was judged by what, in one sentence."""
    evidence = found.evidence
    return f"{evidence.title}: {len(evidence.examples)} images, judged by {evidence.estimate}"
