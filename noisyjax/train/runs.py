"""Everything that is fixed during a run, built from its config."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from jaxtyping import Float

from noisyjax.core import rng
from noisyjax.data import pipeline
from noisyjax.methods import base
from noisyjax.train import experiments, optimiser, step, train_state
from noisyjax.train.devices import parallelism
from noisyjax.train.evaluation import evaluate
from noisyjax.train.workdir import data_facts


class Start(NamedTuple):
    """What a run begins with; none of it takes the data.

    Attributes:
      init: ``() -> state`` before the first update.
      schedule: number of updates done to learning rate.
    """

    init: Callable[[], train_state.TrainState]
    optimiser: optax.GradientTransformation
    schedule: optimiser.Schedule
    steps_per_epoch: int


@dataclasses.dataclass(frozen=True)
class Run:
    """Everything that is fixed during a run.

    Attributes:
      facts: what is kept of the data in the working directory.
      init: ``() -> state`` before the first update.
      step: ``(state, batch, key) -> (state, report)``, compiled; the state given is used up.
      evaluate: ``(variables, split) -> Evaluation``.
      schedule: number of updates done to learning rate.
    """

    config: ml_collections.ConfigDict
    folder: pathlib.Path
    experiment: experiments.Experiment
    facts: data_facts.DataFacts
    parallel: parallelism.Parallel
    init: Callable[[], train_state.TrainState]
    step: Callable[..., tuple[train_state.TrainState, step.Report]]
    evaluate: Callable[[Any, str], evaluate.Evaluation]
    schedule: optimiser.Schedule
    steps_per_epoch: int

    @property
    def num_steps(self) -> int:
        """Updates of the whole run."""
        return self.config.train.epochs * self.steps_per_epoch

    def due(self, now: int, every_epochs: int) -> bool:
        """Tells whether something that happens every few epochs, and at the end, happens now."""
        return now == self.num_steps or now % (every_epochs * self.steps_per_epoch) == 0

    def batches(self, start: int) -> Iterator[dict[str, Any]]:
        """Returns this process's part of the batches from a step to the end."""
        return pipeline.train_batches(
            self.experiment.examples["train"],
            batch_size=self.config.train.batch_size,
            seed=self.config.seed,
            num_steps=self.num_steps,
            start_step=start,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            draw=self.experiment.draw,
            weights=_weights(self.experiment),
        )


def _weights(experiment: experiments.Experiment) -> Float[np.ndarray, "N"] | None:
    """Returns what the training examples count, 1 in the mean, float32; None for all the same."""
    if experiment.data.weights is None:
        return None
    own = experiment.data.weights[experiment.examples["train"].ids]
    return (own / own.mean()).astype(np.float32)


def start(
    config: ml_collections.ConfigDict, method: base.Method, facts: data_facts.DataFacts
) -> Start:
    """Builds the optimiser and the state before the first update, for a method with its strategy.

    Raises `ValueError` if the config does not fit together.
    """
    settings = config.train
    per_epoch = pipeline.steps_per_epoch(facts.num_examples, settings.batch_size)
    total = settings.epochs * per_epoch
    schedule = optimiser.schedule(
        settings.schedule,
        learning_rate=settings.learning_rate,
        total_steps=total,
        warmup_steps=max(settings.warmup_steps, int(settings.warmup_share * total)),
        steps_per_epoch=per_epoch,
        decay_rate=settings.decay_rate,
    )
    transformation = optimiser.build(
        settings.optimizer,
        schedule,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
        gradient_clip=settings.gradient_clip,
        head_learning_rate=settings.head_learning_rate,
        param_labels=method.param_labels,
    )

    def init() -> train_state.TrainState:
        # Zeros will do: methods read the shapes only.
        batch = {name: jnp.zeros(leaf.shape, leaf.dtype) for name, leaf in facts.batch.items()}
        variables = method.init(rng.purpose_key(config.seed, "init"), batch)
        return train_state.create(variables, transformation, ema=settings.ema > 0)

    return Start(init, transformation, schedule, per_epoch)


def update(
    config: ml_collections.ConfigDict,
    experiment: experiments.Experiment,
    begin: Start,
    *,
    axis_name: str | None,
) -> Callable[..., tuple[train_state.TrainState, step.Report]]:
    """Returns `step.train_step` as a run does it: ``(state, batch, key) -> (state, report)``."""
    return functools.partial(
        step.train_step,
        method=experiment.method,
        optimiser=begin.optimiser,
        transform=experiment.transform,
        ema=config.train.ema,
        axis_name=axis_name,
        microbatches=config.train.accumulate,
    )


def set_up(
    config: ml_collections.ConfigDict,
    folder: pathlib.Path,
    *,
    devices: Sequence[Any] | None = None,
    read_only: bool = False,
) -> Run:
    """Builds everything that a config describes; nothing is computed but the examples' labels.

    The run works on all devices by default; `read_only` is that of `experiments.build`. Raises
    `ValueError` if the config does not fit together, or the data are not those of the run.
    """
    evaluate.check_criterion(config.evaluate.select)
    microbatches = config.train.accumulate
    sizes = {"microbatches": microbatches, "spatial_shards": config.spatial_shards}
    parallel = parallelism.build(config.parallel, devices, **sizes)
    experiment = experiments.build(
        config, folder, axis_name=parallel.axis_name, read_only=read_only
    )
    facts = experiment.facts()
    begin = start(config, experiment.method, facts)
    variables = train_state.evaluation_variables(jax.eval_shape(begin.init))
    experiments.warn_about_raters(experiment, variables, facts.batch)
    return Run(
        config=config,
        folder=folder,
        experiment=experiment,
        facts=facts,
        parallel=parallel,
        # Used once: full optimisation would take three times as long to compile, for the same bits.
        init=jax.jit(begin.init, compiler_options={"xla_backend_optimization_level": 1}),
        step=parallel.step(update(config, experiment, begin, axis_name=parallel.axis_name)),
        evaluate=evaluate.build(
            experiment,
            parallel,
            batch_size=config.evaluate.batch_size,
            decisions=config.evaluate.decisions,
            surface=config.evaluate.surface,
            raters=config.evaluate.raters,
            tolerance=config.evaluate.tolerance,
            overlap=config.evaluate.overlap,
        ),
        schedule=begin.schedule,
        steps_per_epoch=begin.steps_per_epoch,
    )
