"""A folder of one's own images and labels, in nnU-Net's raw layout with raters beside it.

See `noisyjax.data.folder.nnunet_layout` for the layout, ``python -m noisyjax.cli.check_folder`` for
what may be wrong with a folder. Every case is turned to RAS axes, normalised, resampled to one
spacing and cut or filled up to one size around its middle.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Integer

from noisyjax.core import checks
from noisyjax.data import source
from noisyjax.data.folder import case_files, checker, division, nnunet_layout, problem_kinds
from noisyjax.data.volumes import preprocess, read_write, store

# Where labelsTr is all there is, it is what a network learns from as well.
ONLY_RATER = "labels"

_KEYS = ("image", "labels", "mask", "grid")


@dataclasses.dataclass(frozen=True)
class FolderExamples:
    """Cases that were prepared, in memory or memory-mapped, fitted to one size when read.

    Attributes:
      cases: their files.
      layout: the folder's.
      prepared: of `case_files.prepare`, of a size T that differs from case to case. Or a text, what
        is wrong with a case that is kept to be left out.
      size: S, of every example.
      spacing: of every example, in mm.
      options: how cases were prepared, see `case_files.prepare`.
      contents: of the files as they are, whatever is made of them.
    """

    cases: tuple[nnunet_layout.Case, ...]
    layout: nnunet_layout.Layout
    prepared: tuple[dict[str, np.ndarray] | str, ...]
    size: tuple[int, ...]
    spacing: tuple[float, ...]
    options: Mapping[str, Any]
    contents: tuple[source.Content, ...]

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> source.Example:
        """Returns one example; the image is filled up by its darkest value."""
        arrays = self.prepared[index]
        if isinstance(arrays, str):
            raise ValueError(arrays)
        image = case_files.fit(arrays["image"], self.size)
        mask = np.array(arrays["mask"])
        given = [preprocess.fit(label, self.size) for label in arrays["labels"]]
        labels = source.of_all(given, mask, shape=self.size)
        example = {"image": image, "id": np.int32(index)}
        if self.layout.has_truth:
            example["truth"] = labels[0]
        if not self.layout.truth_trains:
            return {**example, "labels": labels[1:], "rater_mask": mask[1:]}
        # The truth as one rater more, where there is no other.
        example["labels"] = np.concatenate([labels[1:], labels[:1]])
        example["rater_mask"] = np.append(mask[1:], mask[0] and not mask[1:].any())
        return example

    def content(self, index: int) -> source.Content:
        """Returns the digests of a case's files."""
        return self.contents[index]

    def write(
        self, index: int, labels: Integer[np.ndarray, "*S"], path: str | pathlib.Path
    ) -> None:
        """Writes a segmentation ``[*S]`` of an example on the voxels of its image, with its affine.

        The ending of the path says the format. A shape that is not the examples' raises ValueError.
        """
        checks.shape("labels", labels, self.size, like="the examples")
        like = self.cases[index].images[0]
        case_files.write(path, labels, grid=self.prepared[index]["grid"], like=like)


def _fatal(problems: Sequence[problem_kinds.Problem]) -> list[problem_kinds.Problem]:
    return [problem for problem in problems if problem.kind not in problem_kinds.HARMLESS]


def _refuse(root: str | pathlib.Path, problems: Sequence[problem_kinds.Problem]) -> None:
    """Raises for what a folder cannot be trained on."""
    fatal = _fatal(problems)
    if fatal:
        listed = "\n  ".join(str(problem) for problem in fatal[:5])
        more = f"\n  and {len(fatal) - 5} more" if len(fatal) > 5 else ""
        raise ValueError(
            f"{root}: expected a folder without problems, got\n  {listed}{more}\n"
            f"All of them: python -m noisyjax.cli.check_folder --root={root}"
        )


def _prepare(
    case: nnunet_layout.Case,
    layout: nnunet_layout.Layout,
    to: tuple[float, ...],
    options: dict[str, Any],
    cache: str,
    tolerance: float | int,
    *,
    digests: Mapping[pathlib.Path, str],
) -> dict[str, np.ndarray]:
    """Reads, checks and prepares one case, or takes it from the folder of prepared ones."""

    def make() -> dict[str, np.ndarray]:
        read = checker.read_case(case, layout, tolerance=tolerance)
        _refuse(layout.root, read.problems)
        return case_files.prepare(read, layout, to=to, options=options)

    if not (cache and digests):
        return make()
    made_by = {
        **options,
        "version": preprocess.VERSION,
        "tolerance": float(tolerance),
        "spacing": to,
        "classes": len(layout.class_names),
        "channels": len(case.images),
        "truth": case.truth is not None,
        "raters": layout.rater_names,
        "own": sorted(case.raters),
    }
    return store.stored(cache, store.digest(digests.values(), made_by), _KEYS, make)


