"""A folder of one's own images and labels, in nnU-Net's raw layout with raters beside it, or BIDS.

See `noisyjax.data.folder.nnunet_layout` and `noisyjax.data.folder.bids_layout` for the layouts,
``python -m noisyjax.cli.check_folder`` for what may be wrong with a folder. Every case is turned to
RAS axes, normalised and resampled to one spacing. It is cut or filled up to one size around its
middle where whole images are learnt from; patches are drawn of cases that keep their sizes
(`FolderExamples.at_own_sizes`).
"""

import dataclasses
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer, Num

from noisyjax.core import checks
from noisyjax.data import source
from noisyjax.data.folder import case_files, checker, division, layouts, nnunet_layout, prepared
from noisyjax.data.store import chunked, kept
from noisyjax.data.volumes import normalisations, preprocess

# Where labelsTr is all there is, it is what a network learns from as well.
ONLY_RATER = "labels"


@dataclasses.dataclass(frozen=True)
class FolderExamples:
    """Cases that were prepared, in memory or memory-mapped, fitted to one size when read.

    Attributes:
      cases: their files.
      layout: the folder's.
      prepared: of `case_files.prepare`, of a size T that differs from case to case. Or a text, what
        is wrong with a case that is kept to be left out.
      size: S, of every example; None for its own.
      spacing: of every example, in mm.
      how: cases were prepared.
      contents: of the files as they are, whatever is made of them.
      size_is_given: whether somebody asked for this size.
    """

    cases: tuple[nnunet_layout.Case, ...]
    layout: nnunet_layout.Layout
    prepared: tuple[kept.Arrays | str, ...]
    size: tuple[int, ...] | None
    spacing: tuple[float, ...]
    how: prepared.How
    contents: tuple[source.Content, ...]
    size_is_given: bool = False

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> source.Example:
        """Returns one example; the image is filled up by its darkest value."""
        arrays = self._arrays(index)
        image = np.asarray(arrays["image"])
        given = np.asarray(arrays["labels"])
        size = self.size or image.shape[:-1]
        if self.size:
            image = case_files.fit(image, size, darkest=arrays["darkest"])
            given = [preprocess.fit(label, size) for label in given]
        labels, mask = source.of_all(given, arrays["mask"], shape=size), arrays["mask"]
        example = {"image": image, "id": np.int32(index)}
        if self.layout.has_truth:
            example["truth"] = labels[0]
        if self.layout.soft:
            probs = np.zeros((len(mask), *size), np.float32)
            maps = [preprocess.fit(soft, size) for soft in np.asarray(arrays["soft"])]
            probs[mask] = np.reshape(maps, (-1, *size)) / np.float32(case_files.MOST)
            example["soft"] = self._of_raters(probs, mask)["labels"]
        return example | self._of_raters(labels, mask)

    def _of_raters(
        self, labels: Num[np.ndarray, "Q *S"], mask: Bool[np.ndarray, "Q"]
    ) -> source.Example:
        """Returns the raters' labels: the truth as one rater more, where there is no other."""
        if not self.layout.truth_trains:
            return {"labels": labels[1:], "rater_mask": mask[1:]}
        own = np.append(mask[1:], mask[0] and not mask[1:].any())
        return {"labels": np.concatenate([labels[1:], labels[:1]]), "rater_mask": own}

    def _arrays(self, index: int) -> kept.Arrays:
        arrays = self.prepared[index]
        if isinstance(arrays, str):
            raise ValueError(arrays)
        return arrays

    def image(self, index: int) -> Float[np.ndarray, "*T K"] | chunked.Chunked:
        """Returns an image at its own size, which is on the disk if it is kept there."""
        return self._arrays(index)["image"]

    def darkest(self, index: int) -> Float[np.ndarray, "K"]:
        """Returns what an image is filled up with."""
        return self._arrays(index)["darkest"]

    def at_own_sizes(self) -> "FolderExamples":
        """Returns the examples at the sizes that they have, unless one for all was given."""
        return self if self.size_is_given else dataclasses.replace(self, size=None)

    def write(
        self, index: int, labels: Integer[np.ndarray, "*S"], path: str | pathlib.Path
    ) -> None:
        """Writes a segmentation ``[*S]`` of an example on the voxels of its image, with its affine.

        The ending of the path says the format. A shape that is not the example's raises ValueError.
        """
        grid = self.grid(index)
        checks.shape("labels", labels, self.size or grid.prepared, like="the examples")
        values = case_files.on_file(labels.astype(np.uint8), grid)
        like, ids = self.cases[index].images[0], self.layout.class_ids
        case_files.write(path, values, like=like, ids=ids)

    @property
    def on_other_voxels(self) -> bool:
        """Whether the voxels of an example are others than those of its file."""
        usable = [arrays for arrays in self.prepared if not isinstance(arrays, str)]
        grids = [preprocess.Grid.from_array(arrays["grid"]) for arrays in usable]
        return any(not grid.is_files or self.size not in (None, grid.shape) for grid in grids)

    @property
    def cache(self) -> str:
        """The folder that keeps the examples, "" for memory."""
        return self.how.cache

    def grid(self, index: int) -> preprocess.Grid:
        """Returns how an example lies in its file."""
        return preprocess.Grid.from_array(self._arrays(index)["grid"])

    def on_file(self, index: int) -> source.Example:
        """Returns what the files of an example hold, on their voxels: ``truth`` and ``labels``.

        They are absent where an example has none; ``rater_mask`` tells whose labels these are.
        """
        arrays = self._arrays(index)
        grid, mask = self.grid(index), arrays["mask"]
        given = np.asarray(arrays["labels" if grid.is_files else "given"])
        labels = source.of_all(given, mask, shape=grid.shape)
        example = {"truth": labels[0]} if self.layout.has_truth and mask[0] else {}
        return example | self._of_raters(labels, mask)

    def content(self, index: int) -> source.Content:
        """Returns the digests of a case's files."""
        return self.contents[index]


