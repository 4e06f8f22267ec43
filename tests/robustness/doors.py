"""The ways in which files come into the package, each with whole files to begin with."""

import contextlib
import csv
import io
import os
import pathlib
import signal
from collections.abc import Callable
from typing import Any, NamedTuple

import click
import folder_fakes
import numpy as np
import pytest
import SimpleITK
import train_fakes

import noisyjax
from noisyjax import train
from noisyjax.cli import main
from noisyjax.data import damaged, pipeline, source, sources, splits
from noisyjax.data.folder import checker, layouts
from noisyjax.data.sources import annotators_npz, hippocampus, lidc
from noisyjax.data.volumes import read_write
from noisyjax.metrics import tabulate
from noisyjax.train import predict, saved_runs
from noisyjax.train.workdir import metrics_log

Folder = pathlib.Path


class Refused(ValueError):
    """Files that are refused in a list of problems and not by an error."""


class Door(NamedTuple):
    """A way in.

    Attributes:
      name: many have one in common.
      files: of what is changed, glob patterns below the folder, as often chosen each.
      make: writes whole files into a folder.
      call: reads them, and returns all that comes of it.
      sealed: patterns of the files whose changes a checksum tells: nothing else may come of them.
      share: so many of 100 changes.
      writes: whether files of the folder are written.
    """

    name: str
    files: tuple[str, ...]
    make: Callable[[Folder], None]
    call: Callable[[Folder], Any]
    share: int
    sealed: tuple[str, ...] = ()
    writes: bool = False


# --- folders of images -----------------------------------------------------------------------

_SHAPES = {".png": (8, 9), ".tif": (5, 8, 9)}


def _data(folder: Folder, end: str, count: int = 4, **options: Any) -> Folder:
    shape = _SHAPES.get(end, (6, 5, 4))
    root = folder_fakes.make(folder / "data", count, end=end, shape=shape, **options)
    for path in sorted(root.rglob(f"*{end}")) if end in (".mha", ".nrrd") else ():
        # The images as they are, the labels deflated.
        image = SimpleITK.ReadImage(os.fspath(path))
        SimpleITK.WriteImage(image, os.fspath(path), useCompression="labels" in os.fspath(path))
    for path in (root / "imagesTr").iterdir() if end == ".tif" else ():
        name = path.name.removesuffix("_0000.tif")
        path.with_name(f"{name}.json").write_text('{"spacing": [2, 1, 1]}')
    return root


def _make_data(end: str) -> Callable[[Folder], None]:
    return lambda folder: _data(folder, end, raters=("anna",)) and None


def _loaded(folder: Folder, **options: Any) -> Any:
    data = sources.load("folder", root=os.fspath(folder / "data"), **options)
    examples = [source.read(data, i) for i in range(len(data.examples))]
    return examples, data.class_names, data.spacing, data.splits, data.about


def _checked(folder: Folder) -> Any:
    root = folder / "data"
    if problems := checker.check(root):
        raise Refused("\n".join(map(str, problems)))
    layout = layouts.read(root)
    cases = [checker.read_case(case, layout) for case in layout.cases]
    read = {str(p): (v.array, v.affine) for case in cases for p, v in case.volumes.items()}
    return read, layout.class_names, layout.channel_names, layout.patients


def _of_folders() -> list[Door]:
    doors = []
    for end in (".nii", ".nii.gz", ".mha", ".nrrd", ".tif", ".png"):
        files = ("data/dataset.json", f"data/images*/*{end}", f"data/*s*/**/*{end}")
        files += ("data/imagesTr/*.json",) if end == ".tif" else ()
        make = _make_data(end)
        doors.append(Door("folder load", files, make, _loaded, 5))
        doors.append(Door("check", files, make, _checked, 3))
    return doors


def _make_cache(folder: Folder) -> None:
    _data(folder, ".png", raters=("anna",))
    _from_cache(folder)


def _from_cache(folder: Folder) -> Any:
    return _loaded(folder, cache=os.fspath(folder / "cache"))


# --- archives and tables ---------------------------------------------------------------------


