"""What was measured: one file for each kind of labels, side, seed and time, and their table."""

import itertools
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from noisyjax.benchmarks.side_by_side import sides
from noisyjax.core import files
from noisyjax.metrics import tabulate
from noisyjax.tool.evaluation import evaluate

METRICS = ("dice", "hd95")
_COSTS = ("updates", "cpu_s", "first_step_s", "prediction_s")


class Cell(NamedTuple):
    """One training: what it is called by."""

    labels: str
    side: str
    seed: int
    minutes: float

    def path(self, root: pathlib.Path) -> pathlib.Path:
        """The file with its result, which is there when it is done."""
        side = self.side.replace(":", "-")
        return root / f"{self.labels}_{side}_seed{self.seed}_{self.minutes:g}min.json"


def fill(
    setup: sides.Setup,
    root: pathlib.Path,
    truth: pathlib.Path,
    *,
    labels: Iterable[str],
    of_sides: Sequence[str],
    seeds: Iterable[int],
    minutes: Sequence[float],
    done: Callable[[Cell], None] = lambda cell: None,
) -> None:
    """Runs the cells that have no result yet, and scores each as soon as it is predicted.

    Args:
      setup: of the sides.
      root: where results go.
      truth: the folder of all cases, by which predictions are judged.
      labels: kinds of them; of_sides, seeds and minutes as in `sides.run`.
      done: is told each cell that has its result.
    """
    for kind, seed, side in itertools.product(labels, seeds, of_sides):
        cells = {each: Cell(kind, side, seed, each) for each in sorted(minutes)}
        left = [each for each, cell in cells.items() if not cell.path(root).exists()]
        if not left:
            continue
        for result in sides.run(setup, side, kind, seed=seed, minutes=left):
            cell = cells[result.minutes]
            costs = {name: getattr(result, name) for name in _COSTS}
            content = {**cell._asdict(), **costs, **score(result.folder, truth)}
            files.write_json(cell.path(root), content)
            done(cell)


def score(predictions: str | os.PathLike, truth: str | os.PathLike) -> dict[str, dict[str, float]]:
    """Returns the mean over the cases of each metric, of each class and of all.

    An empty segmentation has HD95 equal to the diagonal of the image.

    Raises:
      ValueError: if a case has no prediction, or one that cannot be judged.
    """
    report = evaluate.evaluate(predictions, truth, metrics=METRICS, conventions=("monai",))
    if report.problems:
        raise ValueError(report.problems[0])
    means = {metric: {} for metric in METRICS}
    for line in report.lines:
        if line.key.rater == "truth":
            means[line.key.metric][line.key.label] = line.summary.mean
    for by_class in means.values():
        # One class is its own mean.
        by_class.setdefault(evaluate.ALL_CLASSES, next(iter(by_class.values())))
    return means


class Row(NamedTuple):
    """Cells that differ by their seed alone.

    Attributes:
      numbers: by name, over the seeds: "dice", "hd95", those of a class as "dice anterior", and
        costs.
    """

    labels: str
    minutes: float
    side: str
    seeds: int
    numbers: dict[str, tabulate.Summary]


def rows(root: str | os.PathLike) -> list[Row]:
    """Reads all results of a folder; kinds of labels, times and sides in their order."""
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for path in sorted(pathlib.Path(root).glob("*.json")):
        cell = files.read_json(path)
        groups.setdefault((cell["labels"], cell["minutes"], cell["side"]), []).append(cell)
    return [
        Row(*key, len(cells), _numbers([_flat(cell) for cell in cells]))
        for key, cells in sorted(groups.items())
    ]


def _flat(cell: dict[str, Any]) -> dict[str, float]:
    flat = {}
    for metric in METRICS:
        by_class = dict(cell[metric])
        flat[metric] = by_class.pop(evaluate.ALL_CLASSES)
        flat |= {f"{metric} {label}": value for label, value in by_class.items()}
    return flat | {name: cell[name] for name in _COSTS}


def _numbers(cells: Sequence[dict[str, float]]) -> dict[str, tabulate.Summary]:
    return {name: tabulate.summarise(cell[name] for cell in cells) for name in cells[0]}


def table(of_rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Returns headings and texts of a table: mean ± sd over seeds."""
    classes = [name for name in of_rows[0].numbers if name.startswith("dice ")] if of_rows else []
    forms = dict.fromkeys(("dice", *classes), ".3f")
    forms |= {"hd95": ".2f", "updates": ".0f"}
    forms |= dict.fromkeys(("cpu_s", "first_step_s", "prediction_s"), ".0f")
    head = ["labels", "minutes", "side", "seeds", *(name.replace("_s", " s") for name in forms)]
    body = [
        [
            *(row.labels, f"{row.minutes:g}", row.side, str(row.seeds)),
            *(tabulate.mean_sd(row.numbers[name], form=form) for name, form in forms.items()),
        ]
        for row in of_rows
    ]
    return head, body


def write(of_rows: Sequence[Row], out: str | os.PathLike) -> None:
    """Writes all rows to ``OUT.json`` and ``OUT.csv``."""
    entries = [
        {**row._asdict(), "numbers": {n: s._asdict() for n, s in row.numbers.items()}}
        for row in of_rows
    ]
    files.write_json(f"{out}.json", entries)
    head = ("labels", "minutes", "side", "seeds", "number", "mean", "sd")
    lines = [
        (row.labels, row.minutes, row.side, row.seeds, name, summary.mean, summary.sd)
        for row in of_rows
        for name, summary in row.numbers.items()
    ]
    files.write_text(f"{out}.csv", files.to_csv(head, lines))
