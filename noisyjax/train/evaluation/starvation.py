"""Whether what predicts was taught: a method's own threshold can leave out nearly everything.

UMA-Net's quality scores, adaptive denoising learning, co-teaching, the weights of PINT and the
teacher of COPLE-Net choose what teaches the network that predicts (`methods.base.LEARNING`).
Thresholds that suit one data set may choose nothing of another, and such a run ends like any other.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from noisyjax.methods import base
from noisyjax.train import runs, train_state
from noisyjax.train.workdir import metrics_log

# Of the examples; where fewer of them teach what predicts, it starves.
LEAST = 0.05


def notice(now: int, row: Mapping[str, float], *, noticed: bool) -> bool:
    """Warns of the first window of steps in which what predicts starved; returns whether any has.

    `row` has the means over the window that ends with step `now`.
    """
    share = row.get(base.LEARNING, 1.0)
    if share < LEAST and not noticed:
        logging.warning(
            "step %d: %.1f %% of the last examples teach the network that predicts; it learns next "
            "to nothing unless the method's thresholds let more of them pass",
            now,
            100 * share,
        )
    return noticed or share < LEAST


def of_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Returns "learning" and "starved_steps" of the rows of ``metrics.jsonl``.

    The first is the share of the examples that taught what predicts, over all updates; the second
    the number of updates in windows in which it is below `LEAST`. Nothing for methods that leave no
    example out.

    >>> rows = [{"step": 10, "train_learning": 1.0}, {"step": 40, "train_learning": 0.0}]
    >>> of_rows(rows)
    {'learning': 0.25, 'starved_steps': 30.0}
    """
    column = f"train_{base.LEARNING}"
    rows = [row for row in rows if isinstance(row.get(column), float)]
    if not rows:
        return {}
    shares = np.array([row[column] for row in rows])
    steps = np.diff([0, *(row["step"] for row in rows)])
    mean = float(np.average(shares, weights=steps))
    return {base.LEARNING: mean, "starved_steps": float(steps[shares < LEAST].sum())}


def report(run: runs.Run, state: train_state.TrainState, variables: Any) -> dict[str, float]:
    """Returns what `of_rows` does of a run, and warns if what predicts starved."""
    del state, variables
    found = of_rows(metrics_log.read_metrics(run.folder / metrics_log.METRICS_FILE))
    if found.get("starved_steps"):
        logging.warning(
            "in %d of %d updates fewer than %g %% of the examples taught the network that predicts "
            "(%.1f %% in all): its results say little unless the method's thresholds fit the data",
            found["starved_steps"],
            run.num_steps,
            100 * LEAST,
            100 * found[base.LEARNING],
        )
    return found
