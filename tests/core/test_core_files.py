"""Files that are there completely or not at all."""

import fcntl
import json
import math
import os
import pathlib
from typing import NamedTuple

import numpy as np
import pytest

from noisyjax.core import files


def test_the_new_file_takes_the_place_of_the_old_one_and_its_folder_is_made(tmp_path):
    path = tmp_path / "a/b/table.csv"
    for text in ("first\r\n", "zweite ü\n"):
        files.write_text(path, text)
        assert path.read_bytes() == text.encode()
    assert [result.name for result in path.parent.iterdir()] == ["table.csv"]


@pytest.mark.parametrize(("letters", "kept"), [(15, True), (16, False)])
def test_while_it_is_written_a_file_keeps_a_suffix_that_may_name_its_format(
    tmp_path, letters, kept
):
    suffix = "." + "b" * letters
    with files.replacing(tmp_path / f"a{suffix}") as unfinished:
        assert unfinished.suffix == (suffix if kept else "")


def test_after_an_error_the_old_file_stands_and_nothing_else(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")

    def save():
        with files.replacing(path) as unfinished:
            assert unfinished.suffix == ".png"
            unfinished.write_bytes(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_is_no_text_is_escaped(tmp_path):
    files.write_text(tmp_path / "a.csv", os.fsdecode(b"\xff\xc3\xbc"))
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == r"\udcffü"


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "table.csv"
    with files.replacing(path) as first:
        # As in a container of the same name, whose process has the same number.
        with files.replacing(path) as second:
            assert first != second
            second.write_text("second")
        first.write_text("first")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_being_written_is_locked(tmp_path):
    with (
        files.replacing(tmp_path / "a.txt") as unfinished,
        open(unfinished) as file,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_a_killed_process_left_goes_and_what_is_being_written_stays(tmp_path):
    left, other = tmp_path / ".noisyjax-0123456789abcdef.npy", tmp_path / ".noisyjax-mine.npy"
    held = left.with_name(".noisyjax-fedcba9876543210.npy")
    for path in (left, held, other):
        path.write_text("half")
    with open(held) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        files.write_text(tmp_path / "a.txt", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {held.name, other.name, "a.txt"}


@pytest.mark.parametrize("name", ["a" * 251 + ".csv", "ü" * 125 + ".tiff", "a." + "b" * 253])
def test_names_may_be_as_long_as_the_system_allows(tmp_path, name):
    files.write_text(tmp_path / name, "text")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with pytest.raises(OSError, match=rf"File name too long: '.*/{name}b'"):
        files.write_text(tmp_path / f"{name}b", "text")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_is_swept_before_it_is_opened_is_made_anew(tmp_path, monkeypatch):
    opened, swept = os.open, []

    def sweeping(path, *args, **options):
        if not swept and pathlib.Path(path).name.startswith(".noisyjax-"):
            swept.append(path)
            os.rmdir(path)
        return opened(path, *args, **options)

    monkeypatch.setattr(os, "open", sweeping)
    with files.replacing_folder(tmp_path / "case", stays=bool) as unfinished:
        (unfinished / "a").write_text("whole")
    assert len(swept) == 1
    assert (tmp_path / "case" / "a").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["case"]


def test_csv_quotes_what_needs_it_and_numbers_read_back():
    text = files.to_csv(("case", "note"), [(0.1, 'says "no", twice'), (2, "")])
    assert text == 'case,note\n0.1,"says ""no"", twice"\n2,\n'


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="no device that is always full")
def test_an_error_of_a_full_disk_names_the_file():
    def save():
        with files.naming("table.csv"), open("/dev/full", "w") as full:
            full.write("text")

    with pytest.raises(OSError, match=r"No space left on device: 'table\.csv'"):
        save()


def test_an_error_that_names_a_file_keeps_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent'"), files.naming("other"):
        (tmp_path / "absent").read_text()


def test_a_folder_is_tried_out(tmp_path):
    files.check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match=r"folder that can be written to.*file'"):
        files.check_writable(tmp_path / "file")


class _Summary(NamedTuple):
    mean: float
    count: int


def test_json_is_strict_and_tells_nan_from_infinity(tmp_path):
    path = tmp_path / "summary.json"
    value = {"dice": _Summary(math.nan, 0), "rvd": [math.inf, np.float32(0.5), np.int64(3)]}
    files.write_json(path, value)

    def refuse(text):
        raise AssertionError(text)

    loaded = json.loads(path.read_text(), parse_constant=refuse)
    assert loaded["dice"] == {"mean": None, "count": 0}
    assert loaded["rvd"] == ["inf", 0.5, 3]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_json_of_any_editor_is_read(tmp_path, encoding, end):
    path = tmp_path / "dataset.json"
    path.write_bytes(end.join(('{"labels":', '{"Übersicht": 0}}', "")).encode(encoding))
    assert files.read_json(path) == {"labels": {"Übersicht": 0}}


def test_half_a_character_is_none(tmp_path):
    path = tmp_path / "dataset.json"
    path.write_text(r'{"whole": "\ud83d\ude00"}')
    assert files.read_json(path) == {"whole": "\U0001f600"}
    path.write_text(r'{"half": "\ud83d"}')
    with pytest.raises(ValueError, match="expected JSON in UTF-8, got .*surrogates not allowed"):
        files.read_json(path)


def test_numbers_are_read_as_they_are_and_refused_beyond_the_range(tmp_path):
    path = tmp_path / "numbers.json"
    path.write_text('{"a": 0.5, "b": [1.5e300], "c": 2}')
    assert files.read_json(path) == {"a": 0.5, "b": [1.5e300], "c": 2}
    path.write_text('{"a": 1e999}')
    with pytest.raises(ValueError, match="the number 1e999"):
        files.read_json(path)
