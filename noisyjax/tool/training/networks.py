"""The trained networks of a run, of folds or of one workdir, as one that predicts."""

import os
import pathlib
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from noisyjax.core import files
from noisyjax.tool.plan import plan
from noisyjax.tool.training import calibration, components, run_files
from noisyjax.train import ensemble, predict, saved_runs
from noisyjax.train.workdir import config_and_summary


class Networks(NamedTuple):
    """Networks that were trained alike, and how what they predict is adjusted.

    Attributes:
      workdirs: of each.
      trained: likewise.
      adjusted: what was fitted on out-of-fold predictions.
      run: the folder of the run.
    """

    workdirs: tuple[pathlib.Path, ...]
    trained: tuple[saved_runs.Trained, ...]
    adjusted: calibration.Calibration
    run: pathlib.Path

    @property
    def first(self) -> saved_runs.Trained:
        """One of them, for what they have in common."""
        return self.trained[0]

    @property
    def decision(self) -> str:
        """By which they make masks of probabilities."""
        return self.first.config.evaluate.decisions[0]

    def adjust(self, probs: Float[np.ndarray, "*S C"]) -> Float[np.ndarray, "*S C"]:
        """Returns the probabilities of one network at the temperature that was fitted."""
        return self.adjusted.adjust(probs, self.first.method.regions)

    def mirror_axes(self) -> tuple[int, ...]:
        """Returns the axes along which the run's plan allows mirroring.

        Raises `ValueError` if the run has none.
        """
        path = self.run / run_files.PLAN
        if not path.exists():
            raise ValueError(
                f"mirror: expected a run with a {run_files.PLAN}, which says along which axes, got "
                f"{self.run}, which has none"
            )
        return tuple(plan.load(path).mirror_axes)

    def predictor(self, **options: Any) -> ensemble.Predictor:
        """Returns what gives the mean of the adjusted probabilities, see `ensemble.predictor`."""
        return ensemble.predictor(*self.trained, adjust=self.adjust, **options)

    def segmented(
        self, probs: Float[np.ndarray, "*S L"], *, decision: str = "", keep_components: bool = False
    ) -> UInt8[np.ndarray, "*S"]:
        """Turns probabilities into class ids, without the components that are to be removed.

        The decision is one of `base.DECISIONS`, "" for the run's own.
        """
        ids = predict.segmented(probs, decision=decision or self.decision)
        return ids if keep_components else components.keep_largest(ids, self.adjusted.largest)


def load(run: str | os.PathLike, *, checkpoint: str = "latest") -> Networks:
    """Loads the networks of a run of folds, or of the workdir of one; nothing in it is changed.

    Args:
      checkpoint: "latest" or "best".

    Raises:
      FileNotFoundError: if there is no such run, or it has no checkpoint.
      ValueError: if a fold is not finished, if the folds do not fit each other, or as
        `saved_runs.restore_without_data`.
    """
    run = files.named("run", run).absolute()
    if not run_files.is_run_of_folds(run):
        trained = saved_runs.restore_without_data(run, checkpoint=checkpoint)
        return Networks((run,), (trained,), calibration.Calibration(), run)
    count = len(run_files.read_splits(run))
    workdirs = tuple(run_files.fold(run, number) for number in range(count))
    for workdir in workdirs:
        if config_and_summary.read_summary(workdir) is None:
            raise ValueError(
                f"{workdir}: expected a network that is trained, got none, or one that is not "
                "finished; noisyjax train with the same options goes on"
            )
    trained = tuple(
        saved_runs.restore_without_data(workdir, checkpoint=checkpoint) for workdir in workdirs
    )
    first = trained[0].facts
    for workdir, own in zip(workdirs, trained, strict=True):
        for name in ("class_names", "rater_names", "spacing", "about"):
            if getattr(own.facts, name) != getattr(first, name):
                raise ValueError(
                    f"{workdir}: expected {name} as of {workdirs[0].name}, "
                    f"{getattr(first, name)!s:.200}, got {getattr(own.facts, name)!s:.200}"
                )
    return Networks(workdirs, trained, calibration.read(run, first.class_names), run)
