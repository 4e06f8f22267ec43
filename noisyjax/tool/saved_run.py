"""A trained run, of one network or of folds, that predicts arrays."""

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
from noisyjax.tool.training import networks
from noisyjax.train import predict


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
        raters: bool = False,
    ) -> Output:
        """Segments one image, by the mean of the networks of a run of folds.

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
            parts = self._parts(self._trained.method, image)
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
            predicted = self._networks.predictor()(prepared)
            probs, regions = predict.on_file(predicted, grid, self._trained.method.regions)
            return self._output({"probs": probs, "regions": regions})
        options = predict.window_options(self._trained)
        filled = predict.filled_up(prepared, options["window"])
        whole = filled.shape[:-1] == tuple(options["window"])
        method = self._trained.method
        method = method if whole else sliding_window.wrap(method, **options)
        return self._output(self._parts(method, filled), grid)

    def _parts(self, method: base.Method, image: np.ndarray) -> dict[str, np.ndarray]:
        """Returns all that is predicted of one image, by the names of `Output`.

        Of several networks it is the mean, but their samples stand beside each other.
        """
        batch = jnp.asarray(image, jnp.float32)[jnp.newaxis]
        run = jax.jit(method.predict)
        each = [run(own.variables, batch) for own in self._networks.trained]
        parts: dict[str, list[np.ndarray]] = {}
        for one in each:
            named = {"probs": one.probs, "raters": one.rater_probs, "samples": one.samples}
            for name, part in named.items():
                if part is not None:
                    parts.setdefault(name, []).append(np.asarray(part[0]))
        parts["probs"] = list(map(self._networks.adjust, parts["probs"]))
        return {
            name: np.concatenate(own) if name == "samples" else np.mean(own, axis=0)
            for name, own in parts.items()
        }

    def _output(self, parts: dict[str, np.ndarray], grid: preprocess.Grid | None = None) -> Output:
        if grid is not None:
            parts = {name: _restored(part, grid) for name, part in parts.items()}
        probs = parts["probs"]
        mask = self._networks.segmented(probs)
        entropy = -np.sum(probs * np.log(np.maximum(probs, np.finfo(np.float32).tiny)), axis=-1)
        return Output(probs, mask, entropy, *map(parts.get, ("raters", "samples", "regions")))


def _restored(probs: np.ndarray, grid: preprocess.Grid) -> np.ndarray:
    """Brings probabilities ``[..., *T, L]`` to the image's voxels; outside is background."""
    leading = probs.shape[: probs.ndim - len(grid.shape) - 1]
    flat = probs.reshape(-1, *probs.shape[len(leading) :])
    whole = np.stack([case_files.probs_on_file(one, grid) for one in flat])
    return whole.reshape(*leading, *whole.shape[1:])


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