def _digests(case: nnunet_layout.Case) -> dict[pathlib.Path, str]:
    """Returns the digest of each file, none at all if one cannot be read."""
    paths = [*case.paths, *filter(None, map(case.sidecar, case.paths))]
    try:
        return {path: store.of_file(path) for path in paths}
    except OSError:
        # Whoever reads the case says it better.
        return {}


def _content(case: nnunet_layout.Case, digests: Mapping[pathlib.Path, str]) -> source.Content:
    """Returns what a case holds, by the digests of its files."""
    if not digests:
        return source.Content("", "")

    def of(files: Mapping[str, pathlib.Path]) -> str:
        parts = {name: digests[path] for name, path in files.items()}
        beside = {f"{name}, beside it": case.sidecar(path) for name, path in files.items()}
        parts |= {name: digests[path] for name, path in beside.items() if path}
        return source.digest(parts)

    labels = {f"rater {name}": path for name, path in case.raters.items()}
    truth = {} if case.truth is None else {"truth": case.truth}
    images = {f"channel {i}": path for i, path in enumerate(case.images)}
    return source.Content(of(images), of(labels | truth))


def _prepare_all(
    layout: nnunet_layout.Layout,
    errors: Mapping[str, str],
    *how: Any,
    skip_damaged: bool,
) -> tuple[tuple[dict[str, np.ndarray] | str, ...], tuple[source.Content, ...]]:
    """Returns each prepared case, or what is wrong with it if damaged ones are to be skipped.

    And what the files hold, which are read for it once more just before.
    """
    prepared, contents = [], []
    for case in layout.cases:
        digests = _digests(case)
        contents.append(_content(case, digests))
        try:
            prepared.append(errors.get(case.name) or _prepare(case, layout, *how, digests=digests))
        except (OSError, ValueError) as error:
            if not skip_damaged:
                raise
            prepared.append(str(error))
    return tuple(prepared), tuple(contents)


def _peek(case: nnunet_layout.Case, layout: nnunet_layout.Layout) -> read_write.Volume:
    """Reads the header of a case's first channel."""
    path = case.images[0]
    sidecar = case.sidecar(path)
    try:
        return read_write.to_ras(read_write.peek(path, sidecar=sidecar))
    except read_write.UnreadableError as error:
        path = sidecar if error.fault == "sidecar" else path
        file = path.relative_to(layout.root).as_posix()
        got = str(error).removeprefix(f"{path}: ")
        _refuse(layout.root, [problem_kinds.problem(error.fault, file=file, got=got)])
        raise


def _damaged(layout: nnunet_layout.Layout) -> dict[str, str]:
    """Returns the cases that cannot be used, as far as names and headers tell, and why."""
    cases = {case.name: case for case in layout.cases}
    errors, rest = {}, []
    for problem in _fatal(layout.problems):
        if problem.case in cases:
            errors.setdefault(problem.case, str(problem))
        else:
            rest.append(problem)
    _refuse(layout.root, rest)
    for name, case in cases.items():
        try:
            _peek(case, layout)
        except (OSError, ValueError) as error:
            errors.setdefault(name, str(error))
    return errors


def _check_classes(layout: nnunet_layout.Layout) -> None:
    if "ignore" in layout.class_names:
        raise ValueError(
            f"{layout.root}/dataset.json: labels: expected classes to learn, got 'ignore', which "
            "training does not leave out yet; give its voxels a class in the labels, and take it "
            "out here"
        )


