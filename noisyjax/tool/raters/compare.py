"""Who agrees with whom: raters beside each other, and beside an estimate of the truth."""

import dataclasses
import functools
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Integer

from noisyjax.core import checks
from noisyjax.metrics import agreement, surface
from noisyjax.tool import cases, each_case, folder
from noisyjax.tool.raters import rater_votes, votes

# What is measured of two labels of a case, each class of the foreground for itself.
OVERLAP = ("dice", "volume_difference", "volume_ratio")
DISTANCES = ("hd95", "assd", "nsd")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is measured how.

    Attributes:
      reference: the estimate of the truth, one of `rater_votes.REFERENCES`.
      region: on which agreement by chance is counted, one of `rater_votes.REGIONS`.
      margin: of the region "union-dilated", in mm.
      tolerance: of NSD, in mm.
      surfaces: whether distances are measured.
      repeats: name of a rater to the name under which their second labels are.
      groups: name of a group to names of its raters.
    """

    reference: str = "staple"
    region: str = "union-dilated"
    margin: float | int = 5.0
    tolerance: float | int = 1.0
    surfaces: bool = True
    repeats: Mapping[str, str] = dataclasses.field(default_factory=dict)
    groups: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)


class Report(NamedTuple):
    """The numbers of R raters on N cases of C classes of the foreground; NaN where undefined.

    In place of a rater, the last index (-1) of two-sided numbers is the reference.

    Attributes:
      settings: what was measured how.
      raters: R names; likewise cases (N) and classes (C).
      counted: indices of the raters that take part in kappa, alpha, the conformity index, ICC and
        the reference: all but the second labels of `Settings.repeats`.
      rater_masks: who labelled which case, ``[N, R]``.
      values: name to ``[N, R + 1, R + 1, C]``: "dice" (1 if both are empty); "volume_difference",
        the first's volume less the second's in ml; "volume_ratio", log2 of the first's over the
        second's (NaN if one is empty); and "hd95" (the larger of the two directed 95 % quantiles),
        "assd" (the mean over both surfaces) and "nsd" (the share of both surfaces within the
        tolerance of the other). Where one mask is empty distances are the image's diagonal.
      volumes: in ml, ``[N, R + 1, C]``.
      sensitivity: to the reference, counted over the region of all cases, ``[R, C]``; likewise
        specificity.
      case_kappa: Fleiss' kappa of each case, on the region, ``[N]``; likewise Krippendorff's alpha
        case_alpha, and case_conformity, the generalised conformity index ``[N, C]``.
      kappa: Fleiss' kappa over the regions of all cases together; likewise alpha, and conformity
        ``[C]``.
      cohen: Cohen's kappa of each pair likewise, ``[R, R]``.
      icc: ICC(2,1) of the volumes, ``[C]``, over the cases that all raters labelled who labelled at
        least half of the cases.
      group_agreement: Fleiss' kappa and Krippendorff's alpha within each group.
      reference: the estimate of the truth.
      problems: what is wrong with the cases that could not be used.
    """

    settings: Settings
    raters: tuple[str, ...]
    cases: tuple[str, ...]
    classes: tuple[str, ...]
    counted: tuple[int, ...]
    rater_masks: Bool[np.ndarray, "N R"]
    values: dict[str, Float[np.ndarray, "N n n C"]]
    volumes: Float[np.ndarray, "N n C"]
    sensitivity: Float[np.ndarray, "R C"]
    specificity: Float[np.ndarray, "R C"]
    case_kappa: Float[np.ndarray, "N"]
    case_alpha: Float[np.ndarray, "N"]
    case_conformity: Float[np.ndarray, "N C"]
    kappa: float
    alpha: float
    conformity: Float[np.ndarray, "C"]
    cohen: Float[np.ndarray, "R R"]
    icc: Float[np.ndarray, "C"]
    group_agreement: dict[str, tuple[float, float]]
    reference: rater_votes.Reference
    problems: tuple[str, ...]


def raters(
    given: cases.Given,
    *,
    reference: str = "staple",
    region: str = "union-dilated",
    margin: float | int = 5.0,
    tolerance: float | int = 1.0,
    surfaces: bool = True,
    repeats: Mapping[str, str] | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    **arrays: Any,
) -> Report:
    """Compares raters with each other and with an estimate of the truth.

    Memory is that of two cases, whatever the number of cases.

    Args:
      given: a folder or its path; or the labels of one case, ``[R, *S]``, or a list of several;
        `folder.NO_LABEL` where there is no label.
      reference: the estimate of the truth: "staple" (one matrix per rater over all cases),
        "majority", or "truth", the known one. A rater who took part in it has influenced it.
      region: the voxels on which kappa, alpha, sensitivity and specificity are counted, all of
        which depend on how much background there is: "union-dilated", the union of all masks
        of the case dilated by the margin; "union"; or "all".
      margin: in mm.
      tolerance: of NSD, in mm.
      surfaces: whether distances of surfaces are measured, which takes most of the time.
      repeats: name of a rater to that of their second labels. These are compared with the first
        and take no part in anything else.
      groups: name of a group to names of raters, whose agreement within and between is reported.
      arrays: for arrays, see `cases.open_cases`.

    Raises:
      ValueError: if a name is unknown, there are fewer than two raters, or no case can be used.
    """
    settings = Settings(
        reference, region, margin, tolerance, surfaces, dict(repeats or {}), dict(groups or {})
    )
    data = cases.open_cases(given, **arrays)
    where = data.root if isinstance(data, folder.Folder) else "labels"
    counted = _check(settings, data.rater_names, where)

    members = [list(map(data.rater_names.index, names)) for names in settings.groups.values()]

    def count(name: str) -> rater_votes.CaseVotes:
        return rater_votes.count(
            data.read(name),
            data.num_classes,
            region_name=region,
            margin=margin,
            sets=[counted, *members],
        )

    by_case: dict[str, rater_votes.CaseVotes] = {}
    problems = each_case.run(list(data.cases), count, by_case.__setitem__, title="counting votes")
    # Of cases that test, often nobody's label is there but the truth.
    by_case = {name: case for name, case in by_case.items() if case.rater_mask.any()}
    if not by_case:
        raise folder.FolderError(problems or ["raters: expected labels of raters, got none"])
    estimate = rater_votes.reference(reference, list(by_case.values()), counted, data.num_classes)
    distances = {}
    if surfaces:
        measure = functools.partial(_distances, data, estimate, tolerance)
        each_case.run(list(by_case), measure, distances.__setitem__, title="measuring surfaces")
    return _report(settings, data, by_case, estimate, distances, counted, problems)


def _check(settings: Settings, names: Sequence[str], where: str | os.PathLike) -> tuple[int, ...]:
    """Returns the raters that are counted once; `where` is what an error names."""
    checks.one_of("reference", settings.reference, rater_votes.REFERENCES)
    checks.one_of("region", settings.region, rater_votes.REGIONS)
    checks.positive("margin", settings.margin, or_zero=True)
    checks.positive("tolerance", settings.tolerance, or_zero=True)
    for rater, again in settings.repeats.items():
        checks.one_of("repeats", rater, names)
        checks.one_of("repeats", again, names)
        if again in settings.repeats:
            raise ValueError(f"repeats: expected second labels, got {rater}={again}")
        if list(settings.repeats.values()).count(again) > 1:
            raise ValueError(f"repeats: expected one rater's second labels, got {again!r} twice")
    second = set(settings.repeats.values())
    for group, members in settings.groups.items():
        if len(set(members)) < len(members):
            raise ValueError(f"groups: {group}: expected each rater once, got {list(members)}")
        for member in members:
            checks.one_of(
                f"groups: {group}", member, [name for name in names if name not in second]
            )
    counted = tuple(i for i, name in enumerate(names) if name not in second)
    least = 1 if settings.reference == "truth" or second else 2
    if len(counted) < least:
        want = f"labels of at least {least} raters, for a folder in ratersTr/RATER"
        raise folder.FolderError([f"{where}: expected {want}, got {len(counted)}"])
    return counted


def _distances(
    data: Any, estimate: rater_votes.Reference, tolerance: float | int, name: str
) -> Float[np.ndarray, "n n C m"]:
    """Measures a case's surfaces, ``[R + 1, R + 1, C]`` of `DISTANCES`."""
    case = data.read(name)
    given, known = rater_votes.with_truth(case)
    box = rater_votes.foreground_box(given, data.num_classes)
    labels = given[(slice(None), *box)]
    labels = np.concatenate([labels[:-1], estimate.of_image(labels, known)[None]])
    valid = labels < data.num_classes
    diagonal = float(np.linalg.norm(np.multiply(case.labels.shape[1:], case.spacing)))
    count, num_classes = len(labels), data.num_classes
    measured = np.full((count, count, num_classes - 1, len(DISTANCES)), np.nan)
    there = [*np.flatnonzero(case.rater_mask), count - 1]
    for r, s in itertools.combinations(there, 2):
        both = valid[r] & valid[s]
        for label in range(1, num_classes):
            one, other = ((labels[i] == label) & both for i in (r, s))
            distance = surface.surface_metrics(
                one, other, spacing=case.spacing, tolerance=tolerance, empty="inf"
            )
            # Of the whole image, not of the box.
            numbers = [getattr(distance, metric) for metric in DISTANCES]
            numbers = [diagonal if np.isinf(number) else number for number in numbers]
            measured[r, s, label - 1] = measured[s, r, label - 1] = numbers
    return measured


