"""Noisy labels of simulated raters: of one truth, and of a folder as another folder."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Integer, Key, UInt8

from noisyjax.core import checks, files, rng
from noisyjax.data.folder import segments
from noisyjax.data.volumes import read_write
from noisyjax.noise import severity
from noisyjax.tool import data_set, each_case, folder, record
from noisyjax.tool.simulation import simulated_raters

TABLE = "simulated.csv"
MAKES = (*data_set.MAKES, "ratersTr", TABLE)
# Where the noisy labels go: beside the truth, or in its place.
PLACES = ("raters", "truth")

# A key has so many bits; a larger seed would be another one over again.
_SEEDS = range(2**32)

# The strength of a wanted Dice is solved on so many truths.
_SAMPLE = 8

Truth = Integer[np.ndarray, "*S"] | Integer[Array, "*S"]
Seed = int | np.integer | Key[Array, ""]


class Simulated(NamedTuple):
    """What became of a folder.

    Attributes:
      out: the folder that was written.
      cases: names of the cases that are in it.
      strengths: of each rater's noise, where a Dice was asked for: the strength and the mean Dice
        that it has on the sample.
      problems: what is wrong with the cases that are not in it.
      finished: whether all had been done before.
    """

    out: pathlib.Path
    cases: tuple[str, ...]
    strengths: tuple[severity.Severity | None, ...]
    problems: tuple[str, ...]
    finished: bool


def simulate(
    labels: Truth | folder.Folder | str | os.PathLike,
    num_classes: int = 2,
    *,
    noise: str | Sequence[str] = "gaussian",
    raters: int = 0,
    seed: Seed = 0,
    case: str = "",
    share: float | int = 1.0,
    dice: float | int | None = None,
    spacing: Sequence[float] | None = None,
    out: str | os.PathLike | None = None,
    place: str = "raters",
    images: str = "link",
    overwrite: bool = False,
    **options: Any,
) -> UInt8[np.ndarray, "R *S"] | Simulated:
    """Draws labels of simulated raters: of one truth, or of every case of a folder with a truth.

    What a rater draws depends on the seed, the name of the case, the number of the rater and the
    options alone: further cases or raters change nothing of what the others get.

    Args:
      labels: the truth, class ids ``[*S]``, or a folder (or its path) with labelsTr; an id that is
        no class is no label, and stays so.
      num_classes: L; a folder knows its own.
      noise: a name in `noises.NOISES`, or one each rater.
      raters: R, where all have the same noise; 0 for as many as there are noises.
      seed: a number from 0 to 2^32 - 1; of a truth also the key of the run.
      case: name of the case, of a truth.
      share: of the cases to have noise, each with this probability; the others' labels are the
        truth.
      dice: the mean Dice to the truth that each noise is to have, in place of a strength: solved on
        a sample of the truths, up to 8, and for each truth by itself where the noise is
        "replacement".
      spacing: of the voxels in mm, of a truth where the noise is in millimetres.
      out: of a folder: a folder to write to, outside of it. It gets ratersTr/rater_N, the images
        and the truth, dataset.json and `TABLE`.
      place: "raters", or "truth" to write the labels of one rater to labelsTr, in place of the
        truth, for programs that know no raters.
      images: how images and truths get to `out`: "link" (they share the data with the old files),
        "copy", or "none".
      overwrite: whether to remove what was made in `out` with other options.
      **options: of the noises; each needs one that has it. See `noises.options`.

    Returns:
      Class ids ``[R, *S]``; of a folder, what became of it.

    Raises:
      ValueError: if an option is none of any noise, or cannot be.
      FolderError: if the folder cannot be used; a case that cannot is in `problems` instead.

    >>> truth = np.zeros((16, 16), np.uint8)
    >>> truth[4:12, 4:12] = 1
    >>> simulate(truth, noise=("good", "erode"), radius=2).sum(axis=(1, 2)).tolist()
    [64, 16]
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share: expected a number in [0, 1], got {share}")
    if dice is not None and not 0 < dice <= 1:
        raise ValueError(f"dice: expected a number in (0, 1], got {dice}")
    if not isinstance(seed, jax.Array) and seed not in _SEEDS:
        raise ValueError(f"seed: expected a whole number from 0 to {_SEEDS[-1]}, got {seed}")
    panel = simulated_raters.panel(noise, raters, dice, options)
    if isinstance(labels, str | os.PathLike):
        labels = folder.open_folder(labels)
    if not isinstance(labels, folder.Folder):
        return _of_truth(labels, panel, seed, case, share, dice, num_classes, spacing)
    if out is None:
        raise ValueError("out: expected a folder to write to, got None")
    if isinstance(seed, jax.Array):
        raise ValueError("seed: expected a number, got a key; a folder's record names it")
    checks.one_of("place", place, PLACES)
    checks.one_of("images", images, data_set.IMAGES)
    if place == "truth" and len(panel) > 1:
        raise ValueError(f"place: expected one rater to take the truth's place, got {len(panel)}")
    settings = _Settings(int(seed), share, dice, place, images)
    return _Work(labels, files.named("out", out), panel, settings, options).run(overwrite=overwrite)


