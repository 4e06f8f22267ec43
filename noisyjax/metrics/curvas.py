"""Metrics of the CURVAS 2024 challenge: where all raters agree, and how large the organ is.

Classes are compared one by one against the rest. Inside is where every rater who is present gave
the class, outside where none did; where they differ, or one gave no label (id 255), nothing counts.

References:
  Riera-Marín et al., Calibration and Uncertainty for multiRater Volume Assessment in multiorgan
  Segmentation (CURVAS) challenge results, 2025.
"""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
import scipy.special
from jax.scipy import stats
from jaxtyping import Array, Bool, Float, Integer

from noisyjax.core import checks
from noisyjax.metrics import mask_pairs

DICE_FORMS = ("volume", "rows")
CRPS_FORMS = ("curvas", "gaussian")

# The challenge's distribution function is linear between 100 knots from the 1 % to the 99 %
# quantile and 0 and 1 beyond, and is integrated up to 3 standard deviations from the mean.
_KNOTS = np.linspace(*scipy.special.ndtri([0.01, 0.99]), 100)
_HEIGHTS = scipy.special.ndtr(_KNOTS)
_REACH = 3.0


def _agreed(
    labels: Array, classes: int, rater_mask: Array | None
) -> Iterator[tuple[Bool[Array, "*S"], Bool[Array, "*S"]]]:
    """Yields the pixels inside and outside of each class of the foreground."""
    present = mask_pairs.present(labels, rater_mask)
    labelled = mask_pairs.labelled(labels, present) & jnp.any(present)
    absent = ~mask_pairs.per_pixel(present, labels)
    for index in range(1, classes):
        says = labels == index
        yield jnp.all(says | absent, axis=0) & labelled, ~jnp.any(says & ~absent, axis=0) & labelled


def consensus_dice(
    segmentation: Integer[Array, "*S"],
    labels: Integer[Array, "R *S"],
    num_classes: int,
    *,
    rater_mask: Bool[Array, "R"] | None = None,
    form: str = "volume",
) -> Float[Array, "C"]:
    """Returns the Dice of each class of the foreground where raters agree, ``[L - 1]``.

    NaN where there is no pixel that all of them gave the class.

    Args:
      segmentation: predicted class ids, ``[*S]``.
      labels: raters' class ids, ``[R, *S]``.
      rater_mask: who labelled the image, ``[R]``.
      form: "volume", or "rows" for what the challenge's script computes: the Dice of each row of a
        slice that holds the inside of the class, but for the first row, averaged over the rows of a
        slice and then over slices (the first axis of a volume).

    >>> labels = jnp.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0]])
    >>> consensus_dice(jnp.array([1, 1, 1, 0]), labels, 2).round(4)
    Array([0.6667], dtype=float32)
    """
    checks.ids("segmentation", segmentation)
    checks.ids("labels", labels)
    checks.shape("labels", labels, (None, *segmentation.shape), like="segmentation")
    checks.at_least("num_classes", num_classes, 2)
    checks.one_of("form", form, DICE_FORMS)
    if form == "rows":
        checks.rank("segmentation", segmentation, (2, 3))
    scores = []
    for index, (inside, outside) in enumerate(_agreed(labels, num_classes, rater_mask), start=1):
        predicted = (segmentation == index) & (inside | outside)
        if form == "volume":
            scores.append(_dice(predicted, inside, tuple(range(inside.ndim))))
        else:
            rows = _dice(predicted, inside, -1)[..., 1:]
            slices = jnp.mean(rows, axis=-1, where=~jnp.isnan(rows))
            scores.append(jnp.mean(slices, where=~jnp.isnan(slices)))
    return jnp.stack(scores)


def _dice(
    predicted: Bool[Array, "*S"], inside: Bool[Array, "*S"], axis: int | tuple[int, ...]
) -> Float[Array, "..."]:
    both, guess, true = (
        jnp.sum(mask, axis=axis, dtype=jnp.int32).astype(jnp.float32)
        for mask in (predicted & inside, predicted, inside)
    )
    return jnp.where(true > 0, 2.0 * both / jnp.maximum(guess + true, 1.0), jnp.nan)


