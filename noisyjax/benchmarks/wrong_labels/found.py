"""How well an audit, softmin and confident learning find the labels that were made wrong."""

import pathlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, UInt8
from sklearn import metrics as sklearn_metrics

from noisyjax.benchmarks.wrong_labels import wrong_folder
from noisyjax.metrics import label_quality
from noisyjax.tool import folder
from noisyjax.tool.audit import audit, evidence, kinds

OURS = "audit"
CONFIDENT = "confident learning"
_SOFTMIN = jax.jit(label_quality.softmin, static_argnames="temperature")
TEMPERATURES = (0.01, 0.03, 0.1, 0.3, 1.0, 10.0)

# What an audit should say of each mistake.
NAMED = {
    "erosion": kinds.NARROW,
    "dilation": kinds.WIDE,
    "shift": kinds.SHIFTED,
    "mirrored": kinds.MIRRORED,
    "exchanged": kinds.EXCHANGED,
    "missing": kinds.MISSING,
    "another": kinds.ANOTHER,
}


class Row(NamedTuple):
    """A label, what was done to it, and how much each score doubts it.

    Attributes:
      mistake: with the Dice that it was to leave; "" of a label as it was.
      suspect: whether the audit says so.
      kind: what the audit says is wrong.
      doubts: name of a score to its value, large where a label is doubted.
    """

    case: str
    mistake: str
    suspect: bool
    kind: str
    doubts: Mapping[str, float]


def rows(root: pathlib.Path, run: pathlib.Path) -> list[Row]:
    """Audits a folder of `wrong_folder.write` by a run of folds, beside the scores of others."""
    made, opened = wrong_folder.read(root), folder.open_folder(root)
    report = audit.audit(opened, run)
    if report.problems:
        raise ValueError(report.problems[0])
    others = _of_others(opened, run)
    return [
        Row(
            case=doubt.case,
            mistake=_shown(made[doubt.case]) if doubt.case in made else "",
            suspect=doubt.suspect,
            kind=doubt.kind,
            doubts={OURS: doubt.score, **others[doubt.case]},
        )
        for doubt in report.doubts
    ]


def area(found: list[Row], name: str, mistake: str = "") -> float:
    """Returns the area under the ROC curve of a score, of the wrong labels of one kind or all."""
    part = [row for row in found if not row.mistake or row.mistake.startswith(mistake)]
    wrong = [bool(row.mistake) for row in part]
    return float(sklearn_metrics.roc_auc_score(wrong, [row.doubts[name] for row in part]))


def average_precision(found: list[Row], name: str) -> float:
    """Returns the average precision of a score."""
    wrong = [bool(row.mistake) for row in found]
    values = [row.doubts[name] for row in found]
    return float(sklearn_metrics.average_precision_score(wrong, values))


def named_rightly(found: list[Row], *, suspects: bool) -> float:
    """Returns the share of the wrong labels, or of those that are suspect, whose kind is right."""
    part = [row for row in found if row.mistake and (row.suspect or not suspects)]
    right = [row.kind == NAMED[row.mistake.split(" ")[0]] for row in part]
    return float(np.mean(right)) if right else float("nan")


def _shown(one: wrong_folder.Mistake) -> str:
    return f"{one.mistake} {one.overlap:g}" if one.overlap else one.mistake


def _of_others(opened: folder.Folder, run: pathlib.Path) -> dict[str, dict[str, float]]:
    """Returns softmin and confident learning of every case, on the probabilities as they are.

    The best of softmin's temperatures is looked for among them, and the run's own temperature is
    tried as well: of each score the value that finds more is for the reader to take.
    """
    scaled = evidence.find(run, opened)
    found: dict[str, dict[str, float]] = {name: {} for name in scaled.cases}
    for at, other in (("", scaled._replace(temperature=1.0)), (", calibrated", scaled)):
        each = dict(_pixels(opened, other))
        for name, (probs, label) in each.items():
            given = np.take_along_axis(probs, label[:, np.newaxis].astype(np.intp), axis=-1)[:, 0]
            for value in TEMPERATURES:
                filled, where = _filled(given)
                lowest = _SOFTMIN(filled, temperature=value, where=where)
                found[name][f"softmin T={value:g}{at}"] = -float(lowest)
        probs, labels = (np.concatenate(parts) for parts in zip(*each.values(), strict=True))
        issues = np.asarray(label_quality.confident_issues(jnp.asarray(probs), jnp.asarray(labels)))
        ends = np.cumsum([len(label) for _, label in each.values()])[:-1]
        for name, own in zip(each, np.split(issues, ends), strict=True):
            found[name][f"{CONFIDENT}{at}"] = float(own.mean())
    return found


def _pixels(
    opened: folder.Folder, found: evidence.Evidence
) -> Iterator[tuple[str, tuple[Float[np.ndarray, "N L"], UInt8[np.ndarray, "N"]]]]:
    for name in found.cases:
        probs, label = found.read(name), opened.read(name).truth
        yield name, (probs.reshape(-1, probs.shape[-1]), label.reshape(-1))


def _filled(
    quality: Float[np.ndarray, "N"],
) -> tuple[Float[np.ndarray, "M"], Bool[np.ndarray, "M"]]:
    """Returns qualities filled up to the next power of two, so that few sizes are compiled."""
    size = 1 << (len(quality) - 1).bit_length()
    return np.pad(quality, (0, size - len(quality))), np.arange(size) < len(quality)