def _make_archives(folder: Folder) -> None:
    draw = np.random.default_rng(0)
    names = ("train", "val", "test")
    np.savez_compressed(
        folder / "annotators.npz",
        images=draw.integers(0, 256, (5, 4, 6, 1)).astype(np.uint8),
        **{n: draw.integers(0, 2, (5, 4, 6)).astype(np.uint8) for n in annotators_npz.RATERS},
        **{f"idx_{n}": np.array([i]) for i, n in enumerate(names)},
    )
    np.savez_compressed(
        folder / "hippocampus.npz",
        image=draw.integers(0, 256, (6, 5, 4, 3)).astype(np.uint8),
        label=draw.integers(0, 3, (6, 5, 4, 3)).astype(np.uint8),
        shape=np.array([[5, 4, 3]] * 6),
        name=np.array(list("abcdef")),
    )
    np.savez_compressed(
        folder / "lidc.npz",
        image=draw.integers(0, 256, (6, 8, 24)).astype(np.uint8),
        masks_packed=draw.integers(0, 256, (6, 4, 8, 3)).astype(np.uint8),
        **{n: np.arange(6) for n in ("patient", "nodule", "slice")},
    )


def _of_archive(name: str, load: Callable[..., source.Source]) -> Door:
    def call(folder: Folder) -> Any:
        data = load(path=os.fspath(folder / f"{name}.npz"))
        examples = [source.read(data, i) for i in range(len(data.examples))]
        return examples, data.case_names, data.groups, data.splits

    return Door("npz", (f"{name}.npz",), _make_archives, call, 3)


def _make_tables(folder: Folder) -> None:
    rows = [tabulate.Row(f"case_{i}", "organ", "dice", 0.5 + 0.1 * i) for i in range(3)]
    tabulate.write_rows(folder / "cases.csv", rows)
    data = train_fakes.load(size=6)
    parts = {"train": np.arange(3), "val": np.array([3]), "test": np.array([4, 5])}
    damaged.save(folder / "skipped.csv", {1: "image: expected, got"}, parts, data)
    splits.save(folder / "splits.json", parts, data)
    names = {part: [f"fake[{i}]" for i in ids] for part, ids in parts.items()}
    (folder / "named.json").write_text(str(names).replace("'", '"'))
    with metrics_log.MetricsWriter(folder) as writer:
        for step in range(1, 4):
            writer.write(step, {"train_loss": 1 / step, "seconds": step})


def _tables(folder: Folder) -> Any:
    data = train_fakes.load(size=6)
    return (
        tabulate.read_rows(folder / "cases.csv"),
        damaged.load(folder / "skipped.csv", data),
        splits.load(folder / "splits.json", data),
        splits.load(folder / "named.json", data),
        metrics_log.read_metrics(folder / "metrics.jsonl"),
    )


# --- runs ------------------------------------------------------------------------------------

_RUN = (
    "run/config.json",
    "run/source.json",
    "run/summary.json",
    "run/versions.json",
    "run/splits.json",
    "run/checkpoints/*/*/**/*",
    "run/checkpoints/*/*",
)
_SEALED = ("run/summary.json", "run/splits.json", "run/checkpoints/**/*")


def _config(folder: Folder, epochs: int, **fields: Any) -> Any:
    given = {"data.name": "folder", "data.splits": (), "train.warmup_steps": 0}
    options = {"root": os.fspath(folder / "data")}
    return train_fakes.config(options=options, **given, **{"train.epochs": epochs}, **fields)


def _make_run(folder: Folder) -> None:
    root = _data(folder, ".png", 6, tests=1)
    train.train_and_evaluate(_config(folder, 2), folder / "run")
    (folder / "images").mkdir()
    for i in range(2):
        name = f"case_{i:02d}_0000.png"
        (folder / "images" / name).write_bytes((root / "imagesTr" / name).read_bytes())


def _make_part(folder: Folder) -> None:
    """A run of three steps that was stopped after two, which leaves damaged cases out."""
    _data(folder, ".png", 6, tests=1)
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(SystemExit):
        patch.setattr(pipeline, "train_batches", train_fakes.stop_at(2, signal.SIGTERM))
        config = _config(folder, 3, **{"data.skip_damaged": True})
        train.train_and_evaluate(config, folder / "run")


def _numbers(summary: dict) -> dict:
    return {name: value for name, value in summary.items() if not name.startswith("seconds")}


def _resumed(folder: Folder) -> Any:
    state, summary = train.train_and_evaluate(_config(folder, 2), folder / "run")
    return state, _numbers(summary)


