"""One study from its config to its table and pictures."""

import json
import os
import pathlib
from collections.abc import Sequence

import ml_collections
import rich.console
import rich.progress

from noisyjax import train
from noisyjax.studies import grid, pictures, showcase, table


def run_study(config: ml_collections.ConfigDict, workdir: str | os.PathLike) -> list[grid.Outcome]:
    """Runs every cell of a study that has not finished yet, and writes its report.

    The workdir receives ``table.md`` (mean ± sd over the seeds), ``table.csv`` (every number of
    every seed), ``curves.png``, and for each entry of ``config.showcases`` a picture of images,
    raters, estimated truth and estimated confusion matrices.

    Args:
      config: a study's config, see `grid`.
      workdir: the study's folder; running again in it goes on where it stopped.

    Returns:
      The cells' outcomes in the order of the table.
    """
    workdir = pathlib.Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    console = rich.console.Console()
    outcomes = _run_cells(config, workdir, console)
    columns = [table.Column(*column) for column in config.columns]
    head, body = table.headings(outcomes, columns), table.rows(outcomes, columns)
    _write(workdir / "table.csv", table.tidy_csv(outcomes))
    _write(workdir / "table.md", table.markdown(head, body))
    console.print(table.terminal(config.title, head, body))
    for outcome in outcomes:
        if outcome.error is not None:
            console.print(f"[red]failed[/red] {outcome.cell.folder}:\n{outcome.error}")
    _draw(config, workdir, outcomes)
    console.print(f"tables and pictures: {workdir}")
    return outcomes


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
        for outcome in grid.run(todo, workdir, workers=workers, train=train.train_and_evaluate):
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
        name = " ".join(cell.levels.values())
        history = _history(workdir / cell.folder / "metrics.jsonl", config.curve)
        histories.setdefault(name, []).append(history)
    if histories:
        figure = pictures.curves(histories, xlabel="step", ylabel=config.curve)
        pictures.save(figure, workdir / "curves.png")
    finished = {cell.folder for cell, summary, _ in outcomes if summary is not None}
    for folder in config.showcases:
        if folder in finished:
            name = f"raters-{folder.replace('/', '-')}.png"
            pictures.save(showcase.figure(workdir / folder), workdir / name)


def _history(path: pathlib.Path, field: str) -> tuple[list, list]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    known = [row for row in rows if field in row]
    return [row["step"] for row in known], [row[field] for row in known]


def _write(path: pathlib.Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(text)
    os.replace(temporary, path)