def _of_truth(
    labels: Truth,
    panel: Sequence[simulated_raters.Rater],
    seed: Seed,
    case: str,
    share: float | int,
    dice: float | int | None,
    num_classes: int,
    spacing: Sequence[float] | None,
) -> UInt8[np.ndarray, "R *S"]:
    checks.ids("labels", labels)
    checks.rank("labels", labels, (2, 3))
    checks.one_of("num_classes", num_classes, range(2, folder.NO_LABEL + 1))
    if spacing is None and any(rater.chosen.get("millimetres") for rater in panel):
        raise ValueError("spacing: expected that of the voxels for a and b in mm, got None")
    labels = np.asarray(labels)
    valid = (labels >= 0) & (labels < num_classes)
    truth = np.where(valid, labels, folder.NO_LABEL).astype(np.uint8)
    sizes = None if spacing is None else tuple(float(size) for size in spacing)
    key = seed if isinstance(seed, jax.Array) else rng.root_key(seed)
    sample = [simulated_raters.Sample(truth, sizes)]
    panel, _ = simulated_raters.solve(panel, sample, dice, key, num_classes)
    if not simulated_raters.is_noisy(key, case, share):
        return np.stack([truth] * len(panel))
    options = {"num_classes": num_classes, "spacing": sizes}
    return simulated_raters.draw(panel, truth, key, case, **options)


class _Settings(NamedTuple):
    """What is asked of a folder; see `simulate`."""

    seed: int
    share: float | int
    dice: float | int | None
    place: str
    images: str


