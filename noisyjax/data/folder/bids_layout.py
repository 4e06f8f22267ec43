"""Which files a BIDS data set holds, whose segmentations of several raters are derivatives.

    sub-01/anat/sub-01_T1w.nii.gz                          a file for each channel, by its suffix
    derivatives/NAME/sub-01/anat/sub-01_desc-RATER_dseg.nii.gz    labels; NAME is any name
    derivatives/NAME/dseg.tsv                              columns index and name of the classes

Sessions are cases of one patient: sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz. Labels may lie beside
the images as well. One without ``desc`` is of the rater NAME, or beside the images the truth, as is
that of the rater "truth". Masks, sub-01_desc-RATER_label-CLASS_mask.nii.gz, are labels of one
class. What lies in another space (``space-MNI152...``) is passed over.

A dataset.json may name "labels" in place of dseg.tsv, and in "channel_names" the suffixes that are
taken; else all of anat are. Only names of files are read here, and what describes the classes.
"""

import csv
import pathlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from noisyjax.data.folder import (
    description,
    file_names,
    label_ids,
    nnunet_layout,
    problem_kinds,
)

ENDINGS = (".nii.gz", ".nii")
_LABELS = ("dseg", "mask")
# Spaces whose voxels are those of the image.
_OWN_SPACES = ("", "orig", "T1w", "native", "individual")
_TRUTH = "truth"
_IMAGE = "sub-01/anat/sub-01_T1w.nii.gz"
_LABEL = "derivatives/NAME/sub-01/anat/sub-01_desc-RATER_dseg.nii.gz"
_MOST_TSV = 2**20


class _File(NamedTuple):
    """A file by its name: entities like desc, and the suffix."""

    path: pathlib.Path
    entities: dict[str, str]
    suffix: str

    @property
    def case(self) -> str:
        own = [f"{key}-{self.entities[key]}" for key in ("sub", "ses") if key in self.entities]
        return "_".join(own)


def is_one(root: str | pathlib.Path) -> bool:
    """Whether a folder is a BIDS data set: it has subjects, and no imagesTr."""
    root = pathlib.Path(root)
    return root.is_dir() and not (root / "imagesTr").exists() and any(root.glob("sub-*/"))


def _files(folder: pathlib.Path) -> Iterator[_File]:
    """Yields the volumes of the subjects in a folder."""
    for path in sorted(folder.glob("sub-*/**/sub-*")):
        end = next((end for end in ENDINGS if path.name.endswith(end)), "")
        *entities, suffix = path.name.removesuffix(end).split("_")
        pairs = [entity.partition("-")[::2] for entity in entities]
        if end and not path.is_dir():
            yield _File(path, dict(pairs), suffix)


def _classes(
    root: pathlib.Path, masks: set[str], problems: problem_kinds.Problems
) -> tuple[dict[int, str], pathlib.Path]:
    """Returns id to name of the classes, and the file that says them, if there is one."""
    path = root / "dataset.json"
    tables = sorted({*root.glob("*dseg.tsv"), *root.glob("derivatives/**/*dseg.tsv")})
    classes = {}
    for table in tables:
        own = _table(table)
        if own and classes in ({}, own):
            classes, path = own, path if classes else table
        else:
            got = "another table has other classes" if own else "it has no columns index and name"
            file = table.relative_to(root).as_posix()
            problems.add("bad_classes_table", file=file, got=got)
    if not tables and len(masks) == 1:
        classes = {0: "background", 1: masks.pop()}
    return classes, path


def _said(root: pathlib.Path, problems: problem_kinds.Problems) -> description.Description:
    """Reads dataset.json, where there is one: it may leave out the classes and the channels."""
    if not (root / "dataset.json").is_file():
        return description.NOTHING
    found = problem_kinds.Problems()
    said = description.read(root, found)
    optional = {"bad_labels": "labels", "bad_channels": "channel_names"}
    absent = {kind for kind, key in optional.items() if key not in said.content}
    problems.extend(problem for problem in found if problem.kind not in absent)
    return said


