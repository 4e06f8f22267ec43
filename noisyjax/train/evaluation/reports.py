"""The end of a run: its reports, one after the other.

Each is ``report(run, state, variables) -> summary``: it may write files into the run's folder, and
returns name to number. The state is the final one, the variables those of the tested checkpoint.
"""

from typing import Any

from noisyjax.train import runs, train_state
from noisyjax.train.evaluation import (
    annotation_quality,
    evaluate,
    fusion_quality,
    noise_detection,
    starvation,
)


def evaluate_splits(
    run: runs.Run, state: train_state.TrainState, variables: Any
) -> dict[str, float]:
    """Evaluates on validation and test cases, with ``evaluate.train`` on training cases too.

    Returns "test_*", "val_*" and "train_*" of the splits that there are.
    """
    summary = {}
    splits = ("train", "val", "test") if run.config.evaluate.train else ("val", "test")
    for split in splits:
        if split in run.experiment.examples:
            result = run.evaluate(variables, split)
            evaluate.write(result, run.folder, split, run.experiment.rater_names)
            summary |= {f"{split}_{name}": value for name, value in result.scalars.items()}
    return summary


def skipped_cases(run: runs.Run, state: train_state.TrainState, variables: Any) -> dict[str, float]:
    """Returns "skipped_cases", if damaged cases may be left out."""
    if run.experiment.skipped is None:
        return {}
    return {"skipped_cases": float(sum(run.experiment.skipped.values()))}


REPORTS = (
    evaluate_splits,
    skipped_cases,
    fusion_quality.report,
    noise_detection.report,
    annotation_quality.report,
    starvation.report,
)
