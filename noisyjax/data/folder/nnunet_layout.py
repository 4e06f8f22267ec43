"""Which files a folder holds, in nnU-Net's raw layout with raters beside it.

    dataset.json                   {"channel_names": {"0": "CT"}, "labels": {"background": 0,
                                   "organ": 1}, "file_ending": ".nii.gz"}
    imagesTr/CASE_0000.nii.gz      one file for each channel
    labelsTr/CASE.nii.gz           the truth; the folder may be absent if there are raters
    ratersTr/RATER/CASE.nii.gz     labels of several raters; the folder, or any file, may be absent
    imagesTs/, labelsTs/, ratersTs/   the same for cases that test; may be absent

Classes may make up regions, which lie in each other: {"background": 0, "whole": [1, 2], "core": 2},
with "regions_class_order": [1, 2], the class that each region is written as, the later over the
earlier. Files hold class ids all the same.

A case needs a truth or a rater's label; which of them it has may differ from case to case.

Numbers of classes may have gaps, {"background": 0, "liver": 2}; in arrays they are 0, 1, ... in
their order. The class "ignore", which has the highest number, is none: its voxels are left out.

Where patients have several cases, dataset.json says whose they are, and no patient is divided
between training and test: ``"patients": {"CASE": "PATIENT"}``. A case that is not named there is a
patient of its own. Nor need cases count the same in training: ``"weights": {"CASE": 0.5}``.

Pictures in colours may have one file each, CASE_0000, for all of "channel_names": {"0": "R", "1":
"G", "2": "B"}. A TIFF has voxels of 1 mm, or as CASE.json beside it says, {"spacing": [5, 0.5,
0.5]}, like nnU-Net's; a label without that file has the voxels of its image.

Labels may be segmentations of Slicer, CASE.seg.nrrd, whatever the ending of the images; their
segments have the names of classes.

Only the names of files are read here, and dataset.json.
"""

import dataclasses
import functools
import os
import pathlib
import re
import unicodedata
from collections.abc import Sequence

from noisyjax.core import class_regions
from noisyjax.data.folder import case_facts, description, file_names, problem_kinds, segments
from noisyjax.data.volumes import read_write

PARTS = ("Tr", "Ts")
_CHANNEL = re.compile(r"(.+)_(\d{4})")


@dataclasses.dataclass(frozen=True)
class Case:
    """The files of one case, in `part` "Tr" or "Ts".

    Attributes:
      images: a file for each channel that is there.
      truth: the label in labelsTr or labelsTs, or None.
      raters: name of a rater to their label.
    """

    name: str
    part: str
    images: tuple[pathlib.Path, ...]
    truth: pathlib.Path | None
    raters: dict[str, pathlib.Path]

    @property
    def paths(self) -> tuple[pathlib.Path, ...]:
        """All files: channels, then the truth, then raters by name."""
        truth = (self.truth,) if self.truth else ()
        return (*self.images, *truth, *(self.raters[name] for name in sorted(self.raters)))

    def sidecar(self, path: pathlib.Path) -> pathlib.Path | None:
        """Returns the file that says the spacing of one of the case's TIFFs, or None.

        It is CASE.json beside it; for a label without one it is that of the image.
        """
        if path.suffix not in (".tif", ".tiff"):
            return None
        stem = path.stem
        if path in self.images and unicodedata.normalize("NFC", stem) != self.name:
            # Without the number of the channel.
            stem = stem[:-5]
        own = path.with_name(f"{stem}.json")
        if own.is_file():
            return own
        return None if path in self.images else self.sidecar(self.images[0])


