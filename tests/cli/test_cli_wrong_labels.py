"""The command of the study of wrong labels: what it refuses."""

import refusals


def test_impossible_arguments_are_refused():
    given = [[], ["--data=volumes.npz", "--folder=in"], ["--seeds=0", "more"]]
    none, both, more = refusals.messages("wrong_labels", given)
    assert none == both == "expected one of --data and --folder"
    assert "more" in more
