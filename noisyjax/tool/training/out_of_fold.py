"""Predictions of every training case by the one network that has not seen it, kept as files.

``out_of_fold/CASE`` is the segmentation on the voxels of the case's file, and
``out_of_fold/probabilities/CASE.npz`` holds ``probabilities``, float16 ``[L, *S]``, in the axes in
which folders are read; of a run that predicts regions ``region_probabilities`` ``[G, *S]``. Where
the method models the raters of the folder, ``out_of_fold/raters/RATER/CASE`` is what each would
draw, and the ``.npz`` holds ``rater_probabilities``, ``[R, L, *S]``, of the run's raters in order.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, UInt8

from noisyjax.core import class_regions, files, progress
from noisyjax.data.folder import nnunet_layout
from noisyjax.data.sources import archive
from noisyjax.tool import folder
from noisyjax.tool.evaluation import predictions
from noisyjax.tool.training import calibration, components, guarantee, run_files
from noisyjax.train import ensemble, predict, saved_runs

_CLASSES, _REGIONS, _RATERS = "probabilities", "region_probabilities", "rater_probabilities"
# Shorter work shows no bar.
_SECONDS = 2.0


def paths(run: pathlib.Path, name: str, ending: str) -> tuple[pathlib.Path, pathlib.Path]:
    """Returns the files of a case: the segmentation, and the probabilities."""
    root = run / run_files.OUT_OF_FOLD
    return root / f"{name}{ending}", root / run_files.PROBABILITIES / f"{name}.npz"


def is_made(run: pathlib.Path, name: str, ending: str) -> bool:
    """Whether a case has been predicted."""
    return all(path.exists() for path in paths(run, name, ending))


def write(
    run: pathlib.Path,
    number: int,
    names: Sequence[str],
    layout: nnunet_layout.Layout,
    *,
    checkpoint: str,
) -> list[str]:
    """Predicts the cases that a fold holds out, as far as they are not there yet.

    Args:
      run: with the fold's network, which is trained.
      names: of the cases.
      layout: of the folder.

    Returns:
      What is wrong with the cases that could not be predicted.
    """
    todo = [name for name in names if not is_made(run, name, layout.ending)]
    if not todo:
        return []
    workdir = run_files.fold(run, number)
    trained = saved_runs.restore_without_data(workdir, checkpoint=checkpoint)
    # Not of a truth that stands for a rater's label.
    raters = set(trained.facts.rater_names) <= set(layout.rater_names)
    run_of = ensemble.predictor(trained, raters=raters)
    ids = predict.class_ids(trained.facts, workdir)
    # Images alone: their labels are not looked at.
    images = dataclasses.replace(
        layout, problems=(), has_truth=False, rater_names=(), patients={}, soft=False
    )
    cases = {case.name: case for case in layout.cases}
    problems = []
    title = f"predicting what fold {number} has not seen"
    with progress.Progress(len(todo), name=title, shown=True, after=_SECONDS) as bar:
        for done, name in enumerate(todo, 1):
            case = dataclasses.replace(cases[name], truth=None, raters={})
            try:
                maps = predict.predict_case(case, images, trained, run_of)
            except (OSError, ValueError) as error:
                problems.append(str(error))
                continue
            segmentation, packed = paths(run, name, layout.ending)
            _pack(packed, maps)
            own = predict.segmented(maps.probs, decision=trained.config.evaluate.decisions[0])
            layers = rater_layers(maps, trained.facts.rater_names)
            predict.write(segmentation, own, layers, like=case.images[0], ids=ids)
            bar.update(done, {})
    return problems


def rater_layers(maps: ensemble.Maps, names: Sequence[str]) -> dict[str, UInt8[np.ndarray, "*F"]]:
    """Returns each rater's most probable class ids, as `predict.write` takes them."""
    if maps.raters is None:
        return {}
    # A rater at a time, for a case may be large.
    return {
        f"{predict.RATERS}/{name}": probs.argmax(axis=-1).astype(np.uint8)
        for name, probs in zip(names, maps.raters, strict=True)
    }


def _pack(path: pathlib.Path, maps: ensemble.Maps) -> None:
    arrays = {_CLASSES: maps.probs} if maps.regions is None else {_REGIONS: maps.regions}
    if maps.raters is not None:
        arrays[_RATERS] = maps.raters
    # The classes come behind the raters, before the voxels.
    packed = {
        name: np.moveaxis(own, -1, int(name == _RATERS)).astype(np.float16)
        for name, own in arrays.items()
    }
    with files.replacing(path) as unfinished:
        np.savez_compressed(unfinished, **packed)


def unpack_raters(
    path: pathlib.Path, num_raters: int, num_classes: int, axes: int
) -> Float[np.ndarray, "R *S L"]:
    """Reads the probabilities of the raters' labels, float32, of a method that models raters.

    Raises `ValueError`, which names the file, if it holds something else.
    """
    layout = {_RATERS: f"float {num_raters} {num_classes} {' '.join('XYZ'[:axes])}"}
    return np.moveaxis(_read(path, layout), 1, -1)


def _read(path: pathlib.Path, layout: dict[str, str]) -> np.ndarray:
    (name,) = layout
    array = archive.read(str(path), layout, content="out-of-fold probabilities")[name]
    if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
        raise ValueError(f"{path}: {name}: expected numbers in [0, 1]")
    return array.astype(np.float32)


def unpack(
    path: pathlib.Path, num_classes: int, regions: class_regions.Regions | None, axes: int
) -> Float[np.ndarray, "*S C"]:
    """Reads the probabilities of the classes, or of the regions, float32.

    Raises `ValueError`, which names the file, if it holds something else.
    """
    name, count = (_CLASSES, num_classes) if regions is None else (_REGIONS, len(regions))
    layout = {name: f"float {count} {' '.join('XYZ'[:axes])}"}
    return np.moveaxis(_read(path, layout), 0, -1)


def read(
    run: pathlib.Path, opened: folder.Folder, problems: list[str]
) -> Iterator[calibration.Case]:
    """Yields the cases that were predicted beside the labels that were learnt from.

    What is wrong with one that cannot be used is added to `problems`.
    """
    found = predictions.find(run / run_files.OUT_OF_FOLD, opened, partial=True)
    learns_truth = opened.layout.truth_trains
    for name in found.cases:
        try:
            labels, segmentation = opened.read(name), found.read(name).segmentation
            packed = paths(run, name, opened.layout.ending)[1]
            probs = unpack(packed, opened.num_classes, opened.layout.regions, segmentation.ndim)
            if probs.shape[:-1] != segmentation.shape:
                raise ValueError(
                    f"{packed}: expected the shape {list(segmentation.shape)}, got "
                    f"{list(probs.shape[:-1])}"
                )
        except (folder.FolderError, OSError, ValueError) as error:
            problems.append(str(error))
            continue
        own = labels.truth[np.newaxis] if learns_truth else labels.labels[labels.rater_mask]
        yield calibration.Case(name, probs, segmentation, own)


def judge(
    case: calibration.Case,
    regions: class_regions.Regions | None,
    *,
    adjusted: calibration.Calibration,
    decision: str,
) -> guarantee.Judged:
    """Returns what `guarantee.judge` counts of a case, segmented as new ones are."""
    probs = adjusted.adjust(case.probs, regions)
    probs = probs if regions is None else class_regions.class_probs(probs, regions)
    ids = components.keep_largest(predict.segmented(probs, decision=decision), adjusted.largest)
    return guarantee.judge(ids, probs, case.labels)
