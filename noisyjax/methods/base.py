"""What every method is: a frozen object of pure functions."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from noisyjax import decisions
from noisyjax.core import checks, class_regions, rng

Variables = dict[str, Any]
Batch = dict[str, Array]
Sum = Float[Array, ""]

DECISIONS = tuple(decisions.DECISIONS)
VOXELWISE = decisions.VOXELWISE

# Metric of methods that leave examples out by a threshold of their own: the share of the examples
# that taught what predicts. A run in which it is next to nothing says so.
LEARNING = "learning"


class Prediction(NamedTuple):
    """What a trained method predicts for a batch of images.

    Attributes:
      probs: probability of each true class, ``[B, *S, L]``.
      cms: confusion matrices ``A[..., i, j] = p(noisy = i | true = j)``, ``[B, R, *S, L, L]``, or
        None for methods that do not model raters.
      rater_probs: probability of each label of each rater, ``[B, R, *S, L]``, or None.
      samples: probabilities of N segmentations drawn from the model, ``[B, N, *S, L]``, or None for
        methods that do not draw any.
      region_probs: probability of each region, ``[B, *S, G]``, of methods that predict regions, or
        None; `probs` are then those of `class_regions.class_probs`.
    """

    probs: Float[Array, "B *S L"]
    cms: Float[Array, "B R *S L L"] | None = None
    rater_probs: Float[Array, "B R *S L"] | None = None
    samples: Float[Array, "B N *S L"] | None = None
    region_probs: Float[Array, "B *S G"] | None = None


class Assessment(NamedTuple):
    """How a method assesses the annotations of a batch, seen beside their images.

    Maps have one channel per foreground class, C = L - 1; what stands for an annotation that an
    image lacks has no meaning.

    Attributes:
      uncertainty: how little each annotation is to be trusted, in [0, 1], ``[B, R, *S, C]``.
      calibration: the truth by each annotation in view of that, ``[B, R, *S, C]``.
      confidence: how undecided the calibration maps of an image are, ``[B]``, 0 is decided.
      agreement: how much they contradict each other, ``[B]``, 0 is agreement.
      quality: weight of the image among those of high quality, in [0, 1], ``[B]``.
    """

    uncertainty: Float[Array, "B R *S C"]
    calibration: Float[Array, "B R *S C"]
    confidence: Float[Array, "B"]
    agreement: Float[Array, "B"]
    quality: Float[Array, "B"]


class Aux(NamedTuple):
    """What a loss returns beside its value.

    Attributes:
      metrics: name to (sum, count), to be added over devices and divided after; `LEARNING` where
        a threshold may starve what predicts.
      model_state: the network's updated statistics (batch normalisation), or an empty dict.
      losses: loss of each example, whatever its weight, ``[B]``, or None.
      records: arrays that are added over devices and then given to `Method.record`, or None.
    """

    metrics: dict[str, tuple[Sum, Sum]]
    model_state: dict[str, Any]
    losses: Float[Array, "B"] | None = None
    records: Any = None


def all_model(params: Any) -> Any:
    """Marks every parameter as the model's."""
    return jax.tree.map(lambda _: "model", params)


def label_params(params: Any) -> Any:
    """Marks each parameter as the annotators' or the model's, by its top-level name."""

    def mark(name: str, tree: Any) -> Any:
        kind = "model" if name == "segmenter" else "annotators"
        return jax.tree.map(lambda _: kind, tree)

    return {name: mark(name, tree) for name, tree in params.items()}