def _table(path: pathlib.Path) -> dict[int, str]:
    """Returns id to name of a table of classes, the background added; nothing if it is none."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file.read(_MOST_TSV).splitlines(), delimiter="\t"))
        classes = {int(row["index"]): row["name"] for row in rows}
    except (KeyError, TypeError, ValueError, csv.Error):
        return {}
    classes = dict(sorted({0: "background", **classes}.items()))
    usable = (
        2 <= len(classes) <= 256
        and min(classes) == 0
        and max(classes) <= label_ids.MOST
        and len(set(classes.values())) == len(classes)
    )
    return classes if usable else {}


def _labels(root: pathlib.Path) -> Iterator[tuple[str, _File]]:
    """Yields the labels with the names of their raters."""
    folders = [("", root), *((path.name, path) for path in sorted(root.glob("derivatives/*/")))]
    for name, folder in folders:
        for file in _files(folder):
            space = file.entities.get("space", "")
            if file.suffix in _LABELS and space in _OWN_SPACES:
                yield file.entities.get("desc", name) or _TRUTH, file


def _put(
    root: pathlib.Path,
    own: dict[str, pathlib.Path],
    key: str,
    file: _File,
    problems: problem_kinds.Problems,
) -> None:
    """Notes a file of a case by what it is; a second one is a problem."""
    if (same := own.setdefault(key, file.path)) != file.path:
        where, got = (path.relative_to(root).as_posix() for path in (file.path, same))
        problems.add("two_files", case=file.case, file=where, got=got)


def _images(
    root: pathlib.Path, named: tuple[str, ...], problems: problem_kinds.Problems
) -> tuple[dict[str, dict[str, pathlib.Path]], tuple[str, ...]]:
    """Returns case to channel to file, and the names of the channels."""
    wanted = {name.casefold(): name for name in named}
    cases: dict[str, dict[str, pathlib.Path]] = {}
    for file in _files(root):
        channel = wanted.get(file.suffix.casefold(), "") if named else file.suffix
        derived = {"desc", "space"} & set(file.entities) or file.suffix in (*_LABELS, "probseg")
        if derived or not channel or not (named or file.path.parent.name == "anat"):
            continue
        if file_names.is_safe(file.case):
            _put(root, cases.setdefault(file.case, {}), channel, file, problems)
        else:
            where = file.path.relative_to(root).as_posix()
            problems.add("unsafe_path", file=where, got=file.path.name)
    channels = named or tuple(sorted(set().union(*cases.values())))
    for name, own in cases.items():
        folder = next(iter(own.values())).parent.relative_to(root).as_posix()
        for channel in channels:
            if channel not in own:
                file = f"{folder}/{name}_{channel}{ENDINGS[0]}"
                problems.add("missing_channel", case=name, file=file, got=file, want=channel)
    return cases, channels


def _by_rater(
    root: pathlib.Path,
    labels: Iterable[tuple[str, _File]],
    images: dict[str, dict[str, pathlib.Path]],
    problems: problem_kinds.Problems,
) -> dict[str, dict[str, pathlib.Path]]:
    """Returns case to rater to label, the truth among them."""
    cases: dict[str, dict[str, pathlib.Path]] = {name: {} for name in images}
    for rater, file in labels:
        where = file.path.relative_to(root).as_posix()
        if file.case not in cases:
            want = _IMAGE.replace("sub-01", file.case)
            problems.add("missing_image", case=file.case, file=where, want=want)
        elif file_names.is_safe(rater):
            _put(root, cases[file.case], rater, file, problems)
        else:
            problems.add("unsafe_path", file=where, got=rater)
    for name, own in cases.items():
        if not own:
            file = next(iter(images[name].values())).relative_to(root).as_posix()
            want = _LABEL.replace("sub-01", name)
            problems.add("missing_label", case=name, file=file, want=want)
    return cases


def _named(
    root: pathlib.Path,
    said: description.Description,
    labels: Iterable[tuple[str, _File]],
    problems: problem_kinds.Problems,
) -> tuple[dict[int, str], pathlib.Path]:
    """Returns id to name of the classes, and the file that says them."""
    if said.class_ids or problems:
        classes = dict(zip(said.class_ids, said.class_names, strict=True))
        return classes, root / "dataset.json"
    only = all(file.suffix == "mask" for _, file in labels)
    masks = {file.entities.get("label", "foreground") for _, file in labels} if only else set()
    classes, by = _classes(root, masks, problems)
    if not (classes or problems):
        problems.add("no_classes", file="derivatives", want=_LABEL)
    return classes, by


def read(root: str | pathlib.Path) -> nnunet_layout.Layout:
    """Lists what a BIDS data set holds, as `nnunet_layout.read`; all of its cases train."""
    root = pathlib.Path(root)
    problems = problem_kinds.Problems()
    labels = list(_labels(root))
    said = _said(root, problems)
    classes, by = _named(root, said, labels, problems)
    images, channels = _images(root, said.channel_names, problems)
    given = _by_rater(root, labels, images, problems)
    cases = []
    for name, own in sorted(images.items()):
        paths = tuple(own[channel] for channel in channels if channel in own)
        raters = {rater: path for rater, path in given[name].items() if rater != _TRUTH}
        cases.append(nnunet_layout.Case(name, "Tr", paths, given[name].get(_TRUTH), raters))
    if not cases:
        problems.add("no_bids_images", file=".", want=_IMAGE)
    ends = {end for case in cases for end in ENDINGS if case.images[0].name.endswith(end)}
    subjects = {case.name: case.name.split("_")[0] for case in cases}
    return nnunet_layout.Layout(
        root=root,
        described_by=by,
        ending=ENDINGS[0] if ENDINGS[0] in ends or not ends else ENDINGS[1],
        class_names=tuple(classes.values()),
        class_ids=tuple(classes),
        channel_names=channels,
        rater_names=tuple(sorted({rater for case in cases for rater in case.raters})),
        has_truth=any(case.truth for case in cases),
        cases=tuple(cases),
        patients={name: subject for name, subject in subjects.items() if name != subject},
        problems=tuple(problems),
        regions=said.regions,
        soft=said.soft,
    )
