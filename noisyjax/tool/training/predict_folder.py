"""Segmentations of a folder of images by a run: by its networks together, as files."""

import os
import pathlib
from typing import Any, NamedTuple

from noisyjax.core import checks, files, progress
from noisyjax.data.folder import nnunet_layout
from noisyjax.methods import base
from noisyjax.tool import folder, record
from noisyjax.tool.training import networks
from noisyjax.train import predict
from noisyjax.train.workdir import config_and_summary

# Shorter work shows no bar.
_SECONDS = 2.0


class Written(NamedTuple):
    """What became of a folder of images.

    Attributes:
      out: the folder that was written.
      cases: names of the cases that are in it.
      problems: what is wrong with the images that could not be segmented.
      finished: whether all had been done before.
    """

    out: pathlib.Path
    cases: tuple[str, ...]
    problems: tuple[str, ...]
    finished: bool


def predict_folder(
    run: str | os.PathLike,
    images: str | os.PathLike,
    out: str | os.PathLike,
    *,
    checkpoint: str = "latest",
    decision: str | None = None,
    mirror: bool = False,
    probabilities: bool = False,
    keep_components: bool = False,
    overwrite: bool = False,
) -> Written:
    """Segments every image of a folder; what is there already of the same options stays.

    Each network's probabilities are adjusted by the temperature of the run; their mean decides. Of
    the classes that gain by it out of fold only the largest component stays.

    Args:
      run: of `train_folds`, or the workdir of one network; all that is needed of it.
      images: CASE_0000 and so on, as in the folder that was trained on; of any size.
      out: where CASE goes, with the classes' numbers, on the voxels of the image.
      checkpoint: "latest" or "best".
      decision: one of `base.DECISIONS`, by default the run's own.
      mirror: whether to take the mean over mirror images too, along the axes of the run's plan.
      probabilities: whether ``probabilities/CLASS/CASE`` are written too, and
        ``region_probabilities/REGION/CASE`` of a run that predicts regions.
      keep_components: whether small components stay.
      overwrite: whether what was made in `out` with other options is removed.

    Raises:
      FileNotFoundError: if there is no such run, or it has no checkpoint.
      record.OtherRun: if `out` holds something else.
      ValueError: if an option cannot be, or there is no image.
    """
    run, images = files.named("run", run).absolute(), files.named("images", images)
    checks.one_of("checkpoint", checkpoint, ("latest", "best"))
    if decision is not None:
        checks.one_of("decision", decision, base.DECISIONS)
    loaded = networks.load(run, checkpoint=checkpoint)
    predict.check_source(loaded.workdirs[0])
    mirror_axes = networks.mirror_axes(run) if mirror else ()
    layout = predict.read_images(images, loaded.first.facts, probabilities=probabilities)
    options = {
        "run": os.fspath(run.resolve()),
        "networks": list(map(_identity, loaded.workdirs)),
        "adjusted": loaded.adjusted,
        "checkpoint": checkpoint,
        "decision": decision or loaded.first.config.evaluate.decisions[0],
        "mirror": mirror,
        "probabilities": probabilities,
        "keep_components": keep_components,
    }
    made = record.open_record(
        out,
        "predict",
        source=images,
        digest={case.name: record.digest(_inputs(case), layout.root) for case in layout.cases},
        options=files.plain(options),
        makes=_makes(layout),
        overwrite=overwrite,
    )
    how = {"decision": decision or "", "keep_components": keep_components}
    return _write(made, loaded, layout, probabilities, mirror_axes, how)


def _write(
    made: record.Record,
    loaded: networks.Networks,
    layout: nnunet_layout.Layout,
    probabilities: bool,
    mirror_axes: tuple[int, ...],
    how: dict[str, Any],
) -> Written:
    """Segments what is not there yet."""
    paths = {case.name: made.out / f"{case.name}{layout.ending}" for case in layout.cases}
    todo = [case for case in layout.cases if not paths[case.name].exists()]
    problems = [str(problem) for problem in predict.of_no_case(layout)]
    if made.finished and not todo:
        return Written(made.out, tuple(paths), tuple(problems), True)
    ids = predict.class_ids(loaded.first.facts, loaded.workdirs[0])
    run = loaded.predictor(mirror_axes=mirror_axes)
    with progress.Progress(len(todo), name="predicting", shown=True, after=_SECONDS) as bar:
        for number, case in enumerate(todo, 1):
            try:
                maps = predict.predict_case(case, layout, loaded.first, run)
            except (OSError, ValueError) as error:
                problems.append(str(error))
                continue
            made.begin()
            layers = predict.probability_layers(maps) if probabilities else {}
            segmentation = loaded.segmented(maps.probs, **how)
            predict.write(paths[case.name], segmentation, layers, like=case.images[0], ids=ids)
            bar.update(number, {})
    cases = tuple(name for name, path in paths.items() if path.exists())
    if not cases:
        raise folder.FolderError(problems)
    made.end(problems, cases=cases)
    return Written(made.out, cases, tuple(problems), False)


def _identity(workdir: pathlib.Path) -> str:
    """Returns what tells a network from another: its config, and how far it is trained."""
    last = config_and_summary.read_last(workdir)
    return f"{config_and_summary.digest(workdir)[:16]} {last.files[:16] if last else 'unfinished'}"


def _inputs(case: nnunet_layout.Case) -> list[pathlib.Path]:
    return [*case.images, *filter(None, [case.sidecar(case.images[0])])]


def _makes(layout: nnunet_layout.Layout) -> list[str]:
    names = [f"{case.name}{layout.ending}" for case in layout.cases]
    return [*names, predict.PROBABILITIES, predict.REGION_PROBABILITIES]
