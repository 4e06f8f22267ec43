"""An example with its prediction, and what several metrics of it share."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from noisyjax.core import class_regions, ignored
from noisyjax.methods import base
from noisyjax.metrics import boundary, distribution, overlap


@dataclasses.dataclass(frozen=True)
class Case:
    """An example with its prediction and a decision, and what several metrics share.

    Attributes:
      prediction: of the example, without the batch axis.
      batch: the example: ``labels`` ``[R, *S]``, ``rater_mask`` ``[R]`` and, where it is known,
        ``truth`` ``[*S]``; what is `ignored.IGNORE` in it does not count.
      num_classes: L.
      decision: a key of `decisions.DECISIONS`.
      regions: unions of classes that are judged too, or None.
    """

    prediction: base.Prediction
    batch: Any
    num_classes: int
    decision: str = "argmax"
    regions: class_regions.Regions | None = None

    @property
    def probs(self) -> Float[Array, "*S L"]:
        """Of each class."""
        return self.prediction.probs

    @property
    def truth(self) -> Integer[Array, "*S"] | None:
        """Class ids, or None where it is not known."""
        return self.batch.get("truth")

    @property
    def rater_probs(self) -> Float[Array, "#R *S L"]:
        """The raters' predicted labels, one for all if they are not modelled."""
        probs = self.prediction.rater_probs
        return self.probs[None] if probs is None else probs

    @property
    def sample_probs(self) -> Float[Array, "N *S L"]:
        """Of each class in each sample; of a method that draws none, what each rater would say."""
        samples = self.prediction.samples
        return self.rater_probs if samples is None else samples

    @functools.cached_property
    def samples(self) -> Integer[Array, "N *S"]:
        """The class ids of the samples."""
        return distribution.rater_samples(self.sample_probs).astype(self.batch["labels"].dtype)

    @functools.cached_property
    def segmentation(self) -> Integer[Array, "*S"]:
        """The class ids, uint8, that the decision makes of the probabilities."""
        return base.segment(self.probs, decision=self.decision).astype(jnp.uint8)

    @property
    def labelled(self) -> Bool[Array, "*S"]:
        """Which voxels have a label, of any rater; those of a case that nobody labelled as well."""
        labels, mask = self.batch["labels"], self.batch["rater_mask"]
        return ignored.given(labels, mask | ~mask.any()).any(0)

    @functools.cached_property
    def counts(self) -> overlap.Counts:
        """Of the segmentation and the truth."""
        return self.count(self.segmentation, self.truth)

    @functools.cached_property
    def label_counts(self) -> overlap.Counts:
        """Of the segmentation and each rater's label."""
        return jax.vmap(self.count, (None, 0))(self.segmentation, self.batch["labels"])

    def count(self, pred: Integer[Array, "*S"], truth: Integer[Array, "*S"]) -> overlap.Counts:
        """Of two label maps."""
        return overlap.counts(pred, truth, self.num_classes)

    @functools.cached_property
    def edges(self) -> boundary.Boundary:
        """Of the segmentation and the truth, ``[L - 1]``."""

        def of_class(label: Integer[Array, ""]) -> boundary.Boundary:
            masks = self.segmentation == label, self.truth == label
            return boundary.boundary_overlap(*masks, empty="one", where=ignored.known(self.truth))

        return jax.vmap(of_class)(jnp.arange(1, self.num_classes))
