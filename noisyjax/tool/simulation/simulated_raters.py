"""Simulated raters: what each does, how strongly, and the labels they draw of a truth."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Key, UInt8

from noisyjax.core import arrays, checks, rng, signatures
from noisyjax.noise import severity
from noisyjax.tool import folder
from noisyjax.tool.simulation import noises

# So many labels at least have the wanted Dice on average.
_DRAWS = 32


class Rater(NamedTuple):
    """A simulated rater: a noise of `noises.NOISES`, and its options."""

    noise: str
    chosen: Mapping[str, Any]


class Sample(NamedTuple):
    """A truth on which strengths are solved, and the spacing of its voxels in mm if it is known."""

    truth: UInt8[np.ndarray, "*S"]
    spacing: tuple[float, ...] | None


def case_id(name: str) -> int:
    """Returns the number that stands for a case in the keys of what is drawn for it.

    It is of the name alone, so that other cases in a folder change nothing.

    >>> case_id("case_01")
    327087846
    """
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> 1


def panel(
    noise: str | Sequence[str], raters: int, dice: float | int | None, options: Mapping[str, Any]
) -> list[Rater]:
    """Returns the raters: one each noise, or several of one; `options` are those of the noises.

    Raises:
      ValueError: if an option is none of any of the noises, or a Dice is wanted of none that has a
        strength, or beside one.
    """
    names = [noise] if isinstance(noise, str) else list(noise)
    for name in names or [""]:
        checks.one_of("noise", name, noises.NOISES)
    if raters < 0 or (raters and len(names) not in (1, raters)):
        raise ValueError(f"raters: expected {len(names)}, one each noise, got {raters}")
    known = {option: value for name in names for option, value in noises.options(name).items()}
    signatures.check(" or ".join(dict.fromkeys(names)), options, known)
    strengths = {noises.NOISES[name].strength for name in names} - {""}
    if dice is not None and not strengths:
        raise ValueError(f"dice: expected a noise that has a strength, got {names}")
    if dice is not None and strengths & set(options):
        both = ", ".join(sorted(strengths & set(options)))
        raise ValueError(f"dice: expected in place of a strength, got {both} as well")
    return [
        Rater(name, {n: v for n, v in options.items() if n in noises.options(name)})
        for name in (names * max(raters, 1) if len(names) == 1 else names)
    ]


def solve(
    raters: Sequence[Rater],
    sample: Sequence[Sample],
    dice: float | int | None,
    key: Key[Array, ""],
    num_classes: int,
) -> tuple[list[Rater], list[severity.Severity | None]]:
    """Checks the options of every rater, and finds the strengths that have the wanted Dice.

    The sample has truths and the spacings of their voxels. A strength is the mean of those solved
    for the truths of each size.
    """
    chosen_raters, solved, known = [], [], {}
    for rater in raters:
        name, strength = rater.noise, noises.NOISES[rater.noise].strength
        chosen, solution = dict(rater.chosen), None
        if dice is not None and strength:
            chosen[strength] = dice
        (first, *_), size = sample[0], {"num_classes": num_classes}
        noises.check(name, first.shape, chosen=chosen, **size)
        # A replaced label has its Dice by itself.
        if dice is not None and strength and name != "replacement":
            if name not in known:
                known[name] = _strength(name, rater.chosen, sample, dice, key, num_classes)
            solution = known[name]
            chosen[strength] = solution.strength
        chosen_raters.append(Rater(name, chosen))
        solved.append(solution)
    return chosen_raters, solved


def _strength(
    name: str,
    chosen: Mapping[str, Any],
    sample: Sequence[Sample],
    dice: float | int,
    key: Key[Array, ""],
    num_classes: int,
) -> severity.Severity:
    groups: dict[tuple, list[np.ndarray]] = {}
    for truth, spacing in sample:
        clean = np.where(truth == folder.NO_LABEL, arrays.BACKGROUND, truth)
        if clean.any():
            asked = spacing if chosen.get("millimetres") else None
            groups.setdefault((clean.shape, asked), []).append(clean)
    if not groups:
        raise ValueError(f"dice: expected foreground in one of {len(sample)} truths, got none")
    total, strength, reached = 0, 0.0, 0.0
    for (_, spacing), truths in groups.items():
        noise = functools.partial(
            noises.draw_traced,
            name,
            given=noises.Given(num_classes, spacing),
            chosen=chosen,
        )
        sample_key = rng.purpose_key(key, "sample")
        one = severity.solve_severity(
            noise,
            np.stack(truths),
            dice,
            sample_key,
            draws=max(1, _DRAWS // len(sample)),
            num_classes=num_classes,
        )
        total += len(truths)
        strength += one.strength * len(truths)
        reached += one.dice * len(truths)
    return severity.Severity(strength / total, reached / total)


def draw(
    raters: Sequence[Rater],
    truth: UInt8[np.ndarray, "*S"],
    key: Key[Array, ""],
    case: str,
    *,
    num_classes: int,
    spacing: tuple[float, ...] | None,
) -> UInt8[np.ndarray, "R *S"]:
    """The labels of all raters; what has no label in the truth has none in theirs."""
    hidden = truth == folder.NO_LABEL
    clean = np.where(hidden, np.uint8(arrays.BACKGROUND), truth)
    own = rng.example_key(rng.purpose_key(key, "noise"), case_id(case))
    size = {"num_classes": num_classes, "spacing": spacing}
    drawn = [
        noises.draw(rater.noise, rater_key, clean, chosen=rater.chosen, **size)
        for rater, rater_key in zip(raters, rng.rater_keys(own, len(raters)), strict=True)
    ]
    return np.where(hidden, np.uint8(folder.NO_LABEL), np.stack(drawn))


def is_noisy(key: Key[Array, ""], case: str, share: float | int) -> bool:
    """Whether a case has noise; one that has it has it for every larger share as well."""
    own = rng.example_key(rng.purpose_key(key, "replaced_cases"), case_id(case))
    return bool(jax.random.uniform(own) < share)
