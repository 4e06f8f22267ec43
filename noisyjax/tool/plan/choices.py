"""From the fingerprint of a folder and a budget to a plan: every choice, with its reason."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from noisyjax.tool.plan import (
    compiled_step,
    fingerprint,
    intensities,
    mirroring,
    patch,
    plan,
    spacing,
    topology,
)

# What a step takes for each number that a layer gives out, and for each parameter (itself, its
# gradient and two moments), until it is measured; in bytes.
_PER_NUMBER = 12.0
_PER_PARAMETER = 16
# The compiler is asked so often at most.
_COMPILED = 4
# Floating-point operations of a step of a small plan, with two convolutions a level: above the
# first its batch is not raised, above the second its patch is shortened. One core does some 2e10 to
# 5e10 a second.
_QUICK = 2.5e10
_SLOW = 2e11
# A patch that covers less of the median case sees too little of what is around it.
_COVERED = 0.25
_GIB = 2**30

Measure = Callable[[plan.Plan], compiled_step.Compiled]


class Budget(NamedTuple):
    """What a step may take: bytes of memory, and with `small` the time of a processor."""

    memory: int
    small: bool


class _Fit(NamedTuple):
    """A network with its batch, and why they are that large."""

    network: topology.Network
    batch: int
    patch_reason: str
    batch_reason: str


def choose(
    found: fingerprint.Fingerprint, budget: Budget, *, measure: Measure, coarse: bool = False
) -> plan.Plan:
    """Returns the plan for cases.

    Args:
      measure: compiles the step of a plan.
      coarse: whether voxels are made larger until a patch covers a quarter of the median case.

    Raises:
      ValueError: if no step fits the budget.
    """
    spacings, shapes = found.stacked("spacing"), found.stacked("shape")
    target, reason = spacing.target(spacings, shapes)
    while coarse and _covered(_fit(found, target, budget).network, found, target) < _COVERED:
        target = spacing.coarser(target)
        reason = "coarser than the median, so that a patch covers a quarter of the median case"
    draft = _draft(found, target, {"spacing": reason})
    planned, compiled = _largest(found, draft, budget, measure)
    covered = _covered(_network(planned), found, target)
    share = f"; it covers {min(covered, 1):.0%} of the median case"
    if covered < _COVERED and not coarse:
        share += ", which is little: larger voxels would show more (coarse)"
    reasons = {**planned.reasons, "patch": planned.reasons["patch"] + share}
    expected = {"memory_gib": round(compiled.memory / _GIB, 3), "parameters": compiled.parameters}
    if compiled.memory < compiled_step.available():
        expected["seconds_per_step"] = float(f"{compiled.seconds():.3g}")
    return planned._replace(reasons=reasons, expected=expected)


def _network(planned: plan.Plan) -> topology.Network:
    return topology.Network(*(getattr(planned, name) for name in topology.Network._fields))


def _draft(
    found: fingerprint.Fingerprint, target: Sequence[float | int], reasons: dict[str, str]
) -> plan.Plan:
    """Returns a plan without a network."""
    names, why = intensities.of_channels(found.channels, nonzero_share=found.nonzero_share)
    exchanged = mirroring.exchanged(
        *(found.stacked(name) for name in ("positions", "sizes", "means", "deviations"))
    )
    free, not_mirrored = mirroring.axes(exchanged, len(target), found.classes[1:])
    return plan.Plan(
        spacing=tuple(target),
        normalisation=names,
        intensities=tuple(tuple(channel) for channel in found.statistics),
        patch=(),
        strides=(),
        kernels=(),
        widths=(),
        convs_per_level=0,
        batch_size=patch.LEAST_BATCH,
        mirror_axes=free,
        reasons={
            **reasons,
            "normalisation": why,
            "intensities": ".5 and 99.5 percentiles, mean and deviation of the foreground",
            "mirror_axes": not_mirrored,
        },
        fingerprint=found.to_json(),
        expected={},
    )


def _median(found: fingerprint.Fingerprint, target: Sequence[float | int]) -> tuple[int, ...]:
    return spacing.median_shape(found.stacked("shape"), found.stacked("spacing"), target)


def _covered(
    network: topology.Network, found: fingerprint.Fingerprint, target: Sequence[float | int]
) -> float:
    """Returns the share of the median case that a patch covers."""
    return math.prod(network.patch) / math.prod(_median(found, target))


def _fit(
    found: fingerprint.Fingerprint,
    target: Sequence[float | int],
    budget: Budget,
    per_number: float = _PER_NUMBER,
) -> _Fit:
    """Returns the network that fits a budget, where a number takes so many bytes."""
    median = _median(found, target)
    slow = _SLOW if budget.small else math.inf

    def patches(network: topology.Network) -> float:
        free = budget.memory - _PER_PARAMETER * topology.parameters(network)
        return free / (per_number * topology.activations(network))

    def is_quick(network: topology.Network) -> bool:
        return patch.LEAST_BATCH * topology.operations(network) <= slow

    def fits(network: topology.Network) -> bool:
        return patches(network) >= patch.LEAST_BATCH and is_quick(network)

    network = patch.largest(target, median, fits=fits, small=budget.small)
    whole = topology.of_patch(patch.first(target, median), target, small=budget.small)
    why = "the median case"
    if network.patch != whole.patch:
        why = "what fits the memory" if is_quick(whole) else "what a processor can do in a step"
    elif any(side < n for side, n in zip(network.patch, median, strict=True)):
        why = "a cube in mm of as many voxels as nnU-Net begins with"
    most, reason = patches(network), "what fits the memory"
    if budget.small:
        quick = _QUICK / topology.operations(network)
        most, reason = min((most, reason), (quick, "what a processor can do in a step"))
    cases = len(found.cases)
    batch, batch_why = patch.batch(network, median, cases, fitting=most, limit=reason)
    return _Fit(network, batch, why, batch_why)


def _largest(
    found: fingerprint.Fingerprint, draft: plan.Plan, budget: Budget, measure: Measure
) -> tuple[plan.Plan, compiled_step.Compiled]:
    """Returns the plan of the largest step that fits, as the compiler says, and that step.

    What a number takes is measured with each step that is compiled, until the step chosen by it is
    the one that was.
    """
    per_number, best, tried = _PER_NUMBER, None, set()
    for _ in range(_COMPILED):
        fit = _fit(found, draft.spacing, budget, per_number)
        if (key := (fit.network, fit.batch)) in tried:
            break
        tried.add(key)
        planned = _with(draft, fit, budget)
        compiled = measure(planned)
        if compiled.memory <= budget.memory and (best is None or _size(planned) > _size(best[0])):
            best = planned, compiled
        own = _PER_PARAMETER * topology.parameters(fit.network)
        numbers = topology.activations(fit.network) * fit.batch
        per_number = max(compiled.memory - own, 1) / numbers
        if compiled.memory > budget.memory:
            # A little less, for the next step is no exact copy.
            per_number *= 1.02
    if best is None:
        raise ValueError(
            f"memory: expected enough for a step, {compiled.memory / _GIB:.2f} GiB for a patch of "
            f"{planned.patch}, got {budget.memory / _GIB:.2f} GiB"
        )
    return best


def _size(planned: plan.Plan) -> tuple[int, int]:
    return math.prod(planned.patch), planned.batch_size


def _with(draft: plan.Plan, fit: _Fit, budget: Budget) -> plan.Plan:
    thick = any(1 in row for row in fit.network.strides)
    axes = "each axis is halved while its side is at least 8"
    size = "a small network, for a processor (full for nnU-Net's)" if budget.small else "nnU-Net's"
    reasons = {
        "patch": fit.patch_reason,
        "strides": axes + (", and the finer ones first" if thick else ""),
        "kernels": "1 along an axis until its voxels are within twice the finest, then 3",
        "widths": size,
        "convs_per_level": size,
        "batch_size": fit.batch_reason,
    }
    return draft._replace(
        **fit.network._asdict(), batch_size=fit.batch, reasons={**draft.reasons, **reasons}
    )
