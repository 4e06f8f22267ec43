"""Which cases of a folder train, validate and test."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from noisyjax.data import order, splits
from noisyjax.data.folder import nnunet_layout


def patients(layout: nnunet_layout.Layout) -> Int[np.ndarray, "N"]:
    """Returns a number for the patient of each case; one of its own where none is named."""
    # The flag distinguishes a case from a patient of the same name.
    names = [
        (case.name in layout.patients, layout.patients.get(case.name, case.name))
        for case in layout.cases
    ]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.int32)


def divide(
    layout: nnunet_layout.Layout,
    patients: Int[np.ndarray, "N"],
    *,
    seed: int,
    fractions: Sequence[float],
) -> splits.Splits:
    """Divides the patients; those of imagesTs test, and the share of the test trains then.

    A part that has a share gets a patient at least, for folders may be small. Where raters
    teach, a case of imagesTr that none of them labelled tests as well, unless it is of a patient
    who does not: then it is in no part.
    """
    splits.check_fractions(fractions)
    taught = [bool(case.raters) or layout.truth_trains for case in layout.cases]
    trains = np.array([case.part == "Tr" for case in layout.cases]) & taught
    tests = np.array([case.part == "Ts" for case in layout.cases])
    alone = ~trains & ~tests & ~np.isin(patients, patients[trains])
    training, tests, alone = (np.flatnonzero(x).astype(np.int32) for x in (trains, tests, alone))
    groups = list(dict.fromkeys(patients[training].tolist()))
    _, val, test = (max(1, round(f * len(groups))) if f else 0 for f in fractions)
    test = 0 if len(tests) else test
    if val + test >= len(groups):
        what = "cases" if len(groups) == len(training) else "patients"
        raise ValueError(
            f"fractions: expected {what} left to train on, got {len(groups)} {what} in all, "
            f"{val} of them to validate and {test} to test"
        )
    shuffled = np.array(groups)[order.permutation(len(groups), seed=seed)]

    def cases_of(part: np.ndarray) -> Int[np.ndarray, "n"]:
        members = [training[patients[training] == patient] for patient in part]
        return np.concatenate([np.zeros(0, np.int32), *members])

    tests = tests if len(tests) else cases_of(shuffled[:test])
    return {
        "train": cases_of(shuffled[val + test :]),
        "val": cases_of(shuffled[test : val + test]),
        "test": np.concatenate([tests, alone]),
    }
