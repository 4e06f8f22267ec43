"""Segmentations of a folder of images by a trained run, as files on the voxels of each image."""

import math
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from noisyjax.core import class_regions, files, progress
from noisyjax.data.folder import case_files, checker, label_ids, nnunet_layout, problem_kinds
from noisyjax.data.volumes import preprocess, read_write
from noisyjax.methods import base, sliding_window
from noisyjax.train import saved_runs
from noisyjax.train.workdir import config_and_summary, data_facts

# Where probabilities lie, in a folder for each class.
PROBABILITIES = "probabilities"
# And, in a folder for each region, those that were predicted where regions are.
REGION_PROBABILITIES = "region_probabilities"

# Images are filled up to a multiple of so many voxels, by the power of 2, at least.
_LEAST_BITS = 12
# Voxels that are decided at once, where each is decided alone.
_AT_ONCE = 2**22

# An image is filled up to as many times its voxels at most, unless the window is small anyway.
_MOST_TIMES = 64
_SMALL = 2**26


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
    layout = read_images(images, trained.facts, probabilities=probabilities)
    files.check_writable(output)
    predict = predictor(trained)
    ids = class_ids(trained.facts, workdir)
    outcomes = [Outcome(problem.file, None, str(problem)) for problem in of_no_case(layout)]
    with progress.Progress(len(layout.cases), name="predicting", shown=shown) as bar:
        for number, case in enumerate(layout.cases, 1):
            path = output / f"{case.name}{layout.ending}"
            try:
                probs, of_regions = predict_case(case, layout, trained, predict)
                ids_of_voxels = segmented(probs, decision=trained.config.evaluate.decisions[0])
                maps = (probs, of_regions) if probabilities else (None, None)
                write(path, ids_of_voxels, *maps, like=case.images[0], ids=ids)
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
    images: str | os.PathLike, facts: data_facts.DataFacts, *, probabilities: bool = False
) -> nnunet_layout.Layout:
    """Lists the images of a folder that a run is to predict.

    Raises `ValueError` if there is none, or if their files cannot hold the probabilities that are
    asked for.
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
    if probabilities and read_write.FORMATS[layout.ending] == "pillow":
        raise ValueError(
            f"probabilities: files that end in {layout.ending} hold none, expected False"
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
    predict: Callable[[Float[np.ndarray, "*T K"]], Float[np.ndarray, "*S L"]],
) -> tuple[Float[np.ndarray, "*F L"], Float[np.ndarray, "*F G"] | None]:
    """Returns the probabilities of a case on the voxels of its file, see `on_file`.

    Raises `OSError` or `ValueError`, with the name of the file, if it cannot be used.
    """
    prepared = _prepare(case, layout, trained.facts)
    grid = preprocess.Grid.from_array(prepared["grid"])
    return on_file(predict(prepared["image"]), grid, trained.method.regions)


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


def window_options(trained: saved_runs.Trained) -> dict[str, Any]:
    """Returns the window that slides over images of any size, and its overlap.

    Raises:
      ValueError: if the run has only seen cases that were cut to their labels.
    """
    facts, config = trained.facts, trained.config.evaluate
    window = tuple(config.window)
    if facts.about["preparation"]["box"] == "labels" and not window:
        raise ValueError(
            "data.options.box: the run has seen cases cut to their labels, which are not known of "
            "images to predict; expected '' or 'bright', or a run with evaluate.window"
        )
    return {"window": window or facts.batch["image"].shape[1:-1], "overlap": config.overlap}


def filled_up(image: Float[np.ndarray, "*T K"], window: Sequence[int]) -> Float[np.ndarray, "*S K"]:
    """Fills an image up to a window's size at least; `preprocess.unfit` takes it back.

    Raises `ValueError` for a window that is much too large for the image, before it is filled up.
    """
    size = [max(pair) for pair in zip(image.shape[:-1], window, strict=True)]
    if math.prod(size) > max(_SMALL, _MOST_TIMES * math.prod(image.shape[:-1])):
        raise ValueError(
            f"{data_facts.FILE}, batch.image.shape or evaluate.window: expected a window of at "
            f"most {_MOST_TIMES} times the voxels of an image of {image.shape[:-1]}, got "
            f"{tuple(window)}"
        )
    return case_files.filled_up(image, window)


def predictor(
    *networks: saved_runs.Trained,
    adjust: Callable[[Float[np.ndarray, "*S L"]], Float[np.ndarray, "*S L"]] | None = None,
) -> Callable[[Float[np.ndarray, "*T K"]], Float[np.ndarray, "*S L"]]:
    """Returns what gives the probabilities of a prepared image, filled up to a window at least.

    They are those of the regions ``[*S, G]`` of a run of such. Raises as `window_options`.

    Args:
      networks: trained alike, of which the mean is taken.
      adjust: what becomes of the probabilities of each network before.
    """
    first, *_ = networks
    options = window_options(first)
    batch_size = first.config.evaluate.batch_size if first.config.evaluate.window else 1
    # One device works; of the others none would have anything else to do than the same.
    device = jax.local_devices()[0]
    each = [jax.device_put(network.variables, device) for network in networks]

    def predict(image: np.ndarray) -> np.ndarray:
        filled, total = filled_up(image, options["window"]), None
        for variables in each:
            # One compiled function for all of them.
            probs = sliding_window.predict_windows(
                first.method.predict, variables, filled, batch_size=batch_size, **options
            )
            probs = probs if adjust is None else adjust(probs)
            total = probs if total is None else np.add(total, probs, out=total)
        return total if len(each) == 1 else np.divide(total, np.float32(len(each)), out=total)

    return predict


def on_file(
    probs: Float[np.ndarray, "*S C"], grid: preprocess.Grid, regions: class_regions.Regions | None
) -> tuple[Float[np.ndarray, "*F L"], Float[np.ndarray, "*F G"] | None]:
    """Brings what a `predictor` gives to the voxels of the file: of classes, and of regions.

    The classes are those of the regions on these voxels.
    """
    if regions is None:
        return case_files.probs_on_file(probs, grid), None
    of_regions = case_files.region_probs_on_file(probs, grid)
    return class_regions.class_probs(of_regions, regions), of_regions


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


def write(
    path: pathlib.Path,
    segmentation: UInt8[np.ndarray, "*S"],
    probs: Float[np.ndarray, "*S L"] | None = None,
    of_regions: Float[np.ndarray, "*S G"] | None = None,
    *,
    like: pathlib.Path,
    ids: Sequence[int],
) -> None:
    """Writes what is predicted of one case; the segmentation last, for it says that all is there.

    Args:
      path: of the segmentation; probabilities go into folders beside it.
      like, ids: as in `case_files.write`.
    """
    maps = {PROBABILITIES: None if probs is None else probs[..., 1:]}
    maps[REGION_PROBABILITIES] = of_regions
    for folder, each in maps.items():
        for number in range(0 if each is None else each.shape[-1]):
            target = path.parent / folder / str(number + 1) / path.name
            case_files.write(target, each[..., number], like=like, ids=ids)
    case_files.write(path, segmentation, like=like, ids=ids)