def _common_spacing(
    layout: nnunet_layout.Layout, spacing: Sequence[float | int], damaged: Mapping[str, str]
) -> tuple[float, ...]:
    """Returns the spacing to resample to: the one that is given, or the median of the cases."""
    for extent in spacing:
        checks.positive("spacing", extent)
    if len(spacing):
        return tuple(float(extent) for extent in spacing)
    cases = [case for case in layout.cases if case.name not in damaged]
    headers = [_peek(case, layout) for case in cases]
    facts = [(case, v.num_axes, 1, v.spacing) for case, v in zip(cases, headers, strict=True)]
    _refuse(layout.root, list(checker.across(facts)))
    # Rounded, for headers in float32 have a spacing of 0.99999994.
    return tuple(round(float(s), 5) for s in np.median([v.spacing for v in headers], axis=0))


def _common_size(
    layout: nnunet_layout.Layout,
    prepared: Sequence[dict[str, np.ndarray] | str],
    spacing: tuple[float, ...],
    size: Sequence[int],
) -> tuple[int, ...]:
    """Returns the size of all examples: the one that is given, or the largest along each axis."""
    pairs = zip(layout.cases, prepared, strict=True)
    usable = [
        (case, arrays["image"].shape) for case, arrays in pairs if not isinstance(arrays, str)
    ]
    if not usable:
        raise ValueError(
            f"{layout.root}: expected a case that can be used, got none: {prepared[0]}"
        )
    if len({(len(shape), shape[-1]) for _, shape in usable}) > 1:
        facts = [(case, len(shape) - 1, shape[-1], spacing) for case, shape in usable]
        _refuse(layout.root, list(checker.across(facts)))
    shapes = [shape for _, shape in usable]
    axes = len(shapes[0]) - 1
    if len(size) not in (0, axes):
        raise ValueError(f"size: expected one for each of {axes} axes, got {tuple(size)}")
    for extent in size:
        checks.positive("size", extent)
    return tuple(int(n) for n in size) or tuple(int(n) for n in np.max(shapes, axis=0)[:-1])


def load(
    *,
    root: str,
    spacing: Sequence[float | int] = (),
    size: Sequence[int] = (),
    normalise: str = "z_score",
    cut: float | int = 900.0,
    window: Sequence[float | int] = (-200.0, 400.0),
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
      normalise: of each channel over its whole image: ``"z_score"`` (MR), ``"bone"`` (of the
        mandible study), ``"ct_window"`` (CT) or ``"none"``; see `noisyjax.data.volumes.preprocess`.
      cut: of ``"bone"``: 900 where air is 0, -124 in Hounsfield units.
      window: of ``"ct_window"``, what becomes 0 and 1.
      box: what each case is cut to before it is fitted to the size: "" for nothing, ``"bright"`` or
        ``"labels"``, as in `preprocess.prepare`.
      margin: voxels around the box.
      cache: a folder for the prepared cases, which are then mapped from the disk and made only
        once; "" to keep them in memory. Its files are named by the content of what they are made
        from and by these options; one that has changed since is made anew.
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
    checks.one_of("normalise", normalise, preprocess.NORMALISATIONS)
    checks.positive("grid_tolerance", grid_tolerance, or_zero=True)
    layout = nnunet_layout.read(root)
    _check_classes(layout)
    damaged: dict[str, str] = {}
    if skip_damaged:
        damaged = _damaged(layout)
    else:
        _refuse(root, layout.problems)
    to = _common_spacing(layout, spacing, damaged)
    options = {
        "normalisation": normalise,
        "cut": float(cut),
        "window": [float(end) for end in window],
        "box": box,
        "margin": margin,
    }
    how = (to, options, cache, grid_tolerance)
    prepared, contents = _prepare_all(layout, damaged, *how, skip_damaged=skip_damaged)
    size = _common_size(layout, prepared, to, size)
    examples = FolderExamples(layout.cases, layout, prepared, size, to, options, contents)
    patients = division.patients(layout)
    return source.Source(
        name="folder",
        examples=examples,
        num_classes=len(layout.class_names),
        class_names=layout.class_names,
        spacing=to,
        has_truth=layout.has_truth,
        truth_mask=np.array([case.truth is not None for case in layout.cases]),
        rater_names=layout.rater_names + (ONLY_RATER,) * layout.truth_trains,
        case_names=tuple(case.name for case in layout.cases),
        groups=patients if layout.patients else None,
        splits=division.divide(layout, patients, seed=seed, fractions=fractions),
        about={
            "file_ending": layout.ending,
            "channel_names": layout.channel_names,
            "preparation": options,
            "grid_tolerance": float(grid_tolerance),
        },
    )
