"""Predictions that have not seen the labels they are held against: of our folds, or anybody's."""

import os
import pathlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from noisyjax.core import class_regions, files
from noisyjax.tool import folder
from noisyjax.tool.audit import measures
from noisyjax.tool.evaluation import predictions
from noisyjax.tool.training import calibration, out_of_fold, run_files, temperature

# How soon a segmentation without probabilities is sure, in voxels from its outline.
_SOFT = 0.25


class Evidence(NamedTuple):
    """What is predicted of a folder's cases; make one by `find`.

    Attributes:
      found: the predictions.
      run: the run of folds that made them, or None.
      temperature: at which its probabilities are taken.
    """

    found: predictions.Predictions
    run: pathlib.Path | None
    temperature: float

    @property
    def cases(self) -> tuple[str, ...]:
        """Names of the cases that there is a prediction of."""
        return self.found.cases

    def read(self, name: str) -> Float[np.ndarray, "*S L"]:
        """Returns the probability of each class of a case, ``[*S, L]``.

        Raises:
          FolderError: if a file cannot be used; it names the file and what is wrong.
        """
        opened = self.found.opened
        if self.run is None:
            read = self.found.read(name)
            if read.probs is not None:
                return read.probs
            return softened(read.segmentation, opened.num_classes)
        regions, axes = opened.layout.regions, self.found.read(name).segmentation.ndim
        path = out_of_fold.paths(self.run, name, opened.layout.ending)[1]
        try:
            probs = out_of_fold.unpack(path, opened.num_classes, regions, axes)
        except (OSError, ValueError) as error:
            raise folder.FolderError([str(error)]) from error
        if regions is None:
            return temperature.scaled(probs, self.temperature)
        scaled = temperature.scaled_regions(probs, self.temperature)
        return np.asarray(class_regions.class_probs(scaled, regions))


def find(given: str | os.PathLike, opened: folder.Folder) -> Evidence:
    """Finds the predictions of a run of `noisyjax train`, or of a folder of any program's.

    Raises:
      FolderError: if there are none.
      ValueError: if the run has one network, which has seen all labels, or is not finished.
    """
    root = files.named("predictions", given).absolute()
    if not run_files.is_run_of_folds(root):
        return Evidence(predictions.find(root, opened, partial=True), None, 1.0)
    if len(run_files.read_splits(root)) < 2:
        raise ValueError(
            f"{root}: expected a run of two folds or more, got one that holds none out"
        )
    if not (root / run_files.SUMMARY).exists():
        raise ValueError(f"{root}: expected a run that is finished; noisyjax train goes on")
    found = predictions.find(root / run_files.OUT_OF_FOLD, opened, partial=True)
    return Evidence(found, root, calibration.read(root, opened.class_names).temperature)


def files_of(given: str | os.PathLike) -> dict[str, list[pathlib.Path]]:
    """Returns the files of predictions by the names of their cases."""
    return predictions.files_of_cases(files.named("predictions", given))


def softened(ids: UInt8[np.ndarray, "*S"], num_classes: int) -> Float[np.ndarray, "*S L"]:
    """Returns probabilities of a segmentation that is unsure at its outlines, float32.

    >>> softened(np.array([0, 0, 0, 1, 1, 1], np.uint8), 2)[:, 1].round(2)
    array([0.  , 0.  , 0.12, 0.88, 1.  , 1.  ], dtype=float32)
    """
    spacing = (1.0,) * ids.ndim
    inside = np.stack(
        [-measures.signed_distance(ids == number, spacing) for number in range(num_classes)],
        axis=-1,
    )
    logits = np.clip(inside / _SOFT, -20, 20) / 2
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
