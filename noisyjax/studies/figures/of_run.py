"""What one trained run looks like: images, raters, confusion matrices, suspected labels."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.figure
import numpy as np

from noisyjax import train
from noisyjax.data.labels import fuse
from noisyjax.metrics import raters
from noisyjax.studies.figures import annotation_quality, noise_detection, outlines, plots
from noisyjax.train import runs

SPLIT = "test"

# Pixels around what is outlined.
_MARGIN = 8


def figures(workdir: str | os.PathLike, *, count: int = 3) -> dict[str, matplotlib.figure.Figure]:
    """Draws what a finished run says about its labels.

    For a run with a strategy: "suspects", the training cases of highest loss, and "detection", how
    well it detects noisy labels (`noise_detection`).

    For a method that assesses annotations: "quality", the training cases to look at again, and
    "maps", where it trusts them (`annotation_quality`).

    For a method that estimates confusion matrices: "raters", where each rater errs in the first
    `count` test cases, and where the method expects it (`plots.raters`); "contours", the outlines
    and the expected ones; "matrices", each rater's matrix, counted and estimated, over all test
    cases (`outlines`).

    Raises:
      ValueError: if none of the three applies, or the run has matrices and its images are volumes.
    """
    run, variables = train.restore(workdir)
    drawn = {}
    if run.config.train.strategy != "none":
        drawn["suspects"] = noise_detection.contact_sheet(run, variables)
        drawn["detection"] = noise_detection.curves(workdir)
    if run.experiment.method.assess is not None:
        drawn["quality"] = annotation_quality.contact_sheet(run, variables)
        drawn["maps"] = annotation_quality.maps(run, variables)
    method, batch = run.experiment.method, run.experiment.example_batch()
    if jax.eval_shape(method.predict, variables, batch["image"]).cms is not None:
        drawn |= _raters(run, variables, count)
    if not drawn:
        raise ValueError(
            f"{workdir}: the method {run.config.method} has no confusion matrices "
            "and judges no annotations, and the run has no strategy"
        )
    return drawn


def _raters(run: runs.Run, variables: Any, count: int) -> dict[str, matplotlib.figure.Figure]:
    """The raters in the test cases."""
    experiment = run.experiment
    cases, names = experiment.examples[SPLIT], experiment.rater_names
    batch = cases.take(np.arange(min(count, len(cases))))
    if batch["truth"].ndim != 3:
        raise ValueError(f"{run.folder}: expected 2-D images, got shape {batch['image'].shape}")
    prediction = jax.device_get(jax.jit(experiment.method.predict)(variables, batch["image"]))
    num_classes = experiment.data.num_classes

    def count_pairs(case: dict[str, jax.Array]) -> jax.Array:
        labels, truth, mask = case["labels"], case["truth"], case["rater_mask"]
        return raters.joint_counts(labels, truth, num_classes, rater_mask=mask)

    def take(indices: np.ndarray) -> dict[str, np.ndarray]:
        given = cases.take(indices)
        return {name: given[name] for name in ("labels", "truth", "rater_mask")}

    pairs = fuse.map_cases(count_pairs, take, len(cases)).sum(axis=0, dtype=np.int64)
    true_cms = np.asarray(raters.matrices(jnp.asarray(pairs, jnp.float32)))
    labels, truth = batch["labels"], batch["truth"]
    return {
        "raters": plots.raters(
            batch["image"], labels, truth, prediction.probs, prediction.cms, names
        ),
        "contours": outlines.contours(
            batch["image"],
            labels,
            prediction.rater_probs.argmax(axis=-1),
            truth,
            prediction.probs.argmax(axis=-1),
            names,
            rater_mask=batch["rater_mask"],
            truth_name=run.config.data.gold or "truth",
            margin=_MARGIN,
        ),
        "matrices": outlines.matrices(
            true_cms, run.evaluate(variables, SPLIT).mean_cms, names, experiment.data.class_names
        ),
    }
