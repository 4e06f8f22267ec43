"""A few mutants at every door, and what the fuzzing says of doors that are known."""

import collections
import json
import warnings

import doors
import fuzz
import jaxtyping
import pytest

# The doors that train, or are slow to begin with, are tried by the command alone.
_SLOW = ("_make_part", "_make_run", "_make_commands")


@pytest.fixture
def tried(tmp_path, monkeypatch):
    """As users have it: without the type checks that only the tests switch on."""
    fuzz.prepare(monkeypatch)
    jaxtyping.config.update("jaxtyping_disable", True)
    yield fuzz.Fuzz(tmp_path, seed=0)
    jaxtyping.config.update("jaxtyping_disable", False)


def test_what_comes_of_a_few_mutants_is_no_fault(tried):
    numbers, counts = [], collections.Counter()
    for number, index in enumerate(3 * tried.cycle):
        slow = tried.doors[index].make.__name__ in _SLOW
        if counts[index] < (0 if slow else 4):
            counts[index] += 1
            numbers.append(number)
    results = [tried.run(number) for number in numbers]
    assert len(results) >= 60
    assert [result for result in results if result.outcome == fuzz.FAULT] == []
    assert {result.outcome for result in results} == {fuzz.REFUSED, fuzz.UNCHANGED, fuzz.VALID}


def _plain(folder):
    return json.loads((folder / "a.json").read_text())


def _unnamed(folder):
    if _plain(folder) != {"a": [1]}:
        raise FileNotFoundError("something is wrong")


def _of_another_kind(folder):
    return _plain(folder)["a"][0]


def _half_written(folder):
    (folder / ".noisyjax-0123456789abcdef.json").write_text("")
    raise FileNotFoundError("a.json: not there")


def _warned(folder):
    if _plain(folder) != {"a": [1]}:
        warnings.warn("something is odd", stacklevel=1)


@pytest.mark.parametrize(
    ("call", "sealed", "words"),
    [
        (_plain, ("*.json",), "other data of a file that has a checksum"),
        (_unnamed, (), "the file is not named: something is wrong"),
        (_of_another_kind, (), "Error at test_robustness_fuzz.py"),
        (_warned, (), "a warning that names no file: something is odd"),
        (_half_written, (), "left .noisyjax-"),
    ],
)
def test_faults_are_found(tried, call, sealed, words):
    known = _known(tried, call, sealed)
    assert any(words in result.text for result in known if result.outcome == fuzz.FAULT)


def test_other_numbers_of_a_format_without_checksum_are_no_fault(tried):
    valid = [r for r in _known(tried, _plain, ()) if r.outcome == fuzz.VALID]
    assert valid
    assert {result.change for result in valid} >= {"value of JSON"}


def _known(tried, call, sealed):
    """What comes of twenty mutants of one file."""

    def make(folder):
        (folder / "a.json").write_text('{"a": [1]}')

    tried.doors, tried.cycle = [doors.Door("door", ("a.json",), make, _plain, 1, sealed)], [0]
    place = tried.place(0)
    place.door = tried.doors[0]._replace(call=call)
    return [tried.run(number) for number in range(20)]
