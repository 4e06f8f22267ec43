"""Slices of the hippocampus volumes of the Medical Segmentation Decathlon."""

import numpy as np

from noisyjax.core import checks
from noisyjax.data import source
from noisyjax.data.sources import hippocampus, slices


def load(
    *,
    path: str,
    merge: bool = True,
    axis: int = 0,
    least: int = 40,
    every: int = 1,
    square: bool = False,
) -> source.Source:
    """Loads the slices that show the hippocampus; a group is a subject's hippocampus.

    Images have mean 0 and standard deviation 1 in each volume; there are no raters of its own and
    no splits.

    Args:
      path: the ``.npz`` file of `hippocampus.load`.
      merge: whether the anterior and the posterior part are one class.
      axis: the axis across the slices: 0 for sagittal ones, which show the hippocampus along its
        length, 1 for coronal and 2 for axial ones.
      least: pixels of the hippocampus that a slice must show.
      every: take every n-th of these slices.
      square: whether the shorter side is padded at its far end to the longer, by background and the
        last pixels, so that slices can be turned by right angles.

    Raises:
      FileNotFoundError, ValueError: as `hippocampus.load`, or if an option is out of range or no
        slice shows enough.
    """
    checks.one_of("axis", axis, (0, 1, 2))
    whole = hippocampus.load(path=path, merge=merge)
    images, truths, names, groups = [], [], [], []
    for subject in range(len(whole.examples)):
        example = whole.examples[subject]
        truth = np.moveaxis(example["truth"], axis, 0)
        taken = slices.with_foreground((truth > 0).sum(axis=(1, 2)), least=least, every=every)
        images.append(np.moveaxis(example["image"], axis, 0)[taken])
        truths.append(truth[taken])
        names += [f"{whole.case_name(subject)}-{level:02d}" for level in taken]
        groups += [subject] * len(taken)
    if not names:
        raise ValueError(
            f"{path}: expected slices with {least} pixels of the hippocampus, got none"
        )
    images, truths = np.concatenate(images), np.concatenate(truths)
    if square:
        added = [(0, max(truths.shape[1:]) - side) for side in truths.shape[1:]]
        images = np.pad(images, [(0, 0), *added, (0, 0)], mode="edge")
        truths = np.pad(truths, [(0, 0), *added])
    return source.Source(
        name="hippocampus_slices",
        examples=source.ArrayExamples(images, truths=truths),
        num_classes=whole.num_classes,
        class_names=whole.class_names,
        spacing=whole.spacing[:2],
        has_truth=True,
        case_names=tuple(names),
        groups=np.asarray(groups, np.int32),
    )
