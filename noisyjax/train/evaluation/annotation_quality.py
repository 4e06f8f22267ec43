"""The annotations of the training cases, ranked by what the method thinks of them.

At the end of a run whose method assesses annotations, ``quality.csv`` lists every training case,
the one to look at again first.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jaxtyping import Integer

from noisyjax.core import files
from noisyjax.methods import sliding_window
from noisyjax.metrics import confusion, overlap
from noisyjax.train import experiments, runs, train_state
from noisyjax.train.devices import distributed, parallelism
from noisyjax.train.evaluation import known_truth, map_examples

QUALITY_FILE = "quality.csv"
SCORES = ("confidence", "agreement", "quality")

# Share of cases of high quality below which a run is warned of.
_LOW_SHARE = 0.1

# The truth that the method does not see.
_KNOWN = "known_truth"


def truths(
    experiment: experiments.Experiment, batch: dict[str, np.ndarray]
) -> Integer[np.ndarray, "B *S"] | None:
    """Returns the truth of a batch of training examples, whether the method sees it or not.

    It is ``[B, *S]``, of the gold standard if there is one, or None where nothing is known.
    """
    return experiment.examples["train"].truths(batch["index"])


def rank(run: runs.Run, variables: Any) -> dict[str, np.ndarray]:
    """Assesses the annotations of every training case; the run's method has `base.Method.assess`.

    Returns:
      Columns of a table, N values each, the worst case first: that of the lowest quality, and of
      equal ones that with the largest sum of the two scores. "id"; "confidence", "agreement" and
      "quality" as in `base.Assessment`; where the truth is known, which the method does not see,
      "dice", of the case's annotations to it, a mean over them and the classes of the foreground.
    """
    examples = run.experiment.examples["train"]
    batch_size = min(run.config.evaluate.batch_size, len(examples))
    columns = {"id": examples.ids, **_measure(run.experiment, run.parallel, variables, batch_size)}
    order = np.lexsort((-columns["confidence"] - columns["agreement"], columns["quality"]))
    return {name: values[order] for name, values in columns.items()}


def report(run: runs.Run, state: train_state.TrainState, variables: Any) -> dict[str, float]:
    """Writes ``quality.csv``, if the method assesses annotations.

    Returns:
      "quality_mean", of all cases; where the truth is known, "quality_confidence_rank" and
      "quality_agreement_rank", Spearman's correlation of a score, its sign turned, with the Dice of
      the annotations: 1 if it puts the cases in the order of the true quality. What is undefined is
      left out. Empty if the method does not assess annotations.
    """
    if run.experiment.method.assess is None:
        return {}
    table = rank(run, variables)
    cases = [run.experiment.data.case_name(int(example_id)) for example_id in table["id"]]
    written = {"id": table["id"], "case": cases}
    for name in (*SCORES, "dice"):
        if name in table:
            written[name] = [f"{value:.9g}" for value in table[name]]
    rows = zip(*written.values(), strict=True)
    if distributed.is_writer():
        files.write_text(run.folder / QUALITY_FILE, files.to_csv(list(written), rows))
    values = {"quality_mean": float(table["quality"].mean())}
    if values["quality_mean"] < _LOW_SHARE:
        logging.warning(
            "%s: %.1f %% of the training cases are of high quality, and only they teach the "
            "network that predicts: raise the thresholds, or train longer before they count "
            "(confidence scores are at least %.2f, agreement scores %.2f)",
            run.folder, 100 * values["quality_mean"], *(table[name].min() for name in SCORES[:2]),
        )  # fmt: skip
    for name in SCORES[:2]:
        if "dice" in table:
            rho = confusion.ranking_agreement(-table[name], table["dice"])
            values[f"quality_{name}_rank"] = rho
    return {name: value for name, value in values.items() if not math.isnan(value)}


def _measure(
    experiment: experiments.Experiment,
    parallel: parallelism.Parallel,
    variables: Any,
    batch_size: int,
) -> dict[str, np.ndarray]:
    method, num_classes = experiment.method, experiment.data.num_classes
    examples = experiment.examples["train"]

    def dice(labels: jax.Array, truth: jax.Array, rater_mask: jax.Array) -> jax.Array:
        counts = jax.vmap(lambda label: overlap.counts(label, truth, num_classes))(labels)
        each = overlap.dice(counts)[:, 1:].mean(axis=-1)
        return jnp.mean(each, where=rater_mask)

    def assess(variables: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        seen = {name: array for name, array in batch.items() if name != _KNOWN}
        assessment = method.assess(variables, seen)
        values = {name: getattr(assessment, name) for name in SCORES}
        if _KNOWN in batch:
            values["dice"] = jax.vmap(dice)(batch["labels"], batch[_KNOWN], batch["rater_mask"])
        return values

    if experiment.data.own_sizes:
        return _measure_tiles(experiment, parallel, variables, parallel.map(assess))

    def with_truth(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        known = truths(experiment, batch)
        return {} if known is None else {_KNOWN: known}

    return map_examples.collect(
        parallel.map(assess),
        parallel.localise(variables),
        examples,
        batch_size=batch_size,
        extend=with_truth,
    )


def _measure_tiles(
    experiment: experiments.Experiment,
    parallel: parallelism.Parallel,
    variables: Any,
    assess: Callable[..., dict[str, jax.Array]],
) -> dict[str, np.ndarray]:
    """Assesses cases that differ in size tile by tile, of the size of a patch; means over them."""
    examples, size = experiment.examples["train"], experiment.pieces.size
    variables, num_classes = parallel.localise(variables), experiment.data.num_classes
    own, rows = np.arange(jax.process_index(), len(examples), jax.process_count()), []
    for index in map(int, own if len(own) else [0]):
        sides = zip(examples.extent(index), size, strict=True)
        starts = [sliding_window.layout(max(pair), pair[1], overlap=0).starts for pair in sides]
        scores = []
        for corner in itertools.product(*starts):
            tile = {n: a[None] for n, a in examples.part(index, corner, size).items()}
            scores.append(jax.device_get(assess(variables, tile)))
        rows.append({name: np.mean([one[name][0] for one in scores]) for name in SCORES})
        truth = examples.truths(np.array([index]))
        if truth is not None:
            whole = examples[index]
            given = whole["labels"][whole["rater_mask"]]
            each = [known_truth.dice(one, truth[0], num_classes).mean() for one in given]
            rows[-1]["dice"] = np.mean(each) if each else np.nan
    values = {name: np.array([row[name] for row in rows])[: len(own)] for name in rows[0]}
    return distributed.gather(values, own)