def _overlaps(
    tables: Integer[np.ndarray, "N n n L L"],
    voxels: Float[np.ndarray, "N"],
    present: Bool[np.ndarray, "N n"],
) -> dict[str, Float[np.ndarray, "N n n C"]]:
    """Returns `OVERLAP` of all pairs, of the voxels that both labelled."""
    both = np.einsum("nrsii->nrsi", tables)[..., 1:]
    one, other = (tables.sum(axis=axis)[..., 1:] for axis in (-1, -2))
    known = (present[:, :, None] & present[:, None])[..., None]
    sized = (one > 0) & (other > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = {
            "dice": np.where(one + other > 0, 2 * both / (one + other), 1.0),
            "volume_difference": (one - other) * voxels[:, None, None, None],
            "volume_ratio": np.where(sized, np.log2(one / other), np.nan),
        }
    return {name: np.where(known, value, np.nan) for name, value in values.items()}


def _rates(
    table: Integer[np.ndarray, "n n L L"],
) -> tuple[Float[np.ndarray, "R C"], Float[np.ndarray, "R C"]]:
    """Returns sensitivity and specificity to the reference, the last of the raters."""
    counts = table[:-1, -1]
    hit = np.einsum("rii->ri", counts)
    given, true, every = counts.sum(axis=2), counts.sum(axis=1), counts.sum(axis=(1, 2))[:, None]
    free = every - true
    with np.errstate(invalid="ignore"):
        return (hit / true)[:, 1:], ((free - (given - hit)) / free)[:, 1:]


def _icc(
    volumes: Float[np.ndarray, "N R C"], masks: Bool[np.ndarray, "N R"]
) -> Float[np.ndarray, "C"]:
    often = masks.mean(axis=0) >= 0.5
    return np.array([agreement.icc(table[:, often]) for table in np.moveaxis(volumes, -1, 0)])


def _report(settings, data, by_case, estimate, distances, counted, problems) -> Report:
    """Puts the numbers together; `distances` has those of each case, or nothing."""
    num_classes, names = data.num_classes, tuple(data.rater_names)
    masks = np.stack([case.rater_mask for case in by_case.values()])
    present = np.concatenate([masks, np.ones((len(masks), 1), bool)], axis=1)
    voxels = np.array([case.voxel for case in by_case.values()])
    whole, inside = (
        np.stack([votes.joint(estimate.beside(part), num_classes) for part in parts])
        for parts in zip(*((case.whole, case.inside) for case in by_case.values()), strict=True)
    )
    values = _overlaps(whole, voxels, present)
    if distances:
        table = np.stack([distances[name] for name in by_case])
        values |= {name: table[..., i] for i, name in enumerate(DISTANCES)}
    volumes = np.einsum("nrrii->nri", whole)[..., 1:] * voxels[:, None, None]
    volumes = np.where(present[..., None], volumes, np.nan)
    # Of all raters, then of each group; added over cases.
    of_cases = [case.sums[0] for case in by_case.values()]
    added = jax.tree.map(lambda *parts: sum(parts), *(case.sums for case in by_case.values()))
    everyone, *groups = added
    conformity = np.array([agreement.conformity_index_of_sums(sums) for sums in of_cases])
    total = inside.sum(axis=0)
    sensitivity, specificity = _rates(total)
    return Report(
        settings=settings,
        raters=names,
        cases=tuple(by_case),
        classes=tuple(data.class_names[1:]),
        counted=counted,
        rater_masks=masks,
        values=values,
        volumes=volumes,
        sensitivity=sensitivity,
        specificity=specificity,
        case_kappa=np.array([agreement.fleiss_kappa_of_sums(sums) for sums in of_cases]),
        case_alpha=np.array([agreement.krippendorff_alpha_of_sums(sums) for sums in of_cases]),
        case_conformity=conformity[:, 1:],
        kappa=agreement.fleiss_kappa_of_sums(everyone),
        alpha=agreement.krippendorff_alpha_of_sums(everyone),
        conformity=agreement.conformity_index_of_sums(everyone)[1:],
        cohen=agreement.cohen_kappa_of_tables(total[:-1, :-1]),
        icc=_icc(volumes[:, list(counted)], masks[:, list(counted)]),
        group_agreement={
            group: (
                agreement.fleiss_kappa_of_sums(sums),
                agreement.krippendorff_alpha_of_sums(sums),
            )
            for group, sums in zip(settings.groups, groups, strict=True)
        },
        reference=estimate,
        problems=tuple(problems),
    )