class _Work:
    """The making of one folder from another."""

    def __init__(
        self,
        opened: folder.Folder,
        out: pathlib.Path,
        panel: Sequence[simulated_raters.Rater],
        settings: _Settings,
        options: Mapping[str, Any],
    ):
        # Labels of other raters are neither read nor kept.
        cases = {n: dataclasses.replace(case, raters={}) for n, case in opened.cases.items()}
        self._opened = dataclasses.replace(opened, cases=cases)
        self._out, self._panel = out.absolute(), panel
        self._settings, self._options = settings, options
        self._key = rng.root_key(settings.seed)
        self._names = [name for name, case in opened.cases.items() if case.truth]
        if not self._names:
            raise folder.FolderError([f"{opened.root}: expected a truth in labelsTr, got none"])

    def run(self, *, overwrite: bool) -> Simulated:
        """Writes the folder, or what is missing of it."""
        opened, settings = self._opened, self._settings
        truths = {name: (opened.cases[name].truth,) for name in self._names}
        noise = [rater.noise for rater in self._panel]
        made = record.open_record(
            self._out,
            "simulate",
            source=opened.root,
            digest=data_set.digest(opened, truths, whole=settings.dice is not None),
            options={"noise": noise, **self._options, **settings._asdict()},
            makes=MAKES,
            overwrite=overwrite,
        )
        columns = [f"dice_{name}" for name in opened.class_names[1:]]
        header = ("case", "rater", "noise", "options", "seed", "case_id", *columns)
        self._table = record.Table(made.out / TABLE, header)
        todo = [name for name in self._names if not self._is_made(name)]
        if made.finished and not todo:
            return Simulated(made.out, tuple(self._names), (), (), True)
        sample = self._sample()
        self._panel, solved = simulated_raters.solve(
            self._panel, sample, settings.dice, self._key, opened.num_classes
        )
        made.begin()
        problems = each_case.run(todo, self._make, self._note, title="simulating")
        cases = [name for name in self._names if self._is_made(name)]
        if not cases:
            raise folder.FolderError(problems)
        self._table.save(cases)
        data_set.describe(opened, made.out, cases)
        made.end(problems, cases=cases)
        return Simulated(made.out, tuple(cases), tuple(solved), tuple(problems), False)

    def _note(self, name: str, rows: list[Sequence[Any]]) -> None:
        self._table.rows[name] = rows
        self._table.save(self._names)

    def _targets(self, name: str) -> list[pathlib.Path]:
        """The files of a case's labels: of every rater, or in place of the truth."""
        case = self._opened.cases[name]
        file = f"{name}{self._opened.layout.ending}"
        truth = self._out / f"labels{case.part}" / file
        if case.part == "Ts" or self._settings.place == "truth":
            return [truth]
        raters = range(1, len(self._panel) + 1)
        return [*(self._out / "ratersTr" / f"rater_{r}" / file for r in raters), truth]

    def _is_made(self, name: str) -> bool:
        noted = name in self._table.rows or self._opened.cases[name].part == "Ts"
        return noted and all(path.exists() for path in self._targets(name))

    def _place_truth(self, name: str, target: pathlib.Path) -> None:
        """Places the truth of a case, written anew where its format is another."""
        truth, how = self._opened.cases[name].truth, self._settings.images
        if read_write.ending(truth) == read_write.ending(target) and not segments.is_one(truth):
            data_set.place(truth, target, how=how if how != "none" else "link")
        else:
            read = self._opened.read(name)
            self._opened.write(target, read.truth, like=read.like)

    def _make(self, name: str) -> list[Sequence[Any]]:
        """Makes the files of a case; returns its rows of the table."""
        case, settings = self._opened.cases[name], self._settings
        data_set.place_images(case, self._out, how=settings.images)
        *targets, last = self._targets(name)
        if case.part == "Ts" or settings.place == "raters":
            self._place_truth(name, last)
        else:
            targets = [last]
        if case.part == "Ts":
            return []
        read = self._opened.read(name)
        noisy = simulated_raters.is_noisy(self._key, name, settings.share)
        labels = np.stack([read.truth] * len(self._panel))
        if noisy:
            size = {"num_classes": self._opened.num_classes, "spacing": read.spacing}
            labels = simulated_raters.draw(self._panel, read.truth, self._key, name, **size)
        rows = []
        for number, (rater, target, label) in enumerate(zip(self._panel, targets, labels), 1):
            self._opened.write(target, label, like=read.like)
            options = " ".join(f"{n}={v}" for n, v in rater.chosen.items())
            what = (rater.noise, options) if noisy else ("", "")
            seed = (settings.seed, simulated_raters.case_id(name))
            rows.append((f"rater_{number}", *what, *seed, *self._dice(label, read.truth)))
        return rows

    def _dice(self, label: np.ndarray, truth: np.ndarray) -> list[str]:
        """Dice of each class but the background, "" where it is in neither."""
        both = [(label == k, truth == k) for k in range(1, self._opened.num_classes)]
        sums = [(2 * int((one & other).sum()), int(one.sum() + other.sum())) for one, other in both]
        return [f"{above / below:.6f}" if below else "" for above, below in sums]

    def _sample(self) -> list[simulated_raters.Sample]:
        """Truths of training cases with foreground, those of the least numbers `case_id`."""
        count = _SAMPLE if self._settings.dice is not None else 1
        training = [name for name in self._names if self._opened.cases[name].part == "Tr"]
        sample, empty = [], []
        for name in sorted(training, key=simulated_raters.case_id):
            try:
                case = self._opened.read(name)
            except folder.FolderError as error:
                problems = error.problems
                continue
            one = simulated_raters.Sample(case.truth, case.spacing)
            (sample if ((case.truth > 0) & (case.truth < folder.NO_LABEL)).any() else empty).append(
                one
            )
            if len(sample) == count:
                break
        if not sample and not empty:
            raise folder.FolderError(problems)
        return sample or empty[:1]
