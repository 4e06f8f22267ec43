"""A folder with mistakes in some of its labels, and ``mistakes.csv``, which says in which."""

import csv
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from noisyjax.core import checks, files, rng
from noisyjax.noise import mistakes
from noisyjax.tool import data_set, folder

TABLE = "mistakes.csv"
_HEADER = ("case", "mistake", "overlap", "dice")

# What is made wrong, in turn: the mistake, and the Dice that it leaves where it asks for one.
KINDS = (
    ("erosion", 0.8),
    ("erosion", 0.7),
    ("dilation", 0.8),
    ("dilation", 0.7),
    ("shift", 0.8),
    ("shift", 0.7),
    ("mirrored", 0.0),
    ("mirrored", 0.0),
    ("exchanged", 0.0),
    ("exchanged", 0.0),
    ("missing", 0.0),
    ("missing", 0.0),
    ("another", 0.0),
    ("another", 0.0),
)


class Mistake(NamedTuple):
    """What was done to a label.

    Attributes:
      mistake: one of `mistakes.MISTAKES`.
      overlap: the Dice that was asked for, 0 of a mistake that asks for none.
      dice: of the foreground, with the label as it was.
    """

    mistake: str
    overlap: float
    dice: float


def write(
    source: str | os.PathLike,
    out: str | os.PathLike,
    *,
    seed: int,
    share: float = 0.1,
    kinds: Sequence[tuple[str, float]] = KINDS,
) -> dict[str, Mistake]:
    """Writes a folder with a share of its training labels made wrong; returns which, and how.

    What is there already stays as it is.

    Args:
      source: a folder with a truth in labelsTr.
      out: where the images are linked, and the labels written.
      seed: of the choice of cases and of the mistakes.
      share: of the cases that become wrong, in [0, 1]; the kinds take turns.
      kinds: the mistakes, and the Dice each leaves.

    Raises:
      folder.FolderError: if a case cannot be read.
      ValueError: if `out` was made otherwise.
    """
    opened, out = folder.open_folder(source), files.named("out", out)
    names = [name for name, case in opened.cases.items() if case.part == "Tr" and case.truth]
    if not 0 <= share <= 1:
        raise ValueError(f"share: expected a number in [0, 1], got {share}")
    checks.at_least("cases", len(names), 2)
    key = rng.purpose_key(seed, "replaced_cases")
    order = np.asarray(jax.random.permutation(key, len(names)))
    chosen = order[: round(share * len(names))]
    wrong = {names[i]: kinds[n % len(kinds)] for n, i in enumerate(chosen)}
    if (out / TABLE).exists():
        made = read(out)
        if {name: (one.mistake, one.overlap) for name, one in made.items()} != wrong:
            raise ValueError(f"{out}: expected the mistakes of the same options, got others")
        return made
    keys = rng.example_keys(rng.purpose_key(seed, "replacement"), np.arange(len(names)))
    made = {}
    for number, name in enumerate(names):
        case = opened.cases[name]
        data_set.place_images(case, out, how="link")
        target = out / "labelsTr" / f"{name}{opened.layout.ending}"
        if name not in wrong:
            data_set.place(case.truth, target, how="link")
            continue
        read_case = opened.read(name)
        kind, overlap = wrong[name]
        # The next case in the order of the draw, which is never the case itself.
        other = opened.read(names[order[(list(order).index(number) + 1) % len(names)]]).truth
        label = np.asarray(
            mistakes.make(
                kind,
                keys[number],
                jnp.asarray(read_case.truth),
                other=jnp.asarray(other),
                num_classes=opened.num_classes,
                overlap=overlap or 1.0,
            )
        )
        opened.write(target, label, like=read_case.like)
        made[name] = Mistake(kind, overlap, _dice(label, read_case.truth))
    data_set.describe(opened, out, names)
    with files.replacing(out / TABLE) as unfinished, unfinished.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_HEADER)
        writer.writerows((name, *one[:2], f"{one.dice:.6f}") for name, one in made.items())
    return made


def read(root: str | os.PathLike) -> dict[str, Mistake]:
    """Reads ``mistakes.csv``: of each wrong case, what was done to it."""
    with (pathlib.Path(root) / TABLE).open(newline="") as file:
        rows: list[Mapping[str, str]] = list(csv.DictReader(file))
    return {
        row["case"]: Mistake(row["mistake"], float(row["overlap"]), float(row["dice"]))
        for row in rows
    }


def _dice(label: np.ndarray, truth: np.ndarray) -> float:
    """Mean of the classes in the truth but the background."""
    each = [
        2 * ((label == k) & (truth == k)).sum() / ((label == k).sum() + (truth == k).sum())
        for k in np.unique(truth[truth > 0])
    ]
    return float(np.mean(each)) if each else 1.0
