"""What one trained run looks like: images, raters, estimated truth and confusion matrices."""

import os

import jax
import matplotlib.figure
import numpy as np

from noisyjax import train
from noisyjax.studies import pictures

SPLIT = "test"


def figure(workdir: str | os.PathLike, *, count: int = 3) -> matplotlib.figure.Figure:
    """Draws the first test cases of a finished run whose method estimates confusion matrices.

    Args:
      workdir: the run's folder.
      count: number of cases.

    Returns:
      A figure, see `pictures.raters`.

    Raises:
      ValueError: if the run's method has no confusion matrices, or its images are volumes.
    """
    run, variables = train.restore(workdir)
    cases = run.experiment.examples[SPLIT]
    chosen = [cases[index] for index in range(min(count, len(cases)))]
    batch = {name: np.stack([case[name] for case in chosen]) for name in chosen[0]}
    if batch["truth"].ndim != 3:
        raise ValueError(f"{workdir}: expected 2-D images, got shape {batch['image'].shape}")
    prediction = jax.device_get(jax.jit(run.experiment.method.predict)(variables, batch["image"]))
    if prediction.cms is None:
        raise ValueError(f"{workdir}: the method {run.config.method} has no confusion matrices")
    return pictures.raters(
        batch["image"],
        batch["labels"],
        batch["truth"],
        prediction.probs,
        prediction.cms,
        run.experiment.rater_names,
    )
