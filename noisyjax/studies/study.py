"""One study from its config to its tables and figures."""

import itertools
import os
import pathlib
from collections.abc import Callable, Sequence

import ml_collections
import rich.console
import rich.progress

from noisyjax import train
from noisyjax.core import checks, files
from noisyjax.metrics import tabulate
from noisyjax.studies import by_agreement, comparison, grid, readout, table
from noisyjax.studies.figures import of_run, plots
from noisyjax.studies.noise_ratio import report
from noisyjax.train.workdir import config_and_summary, metrics_log

# What studies of one kind report besides, by the name in `config.reports`.
_REPORTS = {"noise_ratio": report.report}


def train_cell(config: ml_collections.ConfigDict, workdir: str) -> dict[str, float]:
    """Trains a run and returns its summary; one that is finished is only read."""
    summary = config_and_summary.finished(config, workdir)
    return summary or train.train_and_evaluate(config, workdir)[1]


def run_study(config: ml_collections.ConfigDict, workdir: str | os.PathLike) -> list[grid.Outcome]:
    """Runs every cell of a study that has not finished yet, and writes its report.

    The workdir receives ``table.md`` (mean ± sd over the repetitions), ``table.csv`` (every number
    of every run), ``comparisons.md`` (paired tests), ``consensus.md`` and ``consensus.png`` (the
    metrics of ``config.consensus`` where the raters agree little, more and much), a plot per entry
    of ``config.plots``, ``curves.png``, for each entry of ``config.showcases`` the figures of
    `of_run.figures`, and for each name in ``config.reports`` its tables ``<name>.md`` and its
    figures. Running again in it goes on where it stopped.

    The config is as `study_fields.new`; the outcomes have the order of the table.
    """
    reports = {name: checks.lookup("reports", name, _REPORTS) for name in config.reports}
    workdir = config_and_summary.absolute(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    console = rich.console.Console()
    outcomes = _run_cells(config, workdir, console)
    for outcome in outcomes:
        if outcome.error is not None:
            console.print(f"[red]failed[/red] {outcome.cell.folder}:\n{outcome.error}")
    rows = readout.read(outcomes, config.readouts)
    _tabulate(config, workdir, rows, console)
    _compare(config, workdir, rows, console)
    _group(config, workdir, outcomes, console)
    _draw(config, workdir, outcomes)
    for name, write_report in reports.items():
        _report(name, write_report, workdir, outcomes, console)
    _plot(config, workdir, rows)
    console.print(f"tables and figures: {workdir}")
    return outcomes


def _tabulate(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    rows: Sequence[grid.Outcome],
    console: rich.console.Console,
) -> None:
    columns = [table.Column(*column) for column in config.columns]
    head = table.headings(rows, columns, config.repeats)
    body = table.rows(rows, columns, config.repeats)
    parts = [(config.title, head, body)]
    for field, heading, form, axis in config.pivots:
        column = table.Column(field, heading, form)
        parts.append((heading, *table.pivot(rows, column, axis, config.repeats)))
    files.write_text(workdir / "table.csv", table.tidy_csv(rows))
    texts = [_markdown(head, body)]
    texts += [f"\n{title}\n\n{_markdown(head, body)}" for title, head, body in parts[1:]]
    files.write_text(workdir / "table.md", "".join(texts))
    for part in parts:
        console.print(table.terminal(*part))


def _compare(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    rows: Sequence[grid.Outcome],
    console: rich.console.Console,
) -> None:
    texts = []
    for field, heading, axis, pairs, test in config.comparisons:
        compared = comparison.compare(
            rows, field=field, axis=axis, pairs=pairs, repeats=config.repeats, test=test
        )
        if compared:
            head, body = [*compared[0].levels, *comparison.HEADINGS], comparison.rows(compared)
            title = f"{heading}, paired {test} test, p-values as they are and after Holm"
            console.print(table.terminal(title, head, body))
            texts.append(f"{title}\n\n{_markdown(head, body)}")
    if texts:
        files.write_text(workdir / "comparisons.md", "\n".join(texts))


def _group(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    outcomes: Sequence[grid.Outcome],
    console: rich.console.Console,
) -> None:
    if not config.consensus:
        return
    head, body, figure = by_agreement.report(
        workdir, outcomes, metrics=config.consensus, repeats=config.repeats
    )
    if body:
        title = "Cases by the agreement of their raters, mean ± sd over cases"
        console.print(table.terminal(title, head, body))
        files.write_text(workdir / "consensus.md", f"{title}\n\n{_markdown(head, body)}")
        plots.save(figure, workdir / "consensus.png")


def _plot(
    config: ml_collections.ConfigDict, workdir: pathlib.Path, rows: Sequence[grid.Outcome]
) -> None:
    for field, label, along, lines in config.plots:
        panels: dict[str, dict[str, dict[str, list[float]]]] = {}
        for cell, summary, _ in rows:
            if summary is None or field not in summary:
                continue
            shared = [a for a in cell.levels if a not in (along, lines, *config.repeats)]
            title = " ".join(cell.levels[axis] for axis in shared)
            line = panels.setdefault(title, {}).setdefault(cell.levels[lines], {})
            line.setdefault(cell.levels[along], []).append(summary[field])
        if panels:
            drawn = {
                title: {name: list(line.items()) for name, line in panel.items()}
                for title, panel in panels.items()
            }
            figure = plots.lines(drawn, xlabel=along, ylabel=label)
            plots.save(figure, workdir / f"{field}.png")


def _run_cells(
    config: ml_collections.ConfigDict, workdir: pathlib.Path, console: rich.console.Console
) -> list[grid.Outcome]:
    todo = grid.cells(config)
    done = {}
    workers = config.workers or grid.num_cores()
    with rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TimeRemainingColumn(),
        console=console,
    ) as progress:
        bar = progress.add_task(f"{config.title}: {workers} at a time", total=len(todo))
        for outcome in grid.run(todo, workdir, workers=workers, train=train_cell):
            done[outcome.cell.folder] = outcome
            progress.advance(bar)
            progress.console.print(f"  {outcome.cell.folder}: {_headline(config, outcome)}")
    return [done[cell.folder] for cell in todo]


