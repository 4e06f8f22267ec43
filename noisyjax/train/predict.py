"""Segmentations of a folder of images by a trained run, as files on the voxels of each image."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped, UInt8

from noisyjax.core import files, progress
from noisyjax.data.folder import case_files, checker, label_ids, nnunet_layout, problem_kinds
from noisyjax.data.volumes import preprocess, read_write
from noisyjax.methods import base
from noisyjax.train import ensemble, saved_runs
from noisyjax.train.workdir import config_and_summary, data_facts

# Where probabilities lie, in a folder for each class.
PROBABILITIES = "probabilities"
# And, in a folder for each region, those that were predicted where regions are.
REGION_PROBABILITIES = "region_probabilities"
# And, in a folder for each rater, what they would have drawn.
RATERS = "raters"

# Images are filled up to a multiple of so many voxels, by the power of 2, at least.
_LEAST_BITS = 12
# Voxels that are decided at once, where each is decided alone.
_AT_ONCE = 2**22


class Outcome(NamedTuple):
    """What became of one case.

    Attributes:
      case: its name, or that of a file that belongs to no case.
      path: the segmentation, or None if there is none.
      fault: why there is none, or "".
    """

    case: str
    path: pathlib.Path | None
    fault: str = ""


def predict_folder(
    workdir: str | os.PathLike,
    images: str | os.PathLike,
    output: str | os.PathLike,
    *,
    checkpoint: str = "latest",
    probabilities: bool = False,
    shown: bool = False,
) -> list[Outcome]:
    """Segments every image of a folder by a run of the source ``folder``.

    Each goes through the run's own preparation. Then a window of ``evaluate.window``, or where a
    run has none of its examples' size, slides over all of it, so that images have any size; one
    that is smaller is filled up. A run that cuts cases to their labels needs ``evaluate.window``:
    these images are not cut.

    Args:
      workdir: all that is needed of the run; nothing in it is changed.
      images: the folder, without labels: CASE_0000 and so on with the ending of the run's images,
        or CASE if there is one channel.
      output: where ``CASE`` with the same ending goes: the ids of classes in dataset.json, on the
        voxels of the image.
      checkpoint: "latest" or "best".
      probabilities: whether ``probabilities/CLASS/CASE`` are written too, float32, for every class
        but the background by its number. Of a run of regions there is
        ``region_probabilities/REGION/CASE`` too, numbered from 1 on as dataset.json names them.
      shown: whether to show how far it is.

    Returns:
      What became of each case, and of each file that belongs to none.

    Raises:
      FileNotFoundError: if there is no such run, or it has no checkpoint.
      OSError: if nothing can be written into the output.
      ValueError: if the run is of another source or cannot predict by itself, or if the folder has
        no image at all.
    """
    images, output = files.named("images", images), files.named("output", output)
    check_source(workdir)
    if os.path.realpath(images) == os.path.realpath(output):
        raise ValueError(f"output: expected another folder than that of the images, got {output}")
    trained = saved_runs.restore_without_data(workdir, checkpoint=checkpoint)
    numbers = ["probabilities"] if probabilities else []
    layout = read_images(images, trained.facts, numbers=numbers)
    files.check_writable(output)
    predict = ensemble.predictor(trained)
    ids = class_ids(trained.facts, workdir)
    outcomes = [Outcome(problem.file, None, str(problem)) for problem in of_no_case(layout)]
    with progress.Progress(len(layout.cases), name="predicting", shown=shown) as bar:
        for number, case in enumerate(layout.cases, 1):
            path = output / f"{case.name}{layout.ending}"
            try:
                maps = predict_case(case, layout, trained, predict)
                decision = trained.config.evaluate.decisions[0]
                ids_of_voxels = segmented(maps.probs, decision=decision)
                layers = probability_layers(maps) if probabilities else {}
                write(path, ids_of_voxels, layers, like=case.images[0], ids=ids)
                outcomes.append(Outcome(case.name, path))
            except (OSError, ValueError) as error:
                outcomes.append(Outcome(case.name, None, str(error)))
            bar.update(number, {})
    return outcomes


def check_source(workdir: str | os.PathLike) -> None:
    """Raises `ValueError` for a run that has not learnt from a folder."""
    source = config_and_summary.load_config(config_and_summary.absolute(workdir)).data.name
    if source != "folder":
        raise ValueError(f"{workdir}: expected a run of the source folder, got one of {source}")


def read_images(
    images: str | os.PathLike, facts: data_facts.DataFacts, *, numbers: Sequence[str] = ()
) -> nnunet_layout.Layout:
    """Lists the images of a folder that a run is to predict.

    Raises `ValueError` if there is none, or if their files cannot hold the numbers that are asked
    for by options.
    """
    layout = nnunet_layout.read_images(
        pathlib.Path(images),
        ending=facts.about["file_ending"],
        class_names=facts.class_names,
        channel_names=facts.about["channel_names"],
    )
    if not layout.cases:
        faults = [str(problem) for problem in layout.problems]
        raise ValueError("\n".join([f"{images}: expected images, got none", *faults]))
    if numbers and read_write.FORMATS[layout.ending] == "pillow":
        raise ValueError(
            f"{numbers[0]}: files that end in {layout.ending} hold no numbers, expected False"
        )
    return layout


def of_no_case(layout: nnunet_layout.Layout) -> list[problem_kinds.Problem]:
    """Returns what is wrong with files that belong to no case."""
    return [
        problem
        for problem in layout.problems
        if not problem.case and problem.kind not in problem_kinds.HARMLESS
    ]


def class_ids(facts: data_facts.DataFacts, workdir: str | os.PathLike) -> list[int]:
    """Returns what stands for the classes in files; `ValueError` unless these are whole numbers."""
    # Runs of before there were gaps in them do not name them.
    ids = facts.about.get("class_ids", list(range(len(facts.class_names))))
    _check_ids(files.named("workdir", workdir) / data_facts.FILE, ids)
    return ids


def predict_case(
    case: nnunet_layout.Case,
    layout: nnunet_layout.Layout,
    trained: saved_runs.Trained,
    predict: ensemble.Predictor,
) -> ensemble.Maps:
    """Returns what an `ensemble.predictor` says of a case, on the voxels of its file.

    Raises `OSError` or `ValueError`, with the name of the file, if it cannot be used.
    """
    prepared = _prepare(case, layout, trained.facts)
    return predict(prepared["image"], preprocess.Grid.from_array(prepared["grid"]))


def _check_ids(path: pathlib.Path, ids: Any) -> None:
    numbers = ids if isinstance(ids, list) else [None]
    if not ids or not all(type(n) is int and 0 <= n <= label_ids.MOST for n in numbers):
        raise ValueError(
            f"{path}: class_ids: expected whole numbers in 0..{label_ids.MOST}, got {ids!r:.80}"
        )


def _prepare(
    case: nnunet_layout.Case, layout: nnunet_layout.Layout, facts: data_facts.DataFacts
) -> dict[str, np.ndarray]:
    """Reads, checks and prepares a case as those that the run was trained on."""
    read = checker.read_case(case, layout, tolerance=facts.about["grid_tolerance"])
    faults = [problem for problem in layout.problems if problem.case == case.name] + list(
        read.problems
    )
    fatal = [problem for problem in faults if problem.kind not in problem_kinds.HARMLESS]
    if fatal:
        raise ValueError(str(fatal[0]))
    _, *size, channels = facts.batch["image"].shape
    got = (read.volumes[case.images[0]].num_axes, read.num_channels)
    if got != (len(size), channels):
        raise ValueError(
            f"{case.images[0]}: expected (axes, channels) as in training, {(len(size), channels)}, "
            f"got {got}"
        )
    return case_files.prepare(read, layout, to=facts.spacing, options=preparation(facts))


def preparation(facts: data_facts.DataFacts) -> dict[str, Any]:
    """Returns how images are prepared that a run of the source ``folder`` is to predict."""
    options = dict(facts.about["preparation"])
    if options["box"] == "labels":
        options["box"] = ""
    return options


def segmented(probs: Float[np.ndarray, "*S L"], *, decision: str) -> UInt8[np.ndarray, "*S"]:
    """Turns the probabilities of one image into class ids, as `base.segment`.

    Images of all sizes share few compiled functions: their voxels are filled up by some of
    probability 0, which are in no mask and add to no sum.
    """
    *shape, classes = probs.shape
    flat = probs.reshape(-1, classes)
    at_once = _AT_ONCE if decision in base.VOXELWISE else max(len(flat), 1)
    ids = np.empty(len(flat), np.uint8)
    for start in range(0, len(flat), at_once):
        part = flat[start : start + at_once]
        # It is 5 to 8 times a power of 2, so that a fourth at most is added.
        step = 2 ** max(_LEAST_BITS, (len(part) - 1).bit_length() - 3)
        filled = np.zeros((-(-len(part) // step) * step, classes), probs.dtype)
        filled[: len(part)] = part
        decided = base.segment(jnp.asarray(filled), decision=decision)
        ids[start : start + at_once] = np.asarray(decided)[: len(part)]
    return ids.reshape(shape)


def probability_layers(maps: ensemble.Maps) -> dict[str, Float[np.ndarray, "*F"]]:
    """Returns the probabilities of classes and of regions, as `write` takes them."""
    layers = {}
    for folder, own in ((PROBABILITIES, maps.probs[..., 1:]), (REGION_PROBABILITIES, maps.regions)):
        for number in range(0 if own is None else own.shape[-1]):
            layers[f"{folder}/{number + 1}"] = own[..., number]
    return layers


def write(
    path: pathlib.Path,
    segmentation: UInt8[np.ndarray, "*F"],
    layers: Mapping[str, Shaped[np.ndarray, "*F"]],
    *,
    like: pathlib.Path,
    ids: Sequence[int],
) -> None:
    """Writes what is predicted of one case; the segmentation last, for it says that all is there.

    Args:
      path: of the segmentation.
      layers: class ids, masks (bool) or numbers (float), by the folders beside it that they go to.
      like, ids: as in `case_files.write`.
    """
    for folder, values in layers.items():
        mask = values.dtype == bool
        values, own = (values.view(np.uint8), (0, 1)) if mask else (values, ids)
        case_files.write(path.parent / folder / path.name, values, like=like, ids=own)
    case_files.write(path, segmentation, like=like, ids=ids)
