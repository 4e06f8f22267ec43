"""What the command of the side-by-side refuses."""

import refusals


def test_impossible_arguments_are_refused():
    data = "--data=volumes.npz"
    given = [
        [],
        [data, "--folder=somewhere"],
        [data, "--minutes=five"],
        [data, "--minutes=0"],
        [data, "--seeds=0.5"],
        [data, "--sides=monai"],
        [data, "--out=/proc/none"],
    ]
    expected = ["--data", "--data", "--minutes", "--minutes", "--seeds", "--sides", "volumes.npz"]
    for line, message in zip(refusals.messages("side_by_side", given), expected, strict=True):
        assert message in line
