"""What a training step takes, by the compiler's analysis of it; no data are read."""

import os
import pathlib
import re
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from noisyjax.core import compilation, rng
from noisyjax.data import pipeline, source
from noisyjax.tool.plan import fingerprint, plan
from noisyjax.tool.training import settings
from noisyjax.train import config_fields, experiments, runs

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_AMOUNT = re.compile(r"\s*([0-9.]+)\s*([kmgt]?)(i?)b?\s*", re.IGNORECASE)
# For a processor, whose memory others need too.
_OF_CPU = 4 * 10**9
# What is left of an accelerator's memory to the batches that wait.
_SHARE = 0.9
# A step is timed so often, the first of which is slower, and once if it takes so many seconds.
_TIMED = 3
_LONG = 20.0


class Compiled(NamedTuple):
    """A step that was compiled.

    Attributes:
      memory: bytes that it takes.
      parameters: of the network.
      seconds: measures how long it runs, on zeros.
    """

    memory: int
    parameters: int
    seconds: Callable[[], float]


def parse(amount: str | int) -> int:
    """Returns bytes from a text like "8GB", "500 MiB" or a number.

    >>> parse("8GB"), parse("1.5 GiB")
    (8000000000, 1610612736)
    """
    matched = _AMOUNT.fullmatch(str(amount))
    try:
        number = float(matched[1]) if matched else 0.0
    except ValueError:
        number = 0.0
    if not number > 0:
        raise ValueError(f"memory: expected an amount such as 8GB, got {amount!r}")
    units = _BINARY if matched[3] and matched[2] else _UNITS
    return int(number * units[matched[2].lower()])


def of_device() -> int:
    """Returns the bytes that a step may take on the first device."""
    stats = jax.devices()[0].memory_stats() if on_accelerator() else None
    return int(_SHARE * stats["bytes_limit"]) if stats else _OF_CPU


def on_accelerator() -> bool:
    """Returns whether the first device is no processor."""
    return jax.devices()[0].platform != "cpu"


def measure(
    root: str | os.PathLike, planned: plan.Plan, found: fingerprint.Fingerprint
) -> Compiled:
    """Compiles the very step of a training by a plan, for zeros in place of the folder's cases."""
    config = config_fields.resolve(settings.of_plan(root, planned))
    experiment = experiments.build(config, data=_zeros(planned, found))
    begin = runs.start(config, experiment.method, experiment.facts())
    update = runs.update(config, experiment, begin, axis_name=None)
    batches = pipeline.train_batches(
        experiment.examples["train"],
        batch_size=planned.batch_size,
        seed=0,
        num_steps=1,
        threads=0,
        draw=experiment.draw,
    )
    batch = next(batches)
    state, key = jax.eval_shape(begin.init), rng.root_key(config.seed)
    lowered = jax.jit(update, donate_argnums=0).lower(state, batch, key)
    usual = compilation.options(jax.devices()[0].platform)
    analysis = lowered.compile({**usual, **_quick()}).memory_analysis()
    memory = (
        analysis.temp_size_in_bytes
        + analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        - analysis.alias_size_in_bytes
    )

    def seconds() -> float:
        compiled = lowered.compile(usual)
        init = jax.jit(begin.init, compiler_options={**usual, **_quick()})
        now, on_device = init(), jax.device_put(batch)
        times: list[float] = []
        while len(times) < _TIMED and max(times, default=0.0) < _LONG:
            start = time.perf_counter()
            now, _ = jax.block_until_ready(compiled(now, on_device, key))
            times.append(time.perf_counter() - start)
        return min(times)

    count = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    return Compiled(memory, count, seconds)


def _quick() -> dict[str, int]:
    """Returns what makes compilation take a third of its time, for slower code on equal buffers."""
    return {} if on_accelerator() else {"xla_backend_optimization_level": 0}


def _zeros(planned: plan.Plan, found: fingerprint.Fingerprint) -> source.Source:
    """Returns as many dark cases as a batch has patches, each of a patch's size."""
    size, count = planned.patch, planned.batch_size
    zero = np.zeros((), np.uint8)
    return source.Source(
        name="zeros",
        examples=source.ArrayExamples(
            np.broadcast_to(zero, (count, *size, len(planned.normalisation))),
            labels=np.broadcast_to(zero, (count, len(found.raters), *size)),
        ),
        num_classes=len(found.classes),
        class_names=found.classes,
        spacing=planned.spacing,
        has_truth=False,
        rater_names=tuple(found.raters),
        splits={"train": np.arange(count)},
    )


def available() -> float:
    """Returns the bytes of memory that are free on this machine, infinity where that is unknown."""
    about = pathlib.Path("/proc/meminfo")
    if not about.exists():
        return float("inf")
    lines = dict(line.split(":") for line in about.read_text().splitlines())
    return 1024 * float(lines["MemAvailable"].split()[0])
