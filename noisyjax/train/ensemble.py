"""What trained networks say together of one image: means over networks and mirror images.

Each network predicts the image, filled up to a window at least, and its mirror images, window by
window. Every one of these predictions is adjusted by itself, and their mean decides.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from noisyjax.core import class_regions
from noisyjax.data.folder import case_files
from noisyjax.data.volumes import preprocess
from noisyjax.methods import base, sliding_window
from noisyjax.train import saved_runs
from noisyjax.train.workdir import data_facts

# An image is filled up to as many times its voxels at most, unless the window is small anyway.
_MOST_TIMES = 64
_SMALL = 2**26

# How many axes come before the spatial ones.
_LEADING = {"probs": 0, "region_probs": 0, "rater_probs": 1, "samples": 1}


class Maps(NamedTuple):
    """What is predicted of one image, float32, on the voxels of its file; None for what is not.

    Attributes:
      probs: of each class, ``[*S, L]``.
      regions: of each region, of networks that predict regions, ``[*S, G]``.
      raters: of each rater's label, as the networks have it, ``[R, *S, L]``.
      samples: of N segmentations that the networks draw in turn, ``[N, *S, L]``.
      spread: standard deviation of the foreground's probability over networks and mirror images,
        ``[*S]``.
    """

    probs: Float[np.ndarray, "*S L"]
    regions: Float[np.ndarray, "*S G"] | None = None
    raters: Float[np.ndarray, "R *S L"] | None = None
    samples: Float[np.ndarray, "N *S L"] | None = None
    spread: Float[np.ndarray, "*S"] | None = None


class Offer(NamedTuple):
    """What networks can say beside probabilities.

    Attributes:
      raters: how many raters they model, 0 for none.
      samples: how many segmentations they draw together.
    """

    raters: int
    samples: int


Predictor = Callable[..., Maps]


def offer(*networks: saved_runs.Trained) -> Offer:
    """Returns what networks that were trained alike can say; nothing is computed."""
    first, *_ = networks
    image = jax.ShapeDtypeStruct(
        (1, *_window(first), first.facts.batch["image"].shape[-1]), np.float32
    )
    found = jax.eval_shape(first.method.predict, first.variables, image)
    counts = [0 if own is None else own.shape[1] for own in (found.rater_probs, found.samples)]
    return Offer(counts[0], counts[1] * len(networks))


def predictor(
    *networks: saved_runs.Trained,
    adjust: Callable[[Float[np.ndarray, "*S C"]], Float[np.ndarray, "*S C"]] | None = None,
    mirror_axes: Sequence[int] = (),
    raters: bool = False,
    samples: int = 0,
    spread: bool = False,
) -> Predictor:
    """Returns what predicts a prepared image ``[*T, K]``, given the grid of its file or None.

    Raises as `window_options`.

    Args:
      networks: trained alike.
      adjust: what becomes of the probabilities of each network, of classes or of regions.
      mirror_axes: spatial axes, from 0; along them mirroring must exchange no classes.
      raters: whether to predict raters' labels, where the networks do; they are not adjusted.
      samples: N, how many segmentations are drawn, without mirror images, by the networks in turn;
        at most those of `offer`.
      spread: whether it is measured.
    """
    options = window_options(networks[0])
    # One device works; of the others none would have anything else to do than the same.
    device = jax.local_devices()[0]
    each = [jax.device_put(network.variables, device) for network in networks]
    run = functools.partial(_predicted, networks[0].method, **options)
    wanted = ("probs", "region_probs", *(["rater_probs"] if raters else []))
    sizes = range(len(mirror_axes) + 1)
    images = [own for n in sizes for own in itertools.combinations(mirror_axes, n)]
    regions = networks[0].method.regions

    def predict(image: np.ndarray, grid: preprocess.Grid | None = None) -> Maps:
        filled, sums, deviation = filled_up(image, options["window"]), {}, _Deviation()
        for variables in each:
            for flipped in images:
                found = run(variables, filled, wanted, flipped)
                name = "probs" if regions is None else "region_probs"
                found[name] = found[name] if adjust is None else adjust(found[name])
                if spread:
                    deviation.add(_foreground(found[name], regions))
                for own, values in found.items():
                    sums[own] = values if own not in sums else np.add(sums[own], values, sums[own])
        count = np.float32(len(each) * len(images))
        means = {name: np.divide(total, count, out=total) for name, total in sums.items()}
        drawn = _draws(run, each, filled, samples) if samples else None
        return _on_file(means, drawn, deviation.result() if spread else None, grid, regions)

    return predict


def _predicted(
    method: base.Method,
    variables: Any,
    image: Float[np.ndarray, "*S K"],
    wanted: Sequence[str],
    flipped: Sequence[int],
    **options: Any,
) -> dict[str, Float[np.ndarray, "..."]]:
    """Predicts an image mirrored along some axes, and mirrors what is found back."""
    found = sliding_window.predict_windows(
        method.predict,
        variables,
        np.flip(image, flipped),
        wanted=wanted,
        shared_draws=method.shared_draws,
        **options,
    )
    return {
        name: np.flip(values, [axis + _LEADING[name] for axis in flipped])
        for name, values in found.items()
    }


def _draws(
    run: Callable[..., dict[str, Any]], each: Sequence[Any], image: np.ndarray, count: int
) -> Float[np.ndarray, "N *S L"]:
    """Draws segmentations of an image from several networks in turn, as many from each."""
    drawn = []
    for number, variables in enumerate(each):
        own = len(range(number, count, len(each)))
        if own:
            found = run(variables, image, ("samples",), ())
            if "samples" not in found:
                raise ValueError(
                    "samples: draws of neighbouring windows do not belong together, expected an "
                    f"image of one window, got one of {image.shape[:-1]} voxels"
                )
            drawn.append(found["samples"][:own])
    return np.concatenate(drawn)


class _Deviation:
    """The standard deviation of maps that come one after the other."""

    def __init__(self):
        self._count, self._mean, self._squares = 0, np.float32(0), np.float32(0)

    def add(self, values: Float[np.ndarray, "*S"]) -> None:
        """Takes one of the maps."""
        self._count += 1
        difference = values - self._mean
        self._mean = self._mean + difference / np.float32(self._count)
        self._squares = self._squares + difference * (values - self._mean)

    def result(self) -> Float[np.ndarray, "*S"]:
        """Returns it, of the maps as they are and not of what they are drawn from."""
        return np.sqrt(self._squares / np.float32(self._count))


def _foreground(
    probs: Float[np.ndarray, "*S C"], regions: class_regions.Regions | None
) -> Float[np.ndarray, "*S"]:
    classes = probs if regions is None else class_regions.class_probs(probs, regions)
    return 1 - classes[..., 0]


def _on_file(
    means: dict[str, np.ndarray],
    samples: np.ndarray | None,
    spread: np.ndarray | None,
    grid: preprocess.Grid | None,
    regions: class_regions.Regions | None,
) -> Maps:
    """Brings what was predicted to the voxels of the file; what is no longer needed goes.

    Classes are those of the regions on these voxels.
    """

    def each(maps: np.ndarray | None) -> np.ndarray | None:
        if maps is None or grid is None:
            return maps
        return np.stack([case_files.probs_on_file(one, grid) for one in maps])

    of_regions = None
    if regions is None:
        probs = means.pop("probs")
        probs = probs if grid is None else case_files.probs_on_file(probs, grid)
    else:
        of_regions = means.pop("region_probs")
        if grid is not None:
            of_regions = case_files.region_probs_on_file(of_regions, grid)
        probs = class_regions.class_probs(of_regions, regions)
    if spread is not None and grid is not None:
        spread = case_files.on_file(spread, grid)
    return Maps(probs, of_regions, each(means.pop("rater_probs", None)), each(samples), spread)


def window_options(trained: saved_runs.Trained) -> dict[str, Any]:
    """Returns the window that slides over images of any size, its overlap, and how many at once.

    Raises:
      ValueError: if the run has only seen cases that were cut to their labels.
    """
    about, config = trained.facts.about, trained.config.evaluate
    if about.get("preparation", {}).get("box") == "labels" and not config.window:
        raise ValueError(
            "data.options.box: the run has seen cases cut to their labels, which are not known of "
            "images to predict; expected '' or 'bright', or a run with evaluate.window"
        )
    batch_size = config.batch_size if config.window else 1
    return {"window": _window(trained), "overlap": config.overlap, "batch_size": batch_size}


def _window(trained: saved_runs.Trained) -> tuple[int, ...]:
    return tuple(trained.config.evaluate.window) or trained.facts.batch["image"].shape[1:-1]


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