def _part_resumed(folder: Folder) -> Any:
    config = _config(folder, 3, **{"data.skip_damaged": True})
    state, summary = train.train_and_evaluate(config, folder / "run")
    return state, _numbers(summary)


def _predicted(folder: Folder) -> Any:
    outcomes = predict.predict_folder(folder / "run", folder / "images", folder / "out")
    if faults := [outcome.fault for outcome in outcomes if outcome.fault]:
        raise Refused("\n".join(faults))
    return {o.case: read_write.read(o.path).array for o in outcomes}


def _evaluated(folder: Folder) -> Any:
    result = saved_runs.evaluate_run(folder / "run", output=folder / "out")
    return result.scalars


# --- the tool --------------------------------------------------------------------------------


def _make_predictions(folder: Folder) -> None:
    root = _data(folder, ".nii.gz", 3, raters=("anna", "ben"))
    draw = np.random.default_rng(0)
    for path in sorted((root / "labelsTr").iterdir()):
        target = folder / "predictions" / path.name
        label = read_write.read(path)
        read_write.write(target, label)
        probs = draw.dirichlet(np.ones(3), label.shape).astype(np.float32)
        packed = target.with_name(path.name.replace(".nii.gz", ".npz"))
        np.savez_compressed(packed, probabilities=probs.T)
        for number in (1, 2):
            volume = read_write.Volume(probs[..., number], label.affine, 3)
            place = folder / "predictions/sample_1/probabilities" / str(number)
            read_write.write(place / path.name, volume)


def _judged(folder: Folder) -> Any:
    report = noisyjax.evaluate(
        folder / "predictions", folder / "data", conventions=(), draws=20, metrics=("dice", "brier")
    )
    if report.problems:
        raise Refused("\n".join(report.problems))
    return report.cases, report.keys, report.values


_MADE = ("fused", "compared", "judged")
_COMMANDS = (
    ("consensus", "{}/data", "--out", "{}/fused", "--method", "majority"),
    ("raters", "{}/data", "--out", "{}/compared", "--no-surfaces"),
    ("evaluate", "{}/predictions", "{}/data", "--out", "{}/judged", "--no-surfaces",
     "--metric", "dice"),
)  # fmt: skip


def _commands(folder: Folder) -> Any:
    """Fuses, compares and judges, each in a folder of its own that may be there already."""
    for command in _COMMANDS:
        told = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(told):
            try:
                main.main.main([word.format(folder) for word in command], standalone_mode=False)
            except SystemExit as error:
                raise Refused(told.getvalue()) from error
            except click.ClickException as error:
                raise error.__cause__ or Refused(error.message) from None
    tables = [path for place in _MADE for path in (folder / place).rglob("*.csv")]
    rows = {}
    for path in sorted(tables):
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows[str(path)] = list(csv.reader(file))
    return rows


def _make_commands(folder: Folder) -> None:
    _make_predictions(folder)
    _commands(folder)


def doors() -> list[Door]:
    """Returns all doors."""
    labels = ("data/labelsTr/*", "data/ratersTr/*/*", "data/dataset.json")
    made = (*(f"{place}/*.json" for place in _MADE), "fused/*.csv")
    cached = ("cache/**/*",)
    run = {"make": _make_run, "sealed": _SEALED}
    return [
        *_of_folders(),
        _of_archive("annotators", annotators_npz.load),
        _of_archive("hippocampus", hippocampus.load),
        _of_archive("lidc", lidc.load),
        Door("cache", cached, _make_cache, _from_cache, 8, sealed=cached, writes=True),
        Door("tables", ("*.csv", "*.json", "*.jsonl"), _make_tables, _tables, 6,
             sealed=("splits.json",)),
        Door("predict", (*_RUN, "images/*"), call=_predicted, share=10, **run),
        Door("evaluate", ("predictions/**/*.*", *labels), _make_predictions, _judged, 7),
        Door("evaluate", _RUN, call=_evaluated, share=1, **run),
        Door("commands", made, _make_commands, _commands, 4, writes=True),
        Door("resume", (*_RUN, "run/metrics.jsonl"), call=_resumed, share=6, writes=True, **run),
        Door("resume", (*_RUN, "run/metrics.jsonl", "run/skipped.csv"), _make_part, _part_resumed,
             1, sealed=_SEALED, writes=True),
    ]  # fmt: skip