def _damaged(layout: nnunet_layout.Layout) -> dict[str, str]:
    """Returns the cases that cannot be used, as far as names and headers tell, and why."""
    cases = {case.name: case for case in layout.cases}
    errors, rest = {}, []
    for problem in prepared.fatal(layout.problems):
        if problem.case in cases:
            errors.setdefault(problem.case, str(problem))
        else:
            rest.append(problem)
    prepared.refuse(layout.root, rest)
    for name, case in cases.items():
        try:
            prepared.peek(case, layout)
        except (OSError, ValueError) as error:
            errors.setdefault(name, str(error))
    return errors


def _common_spacing(
    layout: nnunet_layout.Layout, spacing: Sequence[float | int], damaged: Mapping[str, str]
) -> tuple[float, ...]:
    """Returns the spacing to resample to: the one that is given, or the median of the cases."""
    for extent in spacing:
        checks.positive("spacing", extent)
    if len(spacing):
        return tuple(float(extent) for extent in spacing)
    cases = [case for case in layout.cases if case.name not in damaged]
    headers = [prepared.peek(case, layout) for case in cases]
    facts = [(case, v.num_axes, 1, v.spacing) for case, v in zip(cases, headers, strict=True)]
    prepared.refuse(layout.root, list(checker.across(facts)))
    # Rounded, for headers in float32 have a spacing of 0.99999994.
    return tuple(round(float(s), 5) for s in np.median([v.spacing for v in headers], axis=0))


