"""Read-only access to runs: restoring what was trained, and evaluating it again."""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import ml_collections

from noisyjax.core import checks, files
from noisyjax.methods import base
from noisyjax.train import config_fields, experiments, runs, train_state
from noisyjax.train.evaluation import evaluate
from noisyjax.train.workdir import (
    checkpoint_digests,
    checkpoints,
    config_and_summary,
    data_facts,
    folder_facts,
)


class Trained(NamedTuple):
    """A trained method without the run's data.

    Attributes:
      method: predicts whole images.
      variables: those to evaluate with.
    """

    config: ml_collections.ConfigDict
    facts: data_facts.DataFacts
    method: base.Method
    variables: Any


def _config(folder: pathlib.Path) -> ml_collections.ConfigDict:
    """Reads the config of a run that has checkpoints, which are of that config."""
    config = config_and_summary.load_config(folder)
    if not (folder / checkpoints.FOLDER).is_dir():
        raise FileNotFoundError(
            f"{folder / checkpoints.FOLDER}: not there, the run has no checkpoint yet"
        )
    # Before data are read, or anything is built, of sizes that it says.
    checkpoint_digests.check_newest(folder / checkpoints.FOLDER, config_and_summary.digest(folder))
    return config


def _moved(
    config: ml_collections.ConfigDict, options: Mapping[str, Any]
) -> ml_collections.ConfigDict:
    """Says in a config where the data are now."""
    given = {f"data.options.{name}": value for name, value in options.items()}
    for name in given:
        checks.one_of("options", name, config_fields.LOCATIONS)
    moved = ml_collections.ConfigDict(config.to_dict())
    moved.data.options.update(options)
    return config_fields.resolve(moved)


def _restored(
    folder: pathlib.Path, init: Callable[[], train_state.TrainState], checkpoint: str
) -> train_state.TrainState:
    """Reads a checkpoint of a run, and changes nothing."""
    path = folder / checkpoints.FOLDER
    # First, for the run may end in between.
    last = config_and_summary.read_last(folder)
    config = config_and_summary.digest(folder)
    # Nothing is written, so that it does not matter how many are kept.
    with checkpoints.Checkpoints(path, keep=1, config=config, read_only=True) as store:
        restored = store.restore(jax.eval_shape(init), which=checkpoint)
    if restored is None:
        raise FileNotFoundError(f"{path}: empty, the run has no checkpoint yet")
    config_and_summary.check_last(folder, last, which=checkpoint, step=int(restored.step))
    return restored


def restore(
    workdir: str | os.PathLike,
    *,
    checkpoint: str = "latest",
    options: Mapping[str, Any] | None = None,
) -> tuple[runs.Run, Any]:
    """Restores a run, which need not be finished, to look at it; nothing in its folder is changed.

    Where images or labels have changed since the run began, a warning names them.

    Args:
      checkpoint: "latest" or "best".
      options: those of ``data.options`` that say where the data are, if they have been moved.

    Returns:
      (the run, the variables to evaluate with).

    Raises:
      FileNotFoundError: if there is no such run, or it has no checkpoint.
      ValueError: if no validation has chosen a best checkpoint, or the cases are not those that
        the run began with; `checkpoints.Damaged` if no checkpoint is good, or that of a finished
        run is not.
    """
    folder = config_and_summary.absolute(workdir)
    config = _moved(_config(folder), options or {})
    run = runs.set_up(config, folder, read_only=True)
    restored = _restored(folder, run.init, checkpoint)
    return run, train_state.evaluation_variables(run.parallel.replicate(restored))


def restore_without_data(workdir: str | os.PathLike, *, checkpoint: str = "latest") -> Trained:
    """Restores what a run has trained, from its working directory alone, which is not changed.

    The checkpoint is "latest" or "best". Raises as `restore`, and `FileNotFoundError` if the facts
    of its data are gone.
    """
    folder = config_and_summary.absolute(workdir)
    config = _config(folder)
    facts = data_facts.read(folder)
    regions = None
    if config.data.name == "folder":
        try:
            folder_facts.check(facts.about)
            regions = folder_facts.regions(facts.about, len(facts.class_names))
        except ValueError as error:
            raise ValueError(f"{folder / data_facts.FILE}: {error}") from None
    sizes = {"num_raters": len(facts.rater_names), "num_classes": len(facts.class_names)}
    method = experiments.build_method(config, regions=regions, axis_name=None, **sizes)
    method = experiments.with_strategy(config, method, num_examples=facts.num_examples)
    state = _restored(folder, runs.start(config, method, facts).init, checkpoint)
    return Trained(config, facts, method, train_state.evaluation_variables(state))


def evaluate_run(
    workdir: str | os.PathLike,
    *,
    split: str = "test",
    checkpoint: str = "latest",
    decisions: Sequence[str] = (),
    output: str | os.PathLike | None = None,
    options: Mapping[str, Any] | None = None,
) -> evaluate.Evaluation:
    """Evaluates a checkpoint of a run, which need not be finished; nothing of the run is changed.

    Args:
      split: "train", "val" or "test".
      checkpoint: "latest" or "best".
      decisions: how probabilities become masks, see `case_metrics.case_values`; the run's if empty.
      output: where the reports go, by default ``evaluations/<split>-<checkpoint>`` in the workdir.
      options: as for `restore`.

    Raises:
      FileNotFoundError: if there is no such run, or it has no checkpoint.
      ValueError: if there is no such split, or as `restore`.
    """
    target = None if output is None else files.named("output", output)
    run, variables = restore(workdir, checkpoint=checkpoint, options=options)
    evaluate_split = run.evaluate
    if decisions:
        given = run.config.evaluate
        evaluate_split = evaluate.build(
            run.experiment,
            run.parallel,
            batch_size=given.batch_size,
            decisions=tuple(decisions),
            surface=given.surface,
            raters=given.raters,
            tolerance=given.tolerance,
            overlap=given.overlap,
        )
    result = evaluate_split(variables, split)
    target = target or run.folder / f"evaluations/{split}-{checkpoint}"
    evaluate.write(result, target, split, run.experiment.rater_names)
    return result
