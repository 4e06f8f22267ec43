"""A data set in nnU-Net's raw layout that is made from another: its images and dataset.json."""

import os
import pathlib
import shutil
from collections.abc import Iterable, Mapping, Sequence

from noisyjax.core import checks, files
from noisyjax.data.folder import description, nnunet_layout
from noisyjax.data.volumes import read_write
from noisyjax.tool import folder, record

# How images get there: as links that share the data with the old file, as copies, or not at all.
IMAGES = ("link", "copy", "none")

# What the commands that make one write.
MAKES = (
    "dataset.json",
    *(f"{kind}{part}" for kind in ("images", "labels") for part in nnunet_layout.PARTS),
)


def digest(
    opened: folder.Folder, files: Mapping[str, Sequence[pathlib.Path]], *, whole: bool
) -> str | dict[str, str]:
    """Returns what identifies the files of the cases, for `record.open_record`.

    Args:
      files: of each case, those on which its results depend.
      whole: whether all results depend on all files: then it is one digest, else one each case.
    """
    # Names and numbers of the classes decide on all.
    common = opened.layout.described_by
    if whole:
        every = [path for paths in files.values() for path in paths]
        return record.digest([*every, common], opened.root)
    return {name: record.digest([*paths, common], opened.root) for name, paths in files.items()}


def place(source: str | os.PathLike, target: str | os.PathLike, *, how: str) -> None:
    """Links or copies a file, unless it is there.

    A link is one to the data (a hard link), so that the old name may go; where the file system has
    none, or forbids it, the file is copied.
    """
    checks.one_of("images", how, IMAGES)
    source, target = pathlib.Path(source), pathlib.Path(target)
    if how == "none" or target.exists():
        return
    with files.replacing(target) as unfinished:
        if how == "link":
            unfinished.unlink()
            try:
                os.link(os.path.realpath(source), unfinished)
                return
            except OSError:
                pass
        shutil.copyfile(source, unfinished)


def place_images(case: nnunet_layout.Case, out: str | os.PathLike, *, how: str) -> None:
    """Places the images of a case in ``imagesTr`` or ``imagesTs``, as `place`, named as there.

    What says the spacing of a TIFF goes with it.
    """
    target = pathlib.Path(out) / f"images{case.part}"
    for number, path in enumerate(case.images):
        place(path, target / f"{case.name}_{number:04d}{read_write.ending(path)}", how=how)
    if sidecar := case.sidecar(case.images[0]):
        place(sidecar, target / f"{case.name}.json", how=how)


def describe(
    made_from: folder.Folder,
    out: str | os.PathLike,
    cases: Iterable[str],
    *,
    with_ignore: bool = False,
    weights: Mapping[str, float] | None = None,
) -> None:
    """Writes dataset.json as it was, but for the cases that there are.

    Args:
      cases: names of those that were made.
      with_ignore: whether the labels have the class "ignore" now, if they had not.
      weights: case to a factor of what it counts in training; 1 by default.
    """
    layout = made_from.layout
    path = layout.root / "dataset.json"
    old = files.read_json(path) if path.is_file() else {}
    # Lists of files, as the Decathlon has them, would name other folders.
    left_out = ("training", "test", "modality")
    content = {name: value for name, value in old.items() if name not in left_out}
    cases = list(cases)
    names = {name for name in cases if made_from.cases[name].part == "Tr"}
    labels = dict(zip(layout.class_names, layout.class_ids, strict=True))
    if layout.regions is not None:
        labels = dict(old["labels"])
    if with_ignore:
        labels.setdefault(description.IGNORE, made_from.class_ids[-1])
    content["channel_names"] = {str(n): name for n, name in enumerate(layout.channel_names)}
    content |= {"labels": labels, "file_ending": layout.ending, "numTraining": len(names)}
    made = set(cases)
    if layout.patients:
        content["patients"] = {n: p for n, p in layout.patients.items() if n in made}
    if weights or layout.weights:
        old = layout.weights
        each = {name: old.get(name, 1.0) * (weights or {}).get(name, 1.0) for name in made}
        content["weights"] = {name: each[name] for name in sorted(each) if each[name] != 1}
    files.write_json(pathlib.Path(out) / "dataset.json", content)
