"""Judges predictions of any program against one truth or several raters."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from noisyjax.core import checks
from noisyjax.metrics import statistics, surface, tabulate
from noisyjax.tool import cases, each_case, folder
from noisyjax.tool.evaluation import judged, prediction_metrics, predictions

# Of the class and of the rater, where a number is a mean over them.
ALL_CLASSES = "mean of classes"
ALL_RATERS = "mean of raters"

Arrays = (
    predictions.Prediction | Integer[np.ndarray, "*S"] | Float[np.ndarray, "*S L"] | Sequence[Any]
)


class Key(NamedTuple):
    """What a number is of.

    Attributes:
      metric: a name in `prediction_metrics.METRICS`.
      label: name of the class or union, `ALL_CLASSES`, or "" for all at once.
      rater: "truth", name of the rater that the segmentation is beside, `ALL_RATERS`, or "" for a
        metric of all raters at once.
    """

    metric: str
    label: str
    rater: str


class Line(NamedTuple):
    """A number over the cases.

    Attributes:
      summary: mean, standard deviation and numbers of cases.
      low: limit of the mean's interval; likewise high.
    """

    key: Key
    summary: tabulate.Summary
    low: float
    high: float


class Difference(NamedTuple):
    """How the predictions differ from others: first less second, over the cases of both.

    Attributes:
      p_holm: its p-value corrected for the number of metrics that were compared (Holm 1979).
    """

    key: Key
    comparison: statistics.Comparison
    p_holm: float


class Report(NamedTuple):
    """How good predictions are.

    Attributes:
      values: a number for each case and key, ``[N, M]``; NaN if undefined.
      derived: which keys are means over classes or raters, ``[M]``.
      samples: how many samples a case has at most, on which GED and others depend.
      differences: from other predictions, if there are any.
      problems: what is wrong with the cases that could not be judged.
    """

    settings: judged.Settings
    cases: tuple[str, ...]
    keys: tuple[Key, ...]
    values: Float[np.ndarray, "N M"]
    derived: tuple[bool, ...]
    lines: tuple[Line, ...]
    samples: int
    differences: tuple[Difference, ...]
    problems: tuple[str, ...]

    def line(self, metric: str, label: str = "", rater: str = "") -> Line:
        """Returns a number over the cases, see `Key`."""
        return self.lines[self.keys.index(Key(metric, label, rater))]


def evaluate(
    prediction: str | os.PathLike | Arrays,
    labels: cases.Given,
    *,
    metrics: Sequence[str] | None = None,
    regions: Mapping[str, Sequence[int]] | None = None,
    empty: str = "one",
    empty_distance: str = "diagonal",
    conventions: Sequence[str] = ("monai", "medpy", "deepmind"),
    tolerance: float | int = 1.0,
    percentile: float | int = 100.0,
    tversky: Sequence[float | int] = (0.3, 0.7),
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
    versus: str | os.PathLike | Arrays | None = None,
    test: str = "wilcoxon",
    partial: bool = False,
    **arrays: Any,
) -> Report:
    """Judges predictions of any program by what there is to judge them with.

    Voxels without a label (`folder.NO_LABEL`, the class "ignore") are left out everywhere.

    Args:
      prediction: a folder of files (see `predictions`), or for arrays the class ids ``[*S]``, the
        probabilities ``[*S, L]`` or a `predictions.Prediction` of one case, or a list of several.
      labels: a folder or its path; or the raters' labels ``[R, *S]`` of one case or a list, or
        ``[0, *S]`` with `truths` alone.
      metrics: names in `prediction_metrics.METRICS`; None for all that can be computed.
      regions: name of a union of classes to their ids, judged beside the classes and those that a
        folder's dataset.json names.
      empty: what Dice and IoU are where masks are empty, one of `prediction_metrics.EMPTY`.
      empty_distance: distances where one mask is empty, one of `surface.EMPTY`.
      conventions: of surfaces, of `surface.CONVENTIONS`; none measures no distances.
      tolerance: of NSD, in mm.
      percentile: of the distances that "hd" and its two directions are; 100 for the largest.
      tversky: what false positives and misses weigh in "tversky".
      level: of the intervals, by drawing cases anew (`statistics.mean_interval`).
      draws: how often.
      versus: other predictions of the same cases, that these are compared with.
      test: of the comparison, "wilcoxon" or "t", see `statistics.paired`.
      partial: whether cases may lack a prediction.
      arrays: for arrays, see `cases.open_cases`.

    Raises:
      ValueError: if an option cannot be, or no case can be judged.
    """
    data = cases.open_cases(labels, **arrays)
    settings = judged.Settings(
        classes=_classes(data, regions or {}),
        num_classes=data.num_classes,
        empty=empty,
        empty_distance=empty_distance,
        conventions=tuple(conventions),
        tolerance=tolerance,
        percentile=percentile,
        tversky=tuple(tversky),
    )
    names = tuple(prediction_metrics.METRICS if metrics is None else metrics)
    _check(settings, names, test)
    checks.positive("seed", seed, or_zero=True)
    report = _judge(prediction, data, settings, names, (level, draws, seed), partial)
    if versus is None:
        return report
    other = _judge(versus, data, settings, names, (level, draws, seed), partial)
    problems = tuple(dict.fromkeys((*report.problems, *other.problems)))
    return report._replace(differences=differences(report, other, test=test), problems=problems)


def _classes(data: Any, regions: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    classes = {name: (label,) for label, name in enumerate(data.class_names) if label}
    for name, ids in {**data.regions, **regions}.items():
        if name in classes or name in ("", ALL_CLASSES):
            raise ValueError(f"regions: expected a name that is no class, got {name!r}")
        for label in ids:
            checks.one_of(f"regions: {name}", label, range(data.num_classes))
        if not ids:
            raise ValueError(f"regions: {name}: expected classes, got none")
        classes[name] = tuple(dict.fromkeys(ids))
    return classes


def _check(settings: judged.Settings, names: Sequence[str], test: str) -> None:
    for name in names:
        checks.one_of("metrics", name, prediction_metrics.METRICS)
    for convention in settings.conventions:
        checks.one_of("conventions", convention, surface.CONVENTIONS)
    checks.one_of("empty", settings.empty, prediction_metrics.EMPTY)
    checks.one_of("empty_distance", settings.empty_distance, surface.EMPTY)
    checks.one_of("test", test, statistics.PAIRED)
    checks.positive("tolerance", settings.tolerance, or_zero=True)
    surface.check_percentile(settings.percentile)
    if len(settings.tversky) != 2:
        raise ValueError(f"tversky: expected two weights, got {settings.tversky}")
    for weight in settings.tversky:
        checks.positive("tversky", weight, or_zero=True)


class _Given:
    """Predictions that are arrays, as `predictions.Predictions`."""

    def __init__(self, given: Any, data: Any):
        several = isinstance(given, list) or type(given) is tuple
        each = list(given) if several else [given]
        if len(each) != len(data.cases):
            raise ValueError(f"prediction: expected {len(data.cases)} like labels, got {len(each)}")
        self.cases, self.missing, self.unknown = tuple(data.cases), (), ()
        self._each = dict(zip(data.cases, each, strict=True))
        self._num_classes = data.num_classes

    def read(self, name: str) -> predictions.Prediction:
        """Returns the prediction of a case."""
        given = self._each[name]
        if isinstance(given, predictions.Prediction):
            return given
        array = np.asarray(given)
        if array.dtype.kind == "f":
            if array.shape[-1] != self._num_classes:
                raise ValueError(
                    f"prediction: expected probabilities [*S, {self._num_classes}], "
                    f"got {list(array.shape)}"
                )
            return predictions.from_probabilities(array.astype(np.float32))
        checks.ids("prediction", array, masks=True)
        if array.size and not 0 <= array.min() <= array.max() < self._num_classes:
            raise ValueError(
                f"prediction: expected class ids 0 to {self._num_classes - 1}, "
                f"got {array.min()} to {array.max()}"
            )
        return predictions.Prediction(array.astype(np.uint8))


def _judge(given, data, settings, names, drawing, partial) -> Report:
    if isinstance(given, str | os.PathLike):
        if not isinstance(data, folder.Folder):
            raise ValueError("labels: expected a folder for predictions in a folder, got arrays")
        source = predictions.find(given, data, partial=partial)
    else:
        source = _Given(given, data)
    problems = [f"{path}: expected a case of {data.root}" for path in source.unknown]
    problems += [f"{given}: {name}: expected a prediction, got none" for name in source.missing]
    rows: dict[str, dict[Key, float]] = {}
    samples: list[int] = []

    def judge(name: str) -> tuple[dict[Key, float], int]:
        return _of_case(_case(name, source, data, settings), data, names)

    def done(name: str, result: tuple[dict[Key, float], int]) -> None:
        rows[name] = result[0]
        samples.append(result[1])

    problems += each_case.run(list(source.cases), judge, done, title="judging")
    if not any(rows.values()):
        raise folder.FolderError(problems or [f"{_shown(given)}: {_lacking(names)}"])
    return _summed(settings, rows, max(samples), drawing, problems)


def _lacking(names: Sequence[str]) -> str:
    """Says what no case has, if none of the metrics could be computed."""
    needs = [prediction_metrics.METRICS[name].needs for name in names]
    wanted = sorted(set().union(*needs)) if all(needs) else ["raters or a truth"]
    return f"expected {', '.join(wanted)}, got none"


def _shown(given: Any) -> str:
    return os.fspath(given) if isinstance(given, str | os.PathLike) else "prediction"


def _case(name: str, source: Any, data: Any, settings: judged.Settings) -> judged.Case:
    labels, predicted = data.read(name), source.read(name)
    shape = labels.labels.shape[1:]
    for field in ("segmentation", "probs", "samples", "sample_probs", "rater_labels"):
        value = getattr(predicted, field)
        if value is not None:
            want = (None,) * (field in ("samples", "sample_probs", "rater_labels")) + shape
            want += (settings.num_classes,) * field.endswith("probs")
            checks.shape(f"{name}: {field} of the prediction", value, want, like="the labels")
    return judged.Case(
        settings, predicted, labels.labels, labels.rater_mask, labels.truth, labels.spacing
    )


def _of_case(case: judged.Case, data: Any, names: Sequence[str]) -> tuple[dict[Key, float], int]:
    """Returns all numbers of a case, and how many samples it has."""
    row: dict[Key, float] = {}
    labels = list(case.settings.classes)

    def note(metric: str, rater: str, values: Any) -> None:
        values = np.asarray(values, float)
        for label, value in zip(labels if values.ndim else [""], values.reshape(-1), strict=True):
            row[Key(metric, label, rater)] = float(value)

    for name, metric in prediction_metrics.chosen(case, names).items():
        if metric.of == "sets":
            note(name, "", metric.compute(case))
        elif metric.of == "own":
            for r, target in case.own_targets.items():
                note(name, data.rater_names[r], metric.compute(target))
        else:
            for who, target in case.targets.items():
                rater = who if who == "truth" else data.rater_names[int(who)]
                note(name, rater, metric.compute(target))
    return row, len(case.samples) if "samples" in case.has else 0


def _summed(settings, rows, samples, drawing, problems) -> Report:
    """Adds means over classes and raters, and what all numbers come to over the cases."""
    names = tuple(rows)
    columns: dict[Key, np.ndarray] = {}
    for n, name in enumerate(names):
        for key, value in rows[name].items():
            columns.setdefault(key, np.full(len(names), np.nan))[n] = value
    given = set(columns)
    # Without unions.
    labels = set(list(settings.classes)[: settings.num_classes - 1])
    _add_means(columns, "label", ALL_CLASSES, labels)
    raters = {key.rater for key in given} - {"", "truth"}
    _add_means(columns, "rater", ALL_RATERS, raters)
    order = list(prediction_metrics.METRICS)
    keys = sorted(columns, key=lambda key: order.index(key.metric))
    values = np.stack([columns[key] for key in keys], axis=1)
    level, draws, seed = drawing
    low, high = statistics.mean_interval(values, level=level, draws=draws, seed=seed)
    lines = [
        _line(key, columns, float(low[m]), float(high[m]), settings) for m, key in enumerate(keys)
    ]
    return Report(
        settings=settings,
        cases=names,
        keys=tuple(keys),
        values=values,
        derived=tuple(key not in given for key in keys),
        lines=tuple(lines),
        samples=samples,
        differences=(),
        problems=tuple(problems),
    )


def _line(
    key: Key, columns: Mapping[Key, np.ndarray], low: float, high: float, settings: judged.Settings
) -> Line:
    summary = tabulate.summarise(columns[key].tolist())
    if settings.empty == "nnunet" and key.label == ALL_CLASSES:
        # The mean over cases first, as nnU-Net takes it.
        labels = list(settings.classes)[: settings.num_classes - 1]
        each = [tabulate.summarise(columns[key._replace(label=label)]).mean for label in labels]
        summary = summary._replace(mean=float(np.mean(each)))
    return Line(key, summary, low, high)


def _add_means(columns: dict[Key, np.ndarray], field: str, value: str, over: set[str]) -> None:
    """Adds means over the columns that differ by one field alone, of which there are several."""
    groups: dict[Key, list[np.ndarray]] = {}
    for key, column in columns.items():
        if getattr(key, field) in over:
            groups.setdefault(key._replace(**{field: value}), []).append(column)
    for key, group in groups.items():
        if len(group) > 1:
            table = np.stack(group)
            known = ~np.isnan(table)
            count = known.sum(axis=0)
            total = np.where(known, table, 0.0).sum(axis=0)
            columns[key] = np.where(count > 0, total / np.maximum(count, 1), np.nan)


def differences(one: Report, other: Report, *, test: str = "wilcoxon") -> tuple[Difference, ...]:
    """Compares two reports over the cases of both, number by number.

    Means over classes and raters are compared where there are any, else what they would be of;
    metrics that cannot be better or worse are not.
    """
    both = [name for name in one.cases if name in other.cases]
    rows = [[report.cases.index(name) for name in both] for report in (one, other)]
    keys = [
        key
        for key in one.keys
        if key in other.keys and prediction_metrics.METRICS[key.metric].better and is_main(key, one)
    ]
    comparisons = []
    for key in keys:
        first, second = (
            report.values[chosen, report.keys.index(key)].tolist()
            for report, chosen in zip((one, other), rows, strict=True)
        )
        # Of a case that lacks a class, say; the table says of how many the comparison is.
        comparisons.append(statistics.paired(first, second, test=test, skip_undefined=True))
    corrected = statistics.holm([comparison.p_value for comparison in comparisons])
    return tuple(
        Difference(key, comparison, float(p))
        for key, comparison, p in zip(keys, comparisons, corrected, strict=True)
    )


def is_main(key: Key, report: Report) -> bool:
    """Whether no mean over classes or raters holds a number already."""
    coarser = [key]
    if key.label not in ("", ALL_CLASSES):
        coarser.append(key._replace(label=ALL_CLASSES))
    if key.rater not in ("", "truth", ALL_RATERS):
        coarser += [finer._replace(rater=ALL_RATERS) for finer in tuple(coarser)]
    return not any(candidate in report.keys for candidate in coarser[1:])
