"""Coverage of margins and risk of thresholds on a run's own out-of-fold predictions.

Its cases are divided at random again and again: one part calibrates, the other tests.
"""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

from noisyjax.decisions import guarantees
from noisyjax.tool import folder
from noisyjax.tool.training import calibration, guarantee, networks, out_of_fold

# Of an interval of the number of covered cases.
_INSIDE = 0.95


class Row(NamedTuple):
    """One class at one alpha over all divisions.

    Attributes:
      label: the class, from 1.
      alpha: the share of cases that may stay uncovered, or of a label that may be missed.
      covered: test cases whose label a margin covers to the wanted share, for each division.
      interval: of their number by the binomial law of 1 - alpha.
      law: the same of the calibrating cases' draw too, the beta-binomial law without ties.
      dilations: of the margins, for each division.
      missed: mean share of a test label that the mask of bounded risk misses, for each division.
      thresholds: of these masks, for each division.
    """

    label: int
    alpha: float
    covered: tuple[int, ...]
    interval: tuple[int, int]
    law: tuple[int, int]
    dilations: tuple[int, ...]
    missed: tuple[float, ...]
    thresholds: tuple[float, ...]


def judge(run: pathlib.Path, root: pathlib.Path) -> tuple[str, dict[str, guarantee.Judged]]:
    """Counts what a run's out-of-fold predictions need to cover the labels of a folder.

    Returns:
      The decision by which masks were made, and what was counted of each case.

    Raises:
      folder.FolderError: if a case cannot be read.
    """
    opened, loaded = folder.open_folder(root), networks.load(run)
    adjusted = calibration.read(run, opened.class_names)
    problems: list[str] = []
    decision = loaded.decision
    cases = out_of_fold.read(run, opened, problems)
    found = {}
    for case in cases:
        found[case.name] = out_of_fold.judge(
            case, opened.layout.regions, adjusted=adjusted, decision=decision
        )
    if problems:
        raise folder.FolderError(problems)
    return decision, found


def rows(
    calibrating: Sequence[guarantee.Judged],
    testing: Sequence[guarantee.Judged],
    *,
    cases: int,
    splits: int,
    alphas: Sequence[float],
    share: float,
    seed: int,
    decision: str,
) -> list[Row]:
    """Divides cases again and again.

    Args:
      calibrating: of each case by the labels that calibrate.
      testing: of the same cases by the labels that test, which may be others.
      cases: how many calibrate, n; the others test.
      splits: divisions.
      alphas: of margins and risks.
      share: of a label that a margin is to cover, one of `guarantee.SHARES`.
      seed: of the divisions.
      decision: by which masks were made.
    """
    draw, column = np.random.default_rng(seed), guarantee.SHARES.index(share)
    dilations = np.stack([case.dilations[:, column] for case in testing])
    losses = np.stack([case.losses for case in testing])
    orders = [draw.permutation(len(testing)) for _ in range(splits)]
    made = []
    for alpha in alphas:
        each = []
        for order in orders:
            found = guarantee.fit([calibrating[i] for i in order[:cases]], decision=decision)
            counts, least = found.margins(alpha, share), found.thresholds(alpha)
            rest = order[cases:]
            covered = (dilations[rest] <= counts).sum(axis=0)
            at = [guarantee.THRESHOLDS.index(threshold) for threshold in least]
            missed = [losses[rest, label, k].mean() for label, k in enumerate(at)]
            each.append((covered.tolist(), counts, missed, least))
        tests = len(testing) - cases
        rank = guarantees.conformal_rank(cases, alpha=alpha)
        binomial = scipy.stats.binom(tests, 1 - alpha).interval(_INSIDE)
        law = scipy.stats.betabinom(tests, rank, cases + 1 - rank).interval(_INSIDE)
        for label in range(dilations.shape[1]):
            own = [tuple(one[part][label] for one in each) for part in range(4)]
            intervals = tuple(map(int, binomial)), tuple(map(int, law))
            made.append(Row(label + 1, alpha, own[0], *intervals, *own[1:]))
    return made