def _headline(config: ml_collections.ConfigDict, outcome: grid.Outcome) -> str:
    if outcome.summary is None:
        return "failed"
    columns = [table.Column(*column) for column in config.columns]
    known = [c for c in columns if c.field in outcome.summary]
    return ", ".join(f"{c.heading} {format(outcome.summary[c.field], c.format)}" for c in known)


def _draw(
    config: ml_collections.ConfigDict, workdir: pathlib.Path, outcomes: Sequence[grid.Outcome]
) -> None:
    histories: dict[str, list] = {}
    for cell, summary, _ in outcomes:
        if summary is None:
            continue
        name = " ".join(n for axis, n in cell.levels.items() if axis not in config.repeats)
        history = _history(workdir / cell.folder / "metrics.jsonl", config.curve)
        histories.setdefault(name, []).append(history)
    if histories:
        figure = plots.curves(histories, xlabel="step", ylabel=config.curve)
        plots.save(figure, workdir / "curves.png")
    finished = {cell.folder for cell, summary, _ in outcomes if summary is not None}
    for folder in config.showcases:
        if folder in finished:
            for kind, figure in of_run.figures(workdir / folder).items():
                plots.save(figure, workdir / f"{kind}-{folder.replace('/', '-')}.png")


def _report(
    name: str,
    write_report: Callable,
    workdir: pathlib.Path,
    outcomes: Sequence[grid.Outcome],
    console: rich.console.Console,
) -> None:
    parts, figures = write_report(workdir, outcomes)
    texts = []
    for note, group in itertools.groupby(parts, key=lambda part: part.note):
        for title, head, body, _ in group:
            console.print(table.terminal(title, head, body))
            texts.append(f"## {title}\n\n{_markdown(head, body)}")
        console.print(f"{note}\n")
        texts.append(f"{note}\n")
    if texts:
        files.write_text(workdir / f"{name}.md", "\n".join(texts))
    for kind, figure in figures.items():
        plots.save(figure, workdir / f"{name}-{kind}.png")


def _markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    return tabulate.markdown_table(head, body, aligned=False)


def _history(path: pathlib.Path, field: str) -> tuple[list, list]:
    rows = metrics_log.read_metrics(path)
    # A number that is not finite is written as null.
    known = [row for row in rows if row.get(field) is not None]
    return [row["step"] for row in known], [row[field] for row in known]
