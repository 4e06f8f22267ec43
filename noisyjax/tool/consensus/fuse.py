"""One label from several raters: of the labels of one case, and of a folder as another folder."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Integer, UInt8

from noisyjax.core import checks
from noisyjax.tool import data_set, folder
from noisyjax.tool.consensus import fused_folder, fusions

Labels = Integer[np.ndarray, "R *S"] | Integer[Array, "R *S"]


class Consensus(NamedTuple):
    """What several raters say together of one case.

    Attributes:
      label: class ids ``[*S]``; `folder.NO_LABEL` where nobody labelled, or where it is undecided.
      probs: probability of each class, ``[*S, L]``.
      disagreement: 1 minus the share of the votes for the class with most votes, ``[*S]``; 0 where
        all agree, and where nobody labelled.
      cms: ``cms[r, i, j]`` = p(rater r says i | true class j), ``[R, L, L]``; of Spatial STAPLE one
        each voxel, ``[R, *S, L, L]``; None of methods without.
    """

    label: UInt8[np.ndarray, "*S"]
    probs: Float[np.ndarray, "*S L"]
    disagreement: Float[np.ndarray, "*S"]
    cms: Float[np.ndarray, "R *T L L"] | None


def consensus(
    labels: Labels | folder.Folder | str | os.PathLike,
    num_classes: int = 2,
    *,
    method: str = "staple",
    rater_mask: Bool[np.ndarray, "R"] | Bool[Array, "R"] | None = None,
    weights: Sequence[float | int] | Mapping[str, float | int] | np.ndarray | None = None,
    ties: str = "lowest",
    raters: Sequence[str] = (),
    out: str | os.PathLike | None = None,
    probabilities: bool = False,
    disagreement: bool = False,
    images: str = "link",
    overwrite: bool = False,
    **options: Any,
) -> Consensus | fused_folder.Written:
    """Fuses the labels of several raters: of one case, or of every case of a folder.

    A voxel that nobody labelled has no label in the consensus either, and zeros as its
    probabilities.

    Args:
      labels: class ids ``[R, *S]``, or a folder (or its path) with ratersTr; an id that is no class
        is no vote. Of one case "pooled_staple" is "staple".
      num_classes: L; a folder knows its own.
      method: a name in `fusions.METHODS`.
      rater_mask: ``[R]``, who labelled the case; None: everyone. A folder knows.
      weights: what each rater's vote counts, ``[R]``; of a folder by name, 1 for the others.
      ties: of classes that are equally probable "lowest" takes the lowest id, and "undecided" none.
      raters: of a folder, names of those who count; () for all.
      out: of a folder: a folder to write to, outside of it. It gets labelsTr and labelsTs, the
        images, dataset.json, and the tables of `fused_folder`.
      probabilities: whether probabilities/CLASS/CASE are written too, for every class but the
        background by its number.
      disagreement: whether disagreement/CASE are written too.
      images: how images get to `out`: "link" (they share the data with the old files), "copy", or
        "none".
      overwrite: whether to remove what was made in `out` with other options.
      **options: of the method; see `fusions.options`.

    Returns:
      A `Consensus`; of a folder, what became of it.

    Raises:
      ValueError: if an option is none of the method's, or cannot be.
      FolderError: if the folder cannot be used; a case that cannot is in `problems` instead.

    >>> labels = np.array([[0, 0, 1, 1], [0, 1, 1, 1], [0, 1, 1, 0]])
    >>> fused = consensus(labels, method="majority")
    >>> fused.label.tolist(), fused.disagreement.round(2)
    ([0, 1, 1, 1], array([0.  , 0.33, 0.  , 0.33], dtype=float32))
    """
    fusions.check(method, options, ties=ties)
    if isinstance(labels, str | os.PathLike):
        labels = folder.open_folder(labels)
    if isinstance(labels, folder.Folder):
        if out is None:
            raise ValueError("out: expected a folder to write to, got None")
        checks.one_of("images", images, data_set.IMAGES)
        if not isinstance(weights, Mapping | None):
            raise ValueError(f"weights: expected numbers by the name of a rater, got {weights}")
        settings = fused_folder.Settings(
            method=method,
            options=options,
            raters=tuple(raters),
            weights={} if weights is None else weights,
            ties=ties,
            probabilities=probabilities,
            disagreement=disagreement,
            images=images,
        )
        return fused_folder.write(labels, out, settings, overwrite=overwrite)
    case = fusions.count(labels, num_classes, rater_mask)
    weights = fusions.checked_weights(method, weights, len(labels))
    fused = fusions.fuse(case, method, weights=weights, ties=ties, options=options)
    probs = np.stack([fused.prob(k) for k in range(num_classes)], axis=-1)
    return Consensus(fused.label, probs, fused.disagreement, fused.cms)
