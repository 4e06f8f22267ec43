"""Work case by case."""

import time

import pytest

from noisyjax.tool import each_case, folder


def test_a_damaged_case_does_not_stop_the_others():
    def work(name):
        if name == "b":
            raise folder.FolderError(["b: cut off", "b: empty"])
        return name.upper()

    results = []
    problems = each_case.run(
        ["c", "b", "a"], work, lambda *case: results.append(case), title="working"
    )
    assert results == [("c", "C"), ("a", "A")]
    assert problems == ["b: cut off", "b: empty"]


def test_other_errors_end_the_work():
    seen = []

    def work(name):
        seen.append(name)
        time.sleep(0.01)
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        each_case.run([str(i) for i in range(100)], work, seen.append, title="working")
    assert len(seen) < 100
