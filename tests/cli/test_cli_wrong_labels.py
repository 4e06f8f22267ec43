"""The command of the study of wrong labels: what it refuses."""

import refusals


def test_impossible_arguments_are_refused():
    given = [[], ["--data=volumes.npz", "--folder=in"], ["--data=v.npz", "--seeds=0,a"], ["more"]]
    none, both, seeds, more = refusals.messages("wrong_labels", given)
    assert none == both == "expected one of --data and --folder"
    assert seeds == "--seeds: expected numbers, got 'a'"
    assert "more" in more