@dataclasses.dataclass(frozen=True)
class Method:
    """How a network is trained and asked.

    Attributes:
      init: ``(key, batch) -> variables``; reads shapes only.
      loss_fn: ``(variables, batch, key, step) -> (sum, (count, Aux))``. `key` is the run's
        `rng.root_key`; `sum` adds the examples' losses times ``batch["weight"]``, `count` adds the
        weights. The division comes after the sum over devices, so that the number of devices and
        the padding change nothing.
      predict: ``(variables, image [B, *S, K]) -> Prediction``.
      param_labels: ``params -> tree of "model" or "annotators"``, for optimisers that treat the
        annotators separately.
      needs_truth: whether `loss_fn` reads ``batch["truth"]``. Only oracles do; the training loop
        gives the truth to no other method.
      target: the key of `fusion.FUSIONS` whose probabilities `loss_fn` reads as
        ``batch["target"] [B, *S, L]``, or "". The input pipeline fuses the labels once, before
        training.
      soft: whether `loss_fn` reads ``batch["target"]`` where there is one, the mean of labels that
        are probabilities.
      record: ``(model_state, records, step) -> model_state`` after an update, or None: what the
        state is to remember beyond batch statistics. `records` is `Aux.records` of the whole batch,
        `step` the number of updates done before this one.
      assess: ``(variables, batch) -> Assessment`` of labelled examples, or None for methods that do
        not assess annotations.
      regions: what is predicted in place of the classes, or None.
      shared_draws: whether the n-th sample of every image is drawn by the same random numbers, so
        that those of neighbouring windows belong together.
    """

    init: Callable[[Array, Batch], Variables]
    loss_fn: Callable[[Variables, Batch, Array, Int[Array, ""]], tuple[Sum, tuple[Sum, Aux]]]
    predict: Callable[[Variables, Array], Prediction]
    param_labels: Callable[[Any], Any] = all_model
    needs_truth: bool = False
    target: str = ""
    record: Callable[[dict[str, Any], Any, Int[Array, ""]], dict[str, Any]] | None = None
    assess: Callable[[Variables, Batch], Assessment] | None = None
    regions: class_regions.Regions | None = None
    soft: bool = False
    shared_draws: bool = False


def segment(probs: Float[Array, "*S L"], *, decision: str = "argmax") -> Int[Array, "*S"]:
    """Turns the class probabilities of one image into class ids by one of `decisions.DECISIONS`."""
    return decisions.decide(probs, decision)


def dropout_keys(key: Array, ids: Int[Array, "B"], step: Int[Array, ""]) -> Array:
    """Returns one key per example for the dropout of one step, ``[B]``."""
    return rng.example_keys(rng.purpose_key(key, "dropout"), ids, epoch=step + 1)


def sample_rater(
    key: Array, ids: Int[Array, "B"], rater_mask: Bool[Array, "B R"], step: Int[Array, ""]
) -> Bool[Array, "B R"]:
    """Draws one of the raters who labelled each example, anew in each step; none where nobody did.

    `key` is the run's `rng.root_key`, `step` the number of updates done.
    """
    checks.masks(rater_mask=rater_mask)
    keys = rng.example_keys(rng.purpose_key(key, "raters"), ids, epoch=step + 1)

    def draw(key: Array, present: Array) -> Array:
        scores = jnp.where(present, jax.random.uniform(key, present.shape), -1.0)
        return present & (jnp.arange(present.size) == jnp.argmax(scores))

    return jax.vmap(draw)(keys, rater_mask)


def ramp(step: Int[Array, ""], ramp_steps: int) -> Float[Array, ""]:
    """Returns the share of the largest weight after some updates: sigmoid-shaped, from 0.007 to 1.

    >>> [round(float(ramp(jnp.int32(step), 100)), 4) for step in (0, 50, 100, 900)]
    [0.0067, 0.2865, 1.0, 1.0]
    """
    left = 1 - jnp.minimum(step / ramp_steps, 1.0)
    return jnp.exp(-5 * jnp.square(left))


def weighted(
    losses: Float[Array, "B"],
    weight: Float[Array, "B"],
    metrics: Mapping[str, Float[Array, "B"]],
    model_state: dict[str, Any],
) -> tuple[Sum, tuple[Sum, Aux]]:
    """Folds values of examples into what `Method.loss_fn` returns, with the metric "loss"."""
    count = weight.sum()
    sums = {
        name: ((values * weight).sum(), count)
        for name, values in {"loss": losses, **metrics}.items()
    }
    return sums["loss"][0], (count, Aux(sums, model_state, losses))
