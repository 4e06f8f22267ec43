"""A trained run that predicts arrays."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Num, UInt8

from noisyjax.core import checks
from noisyjax.data.folder import case_files
from noisyjax.data.volumes import preprocess
from noisyjax.methods import base, sliding_window
from noisyjax.train import predict, saved_runs


class Output(NamedTuple):
    """What a run predicts for one image, on the image's own voxels.

    Attributes:
      probs: of each class, ``[*S, L]``.
      mask: class ids, by the run's first decision, ``[*S]``.
      entropy: of the probabilities, in nats, ``[*S]``.
      raters: the probabilities of each rater's label, ``[R, *S, L]``, or None.
      samples: the probabilities of N segmentations that the run draws, ``[N, *S, L]``, or None.
      regions: the probability of each region, ``[*S, G]``, of a run of such, or None.
    """

    probs: Float[np.ndarray, "*S L"]
    mask: UInt8[np.ndarray, "*S"]
    entropy: Float[np.ndarray, "*S"]
    raters: Float[np.ndarray, "R *S L"] | None
    samples: Float[np.ndarray, "N *S L"] | None
    regions: Float[np.ndarray, "*S G"] | None = None


class Run:
    """A trained run; make one by `load_run`."""

    def __init__(self, trained: saved_runs.Trained):
        """Takes what was restored."""
        self._trained = trained

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
        raters: bool = False,
    ) -> Output:
        """Segments one image.

        An image of a run of the source ``folder`` has any size, and is prepared as those that the
        run was trained on. Of another source it has their size, and is taken as it is.

        Args:
          image: ``[*S]`` of one channel, or ``[*S, K]``; axes to the right, the front and the top,
            as `open_folder` reads files.
          spacing: size of the voxels in mm, of a run of the source ``folder``.
          raters: whether to predict the raters' labels and draw segmentations too, where the run's
            method does. Draws of neighbouring windows do not belong together: an image that is
            larger than a window has none.

        Raises:
          ValueError: if the image is not like those of the training, or the spacing is missing.
        """
        facts = self._trained.facts
        *size, channels = facts.batch["image"].shape[1:]
        image = np.asarray(image)
        image = image[..., np.newaxis] if image.ndim == len(size) else image
        checks.shape("image", image, (*[None] * len(size), channels), like="in training")
        if self._trained.config.data.name != "folder":
            checks.shape("image", image, (*size, channels), like="in training")
            parts = _parts(self._trained.method, self._trained, image)
            return self._output(parts if raters else {"probs": parts["probs"]})
        if spacing is None or len(spacing) != len(size):
            raise ValueError(f"spacing: expected {len(size)} numbers in mm, got {spacing}")
        prepared, _, grid = preprocess.prepare(
            image,
            np.zeros((0, *image.shape[:-1]), np.uint8),
            spacing=spacing,
            to=facts.spacing,
            **predict.preparation(facts),
        )
        # Who predicts regions predicts neither raters nor draws.
        if not raters or self._trained.method.regions is not None:
            predicted = predict.predictor(self._trained)(prepared)
            probs, regions = predict.on_file(predicted, grid, self._trained.method.regions)
            return self._output({"probs": probs, "regions": regions})
        options = predict.window_options(self._trained)
        filled = predict.filled_up(prepared, options["window"])
        whole = filled.shape[:-1] == tuple(options["window"])
        method = self._trained.method
        return self._output(
            _parts(
                method if whole else sliding_window.wrap(method, **options), self._trained, filled
            ),
            grid,
        )

    def _output(self, parts: dict[str, np.ndarray], grid: preprocess.Grid | None = None) -> Output:
        decision = self._trained.config.evaluate.decisions[0]
        if grid is not None:
            parts = {name: _restored(part, grid) for name, part in parts.items()}
        probs = parts["probs"]
        mask = predict.segmented(probs, decision=decision)
        entropy = -np.sum(probs * np.log(np.maximum(probs, np.finfo(np.float32).tiny)), axis=-1)
        return Output(probs, mask, entropy, *map(parts.get, ("raters", "samples", "regions")))


def _parts(
    method: base.Method, trained: saved_runs.Trained, image: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns all that a method predicts of one image, by the names of `Output`."""
    batch = jnp.asarray(image, jnp.float32)[jnp.newaxis]
    prediction = jax.jit(method.predict)(trained.variables, batch)
    parts = {
        "probs": prediction.probs,
        "raters": prediction.rater_probs,
        "samples": prediction.samples,
    }
    return {name: np.asarray(part[0]) for name, part in parts.items() if part is not None}


def _restored(probs: np.ndarray, grid: preprocess.Grid) -> np.ndarray:
    """Brings probabilities ``[..., *T, L]`` to the image's voxels; outside is background."""
    leading = probs.shape[: probs.ndim - len(grid.shape) - 1]
    flat = probs.reshape(-1, *probs.shape[len(leading) :])
    whole = np.stack([case_files.probs_on_file(one, grid) for one in flat])
    return whole.reshape(*leading, *whole.shape[1:])


def load_run(workdir: str | os.PathLike, *, checkpoint: str = "latest") -> Run:
    """Loads what a run has trained, from its working directory alone, which is not changed.

    Args:
      checkpoint: "latest" or "best".

    Raises:
      FileNotFoundError: if there is no such run, or it has no checkpoint.
      ValueError: if no validation has chosen a best checkpoint.
    """
    return Run(saved_runs.restore_without_data(workdir, checkpoint=checkpoint))
