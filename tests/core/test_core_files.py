"""Files that are there completely or not at all."""

import pytest

from noisyjax.core import files


def test_the_new_file_takes_the_place_of_the_old_one_and_its_folder_is_made(tmp_path):
    path = tmp_path / "a/b/table.csv"
    for text in ("first\r\n", "zweite ü\n"):
        files.write_text(path, text)
        assert path.read_bytes() == text.encode()
    assert [found.name for found in path.parent.iterdir()] == ["table.csv"]


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


def test_csv_quotes_what_needs_it_and_numbers_read_back():
    text = files.to_csv(("case", "note"), [(0.1, 'says "no", twice'), (2, "")])
    assert text == 'case,note\n0.1,"says ""no"", twice"\n2,\n'