@dataclasses.dataclass(frozen=True)
class Layout:
    """What a folder holds.

    Attributes:
      described_by: the file that names the classes.
      ending: of its files.
      class_names: the background first, "ignore" last if there is such a one.
      class_ids: what stands for them in the files, ascending.
      rater_names: in alphabetical order; empty if there are none.
      has_truth: whether there is a truth, of any case.
      cases: in alphabetical order, those of imagesTr first.
      patients: case to patient, of cases that share one; may be empty.
      problems: what is wrong with names and dataset.json.
      regions: what is predicted in place of the classes, or None.
      soft: whether labels are probabilities of the foreground, of one class.
      weights: case to what it counts in training, 1 for others; may be empty.
    """

    root: pathlib.Path
    described_by: pathlib.Path
    ending: str
    class_names: tuple[str, ...]
    class_ids: tuple[int, ...]
    channel_names: tuple[str, ...]
    rater_names: tuple[str, ...]
    has_truth: bool
    cases: tuple[Case, ...]
    patients: dict[str, str]
    problems: tuple[problem_kinds.Problem, ...]
    regions: class_regions.Regions | None = None
    soft: bool = False
    weights: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, the background first; "ignore" is none."""
        return tuple(name for name in self.class_names if name != description.IGNORE)

    @functools.cached_property
    def truth_trains(self) -> bool:
        """Whether a network learns from the truth, for no rater labelled a case of imagesTr."""
        return not any(case.raters for case in self.cases if case.part == "Tr")


def _sidecar_names(paths: Sequence[pathlib.Path], end: str) -> set[str]:
    """Returns the names of files that would say the spacing of those of a folder."""
    if end not in (".tif", ".tiff"):
        return set()
    stems = {path.name.removesuffix(end) for path in paths if path.name.endswith(end)}
    stems |= {match[1] for stem in stems if (match := _CHANNEL.fullmatch(stem))}
    return {f"{stem}.json" for stem in stems}


def _listed(
    root: pathlib.Path,
    folder: str,
    end: str,
    form: str,
    problems: problem_kinds.Problems,
    *,
    further: str = "",
) -> dict[str, pathlib.Path]:
    """Returns the files of a folder by their names without the ending, in the form NFC.

    Their ending is `end`, or a further one.
    """
    paths, seen = {}, {}
    if not (root / folder).is_dir():
        return paths
    found = sorted((root / folder).iterdir())
    sidecars = _sidecar_names(found, end)
    for path in found:
        # Finder, Explorer and Jupyter leave such files anywhere.
        if path.name.startswith(".") or path.name == "Thumbs.db" or path.name in sidecars:
            continue
        file = f"{folder}/{path.name}"
        own = further if further and path.name.endswith(further) else end
        stem = path.name[: -len(own)]
        if path.is_dir() or not path.name.endswith(own):
            kind = "misnamed" if read_write.ending(path) else "unknown_file"
            problems.add(kind, file=file, want=form + end)
        elif not file_names.is_safe(stem):
            problems.add("unsafe_path", file=file, got=path.name)
        else:
            name = unicodedata.normalize("NFC", stem)
            # On other systems, and in archives, both are the same file.
            if (same := seen.setdefault(name.casefold(), path)) != path:
                # The same name with another ending, or in another form.
                other_form = unicodedata.normalize("NFC", same.name) == f"{name}{own}"
                kind = "same_name" if other_form or name not in paths else "two_files"
                problems.add(kind, file=file, got=same.name)
            else:
                paths[name] = path
    return paths


def in_one_file(end: str, count: int) -> bool:
    """Whether all channels may be the colours of one file, which are three."""
    return count == 3 and read_write.FORMATS.get(end) == "pillow"


def _channels(
    root: pathlib.Path,
    folder: str,
    end: str,
    count: int,
    problems: problem_kinds.Problems,
    *,
    unnumbered: bool = False,
) -> dict[str, tuple[pathlib.Path, ...]]:
    """Returns the channels' files of every case of a folder, those that are there.

    A count of 0 is an unknown one: that of the case with most channels. The only channel need not
    be numbered if `unnumbered`.
    """
    by_case: dict[str, dict[int, pathlib.Path]] = {}
    listed = _listed(root, folder, end, "CASE_0000", problems)
    for stem, path in listed.items():
        match = _CHANNEL.fullmatch(stem)
        # Names of cases may end in a number of four digits, too.
        if match and count and int(match[2]) >= count and f"{match[1]}_0000" not in listed:
            match = None
        if match is None and not unnumbered:
            file = f"{folder}/{path.name}"
            problems.add("misnamed", file=file, want=f"{stem}_0000{end}")
            continue
        name, number = (match[1], int(match[2])) if match else (stem, 0)
        own = by_case.setdefault(name, {})
        if number in own:
            file = f"{folder}/{path.name}"
            problems.add("two_files", case=name, file=file, got=own[number].name)
        own[number] = path
    count = count or 1 + max((i for channels in by_case.values() for i in channels), default=0)
    for name, channels in by_case.items():
        for extra in sorted(set(channels) - set(range(count))):
            file = f"{folder}/{channels[extra].name}"
            problems.add("extra_channel", case=name, file=file, got=extra, want=count)
        if set(channels) == {0} and in_one_file(end, count):
            continue
        for absent in sorted(set(range(count)) - set(channels)):
            file = f"{folder}/{name}_{absent:04d}{end}"
            problems.add("missing_channel", case=name, file=file, got=file, want=absent)
    return {
        name: tuple(path for _, path in sorted(channels.items()))
        for name, channels in by_case.items()
    }


def _labels(
    root: pathlib.Path, folder: str, end: str, images: dict, problems: problem_kinds.Problems
) -> dict[str, pathlib.Path]:
    labels = _listed(root, folder, end, "CASE", problems, further=segments.ENDING)
    part = folder.split("/")[0][-2:]
    for name in sorted(set(labels) - set(images)):
        file = f"{folder}/{labels[name].name}"
        want = f"images{part}/{name}_0000{end}"
        problems.add("missing_image", case=name, file=file, want=want)
    return {name: path for name, path in labels.items() if name in images}


def _raters(
    root: pathlib.Path, part: str, end: str, images: dict, problems: problem_kinds.Problems
) -> dict[str, dict[str, pathlib.Path]]:
    folder = root / f"raters{part}"
    raters = {}
    if not folder.is_dir():
        return raters
    for path in sorted(folder.iterdir()):
        file = f"{folder.name}/{path.name}"
        if path.name.startswith("."):
            continue
        if not path.is_dir():
            kind = "misnamed" if read_write.ending(path) else "unknown_file"
            problems.add(kind, file=file, want=f"RATER/{path.name}")
        elif not file_names.is_safe(path.name):
            problems.add("unsafe_path", file=file, got=path.name)
        else:
            raters[path.name] = _labels(root, file, end, images, problems)
            if not raters[path.name]:
                problems.add("empty_rater", file=file)
    return raters


def read(root: str | pathlib.Path) -> Layout:
    """Lists what a folder holds and what is wrong with the names in it.

    The layout holds whatever could be made out, if there are problems.
    """
    root = pathlib.Path(root)
    problems = problem_kinds.Problems()
    nothing = Layout(root, root / "dataset.json", "", (), (), (), (), False, (), {}, ())
    if not root.is_dir() or not (root / "imagesTr").is_dir():
        want = str(root / "imagesTr") if root.is_dir() else str(root)
        problems.add("no_folder", file=want, want=want)
        return dataclasses.replace(nothing, problems=tuple(problems))
    said = description.read(root, problems)
    content, classes, class_ids, channels, end = said[:5]
    if not end:
        return dataclasses.replace(nothing, problems=tuple(problems))
    cases, rater_names, names = [], set(), set()
    for part in PARTS:
        images = _channels(root, f"images{part}", end, len(channels), problems)
        names |= set(images)
        truths = _labels(root, f"labels{part}", end, images, problems)
        raters = _raters(root, part, end, images, problems)
        rater_names |= {name for name, labels in raters.items() if labels}
        for name, own_files in sorted(images.items()):
            own = {rater: labels[name] for rater, labels in raters.items() if name in labels}
            cases.append(Case(name, part, own_files, truths.get(name), own))
        # Images that test may wait for their labels; then they are there to be predicted.
        if part == "Ts" and not truths and not any(raters.values()):
            cases = [case for case in cases if case.part == "Tr"]
    has_truth = any(case.truth for case in cases)
    problems.extend(_about_cases(cases, has_truth, rater_names, end))
    training = [case for case in cases if case.part == "Tr"]
    if not training:
        problems.add("no_cases", file="imagesTr", want="imagesTr", got=end)
    parts = [{case.name for case in cases if case.part == part} for part in PARTS]
    patients = case_facts.patients(content.get("patients", {}), names, parts, problems)
    weights = case_facts.weights(content.get("weights", {}), names, problems)
    counted = content.get("numTraining", len(training))
    if counted != len(training):
        problems.add("count", file="dataset.json", got=len(training), want=counted)
    return Layout(
        root=root,
        described_by=nothing.described_by,
        ending=end,
        class_names=classes,
        class_ids=class_ids,
        channel_names=channels,
        rater_names=tuple(sorted(rater_names)),
        has_truth=has_truth,
        cases=tuple(cases),
        patients=patients,
        problems=tuple(problems),
        regions=said.regions,
        soft=said.soft,
        weights=weights,
    )


def read_images(
    folder: str | pathlib.Path,
    *,
    ending: str,
    class_names: Sequence[str],
    channel_names: Sequence[str],
) -> Layout:
    """Lists the cases of a folder that has nothing but images, to be predicted.

    The layout is that of the folder above it, with the ending, the classes (the background first)
    and the channels given. Where there is one file for each, CASE_0000 may be named CASE.
    """
    folder = pathlib.Path(os.path.realpath(folder))
    problems = problem_kinds.Problems()
    count = len(channel_names)
    one = count == 1 or in_one_file(ending, count)
    images = _channels(folder.parent, folder.name, ending, count, problems, unnumbered=one)
    if not folder.is_dir():
        problems.add("no_folder", file=str(folder), want=str(folder))
    elif not images and not problems:
        want = str(folder)
        problems.add("no_cases", file=folder.name, want=want, got=ending)
    cases = tuple(Case(name, "Ts", own, None, {}) for name, own in sorted(images.items()))
    return Layout(
        root=folder.parent,
        described_by=folder.parent / "dataset.json",
        ending=ending,
        class_names=tuple(class_names),
        class_ids=tuple(range(len(class_names))),
        channel_names=tuple(channel_names),
        rater_names=(),
        has_truth=False,
        cases=cases,
        patients={},
        problems=tuple(problems),
    )


def _about_cases(
    cases: list, has_truth: bool, rater_names: set, end: str
) -> problem_kinds.Problems:
    """Returns which cases lack a label, or test and train at once."""
    problems = problem_kinds.Problems()
    training = {case.name for case in cases if case.part == "Tr"}
    taught = any(case.raters for case in cases if case.part == "Tr")
    for case in cases:
        file = f"images{case.part}/{case.images[0].name}"
        if case.part == "Ts" and case.name in training:
            problems.add("in_both_parts", case=case.name, file=file)
        if case.truth is None and not case.raters:
            want = f"labels{case.part}/{case.name}{end}"
            kind = "missing_label" if has_truth or not rater_names else "no_rater"
            problems.add(kind, case=case.name, file=file, want=want)
        elif case.part == "Tr" and taught and not case.raters:
            problems.add("truth_alone", case=case.name, file=file)
    return problems
