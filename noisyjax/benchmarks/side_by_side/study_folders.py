"""The folders of a side-by-side: one division, clean labels, and noisy ones in their place.

cases/    all cases in nnU-Net's raw layout, imagesTr, labelsTr, imagesTs, labelsTs: the scorer's
clean/    what the sides get: the same without labelsTs
NOISE/    the same as clean/, with the labels of labelsTr replaced
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from noisyjax.core import checks, files
from noisyjax.data.sources import hippocampus
from noisyjax.data.volumes import read_write
from noisyjax.tool import data_set, folder
from noisyjax.tool.simulation import simulate

CASES = "cases"
CLEAN = "clean"

# The options of `simulate` for each kind of noisy labels. Half of the masks replaced, as in the
# study of RAR-U-Net; and a Gaussian field of a strong rater.
NOISES: Mapping[str, Mapping[str, Any]] = {
    "replaced": {"noise": "replacement", "share": 0.5, "overlap": 0.7},
    "gaussian": {"noise": "gaussian", "a": 0.03},
}
LABELS = (CLEAN, *NOISES)


def write_hippocampi(
    path: str | os.PathLike,
    root: pathlib.Path,
    *,
    train: int = 60,
    test: int = 60,
    split_seed: int = 0,
) -> None:
    """Writes volumes of `sources.hippocampus` as cases, each at its true extent, at 1 mm.

    Args:
      path: the ``.npz`` file.
      root: the folder to write, nnU-Net's raw layout.
      train: cases of imagesTr; `test` those of imagesTs. What is left is written nowhere.
      split_seed: of the division.

    Raises:
      ValueError: if there are fewer cases, or the folder holds another division.
    """
    arrays = hippocampus.read(os.fspath(path))
    count = len(arrays["name"])
    checks.at_least("train", train, 1)
    checks.at_least("test", test, 0)
    if train + test > count:
        raise ValueError(f"{path}: expected at least {train + test} cases, got {count}")
    # NumPy's legacy generator promises the same numbers for ever.
    order = np.random.RandomState(split_seed).permutation(count)
    for part, chosen in (("Tr", order[:train]), ("Ts", order[train : train + test])):
        _expect_only(root / f"labels{part}", {f"{name}.nii.gz" for name in arrays["name"][chosen]})
        for case in chosen:
            inside = tuple(slice(0, int(size)) for size in arrays["shape"][case])
            name = str(arrays["name"][case])
            _write(root / f"images{part}" / f"{name}_0000.nii.gz", arrays["image"][case][inside])
            _write(root / f"labels{part}" / f"{name}.nii.gz", arrays["label"][case][inside])
    names = ("background", *hippocampus.PARTS)
    described = {
        "channel_names": {"0": "MR"},
        "labels": {name: label for label, name in enumerate(names)},
        "numTraining": train,
        "file_ending": ".nii.gz",
    }
    files.write_json(root / "dataset.json", described)


def _expect_only(folder: pathlib.Path, names: set[str]) -> None:
    """Raises for files of other cases, which another division or another folder left."""
    others = sorted(path.name for path in folder.glob("[!.]*") if path.name not in names)
    if others:
        raise ValueError(f"{folder}: expected the same cases as before, got {others[0]} there")


def _write(path: pathlib.Path, array: np.ndarray) -> None:
    if not path.exists():
        read_write.write(path, read_write.Volume(array, np.eye(4), 3))


def link_cases(source: str | os.PathLike, root: pathlib.Path) -> None:
    """Makes the folder of all cases from another in nnU-Net's raw layout, whose files it links.

    Raises:
      ValueError: unless there are cases that train and cases that test, all with a truth; or if
        `root` holds others.
    """
    opened = folder.open_folder(source)
    for part in ("Tr", "Ts"):
        own = [case for case in opened.layout.cases if case.part == part]
        if not own or not all(case.truth for case in own):
            raise ValueError(f"{source}: expected cases in images{part}, all in labels{part}")
        ending = opened.layout.ending
        _expect_only(root / f"labels{part}", {f"{case.name}{ending}" for case in own})
    _link(opened, root, truths=("Tr", "Ts"))


def share_out(root: pathlib.Path, *, noise_seed: int = 0, kinds: tuple[str, ...] = LABELS) -> None:
    """Makes the folders that the sides get from the one of all cases, unless they are there.

    Args:
      root: holds `CASES`; a folder for each kind comes beside it.
      noise_seed: of the noisy labels.
      kinds: of labels, of `LABELS`.
    """
    for kind in kinds:
        checks.one_of("labels", kind, LABELS)
    clean = root / CLEAN
    _link(folder.open_folder(root / CASES), clean, truths=("Tr",))
    for kind in kinds:
        if kind != CLEAN:
            options = {"place": "truth", "seed": noise_seed, **NOISES[kind]}
            made = simulate.simulate(clean, out=root / kind, **options)
            if made.problems:
                raise ValueError(made.problems[0])
            _link(folder.open_folder(root / CASES), root / kind, truths=())


def _link(opened: folder.Folder, out: pathlib.Path, *, truths: tuple[str, ...]) -> None:
    """Links images of all cases, and truths of those of some parts."""
    for case in opened.layout.cases:
        data_set.place_images(case, out, how="link")
        if case.part in truths:
            name = f"{case.name}{opened.layout.ending}"
            data_set.place(case.truth, out / f"labels{case.part}" / name, how="link")
    data_set.describe(opened, out, list(opened.cases))
