"""What the training cases of a folder are like, as far as a plan asks."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Num, UInt8

from noisyjax.core import checks
from noisyjax.data import order, sources
from noisyjax.data.folder import case_files, checker, nnunet_layout, problem_kinds
from noisyjax.data.volumes import preprocess
from noisyjax.tool import each_case, folder
from noisyjax.tool.plan import intensities

# Voxels of the foreground whose intensities are taken, of a case and of all.
_SAMPLED = 10_000
_SAMPLED_IN_ALL = 10_000_000
# Voxels of a case's foreground at most that positions are computed of.
_LOCATED = 1_000_000


class Case(NamedTuple):
    """What is kept of one case with n axes, K channels and C classes of the foreground.

    Attributes:
      shape: voxels of the file within the box of those that are not zero, ``[n]``.
      spacing: in mm, ``[n]``.
      share: of the voxels of the file that lie in this box.
      values: intensities of voxels of the foreground, drawn at random, ``[V, K]``.
      positions: mean position of each class from the middle of the image, in mm, ``[C, n]``, NaN
        where it is absent.
      sizes: share of each class of the voxels, ``[C]``.
      means: mean intensity of each class, ``[C, K]``, NaN where it is absent; likewise deviations.
    """

    shape: Int[np.ndarray, "n"]
    spacing: Float[np.ndarray, "n"]
    share: float
    values: Num[np.ndarray, "V K"]
    positions: Float[np.ndarray, "C n"]
    sizes: Float[np.ndarray, "C"]
    means: Float[np.ndarray, "C K"]
    deviations: Float[np.ndarray, "C K"]


class Fingerprint(NamedTuple):
    """What was found in N training cases.

    Attributes:
      cases: by name.
      channels: names.
      classes: names, the background first.
      raters: name to the number of cases that they labelled.
      problems: what is wrong with cases that were left out.
    """

    cases: dict[str, Case]
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    raters: dict[str, int]
    problems: list[str]

    def stacked(self, name: str) -> np.ndarray:
        """Returns a field of all cases, ``[N, ...]``."""
        return np.stack([getattr(case, name) for case in self.cases.values()])

    @property
    def statistics(self) -> tuple[intensities.Statistics, ...]:
        """Those of each channel, over all cases."""
        values = np.concatenate([case.values for case in self.cases.values()])
        return tuple(intensities.statistics(channel) for channel in values.T)

    @property
    def nonzero_share(self) -> float:
        """Of the voxels of the median case, what is left after cropping to what is not zero."""
        return float(np.median(self.stacked("share")))

    def to_json(self) -> dict[str, Any]:
        """Returns what a person may want to know, in plain values."""
        shapes, spacings = self.stacked("shape"), self.stacked("spacing")
        positions = self.stacked("positions")
        shares = self.stacked("sizes").mean(axis=0)
        known = np.isfinite(positions).all(axis=-1)
        middles = {
            name: _rounded(positions[known[:, number], number].mean(axis=0), 1)
            for number, name in enumerate(self.classes[1:])
            if known[:, number].any()
        }
        return {
            "cases": len(self.cases),
            "channels": list(self.channels),
            "size": _range(shapes, 0),
            "spacing": _range(spacings, 5),
            "nonzero_share": round(self.nonzero_share, 4),
            "class_shares": {
                name: float(f"{share:.4g}")
                for name, share in zip(self.classes[1:], shares, strict=True)
            },
            "class_positions_mm": middles,
            "raters": self.raters,
            "left_out": self.problems,
        }


def _range(rows: np.ndarray, digits: int) -> dict[str, list[float]]:
    parts = {"least": rows.min(axis=0), "median": np.median(rows, axis=0), "most": rows.max(axis=0)}
    return {name: _rounded(row, digits) for name, row in parts.items()}


def _rounded(row: np.ndarray, digits: int) -> list[float]:
    return [round(float(number), digits) for number in row]


def take(opened: folder.Folder, *, raters: Sequence[str] = ()) -> Fingerprint:
    """Reads the training cases, one after the other, and shows how far it is.

    Args:
      raters: whose labels count; by default everyone's. Where nobody labelled a case of imagesTr
        it is the truth.

    Raises:
      FolderError: if no case can be used, or cases do not fit each other.
      ValueError: if there is no such rater.
    """
    layout = opened.layout
    for rater in raters:
        checks.one_of("raters", rater, layout.rater_names or ("none, for there are none",))
    wanted = tuple(raters) or layout.rater_names
    labels = {
        name: files
        for name, case in opened.cases.items()
        if case.part == "Tr" and (files := _label_files(case, layout, wanted))
    }
    if not labels:
        raise folder.FolderError([f"{opened.root}: expected labelled cases in imagesTr, got none"])
    count = max(1, min(_SAMPLED, _SAMPLED_IN_ALL // len(labels)))
    numbers = {name: number for number, name in enumerate(labels)}
    found: dict[str, Case] = {}

    def read(name: str) -> Case:
        case = opened.cases[name]
        return _of_case(case, layout, list(labels[name].values()), count, numbers[name])

    problems = each_case.run(list(labels), read, found.__setitem__, title="looking at the cases")
    if not found:
        raise folder.FolderError(problems)
    _check_alike(opened, found)
    names = wanted if not layout.truth_trains else (sources.folder.ONLY_RATER,)
    return Fingerprint(
        cases=found,
        channels=layout.channel_names,
        classes=layout.classes,
        raters={rater: sum(rater in labels[name] for name in found) for rater in names},
        problems=problems,
    )


def _label_files(
    case: nnunet_layout.Case, layout: nnunet_layout.Layout, raters: Sequence[str]
) -> dict[str, Any]:
    """Returns whose labels a network learns from in a case, to their files."""
    if layout.truth_trains:
        return {} if case.truth is None else {sources.folder.ONLY_RATER: case.truth}
    return {rater: case.raters[rater] for rater in raters if rater in case.raters}


def _check_alike(opened: folder.Folder, found: dict[str, Case]) -> None:
    """Raises unless cases have one number of axes and channels, and spacings of one unit."""
    facts = [
        (opened.cases[name], len(case.shape), case.values.shape[1], tuple(case.spacing.tolist()))
        for name, case in found.items()
    ]
    problems = [p for p in checker.across(facts) if p.kind not in problem_kinds.HARMLESS]
    if problems:
        raise folder.FolderError([str(problem) for problem in problems])


def _of_case(
    case: nnunet_layout.Case,
    layout: nnunet_layout.Layout,
    label_files: Sequence[Any],
    count: int,
    number: int,
) -> Case:
    """Reads a case; `number` and `count` are those of its voxels that are drawn."""
    read = checker.read_case(case, layout)
    faults = [str(p) for p in read.problems if p.kind not in problem_kinds.HARMLESS]
    if faults:
        raise folder.FolderError(faults)
    first = read.volumes[case.images[0]]
    channels: list[np.ndarray] = []
    for path in case.images:
        volume = read.volumes[path]
        colours = volume.array.ndim > volume.num_axes
        channels += list(np.moveaxis(volume.array, -1, 0)) if colours else [volume.array]
    maps = (case_files.class_ids(read.volumes[path].array, layout) for path in label_files)
    label = _plurality(maps, len(layout.classes))
    marked = np.flatnonzero(label)
    draws = order.uniform(count, "sample", number)
    drawn = marked[(draws * len(marked)).astype(np.int64)] if len(marked) else marked
    box = preprocess.bounding_box(_nonzero(channels))
    shape = np.array([end - start for start, end in box])
    return Case(
        shape=shape,
        spacing=np.array(first.spacing, float),
        share=float(np.prod(shape) / label.size),
        values=np.stack([channel.reshape(-1)[drawn] for channel in channels], axis=-1),
        **_about_classes(label, marked, channels, np.array(first.spacing), len(layout.classes) - 1),
    )


def _nonzero(channels: Sequence[np.ndarray]) -> Bool[np.ndarray, "*S"]:
    known = channels[0] != 0
    for channel in channels[1:]:
        known |= channel != 0
    return known


def _plurality(maps: Any, num_classes: int) -> UInt8[np.ndarray, "*S"]:
    """Returns the class that most label maps have, of equals the lowest; no class is background."""
    maps = list(maps)
    best, most = np.zeros(maps[0].shape, np.uint8), np.zeros(maps[0].shape, np.uint8)
    if len(maps) == 1:
        return np.where(maps[0] < num_classes, maps[0], best)
    for label in range(num_classes):
        votes = np.zeros_like(most)
        for given in maps:
            votes += given == label
        best[votes > most] = label
        np.maximum(most, votes, out=most)
    return best


def _about_classes(
    label: UInt8[np.ndarray, "*S"],
    marked: Int[np.ndarray, "M"],
    channels: Sequence[Num[np.ndarray, "*S"]],
    spacing: Float[np.ndarray, "n"],
    classes: int,
) -> dict[str, np.ndarray]:
    """Returns where the classes of the foreground lie, how large and how bright they are."""
    sizes = np.bincount(label.reshape(-1)[marked], minlength=classes + 1)[1:] / label.size
    some = marked[:: 1 + len(marked) // _LOCATED]
    own = label.reshape(-1)[some]
    counts = np.bincount(own, minlength=classes + 1)[1:]

    def mean(numbers: np.ndarray) -> np.ndarray:
        sums = np.bincount(own, weights=numbers.astype(float), minlength=classes + 1)[1:]
        return np.where(counts, sums / np.maximum(counts, 1), np.nan)

    middles = (np.array(label.shape) - 1) / 2
    indices = np.unravel_index(some, label.shape)
    positions = [(mean(row) - middle) for row, middle in zip(indices, middles, strict=True)]
    values = [channel.reshape(-1)[some].astype(float) for channel in channels]
    means = np.stack([mean(row) for row in values], axis=-1)
    variances = np.stack([mean(row**2) for row in values], axis=-1) - means**2
    return {
        "positions": np.stack(positions, axis=-1) * spacing,
        "sizes": sizes,
        "means": means,
        "deviations": np.sqrt(np.maximum(variances, 0)),
    }
