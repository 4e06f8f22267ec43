"""Which cases of a folder teach, validate and test in each fold."""

import numpy as np

from noisyjax.core import checks
from noisyjax.data import order
from noisyjax.data.folder import division, nnunet_layout

Folds = list[dict[str, list[str]]]


def divide(layout: nnunet_layout.Layout, *, folds: int, seed: int) -> Folds:
    """Divides the cases of imagesTr that have a label to learn from, whole patients at a time.

    Each of them validates in exactly one fold and trains in the others; the folds' sizes differ by
    a patient at most. Of one fold all train. The labelled cases of imagesTs test in every fold, and
    so do those of imagesTr that are judged but not learnt from, unless they are of a patient who
    trains: then they are in no part.

    Returns:
      An object for each fold, as in nnU-Net's ``splits_final.json``, with "test" beside "train"
      and "val".

    Raises:
      ValueError: if there are fewer patients than folds, or one has cases in both imagesTr and
        imagesTs.
    """
    checks.at_least("folds", folds, 1)
    names = np.array([case.name for case in layout.cases])
    patients = division.patients(layout)
    is_test = np.array([case.part == "Ts" for case in layout.cases], bool)
    teaches = [bool(case.raters) or layout.truth_trains for case in layout.cases]
    trains = ~is_test & np.array(teaches, bool)
    both = np.isin(patients, patients[is_test]) & trains
    if both.any():
        raise ValueError(
            f"{layout.described_by}: patients: expected those of imagesTs to have no case in "
            f"imagesTr, got {names[both][0]} of one who has"
        )
    groups = np.unique(patients[trains])
    if not max(folds, 1) <= len(groups):
        what = "patients" if layout.patients else "cases"
        raise ValueError(
            f"folds: expected at most {len(groups)}, the {what} of {layout.root} to learn from, "
            f"got {folds}"
        )
    position = dict(
        zip(groups[order.permutation(len(groups), seed=seed)], range(len(groups)), strict=True)
    )
    fold_of = np.array([position.get(patient, 0) % folds for patient in patients])
    judged = ~is_test & ~trains & ~np.isin(patients, groups)
    test = names[is_test | judged].tolist()
    divided = []
    for fold in range(folds):
        held_out = trains & (fold_of == fold) & (folds > 1)
        divided.append(
            {
                "train": names[trains & ~held_out].tolist(),
                "val": names[held_out].tolist(),
                "test": list(test),
            }
        )
    return divided
