"""Segmentations of a folder of images by a run: by its networks together, as files."""

import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from noisyjax.core import checks, files, progress
from noisyjax.data.folder import nnunet_layout
from noisyjax.methods import base
from noisyjax.tool import folder, record
from noisyjax.tool.training import certainty, networks, out_of_fold
from noisyjax.train import ensemble, predict
from noisyjax.train.workdir import config_and_summary

# Shorter work shows no bar.
_SECONDS = 2.0
# Of `certainty.Wanted`, what is a number of every voxel.
_NUMBERS = ("entropy", "disagreement", "spread")


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
    **wanted: Any,
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
      wanted: what is written beside each segmentation, fields of `certainty.Wanted`:
        ``entropy/CASE``, ``disagreement/CASE``, ``raters/RATER/CASE``, ``sample_0/CASE`` and so on,
        ``spread/CASE``, ``margin/CLASS/CASE`` and ``risk/CLASS/CASE``.

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
    asked = certainty.Wanted(**wanted)
    assessor = certainty.Assessor(loaded, asked, mirror=mirror, decision=decision or "")
    numbers = [name for name in _NUMBERS if getattr(asked, name)]
    numbers = ["probabilities", *numbers] if probabilities else numbers
    layout = predict.read_images(images, loaded.first.facts, numbers=numbers)
    options = {
        "run": os.fspath(run.resolve()),
        "networks": list(map(_identity, loaded.workdirs)),
        "adjusted": loaded.adjusted,
        "checkpoint": checkpoint,
        "decision": decision or loaded.decision,
        "mirror": mirror,
        "probabilities": probabilities,
        "keep_components": keep_components,
        **asked._asdict(),
    }
    made = record.open_record(
        out,
        "predict",
        source=images,
        digest={case.name: record.digest(_inputs(case), layout.root) for case in layout.cases},
        options=files.plain(options),
        makes=_makes(layout, pathlib.Path(out)),
        overwrite=overwrite,
    )
    how = {"decision": decision or "", "keep_components": keep_components}
    return _Work(made, loaded, layout, assessor, probabilities, how).run()


class _Work(NamedTuple):
    """The segmentation of a folder."""

    made: record.Record
    loaded: networks.Networks
    layout: nnunet_layout.Layout
    assessor: certainty.Assessor
    probabilities: bool
    how: dict[str, Any]

    def run(self) -> Written:
        """Segments what is not there yet."""
        made, layout = self.made, self.layout
        paths = {case.name: made.out / f"{case.name}{layout.ending}" for case in layout.cases}
        todo = [case for case in layout.cases if not paths[case.name].exists()]
        problems = [str(problem) for problem in predict.of_no_case(layout)]
        if made.finished and not todo:
            return Written(made.out, tuple(paths), tuple(problems), True)
        with progress.Progress(len(todo), name="predicting", shown=True, after=_SECONDS) as bar:
            for number, case in enumerate(todo, 1):
                try:
                    maps = predict.predict_case(
                        case, layout, self.loaded.first, self.assessor.predict
                    )
                except (OSError, ValueError) as error:
                    problems.append(str(error))
                    continue
                made.begin()
                self._write(paths[case.name], case, maps)
                bar.update(number, {})
        cases = tuple(name for name, path in paths.items() if path.exists())
        if not cases:
            raise folder.FolderError(problems)
        made.end(problems, cases=cases)
        return Written(made.out, cases, tuple(problems), False)

    def _write(self, path: pathlib.Path, case: nnunet_layout.Case, maps: ensemble.Maps) -> None:
        facts = self.loaded.first.facts
        segmentation = self.loaded.segmented(maps.probs, **self.how)
        layers = predict.probability_layers(maps) if self.probabilities else {}
        layers |= _said(self.assessor.say(maps, segmentation))
        if self.assessor.wanted.raters:
            layers |= out_of_fold.rater_layers(maps, facts.rater_names)
        if maps.spread is not None:
            layers["spread"] = maps.spread
        for number, probs in enumerate(() if maps.samples is None else maps.samples):
            layers[f"sample_{number}"] = probs.argmax(axis=-1).astype(np.uint8)
            own = predict.probability_layers(ensemble.Maps(probs)) if self.probabilities else {}
            layers |= {f"sample_{number}/{name}": values for name, values in own.items()}
        ids = predict.class_ids(facts, self.loaded.workdirs[0])
        predict.write(path, segmentation, layers, like=case.images[0], ids=ids)


def _said(said: certainty.Certainty) -> dict[str, np.ndarray]:
    """Returns layers as `predict.write` takes them; of masks one for each class."""
    layers = {}
    for name, values in said._asdict().items():
        if values is not None and values.dtype == bool:
            layers |= {f"{name}/{label}": mask for label, mask in enumerate(values, 1)}
        elif values is not None:
            layers[name] = values
    return layers


def _identity(workdir: pathlib.Path) -> str:
    """Returns what tells a network from another: its config, and how far it is trained."""
    last = config_and_summary.read_last(workdir)
    return f"{config_and_summary.digest(workdir)[:16]} {last.files[:16] if last else 'unfinished'}"


def _inputs(case: nnunet_layout.Case) -> list[pathlib.Path]:
    return [*case.images, *filter(None, [case.sidecar(case.images[0])])]


def _makes(layout: nnunet_layout.Layout, out: pathlib.Path) -> list[str]:
    names = [f"{case.name}{layout.ending}" for case in layout.cases]
    folders = [predict.PROBABILITIES, predict.REGION_PROBABILITIES, predict.RATERS]
    samples = [path.name for path in out.glob("sample_*")]
    return [*names, *folders, *_NUMBERS, "margin", "risk", *samples]
