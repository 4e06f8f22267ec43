"""Trains K networks on a folder as one run, each of which holds out a part of the cases.

The run's folder holds the plan, the division, a workdir for each network, and when all are trained
what they say of the cases that they have not seen. All that it takes to predict is in it.
"""

import contextlib
import os
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from noisyjax.core import checks, files
from noisyjax.data import sources
from noisyjax.tool import folder, record
from noisyjax.tool.page import page
from noisyjax.tool.plan import plan, planner
from noisyjax.tool.training import (
    calibration,
    decided,
    folds,
    guarantee,
    out_of_fold,
    report,
    run_files,
    run_page,
    settings,
    speed,
    worst_cases,
)
from noisyjax.train import config_fields, loop, used_cases
from noisyjax.train.workdir import lock

# All that a run writes, beside its record.
MAKES = (
    run_files.PLAN,
    run_files.SPLITS,
    run_files.EPOCHS,
    run_files.CALIBRATION,
    run_files.SUMMARY,
    run_files.PAGE,
    run_files.OUT_OF_FOLD,
    run_files.CASES,
    run_files.CURVES,
    run_files.WORST,
    run_files.DECIDED,
)
# Between two looks at a folder that another process is preparing, in seconds.
_PAUSE = 0.2


class Written(NamedTuple):
    """What became of a run.

    Attributes:
      out: its folder.
      trained: the folds whose networks are trained.
      folds: how many there are to be.
      summary: what stands in ``summary.json``, None unless all are trained.
      problems: what is wrong with cases that could not be predicted or judged.
      finished: whether all had been done before.
    """

    out: pathlib.Path
    trained: tuple[int, ...]
    folds: int
    summary: Mapping[str, Any] | None
    problems: tuple[str, ...]
    finished: bool


def train_folds(
    root: str | os.PathLike,
    out: str | os.PathLike,
    *,
    plan: plan.Plan | str | os.PathLike | None = None,
    method: str = "majority",
    folds: int = 5,
    fold: int | None = None,
    epochs: int | None = None,
    budget: float | int | None = None,
    seed: int = 0,
    changes: Mapping[str, Any] | None = None,
    decisions: str | os.PathLike | None = None,
    mended: str | os.PathLike | None = None,
    begun: Callable[[int], None] = lambda fold: None,
) -> Written:
    """Trains networks on a folder; a run that has begun goes on, and one that is done says so.

    Every case of imagesTr with a label to learn from is held out by one network, which predicts it
    in the end. Cases of imagesTs never train. Several processes, or machines that share the run's
    folder, may train a fold each; who ends last puts the results together.

    Args:
      root: the folder, as `folder.open_folder` reads it.
      out: the run's folder, absent, empty, or begun with the same options.
      plan: how cases are prepared and what network learns, or a file with it; by default the
        folder is planned first.
      method: one of `noisyjax.methods.METHODS`.
      folds: networks, K; one learns from all cases and holds none out.
      fold: trains this one alone, from 0.
      epochs: of each network; by default `settings.of_plan`'s.
      budget: seconds of all folds together, to which the epochs are fitted, in place of these.
      seed: of the division and the networks.
      changes: further fields of the config by their dotted names, with values.
      decisions: a file of what is to become of labels, as pages export it: those that it drops, or
        gives the weight 0, are not learnt from, those that it mends are replaced, and its weights
        are those of the cases in the loss.
      mended: a folder of labels in the place of those to be mended, such as a run's predictions of
        what it has not seen; others become the consensus of the other raters of their case.
      begun: is told each fold that begins or goes on.

    Raises:
      folder.FolderError: if the folder cannot be used.
      record.OtherRun: if `out` holds something else.
      ValueError: if an option cannot be.
      lock.WorkdirLocked: if another process trains one of these folds.
    """
    began = time.perf_counter()
    opened = folder.open_folder(root)
    if budget is not None:
        checks.positive("budget", budget)
        if epochs is not None:
            raise ValueError(f"budget: expected none beside epochs, got {budget} s")
    options = {"method": method, "folds": folds, "epochs": epochs, "seed": seed}
    options["budget"] = budget
    options["changes"] = dict(changes or {})
    made = None
    if decisions is not None:
        read = decided.read(decisions, opened)
        made = decided.plan(opened, read, mended=mended)
        options["decisions"] = [list(one) for one in read]
        options["mended"] = mended and os.fspath(pathlib.Path(mended).resolve())
    elif mended is not None:
        raise ValueError(f"mended: expected decisions beside it, got {mended} alone")
    if fold is not None:
        checks.one_of("fold", fold, range(folds))
    work = _Work(opened, files.named("out", out).absolute(), options)
    work.begin(plan, made)
    if budget is not None:
        work.fit_epochs(budget - (time.perf_counter() - began))
    return work.run(range(folds) if fold is None else [fold], begun)