def consensus_confidence(
    probs: Float[Array, "*S L"],
    labels: Integer[Array, "R *S"],
    *,
    rater_mask: Bool[Array, "R"] | None = None,
) -> Float[Array, "C"]:
    """Returns how sure a prediction is of each class where raters agree, ``[L - 1]``, 1 is best.

    Half the mean probability inside plus half that of any other class outside. NaN where either
    holds no pixel.

    Args:
      probs: ``[*S, L]``.
      labels: raters' class ids, ``[R, *S]``.
      rater_mask: who labelled the image, ``[R]``.

    >>> labels = jnp.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0]])
    >>> p = jnp.array([0.9, 0.5, 0.6, 0.1])
    >>> consensus_confidence(jnp.stack([1 - p, p], axis=-1), labels).round(4)
    Array([0.775], dtype=float32)
    """
    checks.ids("labels", labels)
    checks.shape("labels", labels, (None, *probs.shape[:-1]), like="probs")
    scores = []
    classes = probs.shape[-1]
    for index, (inside, outside) in enumerate(_agreed(labels, classes, rater_mask), start=1):
        of_class = probs[..., index]
        within, beyond = (jnp.mean(of_class, where=mask) for mask in (inside, outside))
        scores.append(0.5 * (within + 1.0 - beyond))
    return jnp.stack(scores)


def volume_crps(
    volume: Float[Array, ""] | float | int,
    rater_volumes: Float[Array, "R"],
    *,
    form: str = "curvas",
    rater_mask: Bool[Array, "R"] | None = None,
) -> Float[Array, ""]:
    """Returns the continuous ranked probability score of a volume, in its unit; 0 is best.

    Raters' volumes give a normal distribution (divisor R). Where they are equal the score is the
    distance from them; NaN without raters.

    Args:
      volume: the sum of a class's probabilities times the volume of a voxel.
      rater_volumes: of the same class, ``[R]``.
      form: "gaussian", the score itself, or "curvas", as in the challenge's script: of a
        distribution function that is linear between 100 knots and cut off at 1 % and 99 %, within
        three standard deviations s. It never exceeds 2.44 s, however wrong the volume is.
      rater_mask: who labelled the image, ``[R]``.

    References:
      Gneiting and Raftery, Strictly Proper Scoring Rules, Prediction, and Estimation, 2007.

    >>> round(float(volume_crps(100.0, jnp.array([90.0, 100.0, 110.0]), form="gaussian")), 3)
    1.908
    """
    checks.one_of("form", form, CRPS_FORMS)
    checks.masks(rater_mask=rater_mask)
    rater_volumes = jnp.asarray(rater_volumes, jnp.float32)
    checks.rank("rater_volumes", rater_volumes, 1)
    if rater_mask is not None:
        checks.shape("rater_mask", rater_mask, rater_volumes.shape, like="rater_volumes")
    mean, sd = (f(rater_volumes, where=rater_mask) for f in (jnp.mean, jnp.std))
    distance = jnp.asarray(volume, jnp.float32) - mean
    z = distance / jnp.where(sd > 0, sd, 1.0)
    if form == "gaussian":
        spread = z * (2.0 * stats.norm.cdf(z) - 1.0) + 2.0 * stats.norm.pdf(z)
        score = sd * (spread - 1.0 / np.sqrt(np.pi))
    else:
        # Above the volume it is 1 - F that is integrated, which mirrors F.
        score = sd * (_squared_integral(z) + _squared_integral(-z))
    return jnp.where(sd == 0, jnp.abs(distance), score)


def _squared_integral(z: Float[Array, ""]) -> Float[Array, ""]:
    """Integrates the square of the challenge's distribution function up to z."""
    knots, heights = (jnp.asarray(values, jnp.float32) for values in (_KNOTS, _HEIGHTS))
    width = jnp.clip(z - knots[:-1], 0.0, jnp.diff(knots))
    low = heights[:-1]
    high = low + jnp.diff(heights) / jnp.diff(knots) * width
    between = jnp.sum(width * (low * low + low * high + high * high)) / 3.0
    return between + jnp.clip(z - knots[-1], 0.0, _REACH - knots[-1])
