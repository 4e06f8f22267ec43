"""A trained run, of one network or of folds, that predicts arrays."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Num, UInt8

from noisyjax.core import checks
from noisyjax.data.volumes import preprocess
from noisyjax.tool.training import certainty, networks
from noisyjax.train import ensemble, predict


class Output(NamedTuple):
    """What a run predicts for one image, on the image's own voxels.

    Attributes:
      probs: of each class, ``[*S, L]``.
      mask: class ids, by the run's first decision, ``[*S]``.
      entropy: of the probabilities, in nats, ``[*S]``.
      raters: the probabilities of each rater's label, ``[R, *S, L]``, or None.
      samples: the probabilities of N segmentations that the run draws, ``[N, *S, L]``, or None.
      regions: the probability of each region, ``[*S, G]``, of a run of such, or None.
      spread: standard deviation of the foreground's probability over networks and mirror images,
        ``[*S]``, or None.
      disagreement: the probability that two raters' labels differ, ``[*S]``, or None.
      margin: the mask with its margin of each class but the background, ``[C, *S]``, or None.
      risk: the mask of bounded risk of each of them, ``[C, *S]``, or None.
    """

    probs: Float[np.ndarray, "*S L"]
    mask: UInt8[np.ndarray, "*S"]
    entropy: Float[np.ndarray, "*S"]
    raters: Float[np.ndarray, "R *S L"] | None
    samples: Float[np.ndarray, "N *S L"] | None
    regions: Float[np.ndarray, "*S G"] | None = None
    spread: Float[np.ndarray, "*S"] | None = None
    disagreement: Float[np.ndarray, "*S"] | None = None
    margin: Bool[np.ndarray, "C *S"] | None = None
    risk: Bool[np.ndarray, "C *S"] | None = None


class Run:
    """A trained run; make one by `load_run`."""

    def __init__(self, loaded: networks.Networks):
        """Takes what was restored."""
        self._networks, self._trained = loaded, loaded.first

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the L classes, the background first."""
        return self._trained.facts.class_names

    @property
    def rater_names(self) -> tuple[str, ...]:
        """Of the R raters that it was trained on."""
        return self._trained.facts.rater_names

    def predict(
        self,
        image: Num[np.ndarray, "..."],
        spacing: Sequence[float | int] | None = None,
        *,
        mirror: bool = False,
        **wanted: Any,
    ) -> Output:
        """Segments one image, by the mean of the networks of a run of folds.

        An image of a run of the source ``folder`` has any size, and is prepared as those that the
        run was trained on. Of another source it has their size, and is taken as it is.

        Args:
          image: ``[*S]`` of one channel, or ``[*S, K]``; axes to the right, the front and the top,
            as `open_folder` reads files.
          spacing: size of the voxels in mm, of a run of the source ``folder``.
          mirror: whether to take the mean over mirror images too, along the axes of the plan.
          wanted: what else is said, fields of `certainty.Wanted`; the entropy always is.

        Raises:
          ValueError: if the image is not like those of the training, if the spacing is missing, or
            if the run cannot say what is wanted.
        """
        facts = self._trained.facts
        *size, channels = facts.batch["image"].shape[1:]
        image = np.asarray(image)
        image = image[..., np.newaxis] if image.ndim == len(size) else image
        checks.shape("image", image, (*[None] * len(size), channels), like="in training")
        asked = certainty.Wanted(**{**wanted, "entropy": True})
        assessor = certainty.Assessor(self._networks, asked, mirror=mirror)
        if self._trained.config.data.name != "folder":
            checks.shape("image", image, (*size, channels), like="in training")
            return self._output(assessor, assessor.predict(np.asarray(image, np.float32)))
        if spacing is None or len(spacing) != len(size):
            raise ValueError(f"spacing: expected {len(size)} numbers in mm, got {spacing}")
        prepared, _, grid = preprocess.prepare(
            image,
            np.zeros((0, *image.shape[:-1]), np.uint8),
            spacing=spacing,
            to=facts.spacing,
            **predict.preparation(facts),
        )
        return self._output(assessor, assessor.predict(prepared, grid))

    def _output(self, assessor: certainty.Assessor, maps: ensemble.Maps) -> Output:
        mask = self._networks.segmented(maps.probs)
        said = assessor.say(maps, mask)
        return Output(mask=mask, **maps._asdict(), **said._asdict())


def load_run(workdir: str | os.PathLike, *, checkpoint: str = "latest") -> Run:
    """Loads what a run has trained, from its folder alone, which is not changed.

    It is the working directory of one network, or a run of `train_folds`, of which all networks
    predict together.

    Args:
      checkpoint: "latest" or "best".

    Raises:
      FileNotFoundError: if there is no such run, or it has no checkpoint.
      ValueError: if no validation has chosen a best checkpoint, or a fold is not finished.
    """
    return Run(networks.load(workdir, checkpoint=checkpoint))