def _common_size(
    layout: nnunet_layout.Layout,
    arrays_of: Sequence[kept.Arrays | str],
    spacing: tuple[float, ...],
    size: Sequence[int],
) -> tuple[int, ...]:
    """Returns the size of all examples: the one that is given, or the largest along each axis."""
    pairs = zip(layout.cases, arrays_of, strict=True)
    usable = [
        (case, arrays["image"].shape) for case, arrays in pairs if not isinstance(arrays, str)
    ]
    if not usable:
        raise ValueError(
            f"{layout.root}: expected a case that can be used, got none: {arrays_of[0]}"
        )
    if len({(len(shape), shape[-1]) for _, shape in usable}) > 1:
        facts = [(case, len(shape) - 1, shape[-1], spacing) for case, shape in usable]
        prepared.refuse(layout.root, list(checker.across(facts)))
    shapes = [shape for _, shape in usable]
    axes = len(shapes[0]) - 1
    if len(size) not in (0, axes):
        raise ValueError(f"size: expected one for each of {axes} axes, got {tuple(size)}")
    for extent in size:
        checks.positive("size", extent)
    return tuple(int(n) for n in size) or tuple(int(n) for n in np.max(shapes, axis=0)[:-1])


def _warn_of_cuts(
    layout: nnunet_layout.Layout,
    arrays_of: Sequence[kept.Arrays | str],
    size: tuple[int, ...],
) -> None:
    """Says of which cases a part of the foreground lies outside of the common size."""
    cut = []
    for case, arrays in zip(layout.cases, arrays_of, strict=True):
        if isinstance(arrays, str):
            continue
        starts = [(n - wanted) // 2 for n, wanted in zip(arrays["image"].shape, size)]
        first, end = arrays["foreground"].T
        if (end > first).all() and ((first < starts).any() or (end > np.add(starts, size)).any()):
            cut.append(case.name)
    if cut:
        names = ", ".join(cut[:5]) + (f" and {len(cut) - 5} more" if len(cut) > 5 else "")
        warnings.warn(
            f"size: {size} cuts off a part of what is labelled in {len(cut)} of "
            f"{len(layout.cases)} cases: {names}; it is not learnt; choose a larger size, or draw "
            "patches of whole cases (data.patches.size)",
            stacklevel=3,
        )


def _about(layout: nnunet_layout.Layout, how: prepared.How) -> dict[str, Any]:
    """Returns what reading further images takes, and writing what is predicted of them."""
    about = {
        "file_ending": layout.ending,
        "channel_names": layout.channel_names,
        "class_ids": layout.class_ids[: len(layout.classes)],
        "preparation": how.options,
        "grid_tolerance": float(how.tolerance),
    }
    return about if layout.regions is None else {**about, "regions": layout.regions.to_json()}


def _weights(layout: nnunet_layout.Layout) -> Float[np.ndarray, "N"] | None:
    """Returns what each case counts in training; None if they all count the same."""
    if not layout.weights:
        return None
    return np.array([layout.weights.get(case.name, 1.0) for case in layout.cases])


def _check_names(normalise: Any, interpolation: str) -> None:
    for name in normalise if isinstance(normalise, list | tuple) else (normalise,):
        checks.one_of("normalise", name, normalisations.NORMALISATIONS)
    checks.one_of("interpolation", interpolation, preprocess.INTERPOLATIONS)


def load(
    *,
    root: str,
    spacing: Sequence[float | int] = (),
    size: Sequence[int] = (),
    normalise: str | Sequence[str] = "z_score",
    cut: float | int = 900.0,
    window: Sequence[float | int] = (-200.0, 400.0),
    intensities: Sequence[Sequence[float | int]] = (),
    interpolation: str = "linear",
    box: str = "",
    margin: int = 0,
    cache: str = "",
    seed: int = 0,
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    skip_damaged: bool = False,
    grid_tolerance: float | int = checker.TOLERANCE,
) -> source.Source:
    """Loads a folder.

    Args:
      root: the folder.
      spacing: voxels of all examples in mm, right, front, top (rows, columns for images); empty for
        the median of the cases.
      size: voxels of an example; empty for the largest case along each axis.
      normalise: of each channel over its whole image: ``"z_score"`` (MR), ``"z_score_nonzero"`` (MR
        without its surroundings), ``"bone"`` (of the mandible study), ``"ct_window"`` or ``"ct"``
        (CT), ``"rescale_to_0_1"``, ``"rgb_to_0_1"`` or ``"none"``; one for all channels, or one for
        each; see `noisyjax.data.volumes.normalisations`.
      cut: of ``"bone"``: 900 where air is 0, -124 in Hounsfield units.
      window: of ``"ct_window"``, what becomes 0 and 1.
      intensities: of ``"ct"``, (low, high, mean, standard deviation) for each channel.
      interpolation: of images, ``"linear"`` or ``"cubic"``; of labels the nearest voxel is taken.
      box: what each case is cut to before it is fitted to the size: "" for nothing, ``"bright"``,
        ``"nonzero"`` or ``"labels"``, as in `preprocess.prepare`.
      margin: voxels around the box.
      cache: a folder for the prepared cases, which are made only once and read in parts; "" for
        memory, or where they take more than 1 GiB for ``noisyjax/cases`` in the user's cache. Cases
        are named by the content of what they are made from and by these options.
      seed: of the division.
      fractions: of training, validation and test, where there is no labelsTs; else the cases of
        imagesTs test and the share of the test trains. Where dataset.json names patients, these are
        shares of the patients, and all cases of one are in one part.
      skip_damaged: whether a case that cannot be used fails when it is read, in place of the whole
        folder.
      grid_tolerance: how far the corners of a label or channel may be from those of the image, by
        the rounding of headers, in voxels.

    Returns:
      The source: the raters of ratersTr, who are the same persons in every case, with a mask of who
      labelled what; where they labelled nothing the labels of labelsTr are those of one rater more.
      The truth is that of labelsTr and labelsTs, with a mask of whose it is known. Images of
      imagesTs count only if there is a label in labelsTs or ratersTs.
      ``examples.write`` brings a segmentation back to the voxels of its file.

    Raises:
      ValueError: if the folder has a problem that cannot be trained on; it lists the first five and
        the command that lists all. Or if an option does not fit.
    """
    _check_names(normalise, interpolation)
    checks.positive("grid_tolerance", grid_tolerance, or_zero=True)
    layout = layouts.read(root)
    damaged = _damaged(layout) if skip_damaged else {}
    if not skip_damaged:
        prepared.refuse(root, layout.problems)
    to = _common_spacing(layout, spacing, damaged)
    options = {
        "normalisation": normalise if isinstance(normalise, str) else list(normalise),
        "cut": float(cut),
        "window": [float(end) for end in window],
        "intensities": [[float(number) for number in channel] for channel in intensities],
        "interpolation": interpolation,
        "box": box,
        "margin": margin,
    }
    how = prepared.How(to, options, cache, grid_tolerance)
    how = how._replace(cache=prepared.cache_folder(layout, how))
    arrays_of, contents = prepared.all_cases(layout, damaged, how, skip_damaged=skip_damaged)
    common = _common_size(layout, arrays_of, to, size)
    _warn_of_cuts(layout, arrays_of, common)
    examples = FolderExamples(
        layout.cases, layout, arrays_of, common, to, how, contents, size_is_given=len(size) > 0
    )
    patients = division.patients(layout)
    return source.Source(
        name="folder",
        examples=examples,
        num_classes=len(layout.classes),
        class_names=layout.classes,
        spacing=to,
        has_truth=layout.has_truth,
        truth_mask=np.array([case.truth is not None for case in layout.cases]),
        rater_names=layout.rater_names + (ONLY_RATER,) * layout.truth_trains,
        case_names=tuple(case.name for case in layout.cases),
        groups=patients if layout.patients else None,
        splits=division.divide(layout, patients, seed=seed, fractions=fractions),
        about=_about(layout, how),
        regions=layout.regions,
        soft=layout.soft,
        weights=_weights(layout),
    )