class _Work:
    """The making of one run."""

    def __init__(self, opened: folder.Folder, out: pathlib.Path, options: dict[str, Any]):
        self._opened, self._out, self._options = opened, out, options
        self._name = opened.root.name
        # Wrong numbers of folds are told before anything is done.
        self._divided = folds.divide(opened.layout, folds=options["folds"], seed=options["seed"])
        # What the cases hold the networks' own workdirs know.
        self._made = record.open_record(
            out,
            run_files.COMMAND,
            source=opened.root,
            digest=record.digest([opened.layout.described_by], opened.root),
            options=options,
            makes=MAKES,
        )

    def begin(self, given: plan.Plan | str | os.PathLike | None, made: decided.Plan | None) -> None:
        """Writes what is fixed for the whole run, unless it is there."""
        path = self._out / run_files.PLAN
        if path.exists():
            kept = plan.load(path)
            if given is not None and files.plain(_read(given)) != files.plain(kept):
                raise record.OtherRun(
                    f"plan: expected that of {path}, with which the run began, or another out"
                )
            self._plan = kept
        else:
            self._plan = _planned(self._opened, given)
        # A wrong option leaves nothing behind.
        config_fields.resolve(self._config(0))
        self._made.begin()
        if made is not None:
            self._decide(made)
        splits = self._out / run_files.SPLITS
        if not (path.exists() and splits.exists()):
            # Of two processes that begin at once the first decides.
            with _alone(self._out):
                if not path.exists():
                    plan.save(path, self._plan)
                if not splits.exists():
                    files.write_json(splits, self._divided)
        self._plan = _without_absent(plan.load(path), self._opened)
        self._splits = run_files.read_splits(self._out)

    def _decide(self, made: decided.Plan) -> None:
        """Goes on with the folder as it was decided on."""
        with _alone(self._out):
            self._opened = decided.write(made, self._out / run_files.DECIDED)
        options = self._options
        self._divided = folds.divide(
            self._opened.layout, folds=options["folds"], seed=options["seed"]
        )

    def fit_epochs(self, seconds: float) -> None:
        """Decides how many epochs of all folds fit into a time, once for the run."""
        path = self._out / run_files.EPOCHS
        if path.exists():
            return
        count, began = len(self._splits), time.perf_counter()
        self._begin_fold(0)
        measured = speed.measure(self._config(0), run_files.fold(self._out, 0))
        # What was compiled to be measured is not compiled again.
        left = (seconds - (time.perf_counter() - began)) / count
        fitted = speed.epochs_for(measured, left)
        with _alone(self._out):
            if not path.exists():
                files.write_json(path, {**fitted._asdict(), "measured": measured._asdict()})

    def run(self, chosen: Iterable[int], begun: Callable[[int], None]) -> Written:
        """Trains the folds that are chosen, and puts the results together when all are there."""
        problems = []
        if self._made.finished and (self._out / run_files.SUMMARY).exists():
            return self._written(problems, finished=True)
        for number in chosen:
            if not run_files.is_finished(self._out, number):
                begun(number)
            self._train(number)
            problems += self._predict(number)
        trained = [n for n in range(len(self._splits)) if run_files.is_finished(self._out, n)]
        if len(trained) < len(self._splits):
            return self._written(problems, finished=False)
        for number in trained:
            # Of those that another process has trained and not predicted.
            problems += self._predict(number)
        problems = list(dict.fromkeys([*problems, *self._put_together()]))
        self._made.end(problems)
        return self._written(problems, finished=False)

    def _written(self, problems: list[str], *, finished: bool) -> Written:
        count = len(self._splits)
        trained = tuple(n for n in range(count) if run_files.is_finished(self._out, n))
        path = self._out / run_files.SUMMARY
        summary = files.read_json(path) if path.exists() and len(trained) == count else None
        return Written(self._out, trained, count, summary, tuple(problems), finished)

    def _config(self, number: int) -> config_fields.Config:
        given = {} if self._options["epochs"] is None else {"epochs": self._options["epochs"]}
        path = self._out / run_files.EPOCHS
        if self._options["budget"] is not None and path.exists():
            fitted = files.read_json(path)
            given = {name: fitted[name] for name in speed.Epochs._fields}
        # The division is the run's own; the folder need not be large enough for another.
        own = {"data.options.fractions": (1.0, 0.0, 0.0), **self._options["changes"]}
        try:
            return settings.of_plan(
                self._opened.root,
                self._plan,
                method=self._options["method"],
                seed=self._options["seed"] * len(self._divided) + number,
                changes=own,
                **given,
            )
        except TypeError as error:
            # Of a value of another kind than the field's.
            raise ValueError(f"changes: {' '.join(str(error).split())}") from error

    def _train(self, number: int) -> None:
        workdir = self._begin_fold(number)
        try:
            loop.train_and_evaluate(self._config(number), workdir)
        except ValueError as error:
            # Options were looked at before: it is of the data, or of what lies in the folder.
            raise folder.FolderError([str(error)]) from error

    def _begin_fold(self, number: int) -> pathlib.Path:
        """Writes which cases a fold has, unless it is there; returns its workdir."""
        workdir = run_files.fold(self._out, number)
        if not (workdir / used_cases.SPLITS_FILE).exists():
            # Not named in the config, so that a run that was moved goes on.
            files.write_json(workdir / used_cases.SPLITS_FILE, self._splits[number])
        return workdir

    def _predict(self, number: int) -> list[str]:
        checkpoint = self._config(number).evaluate.checkpoint
        held_out = self._splits[number]["val"]
        return out_of_fold.write(
            self._out, number, held_out, self._opened.layout, checkpoint=checkpoint
        )

    def _put_together(self) -> list[str]:
        """Writes what all folds together say; returns what is wrong with cases."""
        opened, out, problems = self._opened, self._out, []
        judged = calibrated = None
        if any(own["val"] for own in self._splits):
            judged = report.judge(out, opened)
            problems += judged.problems
            calibrated = self._calibrate(problems)
            worst_cases.write(out, opened, judged)
        worst_cases.write_curves(out, len(self._splits))
        summary = report.write(out, judged, options=self._options, calibrated=calibrated)
        problems += page.try_to_write(
            out / run_files.PAGE,
            lambda: run_page.make(out, opened, judged, summary, name=self._name),
        )
        return problems

    def _calibrate(self, problems: list[str]) -> dict[str, Any]:
        """Writes what is fitted on out-of-fold predictions; returns it without the guarantees."""
        opened, out = self._opened, self._out
        found = calibration.fit(
            out_of_fold.read(out, opened, problems),
            opened.class_names,
            regions=opened.layout.regions,
            seed=self._options["seed"],
        )
        decision = self._config(0).evaluate.decisions[0]
        adjusted = calibration.parse(found, opened.class_names)
        how = {"adjusted": adjusted, "decision": decision}
        counted = (
            out_of_fold.judge(case, opened.layout.regions, **how)
            for case in out_of_fold.read(out, opened, problems)
            if (case.labels != folder.NO_LABEL).any()
        )
        kept = guarantee.to_json(guarantee.fit(counted, decision=decision), opened.class_names)
        files.write_json(out / run_files.CALIBRATION, {**found, guarantee.NAME: kept})
        return found


def _read(given: plan.Plan | str | os.PathLike) -> plan.Plan:
    return given if isinstance(given, plan.Plan) else plan.load(given)


def _without_absent(kept: plan.Plan, opened: folder.Folder) -> plan.Plan:
    """Leaves out raters all of whose labels have been dropped."""
    names = {**dict.fromkeys(opened.rater_names), sources.folder.ONLY_RATER: None}
    raters = {n: count for n, count in kept.fingerprint.get("raters", {}).items() if n in names}
    return kept._replace(fingerprint={**kept.fingerprint, "raters": raters})


def _planned(opened: folder.Folder, given: plan.Plan | str | os.PathLike | None) -> plan.Plan:
    """Returns the plan that is given, or plans the folder."""
    return planner.plan(opened) if given is None else _read(given)


@contextlib.contextmanager
def _alone(out: pathlib.Path) -> Iterator[None]:
    """Waits until no other process prepares the run, and keeps others out within a ``with``."""
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(lock.held(out))
                break
            except lock.WorkdirLocked:
                time.sleep(_PAUSE)
        yield
