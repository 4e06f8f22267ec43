"""How sure a run is of what it predicts, voxel by voxel and as masks with a guarantee."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from noisyjax.core import checks
from noisyjax.tool.training import guarantee, networks
from noisyjax.train import ensemble


class Wanted(NamedTuple):
    """What is to be said beside the segmentation.

    Attributes:
      entropy: of the probabilities.
      disagreement: see `disagreement`.
      raters: the probabilities of each rater's label.
      samples: how many segmentations are drawn.
      spread: standard deviation of the foreground's probability over networks and mirror images.
      margin: alpha of a margin, or None: the mask of each class is dilated until it covers the
        share of a new image's label by a probability of 1 - alpha.
      share: one of `guarantee.SHARES`, of the margin.
      risk: alpha of a mask of bounded risk, or None: it misses a share of alpha of a new image's
        label at most, on average.
    """

    entropy: bool = False
    disagreement: bool = False
    raters: bool = False
    samples: int = 0
    spread: bool = False
    margin: float | None = None
    share: float = guarantee.DEFAULT_SHARE
    risk: float | None = None


class Certainty(NamedTuple):
    """What is said of one image; None for what was not wanted.

    Attributes:
      entropy: of the probabilities, in nats, ``[*S]``.
      disagreement: the probability that two raters' labels differ, ``[*S]``.
      margin: the mask with its margin of each class but the background, ``[C, *S]``.
      risk: the mask of bounded risk of each of them, ``[C, *S]``.
    """

    entropy: Float[np.ndarray, "*S"] | None = None
    disagreement: Float[np.ndarray, "*S"] | None = None
    margin: Bool[np.ndarray, "C *S"] | None = None
    risk: Bool[np.ndarray, "C *S"] | None = None


class Assessor:
    """Says of images how sure a run is.

    Attributes:
      wanted: what is to be said.
      predict: what the run says of an image, with all that is wanted.
    """

    def __init__(
        self,
        loaded: networks.Networks,
        wanted: Wanted,
        *,
        mirror: bool = False,
        decision: str = "",
    ):
        """Looks whether the run can say what is wanted.

        Args:
          mirror: whether mirror images are predicted too.
          decision: by which masks are made, "" for the run's own.

        Raises:
          ValueError: that names the option of which the run has nothing to say.
        """
        self.wanted = wanted
        axes = loaded.mirror_axes() if mirror else ()
        checks.positive("samples", wanted.samples, or_zero=True)
        offered = ensemble.Offer(0, 0)
        if wanted.raters or wanted.disagreement or wanted.samples:
            offered = ensemble.offer(*loaded.trained)
        method = loaded.first.config.method
        if wanted.raters and not offered.raters:
            raise ValueError(f"raters: expected a method that models them, got {method}")
        if wanted.samples > offered.samples:
            raise ValueError(
                f"samples: expected at most {offered.samples}, which is what {len(loaded.trained)} "
                f"networks of {method} draw, got {wanted.samples}"
            )
        if wanted.spread and len(loaded.trained) * 2 ** len(axes) == 1:
            raise ValueError("spread: expected several networks, or mirror images, got one network")
        self._margins = self._thresholds = None
        if wanted.margin is not None or wanted.risk is not None:
            found = guarantee.read(loaded.run, loaded.first.facts.class_names)
            if wanted.margin is not None:
                if decision not in ("", found.decision):
                    raise ValueError(
                        f"margin: expected the decision {found.decision}, whose masks were "
                        f"measured out of fold, got {decision}"
                    )
                self._margins = found.margins(wanted.margin, wanted.share)
            if wanted.risk is not None:
                self._thresholds = found.thresholds(wanted.risk)
        self.predict = loaded.predictor(
            mirror_axes=axes,
            raters=wanted.raters or (wanted.disagreement and offered.raters > 1),
            samples=wanted.samples,
            spread=wanted.spread,
        )

    def say(self, maps: ensemble.Maps, segmentation: UInt8[np.ndarray, "*S"]) -> Certainty:
        """Returns how sure the run is of an image that it has predicted."""
        said, probs = {}, maps.probs
        if self.wanted.entropy:
            said["entropy"] = entropy(probs)
        if self.wanted.disagreement:
            said["disagreement"] = disagreement(probs, maps.raters)
        if self._margins is not None:
            said["margin"] = np.stack([
                guarantee.dilated(segmentation == label, count)
                for label, count in enumerate(self._margins, 1)
            ])  # fmt: skip
        if self._thresholds is not None:
            said["risk"] = np.stack([
                probs[..., label] >= np.float32(least)
                for label, least in enumerate(self._thresholds, 1)
            ])  # fmt: skip
        return Certainty(**said)


def entropy(probs: Float[np.ndarray, "*S L"]) -> Float[np.ndarray, "*S"]:
    """Returns the entropy of probabilities, in nats.

    >>> entropy(np.array([[0.5, 0.5], [1.0, 0.0]], np.float32))
    array([0.6931472, 0.       ], dtype=float32)
    """
    least, total = np.finfo(np.float32).tiny, np.zeros(probs.shape[:-1], np.float32)
    # A class at a time: a large case leaves no room for copies of all of it.
    for label in range(probs.shape[-1]):
        own = probs[..., label]
        total -= own * np.log(np.maximum(own, least))
    return np.maximum(total, 0)


def disagreement(
    probs: Float[np.ndarray, "*S L"], raters: Float[np.ndarray, "R *S L"] | None = None
) -> Float[np.ndarray, "*S"]:
    """Returns the probability that the labels of two raters differ.

    Of R > 1 raters it is ``1 - sum_c p_r(c) p_s(c)``, mean over their pairs, who label
    independently of each other given the image. Without them both label by the probabilities:
    ``1 - sum_c p(c)^2``.

    >>> raters = np.array([[[1.0, 0.0]], [[0.25, 0.75]]], np.float32)
    >>> disagreement(raters.mean(axis=0), raters)
    array([0.75], dtype=float32)
    >>> disagreement(raters[1])
    array([0.375], dtype=float32)
    """
    same = np.zeros(probs.shape[:-1], np.float32)
    if raters is None or len(raters) < 2:
        for label in range(probs.shape[-1]):
            same += np.square(probs[..., label])
    else:
        pairs = np.float32(len(raters) * (len(raters) - 1))
        for label in range(probs.shape[-1]):
            own = raters[..., label]
            same += (np.square(own.sum(axis=0)) - np.square(own).sum(axis=0)) / pairs
    return np.clip(1 - same, 0, 1)
